//! Evaluation: counts over whole splits, a figure per language, their average.

use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::{DataLoader, Progress};
use burn::tensor::Tensor;

use crate::device;
use crate::error::{Error, Problem, Result};
use crate::metrics::{Evaluation, LossSums, SetResult, average};
use crate::tasks::{BatchOf, EvalSet, Figures, Loss, NewScorer, Scorer, Trainable};

/// What tells which set a batch is of.
type SetOf<M> = Box<dyn Fn(&BatchOf<M>) -> usize + Send>;

/// The sets to evaluate, how to bring them to the device, and what is counted.
pub struct Evaluator<M: Trainable> {
    pub sets: Vec<EvalSet>,
    pub loader: Arc<dyn DataLoader<Vec<BatchOf<M>>>>,
    pub set_of: SetOf<M>,
    /// Of each set.
    pub scorers: Vec<NewScorer<M>>,
}

/// A batch whose predictions are still to be counted.
struct Computed<M: Trainable> {
    batch: BatchOf<M>,
    losses: Vec<Loss>,
    logits: M::Logits,
    progress: Progress,
}

impl<M: Trainable> Evaluator<M> {
    /// Batches to evaluate.
    pub fn batches(&self) -> usize {
        self.loader.num_items()
    }

    /// Runs `model` (in inference mode) over all batches. `seen` gets each batch's mean loss; `stop` ends it early with
    /// [`Error::Interrupted`].
    ///
    /// # Errors
    /// Rows that cannot be read any more.
    pub fn run(
        &self,
        model: &M,
        stop: impl Fn() -> bool,
        mut seen: impl FnMut(Figures, Progress),
    ) -> Result<Evaluation> {
        let start = Instant::now();
        let mut scorers: Vec<_> = self.scorers.iter().map(|new| new()).collect();
        let mut sums = vec![LossSums::default(); self.sets.len()];
        let mut count = |computed: Computed<M>| -> Result<()> {
            let set = (self.set_of)(&computed.batch);
            let values = Tensor::cat(computed.losses.iter().map(|loss| loss.sum.clone()).collect(), 0); // [losses]
            let values: Vec<f64> = values.into_data().iter::<f64>().collect();
            let mut mean = 0.0;
            for (loss, &sum) in computed.losses.iter().zip(&values) {
                sums[set].add(loss.name, sum, loss.labels);
                mean += sum / loss.labels.max(1) as f64;
            }
            scorers[set].add(model, &computed.batch, &computed.logits)?;
            seen(Figures(vec![("loss", mean)]), computed.progress);
            Ok(())
        };
        let mut steps = self.loader.iter();
        let mut carried = M::Carried::default();
        let mut before: Option<Computed<M>> = None;
        while let Some(batches) = steps.next() {
            if stop() {
                return Err(Error::Interrupted);
            }
            for batch in batches.map_err(|cause| Error::run(Problem::new(cause.to_string())))? {
                let (losses, logits) = model.predict(&batch, &mut carried);
                let computed = Computed { batch, losses, logits, progress: steps.progress() };
                // A GPU goes on with this batch while the one before it is counted.
                match computed.losses.first().is_some_and(|loss| device::is_gpu(&loss.sum.device())) {
                    true => before.replace(computed).map_or(Ok(()), &mut count)?,
                    false => count(computed)?,
                }
            }
        }
        before.map_or(Ok(()), &mut count)?;
        let results = self.sets.iter().zip(scorers).zip(&sums);
        let results = results.map(|((set, scorer), sums)| result(set, scorer, sums)).collect();
        Ok(evaluation(results, start.elapsed().as_secs_f64()))
    }
}

fn result<M: Trainable>(set: &EvalSet, scorer: Box<dyn Scorer<M>>, losses: &LossSums) -> SetResult {
    let mut result = SetResult {
        split: set.split.clone(),
        language: set.language.clone(),
        labelled: losses.main().labels as usize,
        loss: losses.main().mean(),
        skipped: set.skipped,
        empty: set.empty,
        ..SetResult::default()
    };
    scorer.finish(set, losses, &mut result);
    result.accuracy = result.correct as f64 / result.labelled.max(1) as f64;
    result
}

fn evaluation(sets: Vec<SetResult>, seconds: f64) -> Evaluation {
    // The sets of a split stand together.
    let splits = sets.chunk_by(|one, other| one.split == other.split);
    let averages = splits.map(|sets| average(&sets[0].split, sets)).collect();
    Evaluation { step: None, selected_on: None, sets, averages, seconds }
}
