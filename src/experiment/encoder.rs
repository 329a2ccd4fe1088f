//! Training an encoder, or ELMo's words, with a task's head.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;

use super::model::{self, features, folder_of, model_config, read_elmo};
use crate::data::CompactVocabulary;
use crate::device::Chosen;
use crate::error::Result;
use crate::hub::{Address, Hub, Kind};
use crate::metrics::Evaluation;
use crate::model_folder::{self, Origin, TaskExport};
use crate::models::ModelConfig;
use crate::ranks::Place;
use crate::recipe::{Loaded, Recipe};
use crate::tasks::{TaskHead, TaskModel};
use crate::tokenize::Tokenizer;
use crate::train::{Experiment, HeldWords, Optimizer, TrainingData};
use crate::weights::{Initialisation, Missing, PartialTable, TensorNames, Weights, fill, fill_with_rows};

/// Where a head's batches come from.
pub trait TaskSource<H: TaskHead>: Sized + Send + 'static {
    /// The labels in the order of their numbers; none where there are no classes.
    fn labels(&self) -> Vec<String>;
    /// What a model is said to have been trained on.
    fn origin(&self, recipe: &Recipe) -> Origin;
    /// Reads what is trained and evaluated on, and gives its tokens, if they are known before the training.
    ///
    /// # Errors
    /// Files that are not there, or are wrong.
    fn read(&mut self, setup: &TaskSetup<H>) -> Result<Option<CompactVocabulary>>;
    /// What is trained and evaluated on, with the tokens' numbers in a part of the vocabulary, if the model has no more.
    fn data(
        &mut self,
        setup: &mut TaskSetup<H>,
        words: Option<Arc<CompactVocabulary>>,
        model: &TaskModel<H>,
        chosen: &Chosen,
        place: Place,
    ) -> Result<TaskData<H>>;
}

/// What an encoder with a head is trained on.
pub type TaskData<H> = TrainingData<TaskModel<H>>;

/// The parts of the experiment that its data depends on.
pub struct TaskSetup<H: TaskHead> {
    pub recipe: Recipe,
    pub tokenizer: Tokenizer,
    pub config: ModelConfig,
    pub options: H::Options,
}

/// An encoder with a head, and the source of its batches.
pub struct TaskExperiment<H: TaskHead, S> {
    setup: TaskSetup<H>,
    source: S,
    /// The resolved recipe, for the model card.
    resolved: String,
    /// The repositories of Hugging Face's that the weights and the data came from.
    base_model: Option<Address>,
    repository: Option<Address>,
    /// The words that the model has, if not all.
    words: Option<Words>,
}

/// The part of the vocabulary that the model has, and its table.
struct Words {
    vocabulary: Arc<CompactVocabulary>,
    /// Of the configuration without the other words.
    config: ModelConfig,
    table: PartialTable,
}

impl<H: TaskHead, S: TaskSource<H>> TaskExperiment<H, S> {
    /// Reads what the recipe's tokenizer and configuration say, and sees that they fit each other.
    ///
    /// # Errors
    /// Files that cannot be read, or do not fit.
    pub fn open(loaded: &Loaded, source: S) -> Result<Self> {
        let recipe = loaded.recipe.clone();
        let tokenizer = model::tokenizer(&recipe)?;
        let config = model_config(&recipe, &tokenizer)?;
        let options = H::options(&recipe.task, source.labels().len());
        let setup = TaskSetup { recipe, tokenizer, config, options };
        let base_model = loaded.written.model.weights.as_deref().and_then(|path| on_the_hub(path, Kind::Model));
        let repository = on_the_hub(&loaded.written.data.root, Kind::Dataset);
        Ok(Self { setup, source, resolved: loaded.resolved_toml(), base_model, repository, words: None })
    }

    /// A model whose values are still to be given.
    fn empty(&self, device: &Device) -> TaskModel<H> {
        let TaskSetup { recipe, config, options, .. } = &self.setup;
        let config = self.words.as_ref().map_or(config, |words| &words.config);
        let classes = self.source.labels().len();
        TaskModel::new(config, options, classes, device).with_recompute(recipe.device.recompute)
    }

    fn initialisation(&self) -> Initialisation {
        self.setup.config.initialisation(self.setup.recipe.training.seed)
    }

    /// The part of the vocabulary that a model needs for these tokens.
    fn words(&self, vocabulary: CompactVocabulary, device: &Device) -> Result<Option<Words>> {
        let TaskSetup { recipe, config, .. } = &self.setup;
        let (ids, rows) = (vocabulary.ids(), config.vocab_size());
        if ids.len() >= rows {
            return Ok(None);
        }
        let weights = recipe.model.weights.as_deref().map(Weights::open).transpose()?.map(Arc::new);
        let model = self.empty(device);
        let table = PartialTable::of(&model, weights, self.tensor_names(), self.initialisation(), rows, ids.clone());
        let Some(table) = table else { return Ok(None) };
        tracing::info!(
            "{} of the {rows} rows of the table of words are trained; no row of the data has the other tokens",
            ids.len()
        );
        let padding = vocabulary.number(config.pad_token_id() as u32) as usize;
        let config = config.clone().with_vocabulary(ids.len(), padding);
        Ok(Some(Words { vocabulary: Arc::new(vocabulary), config, table }))
    }
}

impl<H: TaskHead, S: TaskSource<H>> Experiment for TaskExperiment<H, S> {
    type Model = TaskModel<H>;

    fn optimizer(&self) -> Optimizer {
        let recipe = &self.setup.recipe;
        let mixture_l2 = recipe.features.as_ref().map_or(0.0, |features| features.elmo_l2_coef);
        Optimizer::new(&recipe.optimizer, self.tensor_names()).with_mixture_l2(mixture_l2)
    }

    fn tensor_names(&self) -> &'static TensorNames {
        &self.setup.config.family().tensors
    }

    fn read(&mut self, may_be_compact: bool, device: &Device) -> Result<Option<HeldWords>> {
        let Recipe { training, optimizer, .. } = &self.setup.recipe;
        // L2 moves rows without a gradient, too, by more than a factor.
        let is_exact = training.compact_vocabulary != Some(false) && optimizer.l2 == 0.0;
        let vocabulary = self.source.read(&self.setup)?.filter(|_| may_be_compact && is_exact);
        self.words = vocabulary.map(|vocabulary| self.words(vocabulary, device)).transpose()?.flatten();
        let held = |words: &Words| Ok(HeldWords::new(words.vocabulary.fingerprint(), words.table.fingerprint()?));
        self.words.as_ref().map(held).transpose()
    }

    fn begin(&self, device: &Device) -> Result<TaskModel<H>> {
        let TaskSetup { recipe, tokenizer, .. } = &self.setup;
        let named = recipe.model.weights.as_deref();
        let weights = named.map(Weights::open).transpose()?;
        let (mut model, mut report) = fill_with_rows(
            self.empty(device),
            weights.as_ref(),
            self.tensor_names(),
            self.initialisation(),
            Missing::HeadsAreNew,
            self.words.as_ref().map(|words| &words.table),
        )?;
        if let Some(elmo) = features(recipe) {
            model = model.with_elmo(read_elmo(&elmo, tokenizer, device)?);
            report.initialised.retain(|name| !name.starts_with("backbone.elmo."));
            tracing::info!("{}: the features of the words", elmo.display());
        }
        let source = named.map_or("no weights".to_string(), |path| path.display().to_string());
        tracing::info!("{source}: {report}");
        if let Some(folder) = named.map(folder_of).filter(|folder| !model_folder::has_config(folder)) {
            tracing::warn!("{} has no config.json: the model's sizes are those of [model.config]", folder.display());
        }
        Ok(model.frozen())
    }

    fn restore(&self, weights: &Weights, device: &Device) -> Result<TaskModel<H>> {
        let (empty, names) = (self.empty(device), self.tensor_names());
        let (model, _) = fill(empty, Some(weights), names, self.initialisation(), Missing::Refuse)?;
        Ok(model.frozen())
    }

    fn data(&mut self, model: &TaskModel<H>, chosen: &Chosen, place: Place) -> Result<TaskData<H>> {
        let words = self.words.as_ref().map(|words| words.vocabulary.clone());
        self.source.data(&mut self.setup, words, model, chosen, place)
    }

    fn export(&self, target: &Path, model: &TaskModel<H>, left: f64, evaluation: Option<&Evaluation>) -> Result<()> {
        let TaskSetup { recipe, tokenizer, config, options } = &self.setup;
        let export = TaskExport {
            config,
            task: recipe.task.name,
            options,
            labels: &self.source.labels(),
            tokenizer,
            max_length: recipe.data.max_seq_length,
            origin: Origin {
                license: recipe.export.license.clone(),
                base_model: self.base_model.as_ref().map(Address::id),
                repository: self.repository.as_ref().map(|data| (data.id(), data.commit().map(str::to_string))),
                ..self.source.origin(recipe)
            },
            recipe: &self.resolved,
            table: self.words.as_ref().map(|words| (&words.table, left)),
            format: recipe.export.format(),
        };
        export.save(target, model, evaluation)
    }
}

/// The repository of Hugging Face's that a path of a recipe stands for.
fn on_the_hub(path: &Path, kind: Kind) -> Option<Address> {
    Address::of(path, kind).ok().flatten().filter(|address| address.hub == Hub::HuggingFace)
}
