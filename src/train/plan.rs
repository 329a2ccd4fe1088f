//! The course of a run: how long it is, and what is due after which step.

use burn::data::dataloader::Progress;

use crate::recipe::{Checkpoint, Evaluation, SelectOn, Training};

/// Everything about a run that follows from its recipe and the number of its training rows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Optimizer steps.
    pub total_steps: u64,
    pub steps_per_epoch: u64,
    pub seed: u64,
    pub logging_steps: u64,
    pub keep_last: usize,
    pub patience: Option<usize>,
    pub select_on: SelectOn,
    evaluate_every: Option<u64>,
    checkpoint_every: Option<u64>,
}

impl Plan {
    pub fn new(training: &Training, evaluation: &Evaluation, checkpoint: &Checkpoint, steps_per_epoch: u64) -> Self {
        let steps = |given: Option<usize>| given.map(|steps| steps as u64);
        let total_steps = match steps(training.max_steps) {
            Some(steps) => steps,
            // A recipe gives one of the two.
            None => steps(training.epochs).unwrap_or(1) * steps_per_epoch,
        };
        Self {
            total_steps,
            steps_per_epoch,
            seed: training.seed,
            logging_steps: training.logging_steps as u64,
            keep_last: checkpoint.keep_last,
            patience: evaluation.patience,
            select_on: evaluation.select_on,
            evaluate_every: steps(evaluation.every_steps),
            checkpoint_every: steps(checkpoint.every_steps),
        }
    }

    /// Whether an evaluation is due after this many steps: as often as the recipe says, else after each epoch; always at the end.
    pub fn evaluation_due(&self, step: u64) -> bool {
        let every = self.evaluate_every.unwrap_or(self.steps_per_epoch);
        step > 0 && (step.is_multiple_of(every) || step == self.total_steps)
    }

    /// Whether a checkpoint is due after this many steps: as often as the recipe says, else with each evaluation.
    pub fn checkpoint_due(&self, step: u64) -> bool {
        match self.checkpoint_every {
            Some(every) => step > 0 && step.is_multiple_of(every),
            None => self.evaluation_due(step),
        }
    }

    /// Where the dashboard's bar stands after this many steps.
    pub fn progress(&self, step: u64) -> Progress {
        Progress::new(step as usize, self.total_steps as usize, Some("steps".into()))
    }

    /// Epochs, the last one perhaps not whole.
    pub fn epochs(&self) -> u64 {
        self.total_steps.div_ceil(self.steps_per_epoch)
    }
}
