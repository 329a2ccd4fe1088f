//! ERNIE's road through the whole command: raw text, `kiln prepare`, `kiln train` of masked tokens and sentence order, and on to a
//! classifier.

use super::bench::Bench;
use super::resume::{assert_goes_on, assert_resumes, forget_the_end};
use super::{json, kiln, metrics};

fn bench() -> Bench {
    Bench::new("ernie", "pre-training")
}

#[test]
fn raw_text_becomes_a_model_and_the_model_a_classifier() {
    let place = bench();
    let prepared = place.run("prepare", &[]).with(0, &[]);
    assert!(prepared.stdout.contains("60 documents, 360 sentences"), "{}", prepared.stdout);
    let again = place.run("prepare", &[]).with(0, &["prepared already"]);
    assert_eq!(again.stdout, prepared.stdout);

    place.train(&[]).with(0, &["done: the best model is", "order accuracy"]);
    let lines = metrics(&place.path("run"), "train");
    assert_eq!(lines.len(), 4);
    for line in &lines {
        let number = |name: &str| line[name].as_f64().unwrap();
        assert!((number("loss") - number("lm_loss") - number("sop_loss")).abs() < 1e-9, "{line}");
        assert!(number("tokens_per_second") > 0.0 && number("rows_per_second") > 0.0);
    }
    // Before anything is learnt: the entropy of 206 tokens, and of two orders.
    assert!((lines[0]["loss"].as_f64().unwrap() - (206f64.ln() + 2f64.ln())).abs() < 0.3, "{}", lines[0]);
    let evaluations = metrics(&place.path("run"), "evaluation");
    assert_eq!(evaluations.len(), 3);
    assert_eq!(evaluations[0]["sets"][0]["sentence_order"]["rows"], 16);

    let config = json(&place.path("run/best/config.json"));
    assert_eq!(config["architectures"][0], "ErnieForPreTraining");
    let weights = format!("model.weights={} training.max_steps=2", place.text("run/best"));
    let said = ["2 newly initialised (classifier.weight, classifier.bias)", "cls.predictions"];
    Bench::shipped("ernie/ocnli").with(&weights).train(&[]).with(0, &said);
}

/// A run that goes on from any of its checkpoints ends the same.
#[test]
fn a_resumed_run_is_the_same_to_the_byte() {
    assert_resumes(&bench().prepared(), &[]);
}

/// Users of PaddleNLP with a small corpus had a crash from the empty parts of 949,50,1.
#[test]
fn parts_without_documents_are_left_out_with_a_warning() {
    let place = bench().prepared();
    let tiny = ["pretraining.split=\"1\"", "training.max_steps=2"];
    place.train(&tiny).with(0, &["no document in the dev part", "done: the last model is"]);
    assert!(!place.path("run/best").exists() && place.path("run/last/model.safetensors").exists());
    kiln(["eval", &place.text("run")]).with(2, &["no document in the dev part", "there is nothing to evaluate"]);
    assert!(!place.path("run/eval.json").exists());
}

#[test]
fn what_is_wrong_is_said() {
    let place = bench();
    let missing = place.train(&[]);
    missing.with(2, &["corpus", "help:"]);
    place.train(&["training.epochs=2"]).with(2, &["`training.epochs` has no effect on samples"]);
    place.train(&["data.protocol=translate-train-all", "evaluation.batch_size=8"]).with_problems(
        2,
        2,
        &["`data.protocol` has no effect on samples", "`evaluation.batch_size` has no effect on samples"],
    );
    place.train(&["data.dataset=xnli"]).with(2, &["`data.dataset` has no effect with the task"]);
    place.train(&["pretraining.weights=[1.0, 2.0]"]).with(2, &["2 numbers, `pretraining.corpora` 1 corpora"]);
    kiln(["prepare", "recipes/quickstart.toml"]).with(2, &["has no [corpus]"]);
}

/// Rows of the original ERNIE are trained on as they are, and a run that is stopped goes on to the same weights.
#[test]
fn rows_of_the_original_are_trained_on_and_resumed() {
    let place = Bench::on_rows();
    let ended = place.train(&[]).with(
        0,
        &[
            "train.txt: 20 rows (0 left out as unreadable, 1 as longer than 48 tokens), by words with the probability 0.5",
            "dev.gz: 6 rows",
            "(4 epochs of 3 steps)",
            "2 batches to evaluate",
            "order accuracy",
        ],
    );
    let lines = metrics(&place.path("run"), "train");
    assert!((lines[0]["loss"].as_f64().unwrap() - (206f64.ln() + 2f64.ln())).abs() < 0.3, "{}", ended.stderr);
    // The last of an epoch's three steps has the four rows that are left: 20 of 24.
    assert!(lines.iter().all(|line| line["epoch"].as_f64().unwrap().fract() == 0.0), "{lines:?}");
    assert_goes_on(&place, &[]);
    kiln(["eval", &place.text("run")]).with(0, &["dev.gz: 6 rows"]);

    forget_the_end(&place.path("run"));
    place.write("filelist", format!("{}\t1.1\n", place.text("train.txt")));
    place.train(&[]).with(2, &["was begun with other training rows"]);
}

#[test]
fn rows_count_in_epochs_and_need_no_sentence_label() {
    let place = Bench::on_rows().without("pretraining.dev_rows");
    let more = ["task.name=masked-lm", "training.epochs=2", "evaluation.every_steps=100"];
    let ended = place
        .train(&more)
        .with(0, &["6 steps of 8 rows (2 epochs of 3 steps)", "no pretraining.dev_rows", "done: the last model is"]);
    assert!(!ended.stderr.contains("order accuracy"), "{}", ended.stderr);
    assert!(place.path("run/last/model.safetensors").exists() && !place.path("run/best").exists());
}

#[test]
fn bad_rows_end_a_run_before_it_begins() {
    let place = Bench::on_rows();
    let text = std::fs::read_to_string(place.path("train.txt")).unwrap();
    place.write("train.txt", text.replacen(";0\n", ";\n", 2));
    let bad = format!("{}:1: the label \"\" is not 0 or 1", place.text("train.txt"));
    place.train(&[]).with_problems(2, 3, &["2 of 21 rows cannot be read", &bad]);
    place.train(&["data.bad_rows=skip", "training.max_steps=2"]).with(0, &["18 rows (2 left out as unreadable"]);
}
