//! Taggers of words through the whole command: on an ELMo that was trained just before, or without one; and CRFs on encoders.

use std::sync::OnceLock;

use serde_json::json as value;

use super::bench::Bench;
use super::bench::data::{LONG, WORDS, dev, sentences};
use super::resume::{RUN, assert_resumes};
use super::{Place, json, kiln, predict};

const TASK: &str = "token-classification";

/// LAC's network: a CRF over a layer of GRUs, on words.
fn tagger() -> Bench {
    Bench::new("elmo", TASK)
        .with("task.crf=true task.bigru_num=1 data.max_seq_length=17")
        .with("optimizer.emb_learning_rate=5.0 optimizer.crf_learning_rate=0.2 optimizer.l2=1e-4")
}

/// An ELMo of the tagger's words.
fn elmo() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let bench = Bench::kept("elmo", "bidirectional-lm").without("streams.dev").with("training.max_steps=20");
        let bench = bench.with("streams.train=[\"PLACE/sentences.txt\"] model.config.projection_dim=6");
        let bench =
            bench.with("optimizer.name=adagrad optimizer.learning_rate=0.2 optimizer.initial_accumulator_value=1.0");
        bench.write("vocab.txt", WORDS.replace(' ', "\n") + "\n");
        bench.write("sentences.txt", sentences(60).iter().map(|(words, _)| words.clone() + "\n").collect::<String>());
        bench.train(&[]).with(0, &["done: the last model is"]);
        bench
    })
}

/// A tagger with the features of [`elmo`].
fn with_elmo() -> Bench {
    tagger().with(&format!("features.elmo={}", elmo().text("run")))
}

/// The same recipe with features and without, and each gives a folder that stands alone.
#[test]
fn a_tagger_learns_with_features_and_without() {
    for features in [false, true] {
        let place = if features { with_elmo() } else { tagger() };
        let ended = place.train(&[]).with(0, &["done: the best model is", "| precision |"]);
        assert_eq!(ended.stderr.contains("the features of the words"), features, "{}", ended.stderr);
        let config = json(&place.path("run/best/config.json"));
        assert_eq!(config["architectures"], value!(["ElmoForTokenClassification"]));
        assert_eq!(config["token_classification"], value!({ "crf": true, "bigru_num": 1, "grnn_hidden_dim": 16 }));
        assert_eq!(config["elmo"].is_object(), features);
        let f1 = &json(&place.path("run/eval.json"))["sets"][0]["chunks"]["f1"];
        assert!(f1.as_f64().unwrap() > 0.8, "features: {features}, {f1}");
        // Without the ELMo's own folder at hand.
        let moved = Place::new();
        std::fs::rename(place.path("run/best"), moved.path("model")).unwrap();
        let lines = predict(&moved.path("model"), &place.path("dev.tsv"));
        assert_eq!(lines.len(), dev().len());
        // Training cut rows to 17 words, but there are no positions that could run out.
        let tags = lines.last().unwrap()["tags"].as_array().unwrap();
        assert_eq!(tags.len(), LONG.0.split(' ').count());
        assert!(tags.iter().all(serde_json::Value::is_string), "{tags:?}");
        let empty = predict(&moved.path("model"), &place.write("empty.jsonl", "{\"tokens\": []}\n"));
        assert_eq!(empty, [value!({ "tokens": [], "tags": [], "chunks": [] })]);
        assert_eq!(&place.evaluate(&moved.path("model"), &[])["sets"][0]["chunks"]["f1"], f1);
    }
}

/// Dropout on the features, the frozen ELMo, and a clipped run: all of it goes on to the byte.
#[test]
fn a_resumed_run_is_the_same_to_the_byte() {
    assert_resumes(&with_elmo(), RUN);
}

/// A tagger's own folder is something to start from, with other tags too.
#[test]
fn training_goes_on_from_a_taggers_folder() {
    let place = with_elmo();
    place.train(&["training.max_steps=4"]).with(0, &[]);
    let place = place.without("features.elmo");
    let on = ["model.weights=PLACE/run/best", "output.dir=PLACE/on", "training.max_steps=2"];
    let ended = place.train(&on).with(0, &["done"]);
    assert!(!ended.stderr.contains("initialised"), "{}", ended.stderr);
    assert!(json(&place.path("on/best/config.json"))["elmo"].is_object());
}

/// Full-width letters, say, which the vocabulary lacks.
#[test]
fn replaced_words_are_read_as_others() {
    let place = tagger();
    place.write("q2b.dic", "Ａnna\tanna\n");
    place.train(&["training.max_steps=4"]).with(0, &[]);
    let input = place.write("words.txt", "Ａnna saw\nanna saw\n");
    let lines = predict(&place.path("run"), &input);
    assert_eq!((&lines[0]["tags"], &lines[0]["tokens"][0]), (&lines[1]["tags"], &value!("Ａnna")));
    assert!(place.path("run/best/q2b.dic").exists());
}

/// A CRF and layers of GRUs stand on any encoder.
#[test]
fn encoders_take_a_crf_and_gru_layers() {
    for family in ["ernie-m", "rembert"] {
        let bench = Bench::new(family, TASK).with("task.crf=true task.bigru_num=1 task.grnn_hidden_dim=16");
        bench.train(&["training.max_steps=3", "data.max_seq_length=24"]).with(0, &["done"]);
        let config = json(&bench.path("run/best/config.json"));
        assert_eq!(config["token_classification"]["crf"], true);
        assert_eq!(bench.predict("PLACE/dev.tsv").len(), dev().len());
    }
}

/// The shipped recipe on the demo's own sentences, in small: words that it was not trained on are told too.
#[test]
fn lacs_demo_learns() {
    let Some(data) = crate::real_data().map(|folder| folder.join("data/elmo")) else { return };
    let place = Place::new();
    let more = [
        format!("model.tokenizer={}", data.join("data").display()),
        format!("data.root={}", data.display()),
        format!("data.cache={}", place.text("cache")),
        format!("output.dir={}", place.text("run")),
    ];
    let small = [
        "model.config.word_emb_dim=32",
        "task.grnn_hidden_dim=32",
        "optimizer.learning_rate=5e-3",
        "training.epochs=10",
    ];
    let arguments = ["train", "recipes/elmo/lac.toml"].iter().chain(&small).map(ToString::to_string);
    kiln(arguments.chain(more)).with(0, &["train zh: 3109 words (0 cut off", "| precision |"]);
    let f1 = &json(&place.path("run/eval.json"))["sets"][0]["chunks"]["f1"];
    assert!(f1.as_f64() > Some(0.35), "{f1}");
}

#[test]
fn what_is_wrong_is_said() {
    let (place, featured) = (tagger(), with_elmo());
    // The vocabulary of another model: as many words, in another order.
    featured.write("vocab.txt", WORDS.replace("anna bob", "bob anna").replace(' ', "\n") + "\n");
    featured.train(&[]).with_problems(2, 1, &["run/last: has other words than the tokenizer", "model.tokenizer="]);
    featured.write("vocab.txt", WORDS.replace(" .", "").replace(' ', "\n") + "\n");
    featured.train(&[]).with_problems(2, 1, &["the ELMo for the features knows 33 words, the model 32"]);
    place.train(&["features.elmo=nowhere"]).with_problems(2, 1, &["nowhere: holds no ELMo"]);
    std::fs::remove_file(place.path("vocab.txt")).unwrap();
    place.train(&[]).with_problems(2, 1, &["holds no vocab.txt or vocabulary_min5k.txt"]);

    let keys = [
        ("task.label_all_pieces=true", "`task.label_all_pieces` has no effect with `task.crf`"),
        ("task.bigru_num=0", "`task.grnn_hidden_dim` has no effect where `task.bigru_num` is 0"),
        ("task.crf=false", "`optimizer.crf_learning_rate` has no effect without `task.crf`"),
        ("device.recompute=true", "`device.recompute` has no effect on the words of a tagger or reader"),
        ("model.config.hidden_size=8", "`model.config.hidden_size` has no effect on the words of a tagger or reader"),
        (
            "model.config.num_attention_heads=8",
            "`model.config.num_attention_heads` has no effect with the architecture",
        ),
    ];
    for (argument, problem) in keys {
        place.train(&[argument]).with(2, &[problem]);
    }
    elmo().train(&["features.elmo=x"]).with_problems(2, 1, &["`features` has no effect with the task"]);
    elmo().train(&["task.crf=true"]).with_problems(2, 1, &["`task.crf` has no effect with the task"]);
}
