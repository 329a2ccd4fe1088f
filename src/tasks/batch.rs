//! Batches and losses: what goes through a model at once, and what comes of it.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;

use burn::optim::GradientsParams;
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::{InferenceStep, ItemLazy, LearnerModel, TrainStep};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::gradients::{BackwardHook, add};
use crate::error::Result;
use crate::nn::HasRoles;
use crate::weights::{NamedTensor, Weights};

/// A micro-batch on one device.
#[derive(Debug, Clone)]
pub struct Batch<I, L> {
    /// What the model reads.
    pub input: I,
    /// What its output is compared with. A negative label is ignored.
    pub labels: L,
    /// Which rows of their data set these are.
    pub rows: Vec<usize>,
    /// Which block of its step it is of, or is a part of: so many rows as the recipe's batch has.
    pub block: usize,
    /// Tokens that are no padding.
    pub tokens: usize,
    /// Tokens computed, padding included.
    pub padded_tokens: usize,
    /// How the losses count, the task's own first.
    pub terms: Vec<LossTerm>,
}

/// How one of a batch's losses counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossTerm {
    /// What the loss is called in logs and results.
    pub name: &'static str,
    /// How many labels count (rows, tokens or spans): what the loss is a sum over.
    pub labels: usize,
    /// What it becomes in the loss of its optimizer step.
    pub mean: Mean,
    /// What the summed loss is multiplied with before the backward pass, once [`scale_to_step`] knows the whole step.
    pub scale: f64,
}

/// How the losses of a step's batches are averaged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mean {
    /// Over all labels of the step, times a number.
    OfStep(f64),
    /// In each batch over its labels, and then over the batches.
    OfBatches,
}

impl LossTerm {
    /// A loss over so many labels, which is averaged over all labels of the step.
    pub fn mean(name: &'static str, labels: usize) -> Self {
        Self { name, labels, mean: Mean::OfStep(1.0), scale: 1.0 / labels.max(1) as f64 }
    }

    /// The same, averaged in another way.
    pub fn averaged(self, mean: Mean) -> Self {
        Self { mean, ..self }
    }
}

/// What all batches of a step have together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepTotals {
    pub blocks: usize,
    pub batches: usize,
    pub rows: usize,
    pub tokens: usize,
    pub padded_tokens: usize,
    /// Of each loss.
    labels: BTreeMap<String, usize>,
}

impl StepTotals {
    pub fn of<I, L>(batches: &[Batch<I, L>]) -> Self {
        let mut totals = Self::default();
        for batches in batches.chunk_by(|one, other| one.block == other.block) {
            totals.blocks += 1;
            batches.iter().for_each(|batch| totals.count(batch));
        }
        totals
    }

    fn count<I, L>(&mut self, batch: &Batch<I, L>) {
        self.batches += 1;
        self.rows += batch.rows.len();
        self.tokens += batch.tokens;
        self.padded_tokens += batch.padded_tokens;
        for term in &batch.terms {
            *self.labels.entry(term.name.to_string()).or_default() += term.labels;
        }
    }

    /// Those of several parts of a step.
    pub fn together(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.blocks += part.blocks;
            all.batches += part.batches;
            all.rows += part.rows;
            all.tokens += part.tokens;
            all.padded_tokens += part.padded_tokens;
            part.labels.into_iter().for_each(|(name, labels)| *all.labels.entry(name).or_default() += labels);
        }
        all
    }

    fn scale(&self, term: &LossTerm) -> f64 {
        match term.mean {
            Mean::OfStep(times) => times / self.labels.get(term.name).copied().unwrap_or(0).max(1) as f64,
            Mean::OfBatches => 1.0 / (term.labels.max(1) * self.batches) as f64,
        }
    }
}

/// Scales the losses of some of a step's batches to their part in the loss of the whole step.
pub fn scale_to_step<I, L>(batches: &mut [Batch<I, L>], totals: &StepTotals) {
    for term in batches.iter_mut().flat_map(|batch| &mut batch.terms) {
        term.scale = totals.scale(term);
    }
}

/// A loss summed over its labels.
#[derive(Debug, Clone)]
pub struct Loss {
    pub name: &'static str,
    /// `[1]`
    pub sum: Tensor<1>,
    pub labels: usize,
}

impl<I, L> Batch<I, L> {
    /// Labels of the task's own loss.
    pub fn labelled(&self) -> usize {
        self.terms.first().map_or(0, |term| term.labels)
    }

    /// The batch's part of the loss of its optimizer step, `[1]`, from its summed losses in the order of its terms.
    pub fn scaled(&self, sums: &[Tensor<1>]) -> Tensor<1> {
        let scaled = self.terms.iter().zip(sums).map(|(term, sum)| sum.clone() * term.scale);
        scaled.reduce(|total, part| total + part).expect("every task has a loss")
    }

    /// The losses by name, without a graph.
    pub fn losses(&self, sums: Vec<Tensor<1>>) -> Vec<Loss> {
        let of = |(term, sum): (&LossTerm, Tensor<1>)| Loss { name: term.name, sum: sum.inner(), labels: term.labels };
        self.terms.iter().zip(sums).map(of).collect()
    }
}

/// Joins the losses of micro-batches by name.
pub fn join_losses(batches: Vec<Vec<Loss>>) -> Vec<Loss> {
    let mut joined: Vec<(Vec<Tensor<1>>, Loss)> = Vec::new();
    for loss in batches.into_iter().flatten() {
        match joined.iter_mut().find(|(_, first)| first.name == loss.name) {
            Some((sums, first)) => {
                sums.push(loss.sum);
                first.labels += loss.labels;
            }
            None => joined.push((vec![loss.sum.clone()], loss)),
        }
    }
    joined.into_iter().map(|(sums, loss)| Loss { sum: Tensor::cat(sums, 0).sum(), ..loss }).collect()
}

/// What one step of training leaves to the next one, such as a language model's hidden state. A checkpoint keeps it.
pub trait Carried: Clone + Default + Debug + Send + 'static {
    /// What the blocks of a step have left, in their order, as one.
    fn together(parts: Vec<Self>) -> Self;
    /// Its tensors by name, what the first rows have left first; none where there is nothing.
    fn tensors(&self) -> BTreeMap<String, NamedTensor>;
    /// What [`Self::tensors`] gave, of a file; `None` where there was nothing.
    ///
    /// # Errors
    /// A tensor is not there.
    fn load(file: Option<&Weights>, device: &Device) -> Result<Self>;
}

/// Encoders read each row for itself.
impl Carried for () {
    fn together(_: Vec<Self>) -> Self {}

    fn tensors(&self) -> BTreeMap<String, NamedTensor> {
        BTreeMap::new()
    }

    fn load(_: Option<&Weights>, _: &Device) -> Result<Self> {
        Ok(())
    }
}

/// What a model learns from a batch, or from all batches of a block.
pub struct Learned<C> {
    /// One of each name.
    pub losses: Vec<Loss>,
    /// Of the scaled sum of the losses.
    pub gradients: GradientsParams,
    pub carried: C,
}

/// A model as the training loop and the evaluation see it.
pub trait Trainable:
    LearnerModel
    + HasRoles
    + TrainStep<Input = Vec<BatchOf<Self>>, Output = Figures>
    + InferenceStep<Input = Vec<BatchOf<Self>>, Output = Figures>
{
    type Input: Clone + Debug + Send + 'static;
    type Labels: Clone + Debug + Send + 'static;
    type Logits: Debug;
    /// What an evaluation finds of a batch, see [`super::Scorer`]. Ranks tell it each other, in JSON.
    type Outcome: Serialize + DeserializeOwned;
    type Carried: Carried;

    /// What it learns from a batch, after a step or a batch that left `carried`. Gradients that `hook` has taken out are not among it.
    fn learn(
        &self,
        batch: BatchOf<Self>,
        carried: &Self::Carried,
        hook: Option<&mut dyn BackwardHook<Self>>,
    ) -> Learned<Self::Carried>;

    /// The losses of a batch and the logits that they come from, in inference mode.
    fn predict(&self, batch: &BatchOf<Self>, carried: &mut Self::Carried) -> (Vec<Loss>, Self::Logits);
}

/// A batch of a model.
pub type BatchOf<M> = Batch<<M as Trainable>::Input, <M as Trainable>::Labels>;

/// Learns from the batches of one block, after a step that left `carried`. What `hook` has taken out is not among the gradients.
pub fn learn_block<M: Trainable>(
    model: &M,
    mut batches: Vec<BatchOf<M>>,
    carried: &M::Carried,
    hook: Option<&mut dyn BackwardHook<M>>,
) -> Learned<M::Carried> {
    let last = batches.pop();
    let mut losses = Vec::new();
    let mut left = None;
    let mut learn = |batch, hook: Option<&mut dyn BackwardHook<M>>| {
        let learned = model.learn(batch, left.as_ref().unwrap_or(carried), hook);
        losses.push(learned.losses);
        left = Some(learned.carried);
        learned.gradients
    };
    let mut gradients = GradientsParams::new();
    for batch in batches {
        add(model, &mut gradients, learn(batch, None));
    }
    match (last, hook) {
        (Some(batch), Some(hook)) => {
            hook.begin(std::mem::take(&mut gradients));
            gradients = learn(batch, Some(hook));
            hook.ready(model, &HashSet::new(), &mut gradients);
        }
        (Some(batch), None) => add(model, &mut gradients, learn(batch, None)),
        (None, _) => {}
    }
    Learned { losses: join_losses(losses), gradients, carried: left.unwrap_or_default() }
}

/// What burn-train is told of a step or of an evaluation: some figures by name.
#[derive(Debug, Clone)]
pub struct Figures(pub Vec<(&'static str, f64)>);

impl Figures {
    /// The mean loss; of several losses their sum.
    pub fn loss(losses: &[Loss]) -> Self {
        let mean = |loss: &Loss| number(&loss.sum) / loss.labels.max(1) as f64;
        Self(vec![("loss", losses.iter().map(mean).sum())])
    }
}

impl ItemLazy for Figures {
    fn sync(self) -> std::result::Result<Self, ExecutionError> {
        Ok(self)
    }
}

/// The value of a tensor of one element, `[1]`.
pub fn number(tensor: &Tensor<1>) -> f64 {
    tensor.to_data().iter::<f64>().sum()
}
