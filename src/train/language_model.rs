//! ELMo's pre-training: what is trained, and on what.

use std::sync::Arc;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use super::checkpoint::{self, State};
use super::optimizer::Optimizer;
use super::plan::Plan;
use super::prepared::{Places, Prepared};
use super::run_folder::RunFolder;
use super::subject::{Start, folder_of};
use crate::device::Chosen;
use crate::error::{Error, Problem, Result};
use crate::evaluate::Evaluator;
use crate::models::elmo::{self, CharacterConfig, Elmo, ElmoConfig, ElmoState, SoftmaxUse, TokenSource};
use crate::recipe::{ElmoEmbedding, Recipe};
use crate::streams::{Order, Sentences, StreamForm, StreamLoader, streams_of};
use crate::tasks::Network;
use crate::tokenize::elmo::WordVocabulary;
use crate::weights::{Initialisation, Missing, Spread, fill};

/// An ELMo that is to be trained, before any weights are read.
pub struct LanguageModel {
    pub vocabulary: WordVocabulary,
    pub config: ElmoConfig,
}

impl LanguageModel {
    /// The vocabulary that the recipe names or that lies beside its weights, and a configuration that fits it.
    pub fn open(recipe: &Recipe) -> Result<Self> {
        let folder = match (&recipe.model.tokenizer, &recipe.model.weights) {
            (Some(folder), _) => folder.clone(),
            (None, Some(weights)) => folder_of(weights),
            (None, None) => return Err(Error::input("the recipe names neither model.tokenizer nor model.weights")),
        };
        let file = if folder.is_file() { Some(folder.clone()) } else { WordVocabulary::find(&folder) };
        let file = file.ok_or_else(|| {
            let names = WordVocabulary::NAMES.join(" or ");
            let problem = Problem::new(format!("holds no {names}")).in_file(&folder);
            Error::from(problem.help("the vocabulary is a word a line, with <S>, </S> and <UNK> among them"))
        })?;
        let vocabulary = WordVocabulary::open(&file)?;
        let config = config(recipe, &vocabulary)?;
        Ok(Self { vocabulary, config })
    }

    /// The longest word in characters, if the model reads them.
    fn characters(&self) -> Option<usize> {
        self.config.characters().map(|characters| characters.max_characters_per_token)
    }

    fn form(&self, recipe: &Recipe) -> Result<StreamForm> {
        StreamForm::of(recipe, &self.vocabulary, self.characters())
    }

    /// The newest whole checkpoint, or the recipe's weights and step 0.
    pub fn start(
        &self,
        recipe: &Recipe,
        folder: &RunFolder,
        optimizer: &mut Optimizer,
        device: &Device,
    ) -> Result<Start> {
        if let Some((path, state)) = checkpoint::newest(&folder.checkpoints()) {
            let (weights, held) = checkpoint::load(&path)?;
            optimizer.load(&held, &device.clone().inner())?;
            let empty = Elmo::new(&self.config, true, device);
            let nothing_new = Initialisation { seed: 0, spread: Spread::Normal(0.0) };
            let (elmo, _) = fill(empty, Some(&weights), &[], nothing_new, Missing::Refuse)?;
            let carried = checkpoint::carried(&path)?;
            let layers = self.config.num_hidden_layers;
            let carried = carried.map(|file| ElmoState::load(&file, layers, device)).transpose()?;
            tracing::info!("going on from {}", path.display());
            return Ok(Start { network: Network::LanguageModel(elmo), state, carried });
        }
        let seed = recipe.training.seed;
        let elmo = match &recipe.model.weights {
            None => Elmo::new(&self.config, true, device).initialised(seed, |_| true),
            Some(weights) => {
                let softmax = if streams_of(recipe)?.new_softmax { SoftmaxUse::New(seed) } else { SoftmaxUse::Require };
                let opened = elmo::open(weights, softmax, device)?;
                tracing::info!("{}: {}", weights.display(), opened.report);
                opened.elmo
            }
        };
        Ok(Start { network: Network::LanguageModel(elmo), state: State::default(), carried: None })
    }
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

/// Reads the sentences.
pub fn prepare(model: &LanguageModel, recipe: &Recipe, chosen: &Chosen, training: &Device) -> Result<Prepared> {
    let streams = streams_of(recipe)?;
    let form = model.form(recipe)?;
    let sentences = Sentences::read(&streams.train, &model.vocabulary)?;
    announce(&sentences, &model.vocabulary);
    let words_per_step = (form.batch_size * form.accumulation * form.num_steps) as u64;
    let plan = Plan::new(recipe, (sentences.targets() / words_per_step).max(1));
    let seed = recipe.training.seed;
    // The two directions meet their sentences in orders of their own, as the original's two readers do.
    let orders =
        if streams.shuffle { [2 * seed, 2 * seed + 1].map(|seed| Order::Shuffled { seed }) } else { [Order::Files; 2] };
    let split = recipe.evaluation.select_on.split();
    let evaluator = Evaluator::of_streams(recipe, form, &model.vocabulary, split, &chosen.device)?;
    let fingerprint = sentences.fingerprint().to_string();
    let sentences = Arc::new(sentences);
    Ok(Prepared {
        rows_per_step: form.batch_size * form.accumulation,
        loader: Arc::new(StreamLoader::new(sentences, form, orders, training.clone(), plan.total_steps)),
        plan,
        fingerprint,
        places: Places::Streams,
        characters_as_words: false,
        evaluator,
    })
}

fn announce(sentences: &Sentences, vocabulary: &WordVocabulary) {
    let words = sentences.targets() - sentences.len() as u64;
    tracing::info!(
        "{} sentences of {words} words in {} files; {} words are not in the vocabulary of {}",
        sentences.len(),
        sentences.files().len(),
        sentences.unknown(vocabulary),
        vocabulary.len()
    );
}
