//! ERNIE-M's own pre-training as a user runs it: raw text and translations, `kiln prepare`, both phases, and on to a classifier.

use super::bench::Bench;
use super::resume::assert_resumes;
use super::{json, kiln, metrics, tensors};

const TASKS: [&str; 4] =
    ["masked-lm", "translation-masked-lm", "cross-attention-masked-lm", "back-translation-masked-lm"];

/// All four in one run.
const MIXTURE: &str = "task.mixture=[{ name = \"masked-lm\" }, { name = \"translation-masked-lm\", weight = 0.5 }, \
                       { name = \"cross-attention-masked-lm\" }, { name = \"back-translation-masked-lm\" }]";

/// Sixty pairs and the texts of both sides, prepared.
fn bench() -> Bench {
    let sizes = "model.config.hidden_size=16 model.config.num_attention_heads=2 model.config.intermediate_size=32";
    Bench::new("ernie-m", TASKS[2]).with(sizes).with("pretraining.masked_lm_prob=0.3").prepared()
}

/// Each task alone learns something, and `kiln eval` finds what the run found.
#[test]
fn every_task_is_trained_and_evaluated() {
    let place = bench();
    for task in TASKS {
        let folder = format!("run-{task}");
        let output = format!("output.dir={}", place.text(&folder));
        let name = format!("task.name={task}");
        place
            .train(&[&name, &output, "training.max_steps=60", "evaluation.every_steps=20"])
            .with(0, &["done: the best model is"]);
        let loss = |line: &serde_json::Value| line["loss"].as_f64().unwrap();
        let losses: Vec<f64> = metrics(&place.path(&folder), "train").iter().map(loss).collect();
        // Before anything is learnt: the entropy of 342 tokens.
        assert!((losses[0] - 342f64.ln()).abs() < 0.4, "{task}: {losses:?}");
        assert!(losses[losses.len() - 1] < 4.5, "{task}: {losses:?}");

        let set = |file: &str| json(&place.path(&format!("{folder}/{file}")))["sets"][0].clone();
        kiln(["eval", &place.text(&folder)]).with(0, &[]);
        assert_eq!(set("eval.json"), set("best/eval.json"), "{task}");
    }
}

/// Both phases, each stopped before its last checkpoint: they end with the same bytes. Back-translation may draw its tokens.
#[test]
fn two_phases_go_on_where_they_were_stopped() {
    let place = bench();
    assert_resumes(&place, &[MIXTURE]);
    let second = place.with("model.weights=PLACE/run/best output.dir=PLACE/second pretraining.generate=sampling");
    assert_resumes(&second, &[MIXTURE, "task.name=back-translation-masked-lm"]);
}

/// What pre-training leaves is an ERNIE-M folder, without the table of languages; recipes fine-tune it.
#[test]
fn the_model_is_fine_tuned() {
    let place = bench();
    place.train(&["model.config.num_languages=2"]).with(0, &["done: the best model is"]);
    let config = json(&place.path("run/best/config.json"));
    assert_eq!((&config["model_type"], &config["vocab_size"]), (&"ernie_m".into(), &342.into()));
    let names = tensors(&place.path("run/best/model.safetensors"));
    assert!(names.keys().all(|name| !name.contains("language")), "{:?}", names.keys());

    let weights = format!("model.weights={} training.max_steps=2", place.text("run/best"));
    let said = ["newly initialised", "classifier.weight", "done: the best model is"];
    Bench::shipped("ernie-m/xnli-cross-lingual-transfer").with(&weights).train(&[]).with(0, &said);
}

#[test]
fn what_is_wrong_is_said() {
    let place = bench();
    let few = "model.config.num_languages is 1, but the corpora have the 2 languages de, en";
    place.train(&["model.config.num_languages=1"]).with(2, &[few, "model.config.num_languages=2"]);
    place.train(&["pretraining.parallel=[\"PLACE/gone\"]"]).with(2, &["gone"]);
    place
        .train(&["pretraining.parallel=[\"PLACE/corpora/en\"]"])
        .with(2, &["is a corpus of one language where pairs are wanted"]);
    let tokenizer = "model.piece_splitting=huggingface";
    place.train(&[tokenizer]).with(2, &["was prepared with another tokenizer than the model's"]);
    place.train(&["training.epochs=2"]).with(2, &["`training.epochs` has no effect"]);
}
