//! What is wrong with a run of ranks is said once, by the first of them, and nothing hangs.

use super::super::bench::Bench;
use super::super::command;
use super::{has_mpirun, mpirun, one_at_a_time, train};

#[test]
fn ranks_without_work_and_shards_that_do_not_divide_are_refused() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    let bench = Bench::shipped("quickstart").with("training.max_steps=2 training.batch_size=4");
    let more = ["training.global_batch_size=8"];
    train(&bench, 3, &more).with_problems(
        2,
        1,
        &["3 ranks, and a step has 2 batches of 4 rows", "training.global_batch_size=12"],
    );
    let more = ["training.global_batch_size=16", "device.sharding_degree=3"];
    train(&bench, 4, &more).with_problems(
        2,
        1,
        &["device.sharding_degree is 3, which does not divide 4 ranks", "1, 2, 4"],
    );
    let wrong = ["training.global_batch_size=9"];
    train(&bench, 2, &wrong).with_problems(2, 1, &["no multiple of `training.batch_size` 4"]);
    let elmo = Bench::shipped("elmo/pretrain").with("training.max_steps=2 streams.devices=1");
    train(&elmo, 2, &[]).with_problems(2, 1, &["streams.devices=2"]);
}

/// Ranks of two recipes, and ranks that do not share a file system.
#[test]
fn ranks_of_different_runs_are_told_apart() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    let bench =
        Bench::shipped("quickstart").with("training.max_steps=2 training.batch_size=4 training.global_batch_size=8");
    let program = env!("CARGO_BIN_EXE_kiln").to_string();
    let of = |more: &str| [vec![program.clone()], bench.arguments(&["train"], &[more])].concat();
    let two = |first: Vec<String>, second: Vec<String>| -> super::Ended {
        let mut command = mpirun(1);
        command.args(first).args([":", "-n", "1"]).args(second).output().unwrap().into()
    };
    two(of("training.seed=1"), of("training.seed=2")).with_problems(2, 1, &["rank 1 has another recipe than rank 0"]);

    // Each has its own folder of this relative name.
    let (here, there) = (bench.text("here"), bench.text("there"));
    [&here, &there].into_iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let root = env!("CARGO_MANIFEST_DIR");
    let absolute = ["model.tokenizer", "data.root"].map(|key| {
        let value = if key == "data.root" { "datasets/samples" } else { "datasets/samples/quickstart-tokenizer" };
        format!("{key}={root}/{value}")
    });
    let of = |folder: &str| {
        let recipe = format!("{root}/recipes/quickstart.toml");
        let mut all = vec!["-wdir".to_string(), folder.to_string(), program.clone(), "train".to_string(), recipe];
        all.extend(["training.batch_size=4", "training.global_batch_size=8", "output.dir=run"].map(String::from));
        all.extend(absolute.clone());
        all
    };
    two(of(&here), of(&there)).with_problems(
        2,
        1,
        &["rank 1 sees another folder of this name", "file system that all ranks share"],
    );
}

/// Ranks that read different data by the same recipe.
#[test]
fn ranks_with_different_data_are_told_apart() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    let bench = Bench::shipped("quickstart");
    let root = env!("CARGO_MANIFEST_DIR");
    for (folder, rows) in [("here", 40), ("there", 39)] {
        for entry in std::fs::read_dir(format!("{root}/datasets/samples/quickstart-nli")).unwrap() {
            let file = entry.unwrap().path();
            let text = std::fs::read_to_string(&file).unwrap();
            let some: String = text.lines().take(rows).map(|line| format!("{line}\n")).collect();
            bench.write(&format!("{folder}/data/quickstart-nli/{}", file.file_name().unwrap().display()), some);
        }
    }
    let of = |folder: &str| {
        let recipe = format!("{root}/recipes/quickstart.toml");
        let program = env!("CARGO_BIN_EXE_kiln").to_string();
        let mut all = vec!["-wdir".to_string(), bench.text(folder), program, "train".to_string(), recipe];
        all.extend(["training.batch_size=4", "training.global_batch_size=8", "data.root=data"].map(String::from));
        all.push(format!("model.tokenizer={root}/datasets/samples/quickstart-tokenizer"));
        all.extend([format!("output.dir={}", bench.text("run")), format!("data.cache={}", bench.text("cache"))]);
        all
    };
    let ended: super::Ended =
        mpirun(1).args(of("here")).args([":", "-n", "1"]).args(of("there")).output().unwrap().into();
    ended.with_problems(2, 1, &["rank 1 has another set of training rows than rank 0"]);
}

#[test]
fn commands_of_one_process_refuse_ranks() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    let ended: super::Ended = mpirun(2).args([env!("CARGO_BIN_EXE_kiln"), "devices"]).output().unwrap().into();
    ended.with_problems(2, 1, &["2 ranks were started of a command that is of one process"]);
}

/// As where Slurm starts ranks that its MPI knows nothing of.
#[test]
fn a_launcher_without_mpi_is_an_error() {
    let bench = Bench::shipped("quickstart").with("training.max_steps=2");
    let mut started = command(bench.arguments(&["train"], &[]));
    let ended: super::Ended = started.env("SLURM_NTASKS", "2").env("SLURM_PROCID", "0").output().unwrap().into();
    ended.with_problems(2, 1, &["2 ranks were started, and MPI joins none", "srun --mpi=pmix"]);
    let mut second = command(bench.arguments(&["train"], &[]));
    let ended: super::Ended = second.env("SLURM_NTASKS", "2").env("SLURM_PROCID", "1").output().unwrap().into();
    ended.with_problems(2, 0, &[]);
}
