//! A rank that fails ends the run within seconds, with a message that names it, and the run goes on from its last checkpoint.

use std::time::{Duration, Instant};

use kiln::error::Error;
use kiln::ranks::Ranks;

use super::super::bench::Bench;
use super::super::resume::checkpoints;
use super::super::{Ended, wait_until};
use super::{has_mpirun, mpirun, one_at_a_time, ranks_of, signal, start};

/// A training that goes on for longer than the test does, and its first checkpoint.
const LONG: &str = "training.max_steps=100000 training.batch_size=2 training.gradient_accumulation_steps=4 \
                    evaluation.every_steps=100000 checkpoint.every_steps=20 device.exchange_patience=3";

/// How long all may take to end after a failure, on a machine that has other work: patience, a question, mpirun's own seconds.
const SOON: Duration = Duration::from_secs(30);

/// Begins a run of two ranks, does something to them, and waits for the end: its exit code, what it said, the seconds it took.
fn fails(failure: impl FnOnce(&[u32])) -> (Option<i32>, String, Bench) {
    let bench = Bench::shipped("quickstart").with(LONG);
    let run = bench.path("run");
    let mut child = start(&bench, 2, &[]);
    assert!(wait_until(&mut child, || !checkpoints(&run).is_empty()), "it ended before it was done anything to");
    let began = Instant::now();
    let pids = ranks_of(&run);
    assert_eq!(pids.len(), 2);
    failure(&pids);
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > SOON {
            ranks_of(&run).into_iter().chain([child.id()]).for_each(|pid| signal(pid, "-KILL"));
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    println!("ended after {:.1} s", began.elapsed().as_secs_f64());
    assert!(ranks_of(&run).is_empty(), "all ranks have ended");
    let said = std::fs::read_to_string(bench.path("said")).unwrap();
    assert!(!said.contains("panicked at"), "{said}");
    (ended.code(), said, bench)
}

#[test]
fn a_killed_rank_ends_the_others() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    let (code, said, bench) = fails(|ranks| signal(ranks[1], "-KILL"));
    assert_ne!(code, Some(0), "{said}");
    // Nobody saved a checkpoint of its own on the way out.
    assert!(checkpoints(&bench.path("run")).iter().all(|step| step % 20 == 0));
}

#[test]
fn a_stopped_rank_is_named_by_the_other() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    for stopped in [1, 0] {
        let (code, said, _) = fails(|ranks| {
            signal(ranks[stopped], "-STOP");
            let pid = ranks[stopped];
            // mpirun waits for a stopped process when it ends a job.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(8));
                signal_if_there(pid, "-KILL");
            });
        });
        assert_ne!(code, Some(0), "{said}");
        assert_eq!(said.matches("nothing has come from rank").count(), 1, "{said}");
        assert!(said.contains(&format!("nothing has come from rank {stopped} on ")), "{said}");
    }
}

fn signal_if_there(pid: u32, name: &str) {
    if std::path::Path::new(&format!("/proc/{pid}")).exists() {
        signal(pid, name);
    }
}

/// A stop that one rank is asked for is a stop of all, after the same step, with one checkpoint.
#[test]
fn a_stop_is_one_of_all_ranks() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    let (code, said, bench) = fails(|ranks| signal(ranks[1], "-USR1"));
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(said.matches("everything is saved").count(), 1, "{said}");
    let held = checkpoints(&bench.path("run"));
    let last = held.last().copied().unwrap();
    super::training(&bench, 2, &[&format!("training.max_steps={}", last + 1)]).output().unwrap();
    assert!(bench.path(&format!("run/checkpoints/step-{last:08}/optimizer.safetensors")).exists());
}

/// All ranks come to it; one tells.
#[test]
fn a_loss_that_is_no_number_is_told_once() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    let bench = Bench::shipped("quickstart").with(LONG).with("optimizer.learning_rate=1e30 schedule.warmup_ratio=0.0");
    super::train(&bench, 2, &[]).with_problems(1, 1, &["of step", "is not a finite number"]);
}

/// Started by [`of_two_ranks`] in place of a test: the second of two ranks does not do as the first one.
#[test]
#[ignore = "is one of two ranks that another test starts"]
fn one_of_two_ranks() {
    let ranks = Ranks::start(Duration::from_secs(60)).unwrap();
    assert_eq!(ranks.size(), 2);
    match (ranks.rank(), std::env::var("KILN_TEST_FAILURE").unwrap().as_str()) {
        (1, "panic") => panic!("a fault"),
        (1, "exit") => std::process::exit(7),
        (_, "error") => {
            let own = if ranks.rank() == 1 { Err(Error::input("a disk is gone")) } else { Ok(()) };
            let error = ranks.agree(own).unwrap_err();
            error.problems().iter().for_each(|problem| eprintln!("{problem}"));
            ranks.finish();
            std::process::exit(error.exit_code().into());
        }
        _ => ranks.gather(0).map(drop).unwrap(),
    }
}

fn of_two_ranks(failure: &str) -> Ended {
    let mut command = mpirun(2);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "cli::ranks::failures::one_of_two_ranks", "--nocapture"]);
    command.env("KILN_TEST_FAILURE", failure).output().unwrap().into()
}

#[test]
fn a_rank_that_panics_or_ends_early_ends_the_others() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    for failure in ["panic", "exit"] {
        let began = Instant::now();
        let ended = of_two_ranks(failure);
        println!("{failure}: ended after {:.1} s", began.elapsed().as_secs_f64());
        assert_ne!(ended.code, Some(0));
        assert!(began.elapsed() < SOON, "{}", ended.stderr);
    }
    let ended = of_two_ranks("error");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("rank 1: a disk is gone").count(), 1, "{}", ended.stderr);
}
