//! Counting what a model predicts: a task's figures of one set.

use burn::tensor::{Int, Tensor};

use super::batch::{BatchOf, Trainable};
use crate::error::Result;
use crate::metrics::{LossSums, SetResult};

/// What is counted together: one language of one split, or one part of the corpora.
#[derive(Debug, Clone, Default)]
pub struct EvalSet {
    pub split: String,
    pub language: String,
    /// Rows that could not be read and were left out, and rows with an empty text.
    pub skipped: usize,
    pub empty: usize,
    /// Words that were cut off or vanished.
    pub unseen_words: usize,
}

/// Counts the predictions of one set. The rank that computes a batch reads its outcome, and every rank counts it.
pub trait Scorer<M: Trainable> {
    /// What is found of a batch's rows.
    ///
    /// # Errors
    /// What they are compared with cannot be read.
    fn outcome(&self, model: &M, batch: &BatchOf<M>, logits: &M::Logits) -> Result<M::Outcome>;

    /// Counts it.
    fn count(&mut self, outcome: M::Outcome);

    /// Writes the figures into the result of the set, which has its loss and the number of its labels already.
    fn finish(self: Box<Self>, set: &EvalSet, losses: &LossSums, result: &mut SetResult);
}

/// Makes a new counter of a set.
pub type NewScorer<M> = Box<dyn Fn() -> Box<dyn Scorer<M>> + Send>;

/// How many rows have their highest score, of `[rows, classes]`, where the labels, `[rows]`, say.
pub fn count_equal(logits: &Tensor<2>, labels: &Tensor<1, Int>) -> usize {
    let best = logits.clone().argmax(1).into_data(); // [rows, 1]
    let labels = labels.to_data(); // [rows]
    best.iter::<i64>().zip(labels.iter::<i64>()).filter(|(best, label)| best == label).count()
}
