//! Runs that end before their last step by themselves.

use super::{Place, json};

/// A step that learns at this rate leaves weights whose next loss is not a number.
const DIVERGING: &[&str] = &["optimizer.learning_rate=1e30", "schedule.warmup_ratio=0.0", "training.max_steps=40"];

/// The update that would ruin the model is not made, and what was good stays.
#[test]
fn a_loss_that_is_no_number_names_its_rows_and_leaves_the_last_checkpoint() {
    let place = Place::new();
    let more = [DIVERGING, &["checkpoint.every_steps=1", "evaluation.every_steps=40"]].concat();
    let ended = place.train(&more).with(1, &["is not a finite number; the update was not saved", "help:"]);
    assert!(ended.stderr.contains("quickstart-nli/train."), "the rows are named by file and line: {}", ended.stderr);
    let step: u64 = std::fs::read_dir(place.path("run/checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().trim_start_matches("step-").parse().unwrap())
        .max()
        .unwrap();
    assert!(ended.stderr.contains(&format!("of step {} ", step + 1)), "{step}: {}", ended.stderr);
    assert!(!place.path("run/last").exists(), "the run is not finished");
}

/// Two evaluations without a better one are enough: of a model that does not change, the first is the best.
#[test]
fn patience_ends_a_run_that_gets_no_better() {
    let place = Place::new();
    let more =
        ["optimizer.learning_rate=1e-30", "evaluation.every_steps=2", "evaluation.patience=2", "training.max_steps=40"];
    place.train(&more).with(0, &["stopped early: no better evaluation for 2 in a row", "of step 2"]);
    let state = json(&place.path("run/checkpoints/step-00000006/state.json"));
    assert_eq!((state["step"].as_u64(), state["finished"].as_bool()), (Some(6), Some(true)));
    // It has ended for good.
    place.train(&more).with(0, &["this run is finished, after 6 steps"]);
}

/// A split that is evaluated at the end is looked for at the beginning.
#[test]
fn missing_test_rows_are_missed_before_the_training() {
    let place = super::data_files::place(super::data_files::GOOD);
    let ended =
        super::data_files::train(&place, &["evaluation.test=true"]).with(2, &["evaluation.test=false", "help:"]);
    assert!(!ended.stderr.contains("step "), "{}", ended.stderr);
}
