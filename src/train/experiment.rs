//! What a run trains, and on what.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::tensor::Device;

use super::checkpoint::HeldWords;
use super::optimizer::Optimizer;
use super::plan::Plan;
use crate::data::card::Split;
use crate::device::Chosen;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::metrics::Evaluation;
use crate::ranks::{Place, Ranks};
use crate::recipe::Recipe;
use crate::tasks::{BatchOf, Trainable};
use crate::weights::{TensorNames, Weights};

/// The part of a run that depends on the model.
pub trait Experiment: Send + 'static {
    type Model: Trainable;

    /// The optimizer before its first step.
    fn optimizer(&self) -> Optimizer;
    /// The names of the model's tensors in checkpoints.
    fn tensor_names(&self) -> &'static TensorNames;
    /// Reads what is trained and evaluated on, before there is a model: if it may, that one has the words of these rows alone, where rows
    /// of other words would learn nothing. Says which they are.
    fn read(&mut self, may_be_compact: bool, device: &Device) -> Result<Option<HeldWords>>;
    /// The model of step 0: the recipe's weights, and new ones where it has none.
    fn begin(&self, device: &Device) -> Result<Self::Model>;
    /// The model of a checkpoint.
    fn restore(&self, weights: &Weights, device: &Device) -> Result<Self::Model>;
    /// What [`Self::read`] has read, with the blocks of the rank at this place.
    fn data(&mut self, model: &Self::Model, chosen: &Chosen, place: Place) -> Result<TrainingData<Self::Model>>;
    /// Writes a model folder, whole or not at all. Of the rows of words that the model does not have, decay has `left` a share.
    fn export(&self, target: &Path, model: &Self::Model, left: f64, evaluation: Option<&Evaluation>) -> Result<()>;
}

/// What gives the figures of the model in a folder.
pub type Evaluate = fn(&Path, &Recipe, &[Split], &Device, &Ranks) -> Result<Evaluation>;

/// The training steps and what is evaluated, ready to go.
pub struct TrainingData<M: Trainable> {
    pub plan: Plan,
    /// Rows of an optimizer step.
    pub rows_per_step: usize,
    pub loader: Arc<dyn DataLoader<Vec<BatchOf<M>>>>,
    /// What the training rows are, so that a run does not go on with others.
    pub fingerprint: String,
    /// Where a row was read, for messages.
    pub place: Box<dyn Fn(usize) -> String + Send>,
    /// `None` where there is nothing to evaluate.
    pub evaluator: Option<Evaluator<M>>,
}
