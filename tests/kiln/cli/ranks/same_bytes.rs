//! The number of ranks changes no bit: of checkpoints, models, metrics and figures.

use super::super::bench::Bench;
use super::super::resume::{Outcome, checkpoints};
use super::super::wait_until;
use super::{has_mpirun, one_at_a_time, ranks_of, signal, start, train};

/// Eight steps of four blocks, two evaluations, four checkpoints.
const SMALL: &str = "training.max_steps=8 training.batch_size=2 training.gradient_accumulation_steps=4 \
                     training.logging_steps=1 evaluation.every_steps=4 checkpoint.every_steps=2 checkpoint.keep_last=2";

/// Fine-tuning with dropout, clipping and decay, pre-training with padded batches, a mixture of masked LMs on translations, a language
/// model that carries its state, a tagger with a CRF, a reader.
const RECIPES: [(&str, &str); 6] = [
    ("quickstart", "optimizer.max_grad_norm=0.5 optimizer.weight_decay=0.01"),
    ("ernie/pretrain", "pretraining.loss_normalization=padded-batch"),
    ("ernie-m/pretrain-camlm", ""),
    ("elmo/pretrain", "streams.devices=4 training.gradient_accumulation_steps=1"),
    ("elmo/lac", ""),
    ("rembert/squad", ""),
];

fn bench(name: &str, more: &str) -> Bench {
    Bench::shipped(name).with(SMALL).with(more).prepared()
}

#[test]
fn any_number_of_ranks_and_any_sharding_gives_the_same_bytes() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    for (name, more) in RECIPES {
        let bench = bench(name, more);
        train(&bench, 1, &["output.dir=PLACE/alone"]).with(0, &[]);
        let expected = Outcome::of(&bench.path("alone"));
        for (ranks, more) in [
            (2, "device.threads=2"),
            (3, "device.threads=1"),
            (4, "device.sharding_degree=1"),
            (4, "device.sharding_degree=2"),
            (4, "device.sharding_degree=4"),
        ] {
            println!("{name} on {ranks} ranks, {more}");
            let run = format!("run-{ranks}-{}", more.len() + more.bytes().last().map_or(0, usize::from));
            train(&bench, ranks, &[more, &format!("output.dir=PLACE/{run}")]).with(0, &[]);
            Outcome::of(&bench.path(&run)).assert_is(&expected);
        }
    }
}

/// Killed on four ranks, on two and on one, and ended on three.
#[test]
fn a_killed_run_goes_on_with_any_number_of_ranks() {
    if !has_mpirun() {
        return;
    }
    let _turn = one_at_a_time();
    for (name, more) in RECIPES {
        let bench = bench(name, more).with("training.max_steps=16");
        train(&bench, 1, &["output.dir=PLACE/alone"]).with(0, &[]);
        let expected = Outcome::of(&bench.path("alone"));
        let run = bench.path("run");
        for (ranks, step) in [(4, 4), (2, 8), (1, 12)] {
            println!("{name} on {ranks} ranks, up to step {step}");
            let mut child = if ranks == 1 { bench.start(&[]) } else { start(&bench, ranks, &[]) };
            let reached = || checkpoints(&run).iter().any(|held| *held >= step);
            assert!(wait_until(&mut child, reached), "{name} ended before it could be killed");
            ranks_of(&run).last().into_iter().for_each(|pid| signal(*pid, "-KILL"));
            assert!(!child.wait().unwrap().success());
            assert!(!checkpoints(&run).contains(&16), "{name} was killed too late");
        }
        train(&bench, 3, &[]).with(0, &["going on from"]);
        Outcome::of(&run).assert_is(&expected);
    }
}
