//! What the tests of stopped runs share: a run that crosses epochs, evaluations and checkpoints, and what it leaves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use kiln::weights::NamedTensor;
use serde_json::Value;

use super::bench::Bench;
use super::{Ended, Place, damage, data_files, json, model_copy, newest_checkpoint, snapshot, tensors};

/// 24 steps, 10 an epoch; the log, the evaluations and the checkpoints fall on different steps.
pub const RUN: &[&str] = &[
    "training.max_steps=24",
    "training.logging_steps=5",
    "evaluation.every_steps=8",
    "checkpoint.every_steps=3",
    "checkpoint.keep_last=3",
];

/// What a finished run has to be the same in, however it came there.
#[derive(PartialEq)]
pub struct Outcome {
    files: BTreeMap<String, Vec<u8>>,
    values: BTreeMap<String, Vec<Value>>,
    names: Vec<String>,
}

impl Outcome {
    pub fn of(run: &Path) -> Self {
        let newest = newest_checkpoint(run);
        let last = format!("checkpoints/{}", newest.file_name().unwrap().to_str().unwrap());
        let tensors = ["last", "best", &last].map(|folder| format!("{folder}/model.safetensors"));
        let exact = tensors.into_iter().chain([format!("{last}/optimizer.safetensors"), "best/config.json".into()]);
        let lines = |name: &str| -> Vec<Value> {
            let text = std::fs::read_to_string(run.join(name)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let parsed = [
            ("metrics.jsonl", lines("metrics.jsonl")),
            ("eval.json", vec![json(&run.join("eval.json"))]),
            ("best/eval.json", vec![json(&run.join("best/eval.json"))]),
            ("state.json", vec![json(&newest.join("state.json"))]),
        ];
        let name = |path: &Path| path.strip_prefix(run).unwrap().display().to_string();
        Self {
            files: exact.map(|name| (name.clone(), std::fs::read(run.join(&name)).unwrap())).collect(),
            values: parsed.into_iter().map(|(name, values)| (name.into(), timeless(values))).collect(),
            names: snapshot(run).keys().map(|path| name(path)).filter(|name| is_result(name)).collect(),
        }
    }

    /// Says what is not the same.
    #[track_caller]
    pub fn assert_is(&self, expected: &Self) {
        assert_eq!(self.names, expected.names);
        assert_eq!(self.values, expected.values);
        for (name, bytes) in &expected.files {
            assert!(self.files[name] == *bytes, "{name} is not the same to the byte");
        }
        assert!(self == expected);
    }
}

/// A file that was being made when the process was killed may be left, and a checkpoint that was to be removed; half a folder
/// may not.
fn is_result(name: &str) -> bool {
    !name.contains(".tmp") && !name.starts_with("checkpoints/step-")
}

/// Without what differs from run to run: how long things took.
pub fn timeless(mut values: Vec<Value>) -> Vec<Value> {
    fn strip(value: &mut Value) {
        if let Value::Object(words) = value {
            ["seconds", "seconds_per_step", "tokens_per_second", "rows_per_second", "data_seconds", "data_wait_share"]
                .iter()
                .for_each(|word| drop(words.remove(*word)));
            words.values_mut().for_each(strip);
        }
    }
    values.iter_mut().for_each(strip);
    values
}

/// What a run that nothing disturbed leaves; made once.
pub fn undisturbed() -> &'static Outcome {
    static OUTCOME: OnceLock<Outcome> = OnceLock::new();
    OUTCOME.get_or_init(|| {
        let place = Place::new();
        place.train(RUN).with(0, &["done: the best model is"]);
        Outcome::of(&place.path("run"))
    })
}

/// Runs to the end and compares.
#[track_caller]
pub fn finish(place: &Place) -> Ended {
    let ended = place.train(RUN).with(0, &[]);
    Outcome::of(&place.path("run")).assert_is(undisturbed());
    ended
}

/// The steps whose checkpoints stand in a run, in order.
pub fn checkpoints(run: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut steps: Vec<u64> = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect();
    steps.sort_unstable();
    steps
}

/// Takes the newest checkpoint and what came after the one before it from a run.
pub fn forget_the_end(run: &Path) {
    std::fs::remove_dir_all(newest_checkpoint(run)).unwrap();
    std::fs::remove_dir_all(run.join("last")).unwrap();
    std::fs::remove_file(run.join("eval.json")).unwrap();
    let best = json(&run.join("best/eval.json"))["step"].as_u64();
    if best > checkpoints(run).pop() {
        std::fs::remove_dir_all(run.join("best")).unwrap();
    }
}

/// A finished run loses its end and goes on to the same bytes.
#[track_caller]
pub fn assert_goes_on(bench: &Bench, more: &[&str]) {
    let expected = Outcome::of(&bench.output());
    forget_the_end(&bench.output());
    bench.train(more).with(0, &["going on from"]);
    Outcome::of(&bench.output()).assert_is(&expected);
}

/// As [`assert_goes_on`], trained for it.
#[track_caller]
pub fn assert_resumes(bench: &Bench, more: &[&str]) {
    bench.train(more).with(0, &["done: the best model is"]);
    assert_goes_on(bench, more);
}

#[test]
fn the_same_command_gives_the_same_bits() {
    finish(&Place::new());
}

#[test]
fn the_comparison_sees_another_run() {
    let place = Place::new();
    place.train(&[RUN, &["training.seed=43"]].concat()).with(0, &[]);
    let other = Outcome::of(&place.path("run"));
    assert!(other.files != undisturbed().files && other.values != undisturbed().values);
}

/// Takes a finished run back to its checkpoint before the last, and lets it go on.
fn taken_back(spoil: impl Fn(&Path)) -> (Place, Ended) {
    let place = Place::new();
    place.train(RUN).with(0, &[]);
    let run = place.path("run");
    assert_eq!(checkpoints(&run), [18, 21, 24]);
    spoil(&run.join("checkpoints/step-00000024"));
    std::fs::remove_file(run.join("eval.json")).unwrap();
    let ended = finish(&place);
    (place, ended)
}

#[test]
fn a_damaged_checkpoint_is_named_and_passed_over() {
    for name in ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"] {
        let (place, ended) = taken_back(|checkpoint| damage(&checkpoint.join(name)));
        // A manifest with another sum in it blames the file whose sum that was.
        let named = if name == "manifest.json" { "" } else { name };
        let damaged = place.path("run/checkpoints/step-00000024").join(named).display().to_string();
        let older = place.path("run/checkpoints/step-00000021").display().to_string();
        ended.with(0, &[&damaged, "is damaged and is passed over", &format!("going on from {older}")]);
    }
}

#[test]
fn a_checkpoint_without_one_of_its_files_is_passed_over() {
    let (_, ended) = taken_back(|checkpoint| std::fs::remove_file(checkpoint.join("optimizer.safetensors")).unwrap());
    ended.with(0, &["optimizer.safetensors", "is passed over"]);
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_starts_over() {
    let place = Place::new();
    place.train(RUN).with(0, &[]);
    let run = place.path("run");
    checkpoints(&run)
        .iter()
        .for_each(|step| damage(&run.join(format!("checkpoints/step-{step:08}/model.safetensors"))));
    let ended = finish(&place);
    assert_eq!(ended.stderr.matches("is passed over").count(), 3, "{}", ended.stderr);
}

/// The rows of words that no text has are read again from the weights that the run started from.
#[test]
fn another_table_of_words_is_refused() {
    let place = Place::new();
    let weights = model_copy(&place);
    let from = format!("model.weights={}", weights.display());
    let run = [RUN, &[from.as_str()]].concat();
    place.train(&run).with(0, &[]);
    forget_the_end(&place.path("run"));
    let file = weights.join("model.safetensors");
    let mut changed: BTreeMap<String, NamedTensor> =
        tensors(&file).into_iter().map(|(name, (shape, values))| (name, NamedTensor { shape, values })).collect();
    changed.get_mut("ernie_m.embeddings.word_embeddings.weight").unwrap().values[0] += 1.0;
    kiln::weights::save(&file, &changed).unwrap();
    place.train(&run).with_problems(2, 1, &["was begun with another table of words", "help: restore them"]);
}

/// The best figure so far comes back from the checkpoint as it was. 4/43 and 39/43 are figures that a reader of JSON which rounds
/// carelessly makes smaller, so that the next equal one would count as better.
#[test]
fn the_first_of_equal_evaluations_stays_the_best() {
    let place = data_files::place(data_files::GOOD);
    // One text with both answers: whatever the model says, it is right 4 times of 43, or 39 times.
    let rows: String = (0..43).map(|row| format!("A dog.\tA cat.\t{}\n", if row < 4 { "yes" } else { "no" })).collect();
    place.write("dev.tsv", format!("a\tb\tanswer\n{rows}"));
    let still = ["optimizer.learning_rate=1e-12", "data.max_eval_rows=43"];
    let step_and_figure = || {
        let report = json(&place.path("run/best/eval.json"));
        (report["step"].as_u64().unwrap(), report["sets"][0]["correct"].as_u64().unwrap())
    };
    data_files::train(&place, &still).with(0, &[]);
    let (step, correct) = step_and_figure();
    assert!(step == 6 && (correct == 4 || correct == 39), "{step}, {correct}");
    let best = std::fs::read(place.path("run/best/model.safetensors")).unwrap();

    std::fs::remove_dir_all(place.path("run/checkpoints/step-00000012")).unwrap();
    std::fs::remove_file(place.path("run/eval.json")).unwrap();
    data_files::train(&place, &still).with(0, &["going on from", "evaluation after step 12"]);
    assert_eq!(step_and_figure(), (step, correct));
    assert!(std::fs::read(place.path("run/best/model.safetensors")).unwrap() == best);
    let digits = |name: &str| {
        let text = std::fs::read_to_string(place.path(name)).unwrap();
        text.lines().filter(|line| !line.contains("seconds")).map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(digits("run/eval.json"), digits("run/best/eval.json"));
}
