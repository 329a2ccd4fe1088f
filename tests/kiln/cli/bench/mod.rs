//! A bench: a folder with data, a recipe for a model of seconds, and the commands on both.

pub mod data;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

use super::{Ended, Place, command, json, kiln, predict};
use data::Data;

/// A small encoder.
const ENCODER: &str = "model.config.hidden_size=32 model.config.num_hidden_layers=2 model.config.num_attention_heads=4 \
                       model.config.intermediate_size=64 model.config.max_position_embeddings=64";

/// How a recipe of these tests trains, by its kind of task.
const FINE_TUNING: &str = "training.batch_size=8 optimizer.learning_rate=3e-3";
const ON_WORDS: &str = "training.batch_size=8 optimizer.name=adam optimizer.learning_rate=1e-2 \
                        schedule.name=constant";
const PRE_TRAINING: &str = "training.batch_size=4 training.gradient_accumulation_steps=2 \
                            training.logging_steps=3 optimizer.learning_rate=3e-3 evaluation.every_steps=4 \
                            evaluation.select_on=dev.loss checkpoint.every_steps=4 checkpoint.keep_last=3";
const LANGUAGE_MODEL: &str = "training.batch_size=4 training.logging_steps=5 \
                              optimizer.learning_rate=0.05 optimizer.max_grad_norm=10.0 evaluation.every_steps=10 \
                              checkpoint.every_steps=4";

/// A place with data, a recipe and the overrides that every command gets.
pub struct Bench {
    place: Place,
    recipe: String,
    overrides: Vec<String>,
    pub data: Data,
}

impl Deref for Bench {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Bench {
    /// A family's small model from nothing, to learn the task's data.
    pub fn new(family: &str, task: &str) -> Self {
        Self::begin(Place::new(), family, task, false)
    }

    /// ERNIE's pre-training on rows of the original's format.
    pub fn on_rows() -> Self {
        Self::begin(Place::new(), "ernie", "pre-training", true)
    }

    /// One for all tests of a file, to keep in a static: nothing drops that, so the folder stays in Cargo's own.
    pub fn kept(family: &str, task: &str) -> Self {
        Self::begin(Place(tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()), family, task, false)
    }

    fn begin(place: Place, family: &str, task: &str, from_rows: bool) -> Self {
        let (length, way) = match (family, task) {
            (_, "bidirectional-lm") => ("epochs = 3", LANGUAGE_MODEL),
            ("elmo", _) => ("max_steps = 24", ON_WORDS),
            (_, "sequence-classification" | "token-classification" | "question-answering") => {
                ("max_steps = 24", FINE_TUNING)
            }
            _ => ("max_steps = 12", PRE_TRAINING),
        };
        let recipe = format!(
            "[model]\narchitecture = \"{family}\"\n[task]\nname = \"{task}\"\n[training]\n{length}\n[output]\ndir = \"{}\"\n",
            place.text("run")
        );
        let recipe = place.write("recipe.toml", recipe).display().to_string();
        Self::of(place, recipe, family, task, from_rows).with(&sizes(family, task)).with(way)
    }

    /// A shipped recipe on the small data of its task, from nothing or, if that is its way, from small weights.
    pub fn shipped(name: &str) -> Self {
        // As users see it resolved.
        let recipe: toml::Table = kiln(["recipe", "show", name]).with(0, &[]).stdout.parse().unwrap();
        let word = |section: &str, key: &str| recipe[section].get(key).and_then(toml::Value::as_str);
        let (family, task) = (word("model", "architecture").unwrap(), word("task", "name").unwrap());
        let from_rows = recipe.get("pretraining").is_some_and(|section| section.get("rows").is_some());
        let model = match word("model", "weights") {
            Some(_) => format!("model.weights={}", weights(family).display()),
            None => sizes(family, task),
        };
        let has_warmup = recipe.get("schedule").is_some_and(|section| section.get("warmup_steps").is_some());
        let warmup = if has_warmup { "schedule.warmup_steps=2" } else { "" };
        let bench = Self::of(Place::new(), name.to_string(), family, task, from_rows);
        bench.with(&model).with(warmup).with("output.dir=PLACE/run")
    }

    fn of(place: Place, recipe: String, family: &str, task: &str, from_rows: bool) -> Self {
        let data = data::write(&place, family, task, from_rows);
        let data = data.unwrap_or_else(|| panic!("{recipe}: add small data for the task {task} to bench/data.rs"));
        let bench = Self { place, recipe, overrides: Vec::new(), data };
        let overrides = format!("{} device.backend={}", bench.data.overrides, crate::backend());
        bench.with(&overrides)
    }

    /// More overrides, with spaces between; PLACE is the bench's folder and ROOT the repository.
    pub fn with(mut self, overrides: &str) -> Self {
        let more: Vec<String> = overrides.split_whitespace().map(|word| self.here(word)).collect();
        self.overrides.extend(more);
        self
    }

    /// Without the overrides of a key.
    pub fn without(mut self, key: &str) -> Self {
        self.overrides.retain(|argument| !argument.starts_with(&format!("{key}=")));
        self
    }

    pub fn here(&self, word: &str) -> String {
        word.replace("PLACE", self.text("").trim_end_matches('/')).replace("ROOT", env!("CARGO_MANIFEST_DIR"))
    }

    /// Those of a command on the recipe.
    pub fn arguments<'a>(&'a self, command: &[&'a str], more: &[&'a str]) -> Vec<String> {
        let command = command.iter().copied().chain([self.recipe.as_str()]).map(str::to_string);
        command.chain(self.overrides.iter().cloned()).chain(more.iter().map(|word| self.here(word))).collect()
    }

    pub fn run(&self, command: &str, more: &[&str]) -> Ended {
        kiln(self.arguments(&[command], more))
    }

    pub fn train(&self, more: &[&str]) -> Ended {
        self.run("train", more)
    }

    /// Starts a training that can be waited for and killed.
    pub fn start(&self, more: &[&str]) -> Child {
        let mut command = command(self.arguments(&["train"], more));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The folder of the run.
    pub fn output(&self) -> PathBuf {
        let given = self.overrides.iter().rev().find_map(|argument| argument.strip_prefix("output.dir="));
        given.map_or_else(|| self.path("run"), PathBuf::from)
    }

    /// Makes the corpora that the recipe trains on.
    pub fn prepared(self) -> Self {
        for overrides in self.data.prepare {
            let overrides: Vec<&str> = overrides.split_whitespace().collect();
            self.run("prepare", &overrides).with(0, &[]);
        }
        self
    }

    /// What `run` says of a file of this place.
    pub fn predict(&self, input: &str) -> Vec<Value> {
        predict(&self.path("run"), Path::new(&self.here(input)))
    }

    /// `kiln eval` of a model folder, copied so that tests do not write over each other's.
    pub fn evaluate(&self, model: &Path, more: &[&str]) -> Value {
        let copy = Place::new();
        for entry in std::fs::read_dir(model).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path(&entry.file_name().into_string().unwrap())).unwrap();
        }
        kiln(self.arguments(&["eval", &copy.text("")], more)).with(0, &[]);
        json(&copy.path("eval.json"))
    }
}

/// A small model of a family to start from: the folder of its weights and its tokenizer.
fn weights(family: &str) -> PathBuf {
    static MADE: OnceLock<Mutex<BTreeMap<String, Bench>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap();
    let bench = made.entry(family.to_string()).or_insert_with(|| {
        let bench = Bench::kept(family, "sequence-classification");
        bench.train(&["training.max_steps=1"]).with(0, &[]);
        bench
    });
    bench.path("run/last")
}

/// The sizes of a family's small model, and its tokenizer: words that stand in the bench's folder, or the family's fixture.
fn sizes(family: &str, task: &str) -> String {
    let of_words = "model.tokenizer=PLACE";
    let of_encoder = format!("{ENCODER} model.tokenizer=ROOT/tests/fixtures/tokenizer/{family}");
    match (family, task) {
        ("elmo", "bidirectional-lm") => format!("{of_words} model.config.projection_dim=8 model.config.hidden_size=12"),
        ("elmo", "question-answering") => format!("{of_words} model.config.word_emb_dim=16 task.reader_hidden_size=12"),
        ("elmo", _) => format!("{of_words} model.config.word_emb_dim=16 task.grnn_hidden_dim=16"),
        ("ernie", _) => format!("{ENCODER} {of_words}"),
        ("rembert", _) => format!("{of_encoder} model.config.input_embedding_size=16"),
        _ if crate::fixture("tokenizer").join(family).exists() => of_encoder,
        _ => panic!("{family}: add a small tokenizer to tests/fixtures/tokenizer, or its sizes to bench/mod.rs"),
    }
}
