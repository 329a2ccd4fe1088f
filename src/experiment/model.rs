//! What a recipe says of its model: tokenizer, configuration, features.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use serde_json::{Map, Value};

use crate::device::{self, Chosen};
use crate::error::{Error, Problem, Result};
use crate::model_folder;
use crate::model_folder::elmo::{self, SoftmaxUse};
use crate::models::ModelConfig;
use crate::models::elmo::{Elmo, ElmoConfig};
use crate::nn::has_cpu_kernels;
use crate::recipe::Recipe;
use crate::tasks::{TaskHead, TaskModel};
use crate::tokenize::Tokenizer;
use crate::tokenize::elmo::WordVocabulary;

/// What a micro-batch costs beside its tokens, in tokens. On a GPU it is launches, which leave it idle unless there is much to compute.
const GPU_OVERHEAD: usize = 4096;
/// On a processor it is small operations and products of few rows, and a gradient of every parameter, made and added up: so many tokens
/// if all parameters were the layers', by which alone a token is multiplied. Near what was measured on one core with 26,000
/// and 250,002 words.
const CPU_OVERHEAD: usize = 40;
const GRADIENTS: usize = 20;

/// Whether a model computes rows without their padding, so that rows of any length go together.
pub(super) fn is_packed<H: TaskHead>(chosen: &Chosen, model: &TaskModel<H>) -> bool {
    model.backbone.encoder().is_some() && has_cpu_kernels(&chosen.device)
}

pub(super) fn overhead<H: TaskHead>(chosen: &Chosen, model: &TaskModel<H>) -> usize {
    match device::is_cpu(chosen.backend) {
        true => CPU_OVERHEAD + GRADIENTS * model.num_params() / model.params_per_token().max(1),
        false => GPU_OVERHEAD,
    }
}

/// Where the tokenizer's files are: where a recipe says, or beside its weights or its features.
pub(super) fn tokenizer_path(recipe: &Recipe) -> Result<PathBuf> {
    let given = recipe.model.tokenizer.clone();
    let found = given.or_else(|| recipe.model.weights.as_deref().map(folder_of)).or_else(|| features(recipe));
    found.ok_or_else(|| Error::input("the recipe names neither model.tokenizer nor model.weights"))
}

/// The tokenizer that a recipe names, or that lies beside its weights.
pub fn tokenizer(recipe: &Recipe) -> Result<Tokenizer> {
    let folder = tokenizer_path(recipe)?;
    if !folder.is_dir() {
        let problem = Problem::new("is no folder").in_file(&folder);
        return Err(problem
            .help("model.tokenizer is a folder with the tokenizer's files, which come with the weights")
            .into());
    }
    Tokenizer::from_dir(recipe.model.architecture.tokenizers, &folder, (&recipe.model).into())
}

/// The folder of the ELMo that a recipe takes features from.
pub(super) fn features(recipe: &Recipe) -> Option<PathBuf> {
    let named = recipe.features.as_ref()?.elmo.as_ref()?;
    // What is no ELMo is said where it is opened.
    Some(elmo::resolve(named).unwrap_or_else(|| named.clone()))
}

pub(super) fn folder_of(weights: &Path) -> PathBuf {
    if weights.is_file() { weights.parent().unwrap_or(Path::new(".")).to_path_buf() } else { weights.to_path_buf() }
}

/// The weights' own configuration with the recipe's words on top, checked against the tokenizer and the data.
pub(super) fn model_config(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<ModelConfig> {
    let mut words = match &recipe.model.weights {
        Some(weights) if !weights.exists() => {
            let problem = Problem::new("is not there").in_file(weights);
            let help =
                "model.weights is a folder or a file with the weights to start from, or a repository: hf://OWNER/NAME";
            return Err(problem.help(help).into());
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
    if tokenizer.vocab_size() > config.vocab_size() {
        let what = format!(
            "the tokenizer has {} tokens, the model's table {} rows",
            tokenizer.vocab_size(),
            config.vocab_size()
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
    if let Some(given) = &recipe.features {
        words.insert("elmo_dropout".into(), given.elmo_dropout.into());
        if let Some(folder) = features(recipe) {
            let elmo = ElmoConfig { compat_lac_demo: given.compat_lac_demo, ..elmo::read_config(&folder)? };
            // A struct of numbers, words and flags is always written.
            words.insert("elmo".into(), serde_json::to_value(&elmo).unwrap_or_default());
        }
    }
    Ok(words)
}

/// The ELMo that a recipe takes features from, whose words have to be the tokenizer's.
pub(super) fn read_elmo(folder: &Path, tokenizer: &Tokenizer, device: &Device) -> Result<Elmo> {
    let opened = elmo::open(folder, SoftmaxUse::LeaveOut, device)?;
    let own = opened.vocabulary.as_ref().map(WordVocabulary::to_text);
    let Some(words) = tokenizer.as_words() else { return Ok(opened.elmo) };
    if own.is_some_and(|own| own != words.vocabulary().to_text()) {
        let problem = Problem::new("has other words than the tokenizer").in_file(folder);
        let help = format!("the features are by the number of a word: model.tokenizer={}", folder.display());
        return Err(problem.help(help).into());
    }
    Ok(opened.elmo)
}
