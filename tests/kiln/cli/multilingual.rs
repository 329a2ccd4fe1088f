//! ERNIE-M's own pre-training as a user runs it: raw text and translations, `kiln prepare`, both phases, and on to a classifier.

use super::{Ended, Place, forget_the_end, json, kiln, metrics, models, tensors};

const RECIPE: &str = r#"
[model]
architecture = "ernie-m"
tokenizer = "tests/fixtures/tokenizer/ernie-m"
config = { hidden_size = 16, num_hidden_layers = 2, num_attention_heads = 2, intermediate_size = 32, max_position_embeddings = 66 }
[task]
name = "cross-attention-masked-lm"
[data]
max_seq_length = 32
[pretraining]
parallel = ["PLACE/corpora"]
corpora = ["PLACE/corpora"]
split = "8,2"
eval_iters = 2
masked_lm_prob = 0.3
[corpus]
input = ["PLACE/en-de.tsv"]
output = "PLACE/corpora/en-de"
languages = ["en", "de"]
[training]
max_steps = 12
batch_size = 4
gradient_accumulation_steps = 2
logging_steps = 3
[optimizer]
learning_rate = 3e-3
[evaluation]
every_steps = 4
select_on = "dev.loss"
[checkpoint]
every_steps = 4
keep_last = 3
[output]
dir = "PLACE/run"
"#;

const TASKS: [&str; 4] =
    ["masked-lm", "translation-masked-lm", "cross-attention-masked-lm", "back-translation-masked-lm"];

/// All four in one run.
const MIXTURE: &str = "task.mixture=[{ name = \"masked-lm\" }, { name = \"translation-masked-lm\", weight = 0.5 }, \
                       { name = \"cross-attention-masked-lm\" }, { name = \"back-translation-masked-lm\" }]";

/// Sixty pairs and the texts of both sides, prepared.
fn place() -> Place {
    const WORDS: [[&str; 2]; 5] =
        [["kiln", "Ofen"], ["burns", "brennt"], ["clay", "Ton"], ["days", "Tage"], ["and", "und"]];
    let place = Place::new();
    let text = |number: usize, side: usize| {
        let words = (0..3 + number % 5).map(|at| WORDS[(number * 3 + at * at) % 5][side]);
        words.collect::<Vec<_>>().join(" ")
    };
    let lines = |line: &dyn Fn(usize) -> String| (0..60).map(line).collect::<String>();
    place.write("en-de.tsv", lines(&|number| format!("{}\t{}\n", text(number, 0), text(number, 1))));
    place.write("en.txt", lines(&|number| text(number, 0) + "\n\n"));
    place.write("de.txt", lines(&|number| text(number, 1) + "\n\n"));
    place.write("recipe.toml", RECIPE.replace("PLACE", &place.text("")));
    run(&place, "prepare", &[]).with(0, &[]);
    for language in ["en", "de"] {
        let of = |key: &str, name: &str| format!("corpus.{key}={name}");
        let input = of("input", &format!("[\"{}\"]", place.text(&format!("{language}.txt"))));
        let output = of("output", &place.text(&format!("corpora/{language}")));
        let languages = of("languages", &format!("[\"{language}\"]"));
        run(&place, "prepare", &[&input, &output, &languages, "corpus.min_document_length=0"]).with(0, &[]);
    }
    place
}

fn run(place: &Place, command: &str, more: &[&str]) -> Ended {
    kiln([command, &place.text("recipe.toml")].iter().chain(more))
}

/// Each task alone learns something, and `kiln eval` finds what the run found.
#[test]
fn every_task_is_trained_and_evaluated() {
    let place = place();
    for task in TASKS {
        let folder = format!("run-{task}");
        let output = format!("output.dir={}", place.text(&folder));
        let name = format!("task.name={task}");
        run(&place, "train", &[&name, &output, "training.max_steps=60", "evaluation.every_steps=20"])
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
    let place = place();
    let first = [MIXTURE];
    let weights = format!("model.weights={}", place.text("run/best"));
    let output = format!("output.dir={}", place.text("second"));
    let second = [MIXTURE, "task.name=back-translation-masked-lm", "pretraining.generate=sampling", &weights, &output];
    for (folder, more) in [("run", &first[..]), ("second", &second)] {
        run(&place, "train", more).with(0, &["done: the best model is"]);
        let expected = models(&place.path(folder));
        forget_the_end(&place.path(folder));
        run(&place, "train", more).with(0, &["going on from"]);
        assert!(models(&place.path(folder)) == expected, "other weights in {folder}");
    }
}

/// What pre-training leaves is an ERNIE-M folder, without the table of languages; recipes fine-tune it.
#[test]
fn the_model_is_fine_tuned() {
    let place = place();
    run(&place, "train", &["model.config.num_languages=2"]).with(0, &["done: the best model is"]);
    let config = json(&place.path("run/best/config.json"));
    assert_eq!((&config["model_type"], &config["vocab_size"]), (&"ernie_m".into(), &342.into()));
    let names = tensors(&place.path("run/best/model.safetensors"));
    assert!(names.keys().all(|name| !name.contains("language")), "{:?}", names.keys());

    // The quickstart without the sizes of its own network, which are not these weights'.
    let root = env!("CARGO_MANIFEST_DIR");
    let recipe = std::fs::read_to_string(format!("{root}/recipes/quickstart.toml")).unwrap();
    let [sizes, task] = ["[model.config]", "[task]"].map(|table| recipe.find(table).unwrap());
    let recipe = place.write("classify.toml", format!("{}{}", &recipe[..sizes], &recipe[task..]));
    kiln([
        "train".to_string(),
        recipe.display().to_string(),
        format!("model.weights={}", place.text("run/best")),
        format!("model.tokenizer={}", place.text("run/best")),
        format!("data.root={root}/datasets/samples"),
        format!("data.cache={}", place.text("cache")),
        format!("output.dir={}", place.text("classified")),
        "training.max_steps=2".into(),
        "data.max_train_rows=8".into(),
        "data.max_eval_rows=4".into(),
    ])
    .with(0, &["newly initialised", "classifier.weight", "done: the best model is"]);
}

#[test]
fn what_is_wrong_is_said() {
    let place = place();
    let few = "model.config.num_languages is 1, but the corpora have the 2 languages de, en";
    run(&place, "train", &["model.config.num_languages=1"]).with(2, &[few, "model.config.num_languages=2"]);
    let gone = format!("pretraining.parallel=[\"{}\"]", place.text("gone"));
    run(&place, "train", &[&gone]).with(2, &["gone"]);
    let text = format!("pretraining.parallel=[\"{}\"]", place.text("corpora/en"));
    run(&place, "train", &[&text]).with(2, &["is a corpus of one language where pairs are wanted"]);
    let tokenizer = "model.piece_splitting=huggingface";
    run(&place, "train", &[tokenizer]).with(2, &["was prepared with another tokenizer than the model's"]);
    run(&place, "train", &["training.epochs=2"]).with(2, &["`training.epochs` has no effect"]);
}
