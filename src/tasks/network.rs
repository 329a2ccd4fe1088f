//! What is trained: an encoder with a task's head, or a language model.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::{Batch, Input, Labels, Logits, Losses, StepOutput, StreamStart, TaskModel};
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
                let carried = is_carried(&batch).then_some(carried);
                let output = StepOutput::of(vec![Losses { main, order: None }], &[batch], Some(Logits::Next(logits)));
                StepOutput { carried, ..output }
            }
        }
    }
}

/// One piece of the streams after the other, each going on from the state that the one before it of the same streams left.
fn learn(elmo: &Elmo, mut batches: Vec<Batch>) -> TrainOutput<StepOutput> {
    let mut accumulator = GradientsAccumulator::new();
    // By the first of the streams: those of each device of the recipe.
    let mut left: BTreeMap<usize, ElmoState> = BTreeMap::new();
    let mut losses = Vec::new();
    for batch in &mut batches {
        let first = batch.rows[0];
        if let (Input::Stream { start: StreamStart::Carried(state), .. }, Some(before)) =
            (&mut batch.input, left.remove(&first))
        {
            *state = Some(before);
        }
        let (chunk, start) = stream(elmo, batch);
        let (sum, state) = elmo.chunk_loss(chunk, start);
        let part = Losses { main: sum, order: None };
        let gradients = part.scaled(batch).backward();
        accumulator.accumulate(elmo, GradientsParams::from_grads(gradients, elmo));
        losses.push(part.without_graph());
        if is_carried(batch) {
            left.insert(first, state);
        }
    }
    let output = StepOutput::of(losses, &batches, None);
    let left: Vec<ElmoState> = left.into_values().collect();
    let carried = (!left.is_empty()).then(|| ElmoState::together(&left));
    TrainOutput { grads: accumulator.grads(), item: StepOutput { carried, ..output } }
}

fn is_carried(batch: &Batch) -> bool {
    matches!(batch.input, Input::Stream { start: StreamStart::Carried(_), .. })
}

/// A piece of the streams, and the state that it begins with.
///
/// # Panics
/// If the batch is of another kind, which whoever built it has to see to.
fn stream<'a>(elmo: &Elmo, batch: &'a Batch) -> (&'a Chunk, ElmoState) {
    match &batch.input {
        Input::Stream { chunk, start: StreamStart::Carried(Some(state)) } => (chunk, state.clone()),
        Input::Stream { chunk, .. } => {
            let targets = &chunk.forward_targets; // [batch, steps]
            (chunk, elmo.start(targets.dims()[0], &targets.device()))
        }
        Input::Tokens(_) => panic!("a language model reads streams of sentences"),
    }
}
