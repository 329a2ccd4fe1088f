//! The folder of a run: it belongs to one recipe and one process, and nothing in it is ever lost.

use std::fs::OpenOptions;

use super::{Place, json, kiln, snapshot};

#[test]
fn a_folder_belongs_to_its_recipe() {
    let place = Place::new();
    place.train(&[]).with(0, &[]);
    let before = snapshot(&place.path("run"));
    let words = [
        "holds the run of another recipe (training.seed: 42 there, 7 now)",
        &place.text("run"),
        "help: choose another folder",
    ];
    place.train(&["training.seed=7"]).with_problems(2, 1, &words);
    assert!(snapshot(&place.path("run")) == before, "the folder was touched");
}

#[test]
fn fresh_takes_an_empty_folder_and_deletes_nothing() {
    let place = Place::new();
    let fresh = |place: &Place| {
        let mut arguments = place.training(&[]);
        arguments.push("--fresh".into());
        kiln(arguments)
    };
    std::fs::create_dir(place.path("run")).unwrap();
    fresh(&place).with(0, &["done: the best model is"]);
    let before = snapshot(&place.path("run"));
    fresh(&place).with_problems(2, 1, &["is not empty, and --fresh never deletes", &place.text("run"), "help:"]);
    assert!(snapshot(&place.path("run")) == before, "the folder was touched");

    let other = Place::new();
    other.write("run/thesis.txt", "years of work");
    fresh(&other).with_problems(2, 1, &["is not empty"]);
    assert_eq!(snapshot(&other.path("run")).len(), 1);
}

#[test]
fn only_one_process_works_on_a_run() {
    let place = Place::new();
    std::fs::create_dir(place.path("run")).unwrap();
    let path = place.path("run/.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).unwrap();
    file.lock().unwrap();
    let words = ["another process is working on this run", &place.text("run"), "help: wait for it"];
    place.train(&[]).with_problems(2, 1, &words);
    assert_eq!(snapshot(&place.path("run")).len(), 1, "only the lock");
    file.unlock().unwrap();
    place.train(&[]).with(0, &[]);
}

#[test]
fn an_output_folder_that_cannot_be_one() {
    let place = Place::new();
    let file = place.write("run", "a file");
    place.train(&[]).with_problems(2, 1, &["is a file; output.dir is a folder", &file.display().to_string()]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a file");
    let below = format!("output.dir={}", place.text("run/below"));
    place.train(&[&below]).with_problems(1, 1, &[&place.text("run/below"), "cannot be written"]);
}

#[test]
fn a_finished_run_says_so_and_stays_as_it_is() {
    let place = Place::new();
    place.train(&[]).with(0, &[]);
    let mut before = snapshot(&place.path("run"));
    place.train(&[]).with(0, &["this run is finished, after 12 steps"]);
    // What may change between a run and its continuation is no other recipe.
    place.train(&["checkpoint.keep_last=5", "training.logging_steps=1", "device.threads=1"]).with(0, &["is finished"]);
    let mut after = snapshot(&place.path("run"));
    before.remove(&place.path("run/train.log"));
    after.remove(&place.path("run/train.log"));
    assert!(before == after, "the folder was touched");
}

#[test]
fn the_recipe_in_the_folder_is_the_run_again() {
    let place = Place::new();
    place.train(&[]).with(0, &[]);
    let recipe = place.text("run/recipe.toml");
    let again = format!("output.dir={}", place.text("again"));
    kiln(["train", &recipe, &again]).with(0, &[]);
    let model = |run: &str| std::fs::read(place.path(run).join("last/model.safetensors")).unwrap();
    assert!(model("run") == model("again"), "the resolved recipe trains another model");
    // And it is the folder's own recipe.
    kiln(["train", &recipe]).with(0, &["is finished"]);
}

/// Whoever looks at an unfinished run with `kiln eval` must not change what the run reports in the end.
#[test]
fn evaluating_an_unfinished_run_does_not_spoil_its_report() {
    let (place, undisturbed) = (Place::new(), Place::new());
    place.train(&[]).with(0, &[]);
    undisturbed.train(&[]).with(0, &[]);
    // Set back to the first checkpoint, as after a crash.
    std::fs::remove_dir_all(place.path("run/checkpoints/step-00000012")).unwrap();
    std::fs::remove_dir_all(place.path("run/last")).unwrap();
    std::fs::remove_file(place.path("run/eval.json")).unwrap();
    kiln(["eval", &place.text("run"), "data.max_eval_rows=2"]).with(0, &[]);
    place.train(&[]).with(0, &["done: the best model is"]);
    let [mut made, mut expected] = [&place, &undisturbed].map(|place| json(&place.path("run/eval.json")));
    for report in [&mut made, &mut expected] {
        report.as_object_mut().unwrap().remove("seconds");
    }
    assert_eq!(made, expected);
}

#[test]
#[cfg(unix)]
fn a_run_is_readable_to_those_whom_the_umask_lets() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.train(&[]).with(0, &[]);
    let plain = std::fs::metadata(place.write("plain", "")).unwrap().permissions().mode();
    let files = ["recipe.toml", "eval.json", "best/model.safetensors", "best/config.json", "metrics.jsonl"];
    let mode = |name: &str| std::fs::metadata(place.path("run").join(name)).unwrap().permissions().mode();
    let others: Vec<&str> = files.into_iter().filter(|name| mode(name) != plain).collect();
    assert!(others.is_empty(), "not with the rights of other new files: {others:?}");
}

/// A crash of the machine leaves no checkpoint under its name without its files: they are on the disk before the folder gets the name,
/// the folder itself too. Seen by the system calls, where strace is installed.
#[test]
#[cfg(target_os = "linux")]
fn a_checkpoint_is_on_the_disk_before_it_has_its_name() {
    let place = Place::new();
    let calls = place.path("calls");
    let traced = std::process::Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o"])
        .arg(&calls)
        .arg(env!("CARGO_BIN_EXE_kiln"))
        .args(place.training(&["training.max_steps=2"]))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let Ok(traced) = traced else { return println!("skipped: no strace") };
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let calls = std::fs::read_to_string(calls).unwrap();
    let partial = place.text("run/checkpoints/.step-00000002.partial");
    let (before, _) = calls.split_once(&format!("(\"{partial}\"")).expect("the folder gets its name");
    for name in ["", "/state.json", "/model.safetensors", "/optimizer.safetensors", "/manifest.json"] {
        assert!(
            before.lines().any(|call| call.contains("fsync(") && call.contains(&format!("<{partial}{name}>"))),
            "{name}: {before}"
        );
    }
}
