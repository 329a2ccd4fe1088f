//! Runs of several ranks under mpirun: the same bytes on any number of them, and what becomes of a run when one fails.

mod bad_input;
mod failures;
mod same_bytes;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Ended;
use super::bench::Bench;

/// Whether there is an mpirun; says so where there is none.
fn has_mpirun() -> bool {
    let found = Command::new("mpirun").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: there is no mpirun (scripts/install-packages.sh --mpi)");
    }
    found
}

/// Ranks of several tests at once would wait for each other's cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// mpirun with so many ranks, on as few cores as there are.
fn mpirun(ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "-n", &ranks.to_string()]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("NO_COLOR", "1").stdin(Stdio::null());
    // Containers run as root, and forbid one process to read another's memory, which Open MPI does without then.
    let environment = [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
        ("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR")),
    ];
    command.envs(environment);
    command
}

/// The training of a bench on so many ranks.
fn training(bench: &Bench, ranks: usize, more: &[&str]) -> Command {
    let mut command = mpirun(ranks);
    command.arg(env!("CARGO_BIN_EXE_kiln")).args(bench.arguments(&["train"], more));
    command
}

fn train(bench: &Bench, ranks: usize, more: &[&str]) -> Ended {
    match ranks {
        1 => bench.train(more),
        _ => training(bench, ranks, more).output().unwrap().into(),
    }
}

/// Starts a training that can be waited for; what it says goes into a file of the bench.
fn start(bench: &Bench, ranks: usize, more: &[&str]) -> Child {
    let log = std::fs::File::create(bench.path("said")).unwrap();
    training(bench, ranks, more).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// The processes of the ranks of a run into `folder`, in the order of their ranks.
fn ranks_of(folder: &Path) -> Vec<u32> {
    let own = |pid: &u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        arguments.starts_with(env!("CARGO_BIN_EXE_kiln")) && arguments.contains(&folder.display().to_string())
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = pids.filter(own).collect();
    // They were started in the order of their ranks.
    found.sort_unstable();
    found
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}
