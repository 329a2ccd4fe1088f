//! Evaluation: counts over whole splits, a figure per language, their average.
//!
//! Ranks take the batches in turn, tell each other what they found in them, and all count it in the order of the batches: each gets
//! the figures that one process alone would get, to the bit.

use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::device;
use crate::error::{Error, Problem, Result};
use crate::metrics::{Evaluation, LossSums, SetResult, average};
use crate::ranks::{Place, Ranks};
use crate::tasks::{BatchOf, EvalSet, Figures, Loss, NewScorer, Scorer, Trainable};

/// The batches of a rank.
type LoaderOf<M> = Box<dyn Fn(Place) -> Arc<dyn DataLoader<Vec<BatchOf<M>>>> + Send>;

/// What tells which set a batch is of.
type SetOf<M> = Box<dyn Fn(&BatchOf<M>) -> usize + Send>;

/// The sets to evaluate, how to bring them to the device, and what is counted.
pub struct Evaluator<M: Trainable> {
    pub sets: Vec<EvalSet>,
    /// Step i is of rank i modulo their number.
    pub loader: LoaderOf<M>,
    /// Whether each rank computes its own batches; else every rank computes all.
    pub is_shared: bool,
    pub set_of: SetOf<M>,
    /// Of each set.
    pub scorers: Vec<NewScorer<M>>,
}

/// Steps that each rank computes before they tell each other of them.
const ROUND: usize = 16;

impl<M: Trainable> Evaluator<M> {
    /// Batches to evaluate, of all ranks.
    pub fn batches(&self) -> usize {
        (self.loader)(Place::ALONE).num_items()
    }

    /// Runs `model` (in inference mode) over all batches; all ranks get the same but for the seconds. `seen` gets each batch's mean
    /// loss, on every rank that of all batches; `stop` on any rank ends all early with [`Error::Interrupted`].
    ///
    /// # Errors
    /// Rows that cannot be read any more; as [`Ranks::agree`].
    pub fn run(
        &self,
        model: &M,
        ranks: &Ranks,
        stop: impl Fn() -> bool,
        mut seen: impl FnMut(Figures, Progress),
    ) -> Result<Evaluation> {
        let start = Instant::now();
        let place = if self.is_shared { ranks.place() } else { Place::ALONE };
        let round = if ranks.is_alone() { 1 } else { ROUND };
        let loader = (self.loader)(place);
        let mut computing = Computing { model, steps: loader.iter(), carried: M::Carried::default(), before: None };
        let mut tally = Tally {
            scorers: self.scorers.iter().map(|new| new()).collect(),
            sums: vec![LossSums::default(); self.sets.len()],
        };
        let (mut done, total) = (0, self.batches());
        loop {
            let own = agreed(ranks, self.round(round, &mut computing, &tally, &stop))?;
            let of_ranks = if place.size > 1 { ranks.gather(own)? } else { vec![own] };
            let is_last = of_ranks.iter().all(|steps| steps.len() < round);
            for found in in_turn(of_ranks) {
                done += 1;
                for found in found {
                    let loss = tally.count(found);
                    seen(Figures(vec![("loss", loss)]), Progress::new(done, total, Some("steps".into())));
                }
            }
            if is_last {
                break;
            }
        }
        let results = self.sets.iter().zip(tally.scorers).zip(&tally.sums);
        let results = results.map(|((set, scorer), sums)| result(set, scorer, sums)).collect();
        Ok(evaluation(results, start.elapsed().as_secs_f64()))
    }

    /// What is found in this rank's next steps: in `size` of them, or fewer at the end.
    fn round(
        &self,
        size: usize,
        computing: &mut Computing<M>,
        tally: &Tally<M>,
        stop: impl Fn() -> bool,
    ) -> Result<Vec<Vec<Found<M::Outcome>>>> {
        let mut steps = Vec::new();
        while steps.len() < size
            && let Some(batches) = computing.step(&stop)?
        {
            let read = |computed| self.read(computing.model, tally, computed);
            steps.push(batches.iter().map(read).collect::<Result<_>>()?);
        }
        Ok(steps)
    }

    fn read(&self, model: &M, tally: &Tally<M>, computed: &Computed<M>) -> Result<Found<M::Outcome>> {
        let Computed { batch, losses: of_batch, logits } = computed;
        let set = (self.set_of)(batch);
        let values = Tensor::cat(of_batch.iter().map(|loss| loss.sum.clone()).collect(), 0); // [losses]
        let mut losses = LossSums::default();
        for (loss, sum) in of_batch.iter().zip(values.into_data().iter::<f64>()) {
            losses.add(loss.name, sum, loss.labels);
        }
        Ok(Found { set, losses, outcome: tally.scorers[set].outcome(model, batch, logits)? })
    }
}

/// A batch whose predictions are still to be read.
struct Computed<M: Trainable> {
    batch: BatchOf<M>,
    losses: Vec<Loss>,
    logits: M::Logits,
}

/// A rank's batches on their way through the model.
struct Computing<'a, M: Trainable> {
    model: &'a M,
    steps: Box<dyn DataLoaderIterator<Vec<BatchOf<M>>> + 'a>,
    carried: M::Carried,
    /// A step that a GPU may still be at work on.
    before: Option<Vec<Computed<M>>>,
}

impl<M: Trainable> Computing<'_, M> {
    /// The batches of the next step.
    fn step(&mut self, stop: impl Fn() -> bool) -> Result<Option<Vec<Computed<M>>>> {
        while let Some(batches) = self.steps.next() {
            if stop() {
                return Err(Error::Interrupted);
            }
            let batches = batches.map_err(|cause| Error::run(Problem::new(cause.to_string())))?;
            let predict = |batch| {
                let (losses, logits) = self.model.predict(&batch, &mut self.carried);
                Computed { batch, losses, logits }
            };
            let step: Vec<Computed<M>> = batches.into_iter().map(predict).collect();
            let mut losses = step.iter().flat_map(|computed| &computed.losses);
            if !losses.any(|loss| device::is_gpu(&loss.sum.device())) {
                return Ok(Some(step));
            }
            // A GPU goes on with this step while the one before it is read.
            if let Some(before) = self.before.replace(step) {
                return Ok(Some(before));
            }
        }
        Ok(self.before.take())
    }
}

/// What is found in a batch.
#[derive(Serialize, Deserialize)]
struct Found<O> {
    set: usize,
    losses: LossSums,
    outcome: O,
}

/// What is counted of each set.
struct Tally<M: Trainable> {
    scorers: Vec<Box<dyn Scorer<M>>>,
    sums: Vec<LossSums>,
}

impl<M: Trainable> Tally<M> {
    /// Counts a batch, and gives its mean loss.
    fn count(&mut self, Found { set, losses, outcome }: Found<M::Outcome>) -> f64 {
        self.sums[set].join(&losses);
        self.scorers[set].count(outcome);
        losses.total()
    }
}

/// The same end on all ranks: an error of one of them, or that one was asked to stop.
fn agreed<T>(ranks: &Ranks, own: Result<T>) -> Result<T> {
    let (own, is_stopped) = match own {
        Ok(own) => (Some(own), Ok(false)),
        Err(Error::Interrupted) => (None, Ok(true)),
        Err(error) => (None, Err(error)),
    };
    let is_stopped = ranks.try_gather(is_stopped)?.contains(&true);
    own.filter(|_| !is_stopped).ok_or(Error::Interrupted)
}

/// The first of each rank in the order of ranks, then the second of each, and so on; no rank has more than those before it.
fn in_turn<T>(of_ranks: Vec<Vec<T>>) -> Vec<T> {
    let mut of_ranks: Vec<_> = of_ranks.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(of_ranks.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
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
