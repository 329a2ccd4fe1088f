//! ELMo's pre-training: what is trained, and on what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use super::Opened;
use super::model::tokenizer_path;
use crate::data::card::Split;
use crate::device::Chosen;
use crate::error::{Error, Problem, Result};
use crate::evaluate::Evaluator;
use crate::metrics::Evaluation;
use crate::model_folder;
use crate::model_folder::elmo::{self, SoftmaxUse};
use crate::models::elmo::{CharacterConfig, Elmo, ElmoConfig, LogUniform, TokenSource};
use crate::models::elmo_family::FAMILY;
use crate::ranks::Place;
use crate::recipe::{ElmoEmbedding, Loaded, Recipe, Streams};
use crate::streams::{BpttOptions, Order, Sentences, StreamSteps};
use crate::tasks::EvalSet;
use crate::tasks::bidirectional_lm::{NextWords, StreamCollate};
use crate::tokenize::elmo::WordVocabulary;
use crate::train::{Experiment, HeldWords, Optimizer, Plan, TrainingData};
use crate::weights::{Initialisation, Missing, Spread, TensorNames, Weights, fill};

/// An ELMo that is to be trained, before any weights are read.
pub struct BidirectionalLm {
    recipe: Recipe,
    resolved: String,
    vocabulary: WordVocabulary,
    config: ElmoConfig,
}

impl BidirectionalLm {
    /// The vocabulary that the recipe names or that lies beside its weights, and a configuration that fits it.
    ///
    /// # Errors
    /// Files that cannot be read, or do not fit.
    pub fn open(loaded: &Loaded) -> Result<Self> {
        let recipe = loaded.recipe.clone();
        let vocabulary = WordVocabulary::open(&vocabulary_file(&recipe)?)?;
        let config = config(&recipe, &vocabulary)?;
        Ok(Self { recipe, resolved: loaded.resolved_toml(), vocabulary, config })
    }
}

impl Experiment for BidirectionalLm {
    type Model = Elmo;

    fn optimizer(&self) -> Optimizer {
        Optimizer::new(&self.recipe.optimizer, self.tensor_names())
    }

    /// They are called like the fields of the model.
    fn tensor_names(&self) -> &'static TensorNames {
        &FAMILY.tensors
    }

    fn read(&mut self, _: bool, _: &Device) -> Result<Option<HeldWords>> {
        Ok(None)
    }

    fn begin(&self, device: &Device) -> Result<Elmo> {
        let seed = self.recipe.training.seed;
        let Some(weights) = &self.recipe.model.weights else {
            return Ok(Elmo::new(&self.config, true, device).initialised(seed, |_| true));
        };
        let softmax = if streams_of(&self.recipe)?.new_softmax { SoftmaxUse::New(seed) } else { SoftmaxUse::Require };
        let opened = elmo::open(weights, softmax, device)?;
        tracing::info!("{}: {}", weights.display(), opened.report);
        Ok(opened.elmo)
    }

    fn restore(&self, weights: &Weights, device: &Device) -> Result<Elmo> {
        let empty = Elmo::new(&self.config, true, device);
        let nothing_new = Initialisation { seed: 0, spread: Spread::Normal(0.0) };
        Ok(fill(empty, Some(weights), self.tensor_names(), nothing_new, Missing::Refuse)?.0)
    }

    fn data(&mut self, _: &Elmo, chosen: &Chosen, place: Place) -> Result<TrainingData<Elmo>> {
        let recipe = &self.recipe;
        let streams = streams_of(recipe)?;
        let collate = collate(recipe, &self.vocabulary, &self.config)?;
        let options = collate.options;
        let sentences = Sentences::read(&streams.train, &self.vocabulary)?;
        announce(&sentences, &self.vocabulary);
        let rows_per_step = options.streams() * options.accumulation;
        let words_per_step = (rows_per_step * options.num_steps) as u64;
        let per_epoch = (sentences.targets() / words_per_step).max(1);
        let plan = Plan::new(recipe, per_epoch);
        let seed = recipe.training.seed;
        // The two directions meet their sentences in orders of their own, as the original's two readers do.
        let orders = match streams.shuffle {
            true => [2 * seed, 2 * seed + 1].map(|seed| Order::Shuffled { seed }),
            false => [Order::Files; 2],
        };
        let split = recipe.evaluation.select_on.split();
        let evaluator = evaluator(recipe, collate, &self.vocabulary, split, &chosen.device)?;
        let fingerprint = sentences.fingerprint.clone();
        let steps = StreamSteps::new(Arc::new(sentences), options, orders, plan.total_steps).of_rank(place);
        Ok(TrainingData {
            plan,
            rows_per_step,
            loader: Arc::new(collate.loader(steps, &chosen.device.clone().autodiff())),
            fingerprint,
            place: Box::new(|row| format!("stream {row}")),
            evaluator,
        })
    }

    fn export(&self, target: &Path, elmo: &Elmo, _: f64, evaluation: Option<&Evaluation>) -> Result<()> {
        let format = self.recipe.export.format();
        model_folder::save_language_model(target, elmo, &self.vocabulary, &self.resolved, format, evaluation)
    }
}

/// A recipe's `[streams]`, which a recipe of "bidirectional-lm" has.
fn streams_of(recipe: &Recipe) -> Result<&Streams> {
    recipe.streams.as_ref().ok_or_else(|| Error::input("the recipe has no [streams]"))
}

/// What a recipe says of its batches.
fn collate(recipe: &Recipe, vocabulary: &WordVocabulary, config: &ElmoConfig) -> Result<StreamCollate> {
    let streams = streams_of(recipe)?;
    let sampler = |samples| LogUniform { vocabulary: vocabulary.len(), samples, seed: recipe.training.seed };
    let options = BpttOptions {
        batch_size: recipe.training.batch_size,
        devices: streams.devices,
        accumulation: recipe.training.gradient_accumulation_steps,
        num_steps: streams.num_steps,
        begin: vocabulary.begin,
        end: vocabulary.end,
        characters: config.characters().map(|characters| characters.max_characters_per_token),
    };
    Ok(StreamCollate { options, state: streams.state, sampler: streams.negative_samples.map(sampler) })
}

/// The sentences of the dev or test files, each once; `None` where there are no such files.
fn evaluator(
    recipe: &Recipe,
    collate: StreamCollate,
    vocabulary: &WordVocabulary,
    split: Split,
    device: &Device,
) -> Result<Option<Evaluator<Elmo>>> {
    let streams = streams_of(recipe)?;
    let Some(patterns) = (if split == Split::Test { &streams.test } else { &streams.dev }) else { return Ok(None) };
    let sentences = Arc::new(Sentences::read(patterns, vocabulary)?);
    let options = BpttOptions { accumulation: 1, devices: 1, ..collate.options };
    let collate = StreamCollate { options, sampler: None, ..collate };
    let set = EvalSet { split: split.to_string(), language: "all".to_string(), ..EvalSet::default() };
    let loader = collate.loader(StreamSteps::once(sentences, options), &device.clone().inner());
    Ok(Some(Evaluator {
        sets: vec![set],
        loader: Box::new(move |place| Arc::new(loader.of_rank(place))),
        // A batch begins with the state that the one before it has left: every rank computes all of them.
        is_shared: false,
        set_of: Box::new(|_| 0),
        scorers: vec![Box::new(|| Box::new(NextWords::default()))],
    }))
}

/// The language model in a folder, and what it is evaluated on.
pub fn opened(folder: &Path, recipe: &Recipe, splits: &[Split], device: &Device) -> Result<Opened<Elmo>> {
    let opened = elmo::open(folder, SoftmaxUse::Require, device)?;
    let vocabulary = opened.vocabulary.ok_or_else(|| {
        Error::from(Problem::new("has no vocabulary (vocab.txt)").in_file(folder).help("it is a word a line"))
    })?;
    let collate = collate(recipe, &vocabulary, opened.elmo.config())?;
    let found = splits.iter().map(|split| evaluator(recipe, collate, &vocabulary, *split, device));
    let evaluators = found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    Ok((opened.elmo, evaluators))
}

/// The file of words that the recipe names, or that lies beside its weights.
///
/// # Errors
/// There is none.
pub fn vocabulary_file(recipe: &Recipe) -> Result<PathBuf> {
    let folder = tokenizer_path(recipe)?;
    let file = if folder.is_file() { Some(folder.clone()) } else { WordVocabulary::find(&folder) };
    file.ok_or_else(|| {
        let names = WordVocabulary::NAMES.join(" or ");
        let problem = Problem::new(format!("holds no {names}")).in_file(&folder);
        Error::from(problem.help("the vocabulary is a word a line, with <S>, </S> and <UNK> among them"))
    })
}

/// What the weights' own configuration and the recipe's words say; without weights, Baidu's model in the recipe's sizes.
fn config(recipe: &Recipe, vocabulary: &WordVocabulary) -> Result<ElmoConfig> {
    let base = match &recipe.model.weights {
        Some(weights) => elmo::read_config(weights)?,
        None => ElmoConfig { vocab_size: vocabulary.len(), ..ElmoConfig::default() },
    };
    let mut words = object(serde_json::to_value(&base));
    let own = object(serde_json::to_value(&recipe.model.config));
    let own = own.into_iter().filter(|(word, value)| !value.is_null() && word != "embedding");
    words.extend(own);
    match recipe.model.config.embedding {
        Some(ElmoEmbedding::Word) => words.insert("embedding".into(), json!(TokenSource::Word)),
        Some(ElmoEmbedding::Character) if base.characters().is_none() => {
            words.insert("embedding".into(), json!(TokenSource::Character(CharacterConfig::default())))
        }
        _ => None,
    };
    let config: ElmoConfig = serde_json::from_value(Value::Object(words))
        .map_err(|cause| Error::from(Problem::new(format!("the model's configuration does not fit elmo: {cause}"))))?;
    config.check()?;
    if config.vocab_size != vocabulary.len() {
        let what = format!("the vocabulary has {} words, the model's softmax {}", vocabulary.len(), config.vocab_size);
        return Err(Problem::new(what).help("take the file that the model was trained with").into());
    }
    Ok(config)
}

/// A struct of numbers, words and flags is always an object.
fn object(value: serde_json::Result<Value>) -> Map<String, Value> {
    match value {
        Ok(Value::Object(words)) => words,
        _ => Map::new(),
    }
}

fn announce(sentences: &Sentences, vocabulary: &WordVocabulary) {
    let words = sentences.targets() - sentences.count() as u64;
    tracing::info!(
        "{} sentences of {words} words in {} files; {} words are not in the vocabulary of {}",
        sentences.count(),
        sentences.files.len(),
        sentences.unknown(vocabulary),
        vocabulary.len()
    );
}
