//! Batches and losses: what goes through a model at once, and what comes of it.

use std::fmt::Debug;
use std::path::Path;

use burn::optim::GradientsParams;
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::{InferenceStep, ItemLazy, LearnerModel, TrainStep};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::nn::HasRoles;
use crate::weights::Weights;

/// A micro-batch on one device.
#[derive(Debug, Clone)]
pub struct Batch<I, L> {
    /// What the model reads.
    pub input: I,
    /// What its output is compared with. A negative label is ignored.
    pub labels: L,
    /// Which rows of their data set these are.
    pub rows: Vec<usize>,
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
    /// What the summed loss is multiplied with before the backward pass: one over all the labels of the optimizer's step.
    pub scale: f64,
}

impl LossTerm {
    /// A loss over so many labels, the mean of this batch alone.
    pub fn mean(name: &'static str, labels: usize) -> Self {
        Self { name, labels, scale: 1.0 / labels.max(1) as f64 }
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

/// Scales the first loss of a step's batches to the mean over all labels of the step.
pub fn scale_to_step<I, L>(batches: &mut [Batch<I, L>]) {
    let labels: usize = batches.iter().map(Batch::labelled).sum();
    for term in batches.iter_mut().filter_map(|batch| batch.terms.first_mut()) {
        term.scale = 1.0 / labels.max(1) as f64;
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
    /// Writes it, if there is anything.
    fn save(&self, path: &Path) -> Result<()>;
    /// Reads what [`Self::save`] wrote; `None` where it wrote nothing.
    fn load(file: Option<&Weights>, device: &Device) -> Result<Self>;
}

/// Encoders read each row for itself.
impl Carried for () {
    fn save(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn load(_: Option<&Weights>, _: &Device) -> Result<Self> {
        Ok(())
    }
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

    /// The losses of the micro-batches of one optimizer step, joined, and the gradients of their scaled sum.
    fn gradients(&self, batches: Vec<BatchOf<Self>>, carried: &mut Self::Carried) -> (Vec<Loss>, GradientsParams);

    /// The losses of a batch and the logits that they come from, in inference mode.
    fn predict(&self, batch: &BatchOf<Self>, carried: &mut Self::Carried) -> (Vec<Loss>, Self::Logits);
}

/// A batch of a model.
pub type BatchOf<M> = Batch<<M as Trainable>::Input, <M as Trainable>::Labels>;

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
