//! The course of a run: how long it is, and what is due after which step.

use burn::data::dataloader::Progress;

use crate::recipe::{Checkpoint, Evaluation, Recipe, Training};

/// Everything about a run that follows from its recipe and the number of its training rows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Optimizer steps.
    pub total_steps: u64,
    pub steps_per_epoch: u64,
    pub training: Training,
    pub evaluation: Evaluation,
    pub checkpoint: Checkpoint,
}

impl Plan {
    pub fn new(recipe: &Recipe, steps_per_epoch: u64) -> Self {
        let Recipe { training, evaluation, checkpoint, .. } = recipe.clone();
        // A recipe gives one of the two.
        let total_steps = match training.max_steps {
            Some(steps) => steps as u64,
            None => training.epochs.unwrap_or(1) as u64 * steps_per_epoch,
        };
        Self { total_steps, steps_per_epoch, training, evaluation, checkpoint }
    }

    /// Whether a line of the log is due after this many steps; always at the end.
    pub fn logging_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.training.logging_steps as u64) || step == self.total_steps
    }

    /// Whether an evaluation is due after this many steps: as often as the recipe says, else after each epoch; always at the end.
    pub fn evaluation_due(&self, step: u64) -> bool {
        let every = self.evaluation.every_steps.map_or(self.steps_per_epoch, |steps| steps as u64);
        step > 0 && (step.is_multiple_of(every) || step == self.total_steps)
    }

    /// Whether a checkpoint is due after this many steps: as often as the recipe says, else with each evaluation.
    pub fn checkpoint_due(&self, step: u64) -> bool {
        match self.checkpoint.every_steps {
            Some(every) => step > 0 && step.is_multiple_of(every as u64),
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
