//! ELMo's pre-training as a user runs it.

use std::path::Path;

use super::bench::Bench;
use super::resume::{Outcome, assert_resumes};
use super::{damage, json, kiln, metrics, newest_checkpoint};

fn bench() -> Bench {
    Bench::new("elmo", "bidirectional-lm")
}

/// It learns, and what it leaves gives features and can be evaluated and trained on; the figures are the run's own.
#[test]
fn a_language_model_is_trained_evaluated_and_used() {
    let place = bench();
    place.train(&[]).with(0, &["80 sentences of", "perplexity", "done: the best model is"]);
    let losses = metrics(&place.path("run"), "train");
    let loss = |line: &serde_json::Value| line["loss"].as_f64().unwrap();
    // 19 words: the loss begins at the logarithm of that.
    assert!((loss(&losses[0]) - 19f64.ln()).abs() < 0.5, "{}", losses[0]);
    assert!(loss(&losses[losses.len() - 1]) < 2.2, "{}", losses[losses.len() - 1]);

    let set = |file: &str| json(&place.path(file))["sets"][0].clone();
    let best = set("run/best/eval.json");
    let (loss, perplexity) = (best["loss"].as_f64().unwrap(), best["perplexity"].as_f64().unwrap());
    assert!((perplexity - loss.exp()).abs() < 1e-9);
    kiln(["eval", &place.text("run")]).with(0, &[]);
    assert_eq!(set("run/eval.json")["correct"], best["correct"]);

    place.write("words.txt", "a b c\nd\n");
    let output = place.text("features.safetensors");
    kiln(["encode", &place.text("run"), "--input", &place.text("words.txt"), "--output", &output]).with(0, &[]);
    assert!(place.path("features.safetensors").exists());

    let again = ["model.weights=PLACE/run/best", "output.dir=PLACE/again", "training.max_steps=2"];
    place.train(&again).with(0, &["done: the best model is"]);
    let again = json(&place.path("again/best/eval.json"))["sets"][0]["loss"].as_f64().unwrap();
    assert!(again < loss + 0.2, "it goes on from what was learnt: {again} and {loss}");
}

/// The state that the streams carry is in the checkpoint: a run that lost its last checkpoint ends with the same bits, with all
/// words and with sampled ones, of several devices, and where nothing is carried.
#[test]
fn a_stopped_run_goes_on_with_its_state() {
    let several = ["streams.devices=2", "training.gradient_accumulation_steps=2", "streams.negative_samples=6"];
    for more in [&[][..], &["streams.negative_samples=6"], &["streams.state=reset"], &several] {
        let bench = bench();
        assert_resumes(&bench, more);
        let newest = newest_checkpoint(&bench.path("run"));
        assert_eq!(newest.join("carried.safetensors").exists(), !more.contains(&"streams.state=reset"));
    }
}

/// What is carried is of a checkpoint like its other files: damaged or gone, the checkpoint is passed over.
#[test]
fn a_checkpoint_whose_state_is_damaged_or_gone_is_passed_over() {
    let gone = |file: &Path| std::fs::remove_file(file).unwrap();
    for spoil in [damage as fn(&Path), gone] {
        let bench = bench();
        bench.train(&[]).with(0, &[]);
        let (run, newest) = (bench.path("run"), newest_checkpoint(&bench.path("run")));
        let expected = Outcome::of(&run);
        spoil(&newest.join("carried.safetensors"));
        std::fs::remove_file(run.join("eval.json")).unwrap();
        let ended =
            bench.train(&[]).with(0, &["carried.safetensors", "is damaged and is passed over", "going on from"]);
        assert!(!ended.stderr.contains(&format!("going on from {}", newest.display())), "{}", ended.stderr);
        Outcome::of(&run).assert_is(&expected);
    }
}

/// Characters instead of a table of words: AllenAI's way of reading.
#[test]
fn words_are_read_by_their_characters() {
    let place = bench();
    place.train(&["model.config.embedding=character", "training.max_steps=2"]).with(0, &["done: the best model is"]);
    let config = json(&place.path("run/best/config.json"));
    assert_eq!(config["embedding"]["character"]["max_characters_per_token"], 50);
}

#[test]
fn what_is_wrong_is_said() {
    let place = bench();
    place.train(&["streams.train=[\"PLACE/gone-*\"]"]).with(2, &["gone-*: leads to no file"]);
    place.train(&["evaluation.test=true"]).with(2, &["`evaluation.test` has nothing to read"]);
    place.train(&["model.config.hidden_act=relu", "data.max_seq_length=64"]).with_problems(
        2,
        2,
        &[
            "`model.config.hidden_act` has no effect with the architecture \"elmo\"",
            "`data.max_seq_length` has no effect",
        ],
    );
    place.train(&["model.architecture=ernie"]).with(2, &["\"bidirectional-lm\" goes with \"elmo\""]);
    place.write("empty/x.txt", "");
    place.train(&["model.tokenizer=PLACE/empty"]).with(2, &["holds no vocab.txt or vocabulary_min5k.txt"]);
}

/// From raw text to a model in two commands, which can be evaluated; the same command again finds everything there.
#[test]
fn raw_text_is_prepared_and_trained_on() {
    let place = bench();
    let document = |number: usize| {
        let sentence = |start: usize| ('a'..='p').skip(start % 12).take(4).map(|c| format!("{c} ")).collect::<String>();
        (0..4).map(|line| sentence(number * 7 + line) + "。").collect::<String>() + "\n\n"
    };
    place.write("texts/raw.txt", (0..60).map(document).collect::<String>());
    let corpus = "model.tokenizer=PLACE/lm corpus.output=PLACE/lm corpus.input=[\"PLACE/texts\"] \
                  corpus.sentences=baidu-elmo corpus.words=whitespace corpus.dev_every=10 \
                  streams.train=[\"PLACE/lm/train/*\"] streams.dev=[\"PLACE/lm/dev/*\"]";
    let place = place.with(corpus);
    let run = |command: &str, more: &[&str]| place.run(command, more);
    run("train", &[]).with(2, &["holds no vocab.txt"]);
    let made = run("prepare", &[]).with(0, &["min_count"]);
    let said =
        "60 documents, 216 sentences of 1080 words to train on, 24 of 120 to evaluate on; 19 words in the vocabulary";
    assert!(made.stdout.contains(said), "{}", made.stdout);
    assert_eq!(run("prepare", &[]).with(0, &["prepared already"]).stdout, made.stdout);
    run("train", &["training.epochs=1"]).with(0, &["216 sentences of 1080 words", "done: the best model is"]);
    assert_eq!(json(&place.path("run/best/config.json"))["vocab_size"], 19);
    kiln(["eval", &place.text("run")]).with(0, &[]);

    // With a vocabulary that is there already.
    let elsewhere = "model.tokenizer=PLACE/vocab.txt";
    let said = run("prepare", &[elsewhere]).with(0, &["the sentences are there already"]).stdout;
    assert!(said.contains("19 words in the vocabulary, which lacks 20.00 %"), "{said}");
    run("prepare", &["model.tokenizer=PLACE/texts"])
        .with(2, &["holds no vocab.txt", "model.tokenizer=", "makes a vocabulary there"]);

    // What has no effect.
    let idle = ["corpus.layout=mmap", "corpus.max_word_tokens=4"];
    run("prepare", &idle).with_problems(2, 2, &["`corpus.layout` has no effect on files of sentences"]);
    let counted = [elsewhere, "corpus.min_count=2"];
    run("prepare", &counted).with_problems(2, 1, &["`corpus.min_count` has no effect on a vocabulary that is there"]);
    let check = ["recipe", "check", "recipes/ernie/pretrain.toml", "corpus.dev_every=9"];
    kiln(check).with_problems(2, 1, &["`corpus.dev_every` has no effect with the task \"pre-training\""]);
}
