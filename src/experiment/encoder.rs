//! Training an encoder, or ELMo's words, with a task's head.

use std::path::Path;

use burn::tensor::Device;

use super::model::{self, features, folder_of, model_config, read_elmo};
use crate::device::Chosen;
use crate::error::Result;
use crate::metrics::Evaluation;
use crate::model_folder::{self, Origin, TaskExport};
use crate::models::ModelConfig;
use crate::recipe::{Loaded, Recipe};
use crate::tasks::{TaskHead, TaskModel};
use crate::tokenize::Tokenizer;
use crate::train::{Experiment, Optimizer, TrainingData};
use crate::weights::{Missing, TensorNames, Weights, fill};

/// Where a head's batches come from.
pub trait TaskSource<H: TaskHead>: Sized + Send + 'static {
    /// The labels in the order of their numbers; none where there are no classes.
    fn labels(&self) -> Vec<String>;
    /// What a model is said to have been trained on.
    fn origin(&self, recipe: &Recipe) -> Origin;
    /// Reads what is trained and evaluated on.
    fn data(&self, setup: &mut TaskSetup<H>, model: &TaskModel<H>, chosen: &Chosen) -> Result<TaskData<H>>;
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
        Ok(Self { setup, source, resolved: loaded.resolved_toml() })
    }

    /// A model whose values are still to be given.
    fn empty(&self, device: &Device) -> TaskModel<H> {
        let TaskSetup { recipe, config, options, .. } = &self.setup;
        let classes = self.source.labels().len();
        TaskModel::new(config, options, classes, device).with_recompute(recipe.device.recompute)
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

    fn begin(&self, device: &Device) -> Result<TaskModel<H>> {
        let TaskSetup { recipe, tokenizer, config, .. } = &self.setup;
        let initialisation = config.initialisation(recipe.training.seed);
        let named = recipe.model.weights.as_deref();
        let weights = named.map(Weights::open).transpose()?;
        let (mut model, mut report) =
            fill(self.empty(device), weights.as_ref(), self.tensor_names(), initialisation, Missing::HeadsAreNew)?;
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
        let initialisation = self.setup.config.initialisation(self.setup.recipe.training.seed);
        let (model, _) = fill(self.empty(device), Some(weights), self.tensor_names(), initialisation, Missing::Refuse)?;
        Ok(model.frozen())
    }

    fn data(&mut self, model: &TaskModel<H>, chosen: &Chosen) -> Result<TaskData<H>> {
        self.source.data(&mut self.setup, model, chosen)
    }

    fn export(&self, target: &Path, model: &TaskModel<H>, evaluation: Option<&Evaluation>) -> Result<()> {
        let TaskSetup { recipe, tokenizer, config, options } = &self.setup;
        let export = TaskExport {
            config,
            task: recipe.task.name,
            options,
            labels: &self.source.labels(),
            tokenizer,
            max_length: recipe.data.max_seq_length,
            origin: self.source.origin(recipe),
            recipe: &self.resolved,
        };
        export.save(target, model, evaluation)
    }
}
