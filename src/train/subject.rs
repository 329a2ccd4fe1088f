//! What a recipe trains, by its family: the network, what it reads, and how it is left.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Map, Value};

use super::checkpoint::{self, State};
use super::language_model::{self, LanguageModel};
use super::optimizer::Optimizer;
use super::prepared::{self, Prepared};
use super::run_folder::RunFolder;
use crate::data::Source;
use crate::device::Chosen;
use crate::error::{Error, Problem, Result};
use crate::model_folder::{self, EncoderExport, Export, Origin};
use crate::models::ModelConfig;
use crate::models::elmo::{self, Elmo, ElmoConfig, ElmoState, SoftmaxUse};
use crate::recipe::{Architecture, Loaded, Recipe, TaskName};
use crate::tasks::{Answering, HeadShape, Network, Reading, Tagging, TaskModel};
use crate::tokenize::Tokenizer;
use crate::tokenize::elmo::WordVocabulary;
use crate::weights::{Missing, Weights, fill};

/// What is trained, before any weights are read.
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub enum Subject {
    Encoder { tokenizer: Tokenizer, config: Box<ModelConfig>, classes: usize },
    LanguageModel(LanguageModel),
}

/// What training begins with.
pub struct Start {
    pub network: Network,
    pub state: State,
    /// What a language model's streams have left.
    pub carried: Option<ElmoState>,
}

impl Subject {
    /// Reads what the recipe's tokenizer and configuration say, and sees that they fit each other and the data.
    pub fn open(recipe: &Recipe, source: &Source) -> Result<Self> {
        if let Source::Streams = source {
            return LanguageModel::open(recipe).map(Self::LanguageModel);
        }
        let tokenizer = tokenizer(recipe)?;
        let config = Box::new(model_config(recipe, &tokenizer)?);
        Ok(Self::Encoder { tokenizer, config, classes: source.labels().len() })
    }

    pub fn optimizer(&self, recipe: &Recipe) -> Optimizer {
        match self {
            Self::Encoder { config, .. } => {
                let layers = config.common().encoder.num_hidden_layers;
                let elmo_l2 = recipe.features.as_ref().map_or(0.0, |features| features.elmo_l2_coef);
                Optimizer::new(&recipe.optimizer, config.architecture(), layers).with_elmo_l2(elmo_l2)
            }
            Self::LanguageModel(model) => {
                Optimizer::new(&recipe.optimizer, Architecture::Elmo, model.config.num_hidden_layers)
            }
        }
    }

    /// The network and the state to go on from: the newest whole checkpoint, or the recipe's weights and step 0.
    pub fn start(
        &self,
        recipe: &Recipe,
        folder: &RunFolder,
        optimizer: &mut Optimizer,
        device: &Device,
    ) -> Result<Start> {
        match self {
            Self::Encoder { tokenizer, config, classes } => {
                let shape = HeadShape::of(&recipe.task, *classes);
                let empty = TaskModel::new(config, shape, device).with_recompute(recipe.device.recompute);
                let (model, state) = start_encoder(recipe, config, empty, tokenizer, folder, optimizer, device)?;
                Ok(Start { network: Network::Encoder(model), state, carried: None })
            }
            Self::LanguageModel(model) => model.start(recipe, folder, optimizer, device),
        }
    }

    /// Reads what is to be learnt from and evaluated. `training` is the device that gradients are computed on.
    pub fn prepare(
        &self,
        source: &Source,
        recipe: &Recipe,
        network: &Network,
        chosen: &Chosen,
        training: &Device,
    ) -> Result<Prepared> {
        match (self, source) {
            (Self::LanguageModel(model), _) => language_model::prepare(model, recipe, chosen, training),
            (Self::Encoder { tokenizer, .. }, Source::Rows(card)) => {
                prepared::rows(card, recipe, tokenizer, network, chosen, training)
            }
            (Self::Encoder { tokenizer, .. }, _) => prepared::samples(recipe, tokenizer, network, chosen, training),
        }
    }

    /// How its models are left.
    pub fn export(self, source: &Source, loaded: &Loaded, characters_as_words: bool) -> Export {
        let recipe = &loaded.recipe;
        let answers = recipe.task.name == TaskName::QuestionAnswering;
        match self {
            Self::Encoder { tokenizer, config, .. } => Export::Encoder(Box::new(EncoderExport {
                task: recipe.task.name,
                labels: source.labels(),
                characters_as_words,
                answering: answers.then(|| Answering::from(&recipe.task)),
                reading: (answers && matches!(*config, ModelConfig::Words(_))).then(|| Reading::from(&recipe.task)),
                tagging: (recipe.task.name == TaskName::TokenClassification).then(|| Tagging::from(&recipe.task)),
                tokenizer,
                max_length: recipe.data.max_seq_length,
                origin: Origin::of(source, recipe),
                recipe: loaded.resolved_toml(),
                model: *config,
            })),
            Self::LanguageModel(model) => {
                Export::LanguageModel { vocabulary: model.vocabulary, recipe: loaded.resolved_toml() }
            }
        }
    }
}

/// The tokenizer that a recipe names, or that lies beside its weights.
pub fn tokenizer(recipe: &Recipe) -> Result<Tokenizer> {
    let folder = match (&recipe.model.tokenizer, &recipe.model.weights, features(recipe)) {
        (Some(folder), _, _) => folder.clone(),
        (None, Some(weights), _) => folder_of(weights),
        (None, None, Some(elmo)) => elmo,
        (None, None, None) => return Err(Error::input("the recipe names neither model.tokenizer nor model.weights")),
    };
    if !folder.is_dir() {
        let problem = Problem::new("is no folder").in_file(&folder);
        return Err(problem
            .help("model.tokenizer is a folder with the tokenizer's files, which come with the weights")
            .into());
    }
    Tokenizer::from_dir(recipe.model.architecture, &folder, (&recipe.model).into())
}

/// The folder of the ELMo that a recipe takes features from.
fn features(recipe: &Recipe) -> Option<PathBuf> {
    let named = recipe.features.as_ref()?.elmo.as_ref()?;
    // What is no ELMo is said where it is opened.
    Some(elmo::resolve(named).unwrap_or_else(|| named.clone()))
}

pub(super) fn folder_of(weights: &Path) -> PathBuf {
    if weights.is_file() { weights.parent().unwrap_or(Path::new(".")).to_path_buf() } else { weights.to_path_buf() }
}

/// The weights' own configuration with the recipe's words on top, checked against the tokenizer and the data.
fn model_config(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<ModelConfig> {
    let mut words = match &recipe.model.weights {
        Some(weights) if !weights.exists() => {
            let problem = Problem::new("is not there").in_file(weights);
            return Err(problem.help("model.weights is a folder or a file with the weights to start from").into());
        }
        // Paddle's static checkpoints have no config.json: the recipe may say all of it.
        Some(weights) if model_folder::has_config(&folder_of(weights)) || recipe.model.config == Default::default() => {
            model_folder::read_config(&folder_of(weights))?
        }
        _ => Map::from_iter([("vocab_size".to_string(), Value::from(tokenizer.vocab_size()))]),
    };
    // A table of words and numbers is always an object.
    if let Ok(Value::Object(own)) = serde_json::to_value(&recipe.model.config) {
        words.extend(own.into_iter().filter(|(_, value)| !value.is_null()));
    }
    words.extend(feature_words(recipe)?);
    let config =
        ModelConfig::from_words(recipe.model.architecture, &words).map_err(|error| match &recipe.model.weights {
            // A recipe's own words have been checked by now.
            Some(weights) => error.in_file(&folder_of(weights).join("config.json")),
            None => error,
        })?;
    if tokenizer.vocab_size() > config.common().vocab_size {
        let what = format!(
            "the tokenizer has {} tokens, the model's table {} rows",
            tokenizer.vocab_size(),
            config.common().vocab_size
        );
        return Err(Problem::new(what).help("the vocabulary is of another model: see model.tokenizer").into());
    }
    if recipe.data.max_seq_length > config.max_length() {
        let what = format!(
            "data.max_seq_length = {} is more than the {} positions of the model",
            recipe.data.max_seq_length,
            config.max_length()
        );
        return Err(Problem::new(what).help(format!("data.max_seq_length={}", config.max_length())).into());
    }
    Ok(config)
}

/// What `[features]` adds to a configuration.
fn feature_words(recipe: &Recipe) -> Result<Map<String, Value>> {
    let mut words = Map::new();
    if let Some(features) = &recipe.features {
        words.insert("elmo_dropout".into(), features.elmo_dropout.into());
        if let Some(folder) = self::features(recipe) {
            let elmo = ElmoConfig { compat_lac_demo: features.compat_lac_demo, ..elmo::read_config(&folder)? };
            // A struct of numbers, words and flags is always written.
            words.insert("elmo".into(), serde_json::to_value(&elmo).unwrap_or_default());
        }
    }
    Ok(words)
}

/// The ELMo that a recipe takes features from, whose words have to be the tokenizer's.
fn read_elmo(folder: &Path, tokenizer: &Tokenizer, device: &Device) -> Result<Elmo> {
    let opened = elmo::open(folder, SoftmaxUse::LeaveOut, device)?;
    let own = opened.vocabulary.as_ref().map(WordVocabulary::to_text);
    let Tokenizer::Words(words) = tokenizer else { return Ok(opened.elmo) };
    if own.is_some_and(|own| own != words.vocabulary().to_text()) {
        let problem = Problem::new("has other words than the tokenizer").in_file(folder);
        let help = format!("the features are by the number of a word: model.tokenizer={}", folder.display());
        return Err(problem.help(help).into());
    }
    Ok(opened.elmo)
}

/// The model and the state to go on from: the newest whole checkpoint, or the recipe's weights and step 0.
fn start_encoder(
    recipe: &Recipe,
    config: &ModelConfig,
    empty: TaskModel,
    tokenizer: &Tokenizer,
    folder: &RunFolder,
    optimizer: &mut Optimizer,
    device: &Device,
) -> Result<(TaskModel, State)> {
    let names = config.architecture().names();
    let initialisation = config.initialisation(recipe.training.seed);
    if let Some((path, state)) = checkpoint::newest(&folder.checkpoints()) {
        let (model, held) = checkpoint::load(&path)?;
        optimizer.load(&held, &device.clone().inner())?;
        let (model, _) = fill(empty, Some(&model), names, initialisation, Missing::Refuse)?;
        tracing::info!("going on from {}", path.display());
        return Ok((model.frozen(), state));
    }
    let weights = recipe.model.weights.as_deref().map(Weights::open).transpose()?;
    let (mut model, mut report) = fill(empty, weights.as_ref(), names, initialisation, Missing::HeadsAreNew)?;
    if let Some(elmo) = features(recipe) {
        model = model.with_elmo(read_elmo(&elmo, tokenizer, device)?);
        report.initialised.retain(|name| !name.starts_with("backbone.elmo."));
        tracing::info!("{}: the features of the words", elmo.display());
    }
    let source = recipe.model.weights.as_ref().map_or("no weights".to_string(), |path| path.display().to_string());
    tracing::info!("{source}: {report}");
    if let Some(folder) =
        recipe.model.weights.as_deref().map(folder_of).filter(|folder| !model_folder::has_config(folder))
    {
        tracing::warn!("{} has no config.json: the model's sizes are those of [model.config]", folder.display());
    }
    Ok((model.frozen(), State::default()))
}
