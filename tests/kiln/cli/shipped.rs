//! Every shipped recipe, in small: it trains, is killed and goes on to the same bytes, and what it leaves is loaded, evaluated,
//! predicted with and trained on.

use std::path::Path;

use kiln::recipe::shipped::SHIPPED;
use serde_json::Value;

use super::bench::Bench;
use super::resume::{Outcome, checkpoints, timeless};
use super::{json, predict, wait_until};

/// Eight steps, two evaluations, four checkpoints.
pub const SMALL: &str = "training.max_steps=8 training.batch_size=4 training.gradient_accumulation_steps=2 \
                     training.logging_steps=1 evaluation.every_steps=4 checkpoint.every_steps=2 checkpoint.keep_last=2";

/// What a recipe needs to be small besides the sizes of its family and the data of its task.
pub fn more(name: &str) -> &'static str {
    match name {
        // Jieba's dictionary takes longer to load than the rest takes, and the card of the small questions is scored as SQuAD's.
        "elmo/dureader" => "model.segmentation=whitespace evaluation.select_on=dev.f1",
        "ernie/pretrain-rows" => "model.config.vocab_size=206",
        _ => "",
    }
}

/// AllenNLP's `ensure_model_can_train_save_and_load`, of a whole run.
fn trains_is_killed_goes_on_and_is_used(name: &str) {
    println!("{name}: if it is new, `more` in {} is where it gets what it needs", file!());
    let bench = Bench::shipped(name).with(SMALL).with(more(name)).prepared();
    bench.train(&["output.dir=PLACE/undisturbed"]).with(0, &["done: the best model is"]);
    let expected = Outcome::of(&bench.path("undisturbed"));

    let run = bench.path("run");
    let mut child = bench.start(&[]);
    assert!(wait_until(&mut child, || checkpoints(&run).contains(&2)), "it ended before it could be killed");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!checkpoints(&run).contains(&8), "it was killed too late");
    bench.train(&[]).with(0, &["going on from", "done: the best model is"]);
    Outcome::of(&run).assert_is(&expected);

    // The exported folder stands alone, and repeats the run's figures.
    let moved = bench.path("moved");
    std::fs::rename(run.join("best"), &moved).unwrap();
    let sets = |report: Value| timeless(vec![report["sets"].clone()]);
    assert_eq!(sets(bench.evaluate(&moved, &[])), sets(json(&run.join("eval.json"))));
    if let Some((file, rows)) = bench.data.predict {
        assert_eq!(predict(&moved, Path::new(&bench.here(file))).len(), rows);
    }
    let weights = format!("model.weights={}", moved.display());
    bench.train(&[&weights, "output.dir=PLACE/on", "training.max_steps=2"]).with(0, &["done: the best model is"]);
}

/// What stands for the rest on a device in software, where a recipe takes a minute: fine-tuning, a tagger with a CRF, a mixture of masked
/// LMs on translations, a language model that carries its state.
const ON_A_DEVICE: [&str; 4] = ["quickstart", "elmo/lac", "ernie-m/pretrain-camlm", "elmo/pretrain"];

#[test]
fn every_shipped_recipe_trains_is_killed_goes_on_and_is_used() {
    if crate::backend() == "flex" {
        SHIPPED.iter().for_each(|shipped| trains_is_killed_goes_on_and_is_used(shipped.name));
    } else {
        ON_A_DEVICE.into_iter().for_each(trains_is_killed_goes_on_and_is_used);
    }
}
