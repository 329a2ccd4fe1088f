//! What is trained: an encoder with a task's head, or a language model.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::{Batch, Input, Labels, Logits, Losses, StepOutput, TaskModel};
use crate::models::elmo::{Chunk, Elmo, ElmoState};
use crate::nn::cross_entropy_sum;

/// A network of any kind. Its parameters are called as in what it holds.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub enum Network {
    Encoder(TaskModel),
    LanguageModel(Elmo),
}

impl TrainStep for Network {
    /// The micro-batches of one optimizer step.
    type Input = Vec<Batch>;
    type Output = StepOutput;

    fn step(&self, batches: Vec<Batch>) -> TrainOutput<StepOutput> {
        match self {
            Self::Encoder(model) => TrainStep::step(model, batches),
            Self::LanguageModel(elmo) => learn(elmo, batches),
        }
    }
}

impl InferenceStep for Network {
    type Input = Batch;
    type Output = StepOutput;

    fn step(&self, batch: Batch) -> StepOutput {
        match self {
            Self::Encoder(model) => InferenceStep::step(model, batch),
            Self::LanguageModel(elmo) => {
                let (chunk, start) = stream(elmo, &batch);
                let (logits, carried) = elmo.predict(chunk, start);
                let main = match &batch.labels {
                    Labels::Next(targets) => cross_entropy_sum(logits.clone(), targets.clone()),
                    _ => panic!("a language model's labels are the next words"),
                };
                let output = StepOutput::of(vec![Losses { main, order: None }], &[batch], Some(Logits::Next(logits)));
                StepOutput { carried: Some(carried), ..output }
            }
        }
    }
}

/// One piece of the streams after the other, each going on from the state that the one before it left.
fn learn(elmo: &Elmo, mut batches: Vec<Batch>) -> TrainOutput<StepOutput> {
    let mut accumulator = GradientsAccumulator::new();
    let mut carried = None;
    let mut losses = Vec::new();
    for batch in &mut batches {
        if carried.is_some() {
            batch.carry(carried);
        }
        let (chunk, start) = stream(elmo, batch);
        let (sum, state) = elmo.chunk_loss(chunk, start);
        let part = Losses { main: sum, order: None };
        let gradients = part.scaled(batch).backward();
        accumulator.accumulate(elmo, GradientsParams::from_grads(gradients, elmo));
        losses.push(part.without_graph());
        carried = Some(state);
    }
    let output = StepOutput::of(losses, &batches, None);
    TrainOutput { grads: accumulator.grads(), item: StepOutput { carried, ..output } }
}

/// A piece of the streams, and the state that it begins with.
///
/// # Panics
/// If the batch is of another kind, which whoever built it has to see to.
fn stream<'a>(elmo: &Elmo, batch: &'a Batch) -> (&'a Chunk, ElmoState) {
    match &batch.input {
        Input::Stream { chunk, start: Some(start) } => (chunk, start.clone()),
        Input::Stream { chunk, start: None } => {
            let targets = &chunk.forward_targets; // [batch, steps]
            (chunk, elmo.start(targets.dims()[0], &targets.device()))
        }
        Input::Tokens(_) => panic!("a language model reads streams of sentences"),
    }
}
