//! Mixed precision: products in halves, everything else in f32, and the loss's scale in f16.

use kiln::device::precisions;
use kiln::recipe::Precision;
use serde_json::Value;

use super::resume::{Outcome, checkpoints};
use super::{Place, json, wait_until};

/// Steps enough for a loss to come down; without dropout, which follows from how rows are cut into batches, and so from the precision on a CPU.
const CURVE: &[&str] = &[
    "training.max_steps=100",
    "training.logging_steps=10",
    "evaluation.every_steps=100",
    "checkpoint.every_steps=100",
    "data.max_train_rows=64",
    "model.config.hidden_dropout_prob=0",
    "model.config.attention_probs_dropout_prob=0",
    "data.max_seq_length=32",
];

/// What the losses of [`CURVE`] may differ by from those of f32. A half of 8 bits (bf16) rounds to 2^-9 of a number, one of 11 (f16) to 2^-12;
/// seen were 1.5e-4 and 2e-5.
fn band(precision: Precision) -> f64 {
    if precision == Precision::Bf16 { 2e-3 } else { 2e-4 }
}

fn lines(place: &Place, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "train").collect()
}

#[test]
fn a_hundred_steps_in_halves_have_the_losses_of_f32() {
    let place = Place::new();
    let losses = |precision: Precision| -> Vec<f64> {
        let (word, run) = (precision.word(), format!("output.dir={}", place.text(precision.word())));
        place.train(&[CURVE, &[&run, &format!("device.precision={word}")]].concat()).with(0, &["done:"]);
        lines(&place, word).iter().map(|line| line["loss"].as_f64().unwrap()).collect()
    };
    let right = losses(Precision::F32);
    assert_eq!(right.len(), 10);
    let others = precisions(&crate::device()).into_iter();
    for precision in others.filter(|precision| ![Precision::F32, Precision::Int8].contains(precision)) {
        let found = losses(precision);
        let worst = right.iter().zip(&found).map(|(right, found)| (right - found).abs()).fold(0.0, f64::max);
        assert!(worst < band(precision), "{}: {found:?} for {right:?}", precision.word());
        assert_ne!(found, right, "{} is not used", precision.word());
    }
}

/// The scale, the steps that it has been good for, and what was left out are in the checkpoint.
#[test]
fn an_overflow_of_f16_leaves_its_update_out_and_a_killed_run_goes_on_with_the_scale() {
    let place = Place::new();
    let run = |name: &str| -> Vec<String> {
        let output = format!("output.dir={}", place.text(name));
        let own =
            ["device.precision=f16", "device.scale_loss=1e9", "checkpoint.every_steps=2", "checkpoint.keep_last=9"];
        place.training(&own).into_iter().chain([output]).collect()
    };
    let words =
        ["step 1: a gradient is too large for f16; its update is left out, the loss is scaled by 500000000 now"];
    super::kiln(run("undisturbed")).with(0, &words);
    let state = json(&super::newest_checkpoint(&place.path("undisturbed")).join("state.json"));
    let scale: f64 = state["loss_scale"]["scale"].as_str().unwrap().parse().unwrap();
    let skipped: u64 = lines(&place, "undisturbed").iter().map(|line| line["skipped_steps"].as_u64().unwrap()).sum();
    assert!((1..12).contains(&skipped), "{skipped} of 12 steps were left out");
    assert_eq!(scale, 1e9 * 0.5_f64.powi(i32::try_from(skipped).unwrap()));
    assert_eq!(lines(&place, "undisturbed").last().unwrap()["loss_scale"], scale);

    let mut child = super::command(run("killed")).spawn().unwrap();
    assert!(wait_until(&mut child, || checkpoints(&place.path("killed")).contains(&4)), "it ended too early");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!checkpoints(&place.path("killed")).contains(&12), "it was killed too late");
    super::kiln(run("killed")).with(0, &["going on from"]);
    Outcome::of(&place.path("killed")).assert_is(&Outcome::of(&place.path("undisturbed")));
}

/// Products that overflow by themselves are no matter of the scale.
#[test]
fn numbers_too_large_for_f16_end_the_run_with_advice() {
    let place = Place::new();
    let more = ["device.precision=f16", "device.scale_loss=4", "model.config.initializer_range=300"];
    let words = ["the gradients of step 3 are too large for f16", "help: device.precision=\"bf16\""];
    place.train(&more).with(1, &words);
    assert!(!place.path("run/last").exists(), "the run is not finished");
}
