//! What the loaders of samples and of streams yield: optimizer steps, or, for evaluation, batches.

use std::ops::Range;

use burn::data::dataloader::{DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;

use crate::tasks::Batch;

/// Optimizer steps, one after the other.
pub(crate) trait Steps {
    /// The batches of the next step.
    fn advance(&mut self) -> Option<Result<Vec<Batch>, DatasetError>>;
    /// The steps of the loader, and the next of them.
    fn steps(&self) -> (Range<u64>, u64);
    /// How far an evaluation is.
    fn evaluated(&self) -> Progress;
}

/// Each step as its batches.
pub(crate) struct StepItems<S>(pub(crate) S);

/// Each step as its only batch.
pub(crate) struct BatchItems<S>(pub(crate) S);

impl<S: Steps> Iterator for StepItems<S> {
    type Item = Result<Vec<Batch>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.advance()
    }
}

impl<S: Steps> DataLoaderIterator<Vec<Batch>> for StepItems<S> {
    fn progress(&self) -> Progress {
        let (steps, next) = self.0.steps();
        let [done, total] = [next, steps.end].map(|step| (step - steps.start) as usize);
        Progress::new(done, total, Some("steps".into()))
    }
}

impl<S: Steps> Iterator for BatchItems<S> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        // One batch a step.
        Some(self.0.advance()?.map(|mut batches| batches.remove(0)))
    }
}

impl<S: Steps> DataLoaderIterator<Batch> for BatchItems<S> {
    fn progress(&self) -> Progress {
        self.0.evaluated()
    }
}

/// The steps from `start` to `end`, both counted from the first of `steps`, as far as there are such.
pub(crate) fn sliced(steps: &Range<u64>, start: usize, end: usize) -> Range<u64> {
    let at = |number: usize| (steps.start + number as u64).min(steps.end);
    at(start)..at(end)
}
