//! The configuration of a source, wherever it stands, and that of a target.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Target;
use crate::error::{Error, Problem, Result};
use crate::model_folder::{self, CONFIG, TORCH_DTYPE};
use crate::models::{FAMILIES, Family, ModelConfig, ernie};
use crate::recipe::TaskName;
use crate::weights::{Dtype, WRITTEN, Weights};

/// Files of PaddleNLP before 2.5, and of Baidu's and Google's archives, that stand for a `config.json`.
const OLD: [&str; 3] = ["model_config.json", "ernie_config.json", "bert_config.json"];
/// Words that only PaddleNLP's `config.json` has.
const PADDLE_WORDS: [&str; 7] =
    ["paddlenlp_version", "fuse", "pool_act", "task_id", "init_class", "dtype", "num_classes"];
/// The width of a head in all published models of these families.
const HEAD: u64 = 64;

/// A checkpoint with what is said of it.
pub struct Source {
    /// Where its tokenizer's files are.
    pub folder: PathBuf,
    /// Where its configuration stands.
    pub file: PathBuf,
    pub weights: Weights,
    /// The words of its configuration.
    pub words: Map<String, Value>,
    pub config: ModelConfig,
    pub task: Option<TaskName>,
    /// How many labels there are.
    pub labels: usize,
    pub notes: Vec<String>,
}

impl Source {
    /// Opens a folder, or a file with the other files beside it.
    ///
    /// # Errors
    /// The weights or the configuration cannot be read, or do not fit a family.
    pub fn open(path: &Path) -> Result<Self> {
        let weights = Weights::open(path)?;
        let folder = if path.is_file() { path.parent().unwrap_or(Path::new(".")) } else { path }.to_path_buf();
        let mut notes = Vec::new();
        let (file, words) = match [CONFIG].iter().chain(&OLD).map(|name| folder.join(name)).find(|file| file.exists()) {
            Some(file) => (file.clone(), flat(model_folder::read_json(&file)?)),
            None => {
                notes.push(format!(
                    "there is no {CONFIG}: the sizes and the class are those of the tensors, {HEAD} numbers a head"
                ));
                (folder.join(CONFIG), Map::new())
            }
        };
        let family = family(&words, &weights, &file)?;
        let words = completed(words, family, &weights);
        let config = ModelConfig::from_words(family, &words).map_err(|error| error.in_file(&file))?;
        let (task, labels) = model_folder::head(&words);
        Ok(Self { folder, file, weights, config, task, labels: labels.len(), words, notes })
    }

    /// The class in the source's own words, if it names one.
    fn class(&self) -> Option<&str> {
        self.words.get("architectures")?.get(0)?.as_str()
    }
}

/// The words of an old file: those of the innermost model, with the rest of it on top.
fn flat(words: Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    for (key, value) in words {
        match value {
            Value::Array(inner) if key == "init_args" => {
                let objects = inner.into_iter().filter_map(|one| match one {
                    Value::Object(words) => Some(flat(words)),
                    _ => None,
                });
                objects.for_each(|words| all.extend(words));
            }
            value => drop(all.insert(key, value)),
        }
    }
    if let Some(class) = all.remove("init_class") {
        all.insert("architectures".into(), json!([class]));
        all.insert("paddlenlp_version".into(), Value::Null);
    }
    all
}

/// The family that a configuration names, or whose prefix the tensors have.
fn family(words: &Map<String, Value>, weights: &Weights, file: &Path) -> Result<&'static Family> {
    if let Some(family) = words.get("model_type").and_then(Value::as_str).and_then(Family::of_model_type) {
        return Ok(family);
    }
    let class = words.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str).unwrap_or_default();
    let encoders = || FAMILIES.iter().copied().filter(|family| !family.reads_words());
    let of_class = encoders().filter(|family| class.starts_with(family.class_prefix));
    if let Some(family) = of_class.max_by_key(|family| family.class_prefix.len()) {
        return Ok(family);
    }
    let has_prefix = |family: &&Family| weights.names().any(|name| name.starts_with(family.tensors.prefix));
    if let Some(family) = encoders().find(has_prefix) {
        return Ok(family);
    }
    if words.contains_key("model_type") {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
        let problem =
            Problem::new(format!("has the model_type {}, which is none of Kiln's families", words["model_type"]));
        return Err(problem.in_file(file).help(format!("Kiln knows {}", known.join(", "))).into());
    }
    // Bare weights of the first ERNIE have no prefix.
    let is_ernie = weights.names().any(|name| ernie::FAMILY.tensors.parameter(name).is_some());
    is_ernie.then_some(&ernie::FAMILY).ok_or_else(|| {
        let problem = Problem::new("is not there, and the tensors are those of no family").in_file(file);
        Error::from(problem.help("put the model's config.json beside its weights"))
    })
}

/// The words with the sizes of the tensors where they say none, and with the class that the tensors are of.
fn completed(mut words: Map<String, Value>, family: &'static Family, weights: &Weights) -> Map<String, Value> {
    let old = words.is_empty() || words.contains_key("paddlenlp_version");
    // Of the weight, and not of the bias.
    let shape = |module: &str| {
        let is_of = |name: &&str| family.tensors.parameter(name).is_some_and(|parameter| parameter.module == module);
        let mut shapes = weights.names().filter(is_of).filter_map(|name| Some(weights.get(name)?.shape.clone()));
        shapes.find(|shape| shape.len() == 2)
    };
    let mut put = |word: &str, size: Option<usize>| {
        if let Some(size) = size {
            words.entry(word).or_insert(json!(size));
        }
    };
    let embeddings = |table: &str| shape(&format!("backbone.embeddings.{table}_embeddings"));
    let named = |table: &str, at: usize| embeddings(table).map(|shape| shape[at]);
    put("vocab_size", named("word", 0));
    put("hidden_size", named("word", 1));
    put("max_position_embeddings", named("position", 0));
    put("type_vocab_size", named("token_type", 0));
    put("task_type_vocab_size", named("task_type", 0));
    let layers = weights.names().filter_map(|name| family.tensors.parameter(name)?.layer).max();
    put("num_hidden_layers", layers.map(|last| last + 1));
    let inner = shape("backbone.encoder.layers.{n}.intermediate");
    put("intermediate_size", inner.map(|shape| shape.into_iter().max().unwrap_or_default()));
    if named("task_type", 0).is_some() && old {
        words.entry("use_task_id").or_insert(json!(true));
    }
    if !words.contains_key("architectures")
        && let Some(suffix) = class_suffix(family, weights)
    {
        words.insert("architectures".into(), json!([format!("{}{suffix}", family.class_prefix)]));
        let labels = shape("head.classifier").map(|shape| shape.into_iter().min().unwrap_or_default());
        if let Some(labels) = labels {
            words.entry("num_classes").or_insert(json!(labels));
        }
    }
    if let Some(hidden) = words.get("hidden_size").and_then(Value::as_u64) {
        words.entry("num_attention_heads").or_insert(json!((hidden / HEAD).max(1)));
    }
    if let Some(count) = words.get("num_classes").and_then(Value::as_u64).filter(|_| !words.contains_key("id2label")) {
        let labels: Map<String, Value> = (0..count).map(|id| (id.to_string(), json!(format!("LABEL_{id}")))).collect();
        words.insert("id2label".into(), Value::Object(labels));
    }
    words
}

/// What the class ends with that has the heads which the tensors are of.
fn class_suffix(family: &Family, weights: &Weights) -> Option<&'static str> {
    let has = |module: &str| {
        weights.names().any(|name| family.tensors.parameter(name).is_some_and(|found| found.module == module))
    };
    let task = match () {
        () if has("head.sentence_order") => TaskName::PreTraining,
        () if has("head.masked_lm") => TaskName::MaskedLm,
        () if has("head.qa_outputs") => TaskName::QuestionAnswering,
        () if has("head.classifier") && has("backbone.pooler.dense") => TaskName::SequenceClassification,
        () if has("head.classifier") => TaskName::TokenClassification,
        () => return None,
    };
    Some(task.facts().class_suffix)
}

/// The words of the target's `config.json`.
pub fn words(source: &Source, config: &ModelConfig, to: Target, dtype: Option<Dtype>) -> Map<String, Value> {
    let family = config.family();
    let same = family == source.config.family();
    let mut words = Map::from_iter([
        ("architectures".to_string(), json!([class(source, family, to)])),
        ("model_type".to_string(), json!(family.model_type)),
    ]);
    let kept = ["id2label", "label2id", "problem_type"];
    let others = source.words.iter().filter(|(word, _)| !PADDLE_WORDS.contains(&word.as_str()));
    let others = others.filter(|(word, _)| (same && to != Target::Paddle) || kept.contains(&word.as_str()));
    for (word, value) in others {
        words.entry(word.as_str()).or_insert(value.clone());
    }
    words.extend(config.to_words());
    if to == Target::Paddle {
        words.insert("paddlenlp_version".into(), Value::Null);
        words.insert("dtype".into(), json!("float32"));
    } else {
        // Not that of a buffer of whole numbers.
        let mut types = source.weights.names().filter_map(|name| Some(source.weights.get(name)?.dtype));
        let own = types.find(|dtype| WRITTEN.contains(dtype));
        let dtype = dtype.or(own).unwrap_or(Dtype::F32);
        words.insert(TORCH_DTYPE.into(), json!(model_folder::torch_dtype(dtype)));
    }
    words
}

/// The class of the target, in its library's spelling.
fn class(source: &Source, family: &Family, to: Target) -> String {
    let prefix = family.class_prefix;
    let suffix = match (source.task, source.class()) {
        (Some(task), _) => task.facts().class_suffix,
        (None, Some(class)) => class.strip_prefix(source.config.family().class_prefix).unwrap_or("Model"),
        (None, None) => "Model",
    };
    match (to, suffix) {
        // As PaddleNLP spells it.
        (Target::Paddle, "ForPreTraining") => format!("{prefix}ForPretraining"),
        _ => format!("{prefix}{suffix}"),
    }
}

/// What PaddleNLP computes otherwise than the configuration says, as it has no word for it.
///
/// # Errors
/// It cannot hold the weights.
pub fn told_paddle(config: &ModelConfig, words: &Map<String, Value>) -> Result<Vec<String>> {
    let (ours, theirs) = (config.to_words(), ModelConfig::from_words(config.family(), words)?.to_words());
    let differs = |word: &str| match (ours.get(word), theirs.get(word)) {
        (Some(ours), Some(theirs)) if ours != theirs => Some((ours.clone(), theirs.clone())),
        _ => None,
    };
    if let Some((ours, theirs)) = differs("intermediate_size") {
        let what =
            format!("the model's intermediate_size is {ours}, and PaddleNLP builds {theirs} whatever it is told");
        return Err(Problem::new(what).help("convert it --to hf").into());
    }
    let notes = ["layer_norm_eps", "hidden_act"].into_iter().filter_map(|word| {
        let (ours, theirs) = differs(word)?;
        Some(format!("PaddleNLP computes with {word} {theirs}, the model was trained with {ours}"))
    });
    Ok(notes.collect())
}
