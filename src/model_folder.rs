//! Model folders, in Hugging Face's layout: `config.json`, `model.safetensors`, the tokenizer's files, a model card.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::data::Source;
use crate::error::{Error, Problem, Result};
use crate::evaluate::{Evaluation, table};
use crate::files::NewFolder;
use crate::models::ModelConfig;
use crate::models::elmo;
use crate::models::ernie_m::is_exported;
use crate::recipe::{Architecture, Recipe, TaskName};
use crate::tasks::{Answering, HeadShape, Network, Reading, Tagging, TaskModel};
use crate::tokenize::Tokenizer;
use crate::tokenize::elmo::WordVocabulary;
use crate::weights::{self, LoadReport, Missing, Name, Weights};

const CONFIG: &str = "config.json";

/// A word of `config.json` that is Kiln's own; Hugging Face's library keeps it.
const CHARACTERS_AS_WORDS: &str = "characters_as_words";
/// Others: the options of question answering, the layers of token classification, the sizes of the reader of words.
const ANSWERING: &str = "question_answering";
const TAGGING: &str = "token_classification";
const READING: &str = "reader";

/// What `config.json` says.
#[derive(Debug, Clone)]
pub struct Described {
    pub model: ModelConfig,
    /// The task of the head, by the class that the file names; `None` for a bare encoder.
    pub task: Option<TaskName>,
    /// The labels in the order of their numbers.
    pub labels: Vec<String>,
    /// Of token-classification: whether the words of the training data were single characters, as LAC's are.
    pub characters_as_words: bool,
    /// Of question-answering: how the model was trained to answer, if the folder says so.
    pub answering: Answering,
    /// Of token-classification: the layers of the head.
    pub tagging: Tagging,
    /// Of question-answering on words.
    pub reading: Reading,
}

/// Whether a folder has a `config.json`.
pub fn has_config(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

/// The words of a folder's `config.json`.
pub fn read_config(folder: &Path) -> Result<Map<String, Value>> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => {
            let help = "a model folder holds config.json beside its weights; a run's models are in its best/ and last/";
            Error::from(Problem::new("is not there").in_file(&path).help(help))
        }
        _ => Error::reading(&path, &cause),
    })?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(words)) => Ok(words),
        Ok(_) => Err(Problem::new("is no JSON object").in_file(&path).into()),
        Err(cause) => {
            Err(Problem::new(format!("is no JSON: {cause}")).at(&path, cause.line(), Some(cause.column())).into())
        }
    }
}

/// Reads a folder's `config.json` whole.
pub fn describe(folder: &Path) -> Result<Described> {
    let words = read_config(folder)?;
    let architecture = architecture(&words).ok_or_else(|| {
        let found = words.get("model_type").map_or("no model_type".to_string(), |found| format!("model_type {found}"));
        Problem::new(format!("has {found}, which is none of Kiln's families")).in_file(&folder.join(CONFIG)).help(
            "Kiln reads ernie_m, ernie and rembert; an old folder may lack the word: add \"model_type\": \"ernie_m\", say",
        )
    })?;
    if architecture == Architecture::Elmo && !words.contains_key("architectures") {
        let problem = Problem::new("is an ELMo by itself, without a head for a task").in_file(&folder.join(CONFIG));
        return Err(problem.help("`kiln encode` gives its features; recipes take them by features.elmo").into());
    }
    let class = words.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str).unwrap_or_default();
    let model = ModelConfig::from_words(architecture, &words).map_err(|error| error.in_file(&folder.join(CONFIG)))?;
    let characters_as_words = words.get(CHARACTERS_AS_WORDS).and_then(Value::as_bool).unwrap_or(false);
    let (answering, tagging) = (options(&words, ANSWERING, folder)?, options(&words, TAGGING, folder)?);
    let reading = options(&words, READING, folder)?;
    let (task, labels) = (TaskName::from_class(class), labels(&words));
    Ok(Described { model, task, labels, characters_as_words, answering, tagging, reading })
}

/// Options of a task, the usual ones where the file says nothing.
fn options<T: DeserializeOwned + Default>(words: &Map<String, Value>, key: &str, folder: &Path) -> Result<T> {
    let found = words.get(key).cloned().map(serde_json::from_value).transpose();
    found.map(Option::unwrap_or_default).map_err(|cause| {
        let problem = Problem::new(format!("`{key}` cannot be used: {cause}")).in_file(&folder.join(CONFIG));
        problem.help("leave it out for the usual options").into()
    })
}

fn architecture(words: &Map<String, Value>) -> Option<Architecture> {
    let found = words.get("model_type")?.as_str()?;
    [Architecture::ErnieM, Architecture::Ernie, Architecture::RemBert, Architecture::Elmo]
        .into_iter()
        .find(|family| family.model_type() == found.replace('-', "_"))
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
pub struct Opened {
    pub described: Described,
    pub model: TaskModel,
    pub report: LoadReport,
}

/// Opens a model folder for evaluation, prediction or features. Whatever its class says, a head is read if it is there.
pub fn open(folder: &Path, device: &Device) -> Result<Opened> {
    let described = describe(folder)?;
    let weights = Weights::open(folder)?;
    let config = &described.model;
    let names = config.architecture().names();
    let empty = match described.task {
        Some(task) => {
            let Described { tagging, reading, .. } = described;
            let shape = HeadShape { task, classes: described.labels.len(), tagging, reading };
            TaskModel::new(config, shape, device)
        }
        None => TaskModel::headless(config, weights.names().any(|name| name.contains("pooler.")), device),
    };
    let (model, report) = weights::fill(empty, Some(&weights), names, config.initialisation(0), Missing::Refuse)?;
    if !report.unexpected.is_empty() {
        tracing::warn!("{}: {report}", folder.display());
    }
    Ok(Opened { described, model, report })
}

/// What a run needs to write model folders.
pub enum Export {
    Encoder(Box<EncoderExport>),
    /// `recipe` is the recipe's text, for the model card.
    LanguageModel {
        vocabulary: WordVocabulary,
        recipe: String,
    },
}

impl Export {
    /// The names of the family's tensors.
    pub fn names(&self) -> &'static [Name] {
        match self {
            Self::Encoder(export) => export.model.architecture().names(),
            Self::LanguageModel { .. } => &[],
        }
    }

    /// Writes a model folder, whole or not at all.
    ///
    /// # Panics
    /// If the network is of another kind, which whoever made both has to see to.
    pub fn save(&self, target: &Path, network: &Network, evaluation: Option<&Evaluation>) -> Result<()> {
        let folder = NewFolder::begin(target)?;
        let card = match (self, network) {
            (Self::Encoder(export), Network::Encoder(model)) => {
                export.write(folder.path(), model)?;
                export.card(evaluation)
            }
            (Self::LanguageModel { vocabulary, recipe }, Network::LanguageModel(elmo)) => {
                elmo::write(folder.path(), elmo, Some(vocabulary))?;
                language_model_card(recipe, evaluation)
            }
            _ => panic!("the network is not what the run exports"),
        };
        write(&folder.path().join("README.md"), &card)?;
        if let Some(evaluation) = evaluation {
            evaluation.write(&folder.path().join("eval.json"))?;
        }
        folder.publish()
    }
}

/// What of a model card stands under "Results".
fn results(evaluation: Option<&Evaluation>, note: &str) -> String {
    match evaluation {
        Some(evaluation) => {
            format!("Evaluated after step {}{note}.\n\n{}", evaluation.step.unwrap_or_default(), table(evaluation))
        }
        None => "These are the weights after the last step; the evaluated ones are in `best/`.\n".to_string(),
    }
}

fn language_model_card(recipe: &str, evaluation: Option<&Evaluation>) -> String {
    let results = results(evaluation, "; the state of the streams is carried from sentence to sentence");
    format!(
        "---\nlibrary_name: kiln\npipeline_tag: feature-extraction\n---\n\n# elmo bidirectional-lm\n\n## Results\n\n{results}\n\
         ## Recipe\n\n```toml\n{recipe}```\n"
    )
}

/// What a run needs to write the model folders of an encoder.
pub struct EncoderExport {
    pub model: ModelConfig,
    pub task: TaskName,
    pub labels: Vec<String>,
    /// See [`Described::characters_as_words`].
    pub characters_as_words: bool,
    /// Of question-answering.
    pub answering: Option<Answering>,
    /// Of token-classification.
    pub tagging: Option<Tagging>,
    /// Of question-answering on words.
    pub reading: Option<Reading>,
    pub tokenizer: Tokenizer,
    pub max_length: usize,
    pub origin: Origin,
    /// The recipe's text, for the model card.
    pub recipe: String,
}

/// What a model was trained on, for its card.
pub struct Origin {
    pub dataset: String,
    pub licence: String,
    pub languages: Vec<String>,
}

impl Origin {
    pub fn of(source: &Source, recipe: &Recipe) -> Self {
        match source {
            Source::Rows(card) => {
                Self { dataset: card.name.clone(), licence: card.licence.clone(), languages: card.languages.clone() }
            }
            Source::Samples => {
                let settings = recipe.pretraining.as_ref();
                let corpora = settings.and_then(|settings| settings.corpora.as_ref()).into_iter().flatten();
                let rows = settings.and_then(|settings| settings.rows.as_ref()).into_iter().flatten().map(Path::new);
                let names = corpora.map(PathBuf::as_path).chain(rows);
                let names = names.map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
                Self {
                    dataset: names.collect::<Vec<_>>().join(", "),
                    licence: "see the corpora".to_string(),
                    languages: Vec::new(),
                }
            }
            // A language model's card says no more than its recipe.
            Source::Streams => Self { dataset: String::new(), licence: String::new(), languages: Vec::new() },
        }
    }
}

impl EncoderExport {
    /// Writes everything but the card into `folder`.
    fn write(&self, folder: &Path, model: &TaskModel) -> Result<()> {
        let names = self.model.architecture().names();
        weights::save_module(&folder.join("model.safetensors"), model, names, is_exported)?;
        write(&folder.join(CONFIG), &(json_text(&Value::Object(self.config())) + "\n"))?;
        self.tokenizer.save(folder, self.max_length)
    }

    fn config(&self) -> Map<String, Value> {
        let architecture = self.model.architecture();
        let class = format!("{}{}", architecture.class_prefix(), self.task.class_suffix());
        let mut words = Map::new();
        words.insert("architectures".into(), json!([class]));
        words.insert("model_type".into(), json!(architecture.model_type()));
        words.extend(self.model.to_words());
        let numbered = self.labels.iter().enumerate();
        let id2label: Map<String, Value> = numbered.clone().map(|(id, label)| (id.to_string(), json!(label))).collect();
        let label2id: Map<String, Value> = numbered.map(|(id, label)| (label.clone(), json!(id))).collect();
        // Without labels there are two, a start and an end, as Hugging Face's library has it where nothing is said.
        if !self.labels.is_empty() {
            words.insert("id2label".into(), Value::Object(id2label));
            words.insert("label2id".into(), Value::Object(label2id));
        }
        if let Some(answering) = &self.answering {
            words.insert(ANSWERING.into(), json!(answering));
        }
        if let Some(tagging) = self.tagging.filter(|tagging| *tagging != Tagging::default()) {
            words.insert(TAGGING.into(), json!(tagging));
        }
        if let Some(reading) = &self.reading {
            words.insert(READING.into(), json!(reading));
        }
        if self.characters_as_words {
            words.insert(CHARACTERS_AS_WORDS.into(), json!(true));
        }
        words.insert("torch_dtype".into(), json!("float32"));
        words
    }

    /// A model card as Hugging Face's hub reads it.
    fn card(&self, evaluation: Option<&Evaluation>) -> String {
        let list = |words: &[String]| words.iter().map(|word| format!("- {word}\n")).collect::<String>();
        let results = results(evaluation, "; the average gives every language the same weight");
        let languages = match self.origin.languages.as_slice() {
            [] => String::new(),
            languages => format!("language:\n{}", list(languages)),
        };
        let labels =
            if self.labels.is_empty() { String::new() } else { format!("Labels: {}. ", self.labels.join(", ")) };
        let pipeline = match self.task {
            TaskName::SequenceClassification => "text-classification",
            TaskName::TokenClassification => "token-classification",
            TaskName::QuestionAnswering => "question-answering",
            TaskName::MaskedLm
            | TaskName::TranslationMaskedLm
            | TaskName::CrossAttentionMaskedLm
            | TaskName::BackTranslationMaskedLm
            | TaskName::PreTraining => "fill-mask",
            TaskName::BidirectionalLm => "feature-extraction",
        };
        let dataset = &self.origin.dataset;
        format!(
            "---\n{languages}library_name: kiln\npipeline_tag: {pipeline}\ndatasets:\n- {dataset}\n---\n\n\
             # {} {} on {dataset}\n\n{labels}Data licence: {}.\n\n## Results\n\n{results}\n## Recipe\n\n```toml\n{}```\n",
            self.model.architecture().word(),
            self.task.word(),
            self.origin.licence,
            self.recipe,
        )
    }
}

fn json_text(value: &Value) -> String {
    // A value made of JSON is always written.
    serde_json::to_string_pretty(value).unwrap_or_default()
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
