//! Learning rates as a function of the step, so that nothing of a schedule needs to be saved.

use crate::recipe::{Schedule as Recipe, ScheduleName};

/// The learning rate of each optimizer step of one run.
#[derive(Debug, Clone)]
pub struct Schedule {
    name: ScheduleName,
    peak: f64,
    minimum: f64,
    /// Steps of linear warm-up; PaddleNLP's `linear-min` and `cosine` keep the fraction.
    warmup: f64,
    /// Where the decay ends.
    end: f64,
}

impl Schedule {
    /// `total` is the number of optimizer steps of the run, `peak` the recipe's learning rate.
    pub fn new(recipe: &Recipe, peak: f64, total: u64) -> Self {
        let share = recipe.warmup_ratio * total as f64;
        let warmup = match (recipe.warmup_steps, recipe.name) {
            (Some(steps), _) => steps as f64,
            (None, ScheduleName::Linear | ScheduleName::Constant) => share.floor(),
            (None, ScheduleName::LinearMin | ScheduleName::Cosine) => share,
        };
        let end = recipe.decay_steps.map_or(total as f64, |steps| steps as f64);
        Self { name: recipe.name, peak, minimum: recipe.min_learning_rate, warmup, end }
    }

    /// The learning rate of the update that `done` updates precede.
    ///
    /// `linear` is Hugging Face's `get_linear_schedule_with_warmup` and PaddleNLP's `LinearDecayWithWarmup`; `linear-min` and
    /// `cosine` are PaddleNLP's `LinearAnnealingWithWarmupDecay` and `CosineAnnealingWithWarmupDecay`.
    pub fn at(&self, done: u64) -> f64 {
        let step = done as f64;
        if step < self.warmup {
            return self.peak * step / self.warmup;
        }
        if self.name != ScheduleName::Constant && step > self.end {
            return self.minimum;
        }
        let progress = (step - self.warmup) / (self.end - self.warmup).max(1.0); // 0 after the warm-up, 1 at the end
        match self.name {
            ScheduleName::Constant => self.peak,
            ScheduleName::Linear => self.peak * (1.0 - progress).max(0.0),
            ScheduleName::LinearMin => self.minimum + (1.0 - progress) * (self.peak - self.minimum),
            ScheduleName::Cosine => {
                self.minimum + 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()) * (self.peak - self.minimum)
            }
        }
    }
}
