//! Bidirectional language modelling: ELMo's pre-training on streams of sentences.
//!
//! Loss: cross-entropy of the next words, forward and backward, the mean times the number of steps as in the originals. Metrics:
//! accuracy and perplexity. What a chunk's LSTMs leave is the next chunk's state, across the steps of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::batch::{
    Batch, BatchOf, Carried, Figures, Learned, Loss, LossTerm, Mean, Trainable, join_losses, learn_block,
};
use super::chunked_loss::gradient_of;
use super::gradients::{BackwardHook, add};
use super::scorer::{EvalSet, Scorer, count_equal};
use crate::data::Loader;
use crate::error::Result;
use crate::metrics::{LossSums, SetResult};
use crate::models::elmo::{Chunk, Elmo, ElmoState, LogUniform, Tokens};
use crate::nn::cross_entropy_sum;
use crate::recipe::StreamState;
use crate::streams::{BpttOptions, Side, StreamChunk, StreamSteps};
use crate::weights::{NamedTensor, Weights};

/// A chunk of streams, and whether it begins with what the chunk before it has left.
#[derive(Debug, Clone)]
pub struct StreamInput {
    pub chunk: Chunk,
    pub state: StreamState,
}

/// The state of streams side by side; `None` at the beginning, which is zeros.
pub type Left = Option<LeftStreams>;

/// What streams have left to the next step.
#[derive(Debug, Clone)]
pub struct LeftStreams {
    /// The first of them.
    pub first: usize,
    pub state: ElmoState,
}

impl Carried for Left {
    fn together(parts: Vec<Self>) -> Self {
        let parts: Vec<LeftStreams> = parts.into_iter().flatten().collect();
        let first = parts.first()?.first;
        let states: Vec<ElmoState> = parts.into_iter().map(|part| part.state).collect();
        Some(LeftStreams { first, state: ElmoState::together(&states) })
    }

    fn tensors(&self) -> BTreeMap<String, NamedTensor> {
        let values = |tensor: &Tensor<2>| tensor.to_data().iter::<f32>().collect();
        let named = |tensor: &Tensor<2>| NamedTensor { shape: tensor.dims().to_vec(), values: values(tensor) };
        let tensors = self.iter().flat_map(|left| left.state.tensors());
        tensors.map(|(name, tensor)| (name, named(tensor))).collect()
    }

    fn load(file: Option<&Weights>, device: &Device) -> Result<Self> {
        let read = |file| Ok(LeftStreams { first: 0, state: ElmoState::load(file, device)? });
        file.map(read).transpose()
    }
}

type LmBatch = Batch<StreamInput, ()>;

impl Trainable for Elmo {
    type Input = StreamInput;
    /// The chunk has its targets.
    type Labels = ();
    /// Of the next words, forward ones first: `[2 * batch * steps, vocabulary]`.
    type Logits = Tensor<2>;
    /// Next words that were guessed right.
    type Outcome = usize;
    type Carried = Left;

    fn learn(&self, batch: LmBatch, carried: &Left, hook: Option<&mut dyn BackwardHook<Self>>) -> Learned<Left> {
        let chunk = &batch.input.chunk;
        let (tops, state) = self.tops(chunk, start_of(self, &batch, carried)); // [batch * steps, projection] each
        let (sum, gradients) = match hook {
            None => {
                let sum = self.loss_of_tops(chunk, tops); // [1]
                let gradients = batch.scaled(std::slice::from_ref(&sum)).backward();
                (sum, GradientsParams::from_grads(gradients, self))
            }
            Some(hook) => self.softmax_first(&batch, tops, hook),
        };
        Learned { losses: batch.losses(vec![sum]), gradients, carried: left_by(&batch, state) }
    }

    fn predict(&self, batch: &LmBatch, carried: &mut Left) -> (Vec<Loss>, Tensor<2>) {
        let (logits, state) = self.predict_chunk(&batch.input.chunk, start_of(self, batch, carried));
        let sum = cross_entropy_sum(logits.clone(), targets(batch));
        *carried = left_by(batch, state);
        (batch.losses(vec![sum]), logits)
    }
}

impl Elmo {
    /// The summed loss, `[1]`, and the gradients of a batch with a backward pass for the softmax and another for what is below: the softmax
    /// is most of the parameters. `tops` are both directions' outputs, `[batch * steps, projection]` each.
    fn softmax_first(
        &self,
        batch: &LmBatch,
        tops: [Tensor<2>; 2],
        hook: &mut dyn BackwardHook<Self>,
    ) -> (Tensor<1>, GradientsParams) {
        let leaves = tops.clone().map(|top| top.detach().require_grad());
        let sum = self.loss_of_tops(&batch.input.chunk, leaves.clone()); // [1]
        let found = batch.scaled(std::slice::from_ref(&sum)).backward();
        let pull = |at: usize| (tops[at].clone() * gradient_of(&leaves[at], &found).autodiff()).sum(); // [1]
        let pull = pull(0) + pull(1); // [1]
        let mut gradients = GradientsParams::from_grads(found, self);
        hook.ready(self, &self.params_below_softmax(), &mut gradients);
        add(self, &mut gradients, GradientsParams::from_grads(pull.backward(), self));
        (sum, gradients)
    }
}

/// What a batch leaves to the next one of its streams.
fn left_by(batch: &LmBatch, state: ElmoState) -> Left {
    (batch.input.state == StreamState::Carried).then(|| LeftStreams { first: batch.rows[0], state })
}

/// What a batch begins with: its rows of what the streams have left, or zeros.
fn start_of(elmo: &Elmo, batch: &LmBatch, carried: &Left) -> ElmoState {
    match (carried, batch.input.state) {
        (Some(left), StreamState::Carried) => {
            let first = batch.rows[0] - left.first;
            left.state.rows(first..first + batch.rows.len())
        }
        _ => {
            let targets = &batch.input.chunk.forward_targets; // [batch, steps]
            elmo.start(targets.dims()[0], &targets.device())
        }
    }
}

/// The next words, forward ones first: `[2 * batch * steps]`.
fn targets(batch: &LmBatch) -> Tensor<1, Int> {
    let Chunk { forward_targets, backward_targets, .. } = &batch.input.chunk;
    Tensor::cat(vec![forward_targets.clone().flatten(0, 1), backward_targets.clone().flatten(0, 1)], 0)
}

impl TrainStep for Elmo {
    type Input = Vec<LmBatch>;
    type Output = Figures;

    fn step(&self, batches: Self::Input) -> TrainOutput<Figures> {
        let Learned { losses, gradients, .. } = learn_block(self, batches, &None, None);
        TrainOutput { grads: gradients, item: Figures::loss(&losses) }
    }
}

impl InferenceStep for Elmo {
    type Input = Vec<LmBatch>;
    type Output = Figures;

    fn step(&self, batches: Self::Input) -> Figures {
        Figures::loss(&join_losses(batches.iter().map(|batch| self.predict(batch, &mut None).0).collect()))
    }
}

/// How chunks become batches.
#[derive(Debug, Clone, Copy)]
pub struct StreamCollate {
    pub options: BpttOptions,
    pub state: StreamState,
    /// Words that a right one is told from, where not all are.
    pub sampler: Option<LogUniform>,
}

impl StreamCollate {
    /// The steps of streams, each as its batches.
    pub fn loader(self, steps: StreamSteps, device: &Device) -> Loader<StreamSteps, Vec<LmBatch>> {
        Loader::new(Arc::new(steps), device.clone(), move |chunks, device| {
            Ok(chunks.iter().map(|chunk| self.batch(chunk, device)).collect())
        })
    }

    fn batch(&self, chunk: &StreamChunk, device: &Device) -> LmBatch {
        let BpttOptions { batch_size, num_steps, characters, .. } = self.options;
        let shape = [batch_size, num_steps];
        let matrix = |values: &[i64]| Tensor::<2, Int>::from_data(TensorData::new(values.to_vec(), shape), device);
        let tokens = |side: &Side| match characters {
            None => Tokens::Words(matrix(&side.words)),
            Some(characters) => {
                let shape = [batch_size, num_steps, characters];
                Tokens::Characters(Tensor::from_data(TensorData::new(side.characters.clone(), shape), device))
            }
        };
        let StreamChunk { forward, backward, .. } = chunk;
        let weight = forward.targets.iter().chain(&backward.targets).filter(|target| **target >= 0).count();
        Batch {
            input: StreamInput {
                chunk: Chunk {
                    forward: tokens(forward),
                    forward_targets: matrix(&forward.targets),
                    backward: tokens(backward),
                    backward_targets: matrix(&backward.targets),
                    negatives: self.sampler.map(|sampler| sampler.negatives(chunk.number, device)),
                },
                state: self.state,
            },
            labels: (),
            rows: chunk.rows.clone().collect(),
            block: chunk.block,
            tokens: weight,
            padded_tokens: 2 * batch_size * num_steps,
            // The originals learn from the mean loss times the number of steps.
            terms: vec![LossTerm::mean("loss", weight).averaged(Mean::OfStep(num_steps as f64))],
        }
    }
}

/// Counts next words that were guessed right.
#[derive(Default)]
pub struct NextWords(usize);

impl Scorer<Elmo> for NextWords {
    fn outcome(&self, _: &Elmo, batch: &BatchOf<Elmo>, logits: &Tensor<2>) -> Result<usize> {
        Ok(count_equal(logits, &targets(batch)))
    }

    fn count(&mut self, right: usize) {
        self.0 += right;
    }

    fn finish(self: Box<Self>, _: &EvalSet, _: &LossSums, result: &mut SetResult) {
        result.correct = self.0;
        result.perplexity = Some(result.loss.exp());
    }
}
