//! Model folders, in Hugging Face's layout: `config.json`, `model.safetensors`, the tokenizer's files, a model card.

mod card;
pub mod elmo;
pub mod elmo_features;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use self::card::ModelCard;
pub use self::card::Origin;
use crate::error::{Error, Problem, Result};
use crate::files::NewFolder;
use crate::metrics::Evaluation;
use crate::models::elmo::Elmo;
use crate::models::{FAMILIES, Family, ModelConfig};
use crate::recipe::TaskName;
use crate::tasks::{TaskHead, TaskModel};
use crate::tokenize::elmo::WordVocabulary;
use crate::tokenize::{Tokenizer, TokenizerOptions};
use crate::weights::{self, Dtype, Format, LoadReport, Missing, PartialTable, Saved, Weights};

pub(crate) const CONFIG: &str = "config.json";
/// The word of a `config.json` for the type of the weights.
pub(crate) const TORCH_DTYPE: &str = "torch_dtype";

/// PyTorch's name of an element type of [`weights::WRITTEN`].
pub fn torch_dtype(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::BF16 => "bfloat16",
        Dtype::F16 => "float16",
        _ => "float32",
    }
}

/// What `config.json` says.
#[derive(Debug, Clone)]
pub struct Described {
    pub folder: PathBuf,
    pub model: ModelConfig,
    /// The task of the head, by the class that the file names; `None` for a bare encoder.
    pub task: Option<TaskName>,
    /// The labels in the order of their numbers.
    pub labels: Vec<String>,
    config: Map<String, Value>,
}

impl Described {
    /// The tokenizer in the folder.
    ///
    /// # Errors
    /// Its files cannot be read, or it gives ids that the model's table has no rows for.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let config = &self.model;
        let tokenizer = Tokenizer::from_dir(config.family().tokenizers, &self.folder, TokenizerOptions::default())?;
        if tokenizer.vocab_size() > config.vocab_size() {
            let what = format!(
                "the tokenizer has {} tokens, the model's table {} rows",
                tokenizer.vocab_size(),
                config.vocab_size()
            );
            let help = "the vocabulary is of another model: take the one that came with the weights";
            return Err(Problem::new(what).in_file(&self.folder).help(help).into());
        }
        Ok(tokenizer)
    }

    /// # Errors
    /// Rows may have more tokens than the model has positions.
    pub fn check_length(&self, max_seq_length: usize) -> Result<()> {
        let most = self.model.max_length();
        match max_seq_length <= most {
            true => Ok(()),
            false => {
                let what =
                    format!("data.max_seq_length = {max_seq_length} is more than the {most} positions of the model");
                Err(Problem::new(what).in_file(&self.folder).help(format!("data.max_seq_length={most}")).into())
            }
        }
    }

    /// What the file says of the head.
    ///
    /// # Errors
    /// A value that is none of an option's.
    pub fn options<H: TaskHead>(&self) -> Result<H::Options> {
        H::read_options(self.task, &self.config, has_pooler(&self.folder)?)
            .map_err(|error| error.in_file(&self.folder.join(CONFIG)))
    }
}

/// Whether a folder has a `config.json`.
pub fn has_config(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

/// The words of a folder's `config.json`.
pub fn read_config(folder: &Path) -> Result<Map<String, Value>> {
    read_json(&folder.join(CONFIG))
}

/// The words of a configuration file.
pub fn read_json(path: &Path) -> Result<Map<String, Value>> {
    let text = std::fs::read_to_string(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => {
            let help = "a model folder holds config.json beside its weights; a run's models are in its best/ and last/";
            Error::from(Problem::new("is not there").in_file(path).help(help))
        }
        _ => Error::reading(path, &cause),
    })?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(words)) => Ok(words),
        Ok(_) => Err(Problem::new("is no JSON object").in_file(path).into()),
        Err(cause) => {
            Err(Problem::new(format!("is no JSON: {cause}")).at(path, cause.line(), Some(cause.column())).into())
        }
    }
}

/// Reads a folder's `config.json` whole.
pub fn describe(folder: &Path) -> Result<Described> {
    let words = read_config(folder)?;
    let family = words.get("model_type").and_then(Value::as_str).and_then(Family::of_model_type).ok_or_else(|| {
        let found = words.get("model_type").map_or("no model_type".to_string(), |found| format!("model_type {found}"));
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
        let help = format!(
            "Kiln reads {}; an old folder may lack the word: add \"model_type\": \"ernie_m\", say",
            known.join(", ")
        );
        Problem::new(format!("has {found}, which is none of Kiln's families")).in_file(&folder.join(CONFIG)).help(help)
    })?;
    if family.reads_words() && !words.contains_key("architectures") {
        let problem = Problem::new("is an ELMo by itself, without a head for a task").in_file(&folder.join(CONFIG));
        return Err(problem.help("`kiln encode` gives its features; recipes take them by features.elmo").into());
    }
    let model = ModelConfig::from_words(family, &words).map_err(|error| error.in_file(&folder.join(CONFIG)))?;
    let (task, labels) = head(&words);
    Ok(Described { folder: folder.to_path_buf(), model, task, labels, config: words })
}

/// What the words of a `config.json` say of the head: its task, by the class that they name, and its labels.
pub fn head(words: &Map<String, Value>) -> (Option<TaskName>, Vec<String>) {
    let class = words.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str).unwrap_or_default();
    let labels = labels(words);
    let problem_type = words.get("problem_type").and_then(Value::as_str);
    (TaskName::from_class(class, problem_type, labels.len()), labels)
}

/// [`describe`] of a folder that has to have a head for a task.
///
/// # Errors
/// It has another.
pub fn describe_for(folder: &Path, task: TaskName) -> Result<Described> {
    let described = describe(folder)?;
    // A class may be that of several tasks, as the four that mask tokens of ERNIE-M's text.
    if described.task.map(|task| task.facts().class_suffix) != Some(task.facts().class_suffix) {
        let problem = Problem::new(format!("has no {} head", task.word())).in_file(folder);
        return Err(problem.help("train one with `kiln train RECIPE`").into());
    }
    Ok(described)
}

/// `id2label` in the order of the ids; two labels if there is none, as in Hugging Face's library.
fn labels(words: &Map<String, Value>) -> Vec<String> {
    let Some(map) = words.get("id2label").and_then(Value::as_object) else {
        return vec!["LABEL_0".into(), "LABEL_1".into()];
    };
    let by_id: BTreeMap<usize, String> = map
        .iter()
        .filter_map(|(id, label)| Some((id.parse().ok()?, label.as_str().map_or(label.to_string(), str::to_string))))
        .collect();
    by_id.into_values().collect()
}

/// A trained model, opened for use.
pub struct Opened<H: TaskHead> {
    pub described: Described,
    pub model: TaskModel<H>,
    pub report: LoadReport,
}

/// Opens a described model folder, with a head of these options, for evaluation, prediction or features.
///
/// # Errors
/// Weights that cannot be read, or do not fit.
pub fn open<H: TaskHead>(described: Described, options: &H::Options, device: &Device) -> Result<Opened<H>> {
    let weights = Weights::open(&described.folder)?;
    let config = &described.model;
    let names = &config.family().tensors;
    let empty = TaskModel::new(config, options, described.labels.len(), device);
    let (model, report) = weights::fill(empty, Some(&weights), names, config.initialisation(0), Missing::Refuse)?;
    if !report.unexpected.is_empty() {
        tracing::warn!("{}: {report}", described.folder.display());
    }
    Ok(Opened { described, model, report })
}

/// Whether the weights in a folder have a pooler.
fn has_pooler(folder: &Path) -> Result<bool> {
    Ok(Weights::open(folder)?.names().any(|name| name.contains("pooler.")))
}

/// Writes the model folder of a language model, whole or not at all. `recipe` is the recipe's text, for the model card.
///
/// # Errors
/// The folder cannot be written.
pub fn save_language_model(
    target: &Path,
    elmo: &Elmo,
    vocabulary: &WordVocabulary,
    recipe: &str,
    format: Format,
    evaluation: Option<&Evaluation>,
) -> Result<()> {
    let card = card::of_language_model(recipe, evaluation);
    save_with_card(target, &card, evaluation, |folder| elmo::write(folder, elmo, Some(vocabulary), format))
}

/// Writes what `write` writes, a model card and the figures, whole or not at all.
fn save_with_card(
    target: &Path,
    card: &str,
    evaluation: Option<&Evaluation>,
    write_model: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = NewFolder::begin(target)?;
    write_model(folder.path())?;
    write(&folder.path().join("README.md"), card)?;
    if let Some(evaluation) = evaluation {
        evaluation.write(&folder.path().join("eval.json"))?;
    }
    folder.publish()
}

/// What a run needs to write the model folders of an encoder with a head.
pub struct TaskExport<'a, H: TaskHead> {
    pub config: &'a ModelConfig,
    pub task: TaskName,
    pub options: &'a H::Options,
    pub labels: &'a [String],
    pub tokenizer: &'a Tokenizer,
    pub max_length: usize,
    pub origin: Origin,
    /// The recipe's text, for the model card.
    pub recipe: &'a str,
    /// The whole table of words where the model has a part of it, and what decay has left of the other rows.
    pub table: Option<(&'a PartialTable, f64)>,
    pub format: Format,
}

impl<H: TaskHead> TaskExport<'_, H> {
    /// Writes a model folder, whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, target: &Path, model: &TaskModel<H>, evaluation: Option<&Evaluation>) -> Result<()> {
        save_with_card(target, &self.card(model, evaluation), evaluation, |folder| {
            let names = &self.config.family().tensors;
            weights::export_module(folder, model, names, Saved::Exported(self.table), self.format)?;
            write_config(folder, self.config())?;
            self.tokenizer.save(folder, self.max_length)
        })
    }

    fn config(&self) -> Map<String, Value> {
        let family = self.config.family();
        let class = format!("{}{}", family.class_prefix, self.task.facts().class_suffix);
        let mut words = Map::new();
        words.insert("architectures".into(), json!([class]));
        words.insert("model_type".into(), json!(family.model_type));
        words.extend(self.config.to_words());
        let numbered = self.labels.iter().enumerate();
        let id2label: Map<String, Value> = numbered.clone().map(|(id, label)| (id.to_string(), json!(label))).collect();
        let label2id: Map<String, Value> = numbered.map(|(id, label)| (label.clone(), json!(id))).collect();
        // Without labels there are two, a start and an end, as Hugging Face's library has it where nothing is said.
        if !self.labels.is_empty() {
            words.insert("id2label".into(), Value::Object(id2label));
            words.insert("label2id".into(), Value::Object(label2id));
        }
        H::write_options(self.options, &mut words);
        words.insert(TORCH_DTYPE.into(), json!(torch_dtype(self.format.dtype)));
        words
    }

    fn card(&self, model: &TaskModel<H>, evaluation: Option<&Evaluation>) -> String {
        let mut is_kilns_own = self.config.is_of_words();
        // What no other library knows has no name of theirs.
        weights::each_parameter(model, &self.config.family().tensors, |name, _, _| {
            is_kilns_own |= name.starts_with("head.");
        });
        let card = ModelCard {
            family: self.config.family(),
            task: self.task,
            labels: self.labels,
            origin: &self.origin,
            is_kilns_own,
            without_tokenizer_json: self.tokenizer.without_tokenizer_json(),
            recipe: self.recipe,
        };
        card.text(evaluation)
    }
}

pub(crate) fn write_config(folder: &Path, words: Map<String, Value>) -> Result<()> {
    write(&folder.join(CONFIG), &format!("{:#}\n", Value::Object(words)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|cause| Error::writing(path, &cause))
}

/// The model folder that a user's DIR means: itself, or the best (else the last) model of a run folder.
pub fn resolve(dir: &Path) -> Result<PathBuf> {
    for folder in [dir.to_path_buf(), dir.join("best"), dir.join("last")] {
        if folder.join(CONFIG).exists() {
            return Ok(folder);
        }
    }
    if !dir.exists() {
        return Err(Problem::new("is not there").in_file(dir).help("give a run folder or a model folder").into());
    }
    let problem = Problem::new("is neither a model folder nor a run folder with a best/ or last/ model").in_file(dir);
    Err(problem.help("a model folder holds config.json; a run writes best/ at its first evaluation").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An id without a row would be a panic in the model, far from its cause.
    #[test]
    fn a_tokenizer_of_another_model_is_refused() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let folder = tempfile::tempdir().unwrap();
        let config = "parity/hf_bert_seqcls/ckpt_safetensors/config.json";
        for (from, to) in [(config, "config.json"), ("tokenizer/bert/vocab.txt", "vocab.txt")] {
            std::fs::copy(fixtures.join(from), folder.path().join(to)).unwrap();
        }
        let described = describe(folder.path()).unwrap();
        let message = described.tokenizer().unwrap_err().to_string();
        assert!(message.contains("tokens, the model's table 24 rows"), "{message}");
        std::fs::write(folder.path().join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n").unwrap();
        assert_eq!(described.tokenizer().unwrap().vocab_size(), 6);
        let longest = described.model.max_length();
        assert!(described.check_length(longest).is_ok() && described.check_length(longest + 1).is_err());
    }
}
