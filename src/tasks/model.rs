//! A backbone with a task's head: what is trained.

use std::fmt::Debug;

use burn::module::{Module, ModuleDisplay};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::batch::{Batch, BatchOf, Figures, Learned, Loss, Trainable, join_losses, learn_block};
use super::chunked_loss::MOST_LOGITS;
use super::gradients::{BackwardHook, add};
use super::layer_wise;
use crate::error::Result;
use crate::models::elmo::Elmo;
use crate::models::{Backbone, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{HasRoles, HiddenStates, Roles, has_cpu_kernels};
use crate::recipe::{Task, TaskName};

/// A batch of an encoder with a head.
pub type TaskBatch<H> = Batch<EncoderInput, <H as TaskHead>::Labels>;

/// The layers on top of an encoder, and what their output is compared with.
pub trait TaskHead: HasRoles + ModuleDisplay + 'static {
    /// What a recipe's `[task]` says of the head, and a model's `config.json` keeps.
    type Options: Clone + Debug + Default + Send + Sync + 'static;
    type Labels: Clone + Debug + Send + 'static;
    type Logits: Clone + Debug;
    /// See [`Trainable::Outcome`].
    type Outcome: Serialize + DeserializeOwned;

    /// The options of a recipe's `[task]` for so many labels.
    fn options(task: &Task, classes: usize) -> Self::Options;
    /// The options that a folder's `config.json` keeps, the usual ones where it says nothing; `has_pooler` tells whether its weights
    /// have a pooler.
    ///
    /// # Errors
    /// A value that is none of the option's.
    fn read_options(task: Option<TaskName>, config: &Map<String, Value>, has_pooler: bool) -> Result<Self::Options>;
    /// Writes the options that are not the usual ones into a `config.json`.
    fn write_options(options: &Self::Options, config: &mut Map<String, Value>);

    /// What the head reads of the encoder for a batch: all of the output, where it makes a difference what there is of the padding behind a row.
    fn reads(_batch: &TaskBatch<Self>) -> HiddenStates {
        HiddenStates::LastOfTokens
    }
    /// Whether the head reads the pooled first token.
    fn reads_pooled(_config: &ModelConfig, _options: &Self::Options) -> bool {
        false
    }
    /// A head of `classes` labels whose values are still to be given by [`crate::weights::fill`].
    fn new(config: &ModelConfig, options: &Self::Options, classes: usize, device: &Device) -> Self;
    /// The logits of all rows and tokens.
    fn forward(&self, input: &EncoderInput, output: &EncoderOutput, backbone: &Backbone) -> Self::Logits;
    /// The logits that the losses of a batch come from.
    fn training_logits(&self, batch: &TaskBatch<Self>, output: &EncoderOutput, backbone: &Backbone) -> Self::Logits {
        self.forward(&batch.input, output, backbone)
    }
    /// The losses of a training batch, as [`Self::losses`] has them.
    fn training_losses(&self, batch: &TaskBatch<Self>, output: &EncoderOutput, backbone: &Backbone) -> Vec<Tensor<1>> {
        self.losses(batch, &self.training_logits(batch, output, backbone))
    }
    /// The losses of a batch, each `[1]` and summed over its labels, in the order of the batch's terms.
    fn losses(&self, batch: &TaskBatch<Self>, logits: &Self::Logits) -> Vec<Tensor<1>>;
    /// The logits by the names that `kiln encode` writes them under.
    fn named_logits(input: &EncoderInput, logits: Self::Logits) -> Vec<(&'static str, TensorData)>;

    /// The batch, cut so that no part has more logits than `most`; all of it where they are few.
    fn parts(&self, batch: &TaskBatch<Self>, _most: usize) -> Vec<TaskBatch<Self>> {
        vec![batch.clone()]
    }
    /// The batch with what the model itself has to write into it before it learns from it.
    fn completed(_model: &TaskModel<Self>, batch: TaskBatch<Self>) -> TaskBatch<Self> {
        batch
    }
}

/// An encoder with a task's head.
#[derive(Module, Debug)]
pub struct TaskModel<H: Module> {
    pub backbone: Backbone,
    pub head: H,
    /// Whether training holds the graph of one layer at a time; see [`layer_wise`].
    pub(super) recompute: bool,
}

impl<H: TaskHead> HasRoles for TaskModel<H> {
    fn add_roles(&self, roles: &mut Roles) {
        self.backbone.add_roles(roles);
        roles.set(&self.head, |role| role.is_new = true);
        self.head.add_roles(roles);
    }
}

impl<H: TaskHead> TaskModel<H> {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ModelConfig, options: &H::Options, classes: usize, device: &Device) -> Self {
        // As the libraries do: the tasks that do not read the pooled token have no pooler.
        let backbone = Backbone::new(config, H::reads_pooled(config, options), device);
        Self { backbone, head: H::new(config, options, classes, device), recompute: false }
    }

    /// The same model, which trains with less memory in more time if `recompute` says so.
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// The same model with an ELMo for the features of its words, if it is one of words.
    pub fn with_elmo(self, elmo: Elmo) -> Self {
        match self.backbone {
            Backbone::Words(words) => Self { backbone: Backbone::Words(words.with_elmo(elmo)), ..self },
            _ => self,
        }
    }

    /// The same model, in which what is never trained has no gradients.
    pub fn frozen(self) -> Self {
        match self.backbone {
            Backbone::Words(words) => Self { backbone: Backbone::Words(words.frozen()), ..self },
            _ => self,
        }
    }

    /// The parameters that every token is multiplied by: the layers' weights, or all where there are no layers.
    pub fn params_per_token(&self) -> usize {
        self.backbone.encoder().map_or_else(|| self.num_params(), Module::num_params)
    }

    /// All of the encoder's states, and the head's logits.
    pub fn forward(&self, input: &EncoderInput) -> (EncoderOutput, H::Logits) {
        let output = self.backbone.forward(input, HiddenStates::All);
        let logits = self.head.forward(input, &output, &self.backbone);
        (output, logits)
    }

    /// The head's logits.
    pub fn logits(&self, input: &EncoderInput) -> H::Logits {
        self.head.forward(input, &self.backbone.forward(input, HiddenStates::Last), &self.backbone)
    }

    /// The summed losses of a [completed](TaskHead::completed) batch, with the logits they come from.
    pub fn losses(&self, batch: &TaskBatch<H>) -> (Vec<Tensor<1>>, H::Logits) {
        self.losses_of(batch, HiddenStates::Last)
    }

    fn losses_of(&self, batch: &TaskBatch<H>, keep: HiddenStates) -> (Vec<Tensor<1>>, H::Logits) {
        let output = self.backbone.forward(&batch.input, keep);
        let logits = self.head.training_logits(batch, &output, &self.backbone);
        (self.head.losses(batch, &logits), logits)
    }

    /// Adds the gradients of a batch's scaled loss to `all`, and gives the losses themselves, without a graph. Of the masked-LM logits no
    /// more than about `most_logits` numbers are held at once.
    pub(super) fn add_gradients(
        &self,
        batch: &TaskBatch<H>,
        most_logits: usize,
        all: &mut GradientsParams,
        hook: Option<&mut dyn BackwardHook<Self>>,
    ) -> Vec<Loss> {
        if let Some(encoder) = self.backbone.encoder()
            && (self.recompute || hook.is_some() || self.head.parts(batch, most_logits).len() > 1)
        {
            return layer_wise::add_gradients(self, encoder, batch, most_logits, all, hook);
        }
        let output = self.backbone.forward(&batch.input, H::reads(batch));
        let sums = self.head.training_losses(batch, &output, &self.backbone);
        let gradients = batch.scaled(&sums).backward();
        add(self, all, GradientsParams::from_grads(gradients, self));
        batch.losses(sums)
    }
}

impl<H: TaskHead> Trainable for TaskModel<H> {
    type Input = EncoderInput;
    type Labels = H::Labels;
    type Logits = H::Logits;
    type Outcome = H::Outcome;
    type Carried = ();

    fn learn(&self, batch: BatchOf<Self>, (): &(), hook: Option<&mut dyn BackwardHook<Self>>) -> Learned<()> {
        let batch = H::completed(self, batch);
        let most = if has_cpu_kernels(&batch.input.input_ids.device()) { usize::MAX } else { MOST_LOGITS };
        let mut gradients = GradientsParams::new();
        let losses = self.add_gradients(&batch, most, &mut gradients, hook);
        Learned { losses, gradients, carried: () }
    }

    fn predict(&self, batch: &BatchOf<Self>, _: &mut ()) -> (Vec<Loss>, H::Logits) {
        let batch = H::completed(self, batch.clone());
        let (sums, logits) = self.losses_of(&batch, H::reads(&batch));
        (batch.losses(sums), logits)
    }
}

impl<H: TaskHead> TrainStep for TaskModel<H> {
    type Input = Vec<TaskBatch<H>>;
    type Output = Figures;

    fn step(&self, batches: Self::Input) -> TrainOutput<Figures> {
        let Learned { losses, gradients, .. } = learn_block(self, batches, &(), None);
        TrainOutput { grads: gradients, item: Figures::loss(&losses) }
    }
}

impl<H: TaskHead> InferenceStep for TaskModel<H> {
    type Input = Vec<TaskBatch<H>>;
    type Output = Figures;

    fn step(&self, batches: Self::Input) -> Figures {
        Figures::loss(&join_losses(batches.iter().map(|batch| self.predict(batch, &mut ()).0).collect()))
    }
}

/// The head of a bare encoder.
#[derive(Module, Debug)]
pub struct NoHead {
    #[module(skip)]
    with_pooler: bool,
}

impl HasRoles for NoHead {}

impl TaskHead for NoHead {
    /// Whether the encoder has a pooler.
    type Options = bool;
    type Labels = ();
    type Logits = ();
    type Outcome = ();

    fn options(_: &Task, _: usize) -> bool {
        false
    }

    fn read_options(_: Option<TaskName>, _: &Map<String, Value>, has_pooler: bool) -> Result<bool> {
        Ok(has_pooler)
    }

    fn write_options(_: &bool, _: &mut Map<String, Value>) {}

    fn reads_pooled(_: &ModelConfig, with_pooler: &bool) -> bool {
        *with_pooler
    }

    fn new(_: &ModelConfig, with_pooler: &bool, _: usize, _: &Device) -> Self {
        Self { with_pooler: *with_pooler }
    }

    fn forward(&self, _: &EncoderInput, _: &EncoderOutput, _: &Backbone) {}

    fn losses(&self, _: &TaskBatch<Self>, (): &()) -> Vec<Tensor<1>> {
        Vec::new()
    }

    fn named_logits(_: &EncoderInput, (): ()) -> Vec<(&'static str, TensorData)> {
        Vec::new()
    }
}
