//! What a step has computed, until it is read from the device.

use super::checkpoint::RunningStats;
use super::optimizer::Norm;
use crate::error::{Error, Problem, Result};
use crate::tasks::{Batch, Loss, number};

/// A step of training: its losses and the norm of its gradients may still be on the device.
pub struct Step {
    /// Counted from 1.
    pub number: u64,
    pub learning_rate: f64,
    pub stats: RunningStats,
    rows: Vec<usize>,
    losses: Vec<Loss>,
    norm: Norm,
}

impl Step {
    pub fn new<I, L>(number: u64, learning_rate: f64, batches: &[Batch<I, L>]) -> Self {
        let sum = |of: fn(&Batch<I, L>) -> usize| batches.iter().map(of).sum::<usize>() as u64;
        let stats = RunningStats {
            steps: 1,
            rows: sum(|batch| batch.rows.len()),
            tokens: sum(|batch| batch.tokens),
            padded_tokens: sum(|batch| batch.padded_tokens),
            ..RunningStats::default()
        };
        let rows = batches.iter().flat_map(|batch| batch.rows.iter().copied()).collect();
        Self { number, learning_rate, stats, rows, losses: Vec::new(), norm: Norm::default() }
    }

    /// Takes what the step computed, unread.
    pub fn computed(&mut self, losses: Vec<Loss>, norm: Norm) {
        (self.losses, self.norm) = (losses, norm);
    }

    /// Takes note that there was no update, for a gradient was too large for float16. Losses that are no numbers do not count.
    pub fn leave_out(&mut self) {
        self.stats.skipped = 1;
        self.losses.retain(|loss| number(&loss.sum).is_finite());
    }

    /// Reads the losses into the statistics, unless that is done. `place` tells where a row was read.
    ///
    /// # Errors
    /// The loss or the norm is not a finite number.
    pub fn read(&mut self, place: &dyn Fn(usize) -> String) -> Result<()> {
        for loss in self.losses.drain(..) {
            self.stats.losses.add(loss.name, number(&loss.sum), loss.labels);
        }
        if self.stats.skipped > 0 {
            return Ok(());
        }
        let numbers = [("loss", self.stats.loss()), ("gradient's norm", std::mem::take(&mut self.norm).read())];
        match numbers.iter().find(|(_, number)| !number.is_finite()) {
            Some((what, _)) => Err(self.not_finite(what, place)),
            None => Ok(()),
        }
    }

    fn not_finite(&self, what: &str, place: &dyn Fn(usize) -> String) -> Error {
        let shown: Vec<String> = self.rows.iter().take(16).map(|&row| place(row)).collect();
        let more = if self.rows.len() > shown.len() { ", ..." } else { "" };
        let what = format!("the {what} of step {} is not a finite number; the update was not saved", self.number);
        Error::run(Problem::new(what).help(format!(
            "its rows are {}{more}. A smaller optimizer.learning_rate, a longer warm-up or optimizer.max_grad_norm often mend \
             this; the last checkpoint is good",
            shown.join(", ")
        )))
    }
}
