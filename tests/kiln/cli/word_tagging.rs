//! Taggers of words through the whole command: on an ELMo that was trained just before, or without one; and CRFs on encoders.

use std::sync::OnceLock;

use serde_json::json as value;
use tempfile::TempDir;

use super::resume::{Outcome, RUN};
use super::tagging::{CARD, LONG, dev, predict, sentences, table, train};
use super::{Ended, Place, json, kiln};

const TAGGER: &str = r#"
[model]
architecture = "elmo"
tokenizer = "PLACE"
config = { word_emb_dim = 16 }
[task]
name = "token-classification"
crf = true
bigru_num = 1
grnn_hidden_dim = 16
[data]
dataset = "PLACE/card.toml"
root = "PLACE"
cache = "PLACE/cache"
max_seq_length = 17
[training]
max_steps = 24
batch_size = 8
[optimizer]
name = "adam"
learning_rate = 1e-2
emb_learning_rate = 5.0
crf_learning_rate = 0.2
l2 = 1e-4
[schedule]
name = "constant"
[output]
dir = "PLACE/run"
"#;

const ELMO: &str = r#"
[model]
architecture = "elmo"
tokenizer = "PLACE"
config = { hidden_size = 12, projection_dim = 6 }
[task]
name = "bidirectional-lm"
[streams]
train = ["PLACE/sentences.txt"]
num_steps = 8
[training]
max_steps = 20
batch_size = 4
[optimizer]
name = "adagrad"
learning_rate = 0.2
initial_accumulator_value = 1.0
[schedule]
name = "constant"
[output]
dir = "PLACE/elmo"
"#;

const WORDS: &str = "<S> </S> <UNK> anna bob johnson john london paris new york saw went to and the .";

fn fill(place: &Place) {
    let here = |recipe: &str| recipe.replace("PLACE", place.text("").trim_end_matches('/'));
    place.write("vocab.txt", WORDS.replace(' ', "\n") + "\n");
    place.write("card.toml", CARD);
    place.write("train.tsv", table(&sentences(60)));
    place.write("dev.tsv", table(&dev()));
    place.write("sentences.txt", sentences(60).iter().map(|(words, _)| words.clone() + "\n").collect::<String>());
    place.write("recipe.toml", here(TAGGER));
    place.write("elmo.toml", here(ELMO));
}

fn place() -> Place {
    let place = Place::new();
    fill(&place);
    place
}

/// A folder with data and an ELMo.
fn with_elmo() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        // Nothing drops a static: the folder stays in Cargo's own.
        let place = Place(TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        fill(&place);
        kiln(["train", &place.text("elmo.toml")]).with(0, &["done: the last model is"]);
        place
    })
}

/// Trains a tagger in a place of its own with the features of [`with_elmo`]'s.
fn train_with_elmo(place: &Place, more: &[&str]) -> Ended {
    let features = format!("features.elmo={}", with_elmo().text("elmo"));
    train(place, &[&[features.as_str()], more].concat())
}

/// The same recipe with features and without, and each gives a folder that stands alone.
#[test]
fn a_tagger_learns_with_features_and_without() {
    for features in [false, true] {
        let place = place();
        let ended = if features { train_with_elmo(&place, &[]) } else { train(&place, &[]) };
        let ended = ended.with(0, &["done: the best model is", "| precision |"]);
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
        kiln(["eval", &moved.text("model"), &place.text("recipe.toml")]).with(0, &[]);
        assert_eq!(&json(&moved.path("model/eval.json"))["sets"][0]["chunks"]["f1"], f1);
    }
}

/// Dropout on the features, the frozen ELMo, and a clipped run: all of it goes on to the byte.
#[test]
fn a_resumed_run_is_the_same_to_the_byte() {
    let place = place();
    train_with_elmo(&place, RUN).with(0, &["done: the best model is"]);
    let expected = Outcome::of(&place.path("run"));
    std::fs::remove_dir_all(place.path("run/checkpoints/step-00000024")).unwrap();
    std::fs::remove_dir_all(place.path("run/last")).unwrap();
    std::fs::remove_file(place.path("run/eval.json")).unwrap();
    train_with_elmo(&place, RUN).with(0, &["going on from"]);
    Outcome::of(&place.path("run")).assert_is(&expected);
}

/// A tagger's own folder is something to start from, with other tags too.
#[test]
fn training_goes_on_from_a_taggers_folder() {
    let place = place();
    train_with_elmo(&place, &["training.max_steps=4"]).with(0, &[]);
    let (weights, dir) =
        (format!("model.weights={}", place.text("run/best")), format!("output.dir={}", place.text("on")));
    let ended = train(&place, &[&weights, &dir, "training.max_steps=2"]).with(0, &["done"]);
    assert!(!ended.stderr.contains("initialised"), "{}", ended.stderr);
    assert!(json(&place.path("on/best/config.json"))["elmo"].is_object());
}

/// Full-width letters, say, which the vocabulary lacks.
#[test]
fn replaced_words_are_read_as_others() {
    let place = place();
    place.write("q2b.dic", "Ａnna\tanna\n");
    train(&place, &["training.max_steps=4"]).with(0, &[]);
    let input = place.write("words.txt", "Ａnna saw\nanna saw\n");
    let lines = predict(&place.path("run"), &input);
    assert_eq!((&lines[0]["tags"], &lines[0]["tokens"][0]), (&lines[1]["tags"], &value!("Ａnna")));
    assert!(place.path("run/best/q2b.dic").exists());
}

/// A CRF and layers of GRUs stand on any encoder.
#[test]
fn encoders_take_a_crf_and_gru_layers() {
    let root = env!("CARGO_MANIFEST_DIR");
    for family in ["ernie-m", "rembert"] {
        let place = place();
        let encoder =
            "config = { hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 16 }";
        let recipe = std::fs::read_to_string(place.path("recipe.toml")).unwrap();
        let recipe = recipe.replace("config = { word_emb_dim = 16 }", encoder).replace("17", "24");
        let tokenizer = format!("{root}/tests/fixtures/tokenizer/{family}");
        place.write("recipe.toml", recipe.replace("architecture = \"elmo\"", &format!("architecture = \"{family}\"")));
        train(&place, &[&format!("model.tokenizer={tokenizer}"), "training.max_steps=3"]).with(0, &["done"]);
        let config = json(&place.path("run/best/config.json"));
        assert_eq!(config["token_classification"]["crf"], true);
        assert_eq!(predict(&place.path("run"), &place.path("dev.tsv")).len(), dev().len());
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
    let place = place();
    // The vocabulary of another model: as many words, in another order.
    place.write("vocab.txt", WORDS.replace("anna bob", "bob anna").replace(' ', "\n") + "\n");
    train_with_elmo(&place, &[]).with_problems(
        2,
        1,
        &["elmo/last: has other words than the tokenizer", "model.tokenizer="],
    );
    place.write("vocab.txt", WORDS.replace(" .", "").replace(' ', "\n") + "\n");
    train_with_elmo(&place, &[]).with_problems(2, 1, &["the ELMo for the features knows 17 words, the model 16"]);
    train(&place, &["features.elmo=nowhere"]).with_problems(2, 1, &["nowhere: holds no ELMo"]);
    std::fs::remove_file(place.path("vocab.txt")).unwrap();
    train(&place, &[]).with_problems(2, 1, &["holds no vocab.txt or vocabulary_min5k.txt"]);

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
        train(&place, &[argument]).with(2, &[problem]);
    }
    let elmo = place.text("elmo.toml");
    kiln(["train", &elmo, "features.elmo=x"]).with_problems(2, 1, &["`features` has no effect with the task"]);
    kiln(["train", &elmo, "task.crf=true"]).with_problems(2, 1, &["`task.crf` has no effect with the task"]);
}
