//! What a training step asks of a GPU: kernels, and reads, which wait for all that is queued. Counted in wgpu's own trace.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use kiln::cli::Kiln;

use super::bench::Bench;
use super::shipped::{SMALL, more};

static LAUNCHES: AtomicUsize = AtomicUsize::new(0);
static READS: AtomicUsize = AtomicUsize::new(0);

/// Counts wgpu's calls by its log.
struct Counter;

impl log::Log for Counter {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &log::Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        for (call, count) in [("ComputePass::dispatch", &LAUNCHES), ("Buffer::map_async", &READS)] {
            count.fetch_add(usize::from(line.starts_with(call)), Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// The variable that tells this test's own process what to train.
const ARGUMENTS: &str = "KILN_TEST_COUNTED";
const NAME: &str = "cli::waiting::a_step_reads_nothing_from_the_device";

/// Kernels and reads of a run, in a process of its own: the counts are those of a whole process.
fn counted(arguments: &[String]) -> [usize; 2] {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", NAME, "--nocapture"]).env(ARGUMENTS, arguments.join("\n"));
    child.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = child.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = stdout.lines().find_map(|line| line.split_once("counted "));
    let (_, counts) = line.unwrap_or_else(|| panic!("nothing was counted:\n{stdout}{stderr}"));
    let mut counts = counts.split(' ').map(|count| count.parse().unwrap());
    [counts.next().unwrap(), counts.next().unwrap()]
}

/// Runs that differ in nothing but their number of steps read as often.
#[test]
fn a_step_reads_nothing_from_the_device() {
    if let Ok(arguments) = std::env::var(ARGUMENTS) {
        log::set_logger(&Counter).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        Kiln::parse_from(["kiln"].into_iter().chain(arguments.lines())).run().unwrap();
        println!("counted {} {}", LAUNCHES.load(Ordering::Relaxed), READS.load(Ordering::Relaxed));
        return;
    }
    if crate::backend() != "wgpu" {
        return; // nothing else has the trace
    }
    // An encoder, one that writes into its own input, and a tagger that goes by the lengths of its rows.
    for name in ["quickstart", "ernie-m/pretrain-btmlm", "elmo/lac"] {
        let bench = Bench::shipped(name).with(SMALL).with(more(name)).prepared();
        // Both log, evaluate and save once, at their end.
        let run = |folder: &str, steps: usize| {
            let given =
                ["training.max_steps", "training.logging_steps", "evaluation.every_steps", "checkpoint.every_steps"];
            let given = given.map(|key| format!("{key}={steps}")).into_iter();
            let arguments: Vec<String> = given.chain([format!("output.dir=PLACE/{folder}")]).collect();
            counted(&bench.arguments(&["train"], &arguments.iter().map(String::as_str).collect::<Vec<_>>()))
        };
        run("first", 8); // finds the fastest kernels, which are kept
        let ([launches, reads], [more_launches, more_reads]) = (run("four", 4), run("eight", 8));
        println!("{name}: {} launches a step, {reads} reads in all", (more_launches - launches) / 4);
        assert!(launches > 0 && reads > 0, "{name}: the trace is empty");
        assert_eq!(reads, more_reads, "{name}: 4 more steps read more often");
    }
}
