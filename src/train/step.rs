//! What a step has computed, until it is read from the device.

use burn::tensor::{ExecutionError, Tensor};

use super::checkpoint::RunningStats;
use super::experiment::TrainingData;
use super::losses::Losses;
use super::optimizer::Norm;
use crate::error::{Error, Problem, Result};
use crate::metrics::LossSums;
use crate::recipe::Training;
use crate::tasks::{Loss, StepTotals, Trainable, number};

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
    /// A step of the rows `rows` of this process, of `totals` in all.
    pub fn new(number: u64, learning_rate: f64, rows: Vec<usize>, totals: &StepTotals) -> Self {
        let stats = RunningStats {
            steps: 1,
            rows: totals.rows as u64,
            tokens: totals.tokens as u64,
            padded_tokens: totals.padded_tokens as u64,
            ..RunningStats::default()
        };
        Self { number, learning_rate, stats, rows, losses: Vec::new(), norm: Norm::default() }
    }

    /// Takes what the step computed: its blocks' losses in their order, unread or read, and the norm of the gradients.
    pub fn computed(&mut self, losses: Losses, norm: Norm) {
        match losses {
            Losses::OnDevice(losses) => self.losses = losses,
            Losses::Read(losses) => {
                losses.iter().for_each(|loss| self.stats.losses.add(&loss.name, loss.sum, loss.labels));
            }
        }
        self.norm = norm;
    }

    /// Takes note that there was no update, for a gradient was too large for float16. Losses that are no numbers do not count.
    pub fn leave_out(&mut self) {
        self.stats.skipped = 1;
        self.losses.retain(|loss| number(&loss.sum).is_finite());
        if !self.stats.loss().is_finite() {
            self.stats.losses = LossSums::default();
        }
    }

    /// Whether a step that was left out has losses that are numbers.
    pub fn has_losses(&self) -> bool {
        !self.losses.is_empty() || self.stats.loss().is_finite()
    }

    /// What is on the device still, each `[1]`.
    fn unread(&self) -> impl Iterator<Item = Tensor<1>> + '_ {
        self.losses.iter().map(|loss| loss.sum.clone()).chain(self.norm.on_device())
    }

    /// Takes the numbers of [`Self::unread`] into the statistics.
    ///
    /// # Errors
    /// The loss or the norm is not a finite number.
    fn take(&mut self, numbers: &mut impl Iterator<Item = f64>, place: &dyn Fn(usize) -> String) -> Result<()> {
        for (loss, sum) in self.losses.drain(..).zip(&mut *numbers) {
            self.stats.losses.add(loss.name, sum, loss.labels);
        }
        let norm = match std::mem::take(&mut self.norm) {
            Norm::Read(norm) => norm,
            Norm::OnDevice(_) => numbers.next().unwrap_or_default(),
        };
        if self.stats.skipped > 0 {
            return Ok(());
        }
        let numbers = [("loss", self.stats.loss()), ("gradient's norm", norm)];
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

/// Reads what steps have computed into their statistics, all at once, unless that is done.
///
/// # Errors
/// A loss or norm that is not a finite number; a device that has failed.
pub fn read<M: Trainable>(steps: &mut [Step], data: &TrainingData<M>) -> Result<()> {
    let unread = steps.iter().flat_map(Step::unread).collect();
    let mut numbers = numbers(unread, steps, data)?.into_iter();
    steps.iter_mut().try_for_each(|step| step.take(&mut numbers, &data.place))
}

/// The numbers of tensors, each `[1]`, that `steps` have computed, in one read: where a device tells that it has failed since the last.
///
/// # Errors
/// It has.
pub fn numbers<M: Trainable>(tensors: Vec<Tensor<1>>, steps: &[Step], data: &TrainingData<M>) -> Result<Vec<f64>> {
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    let read = Tensor::cat(tensors, 0).try_into_data();
    Ok(read.map_err(|cause| device_failed(&cause, steps, &data.plan.training))?.iter::<f64>().collect())
}

fn device_failed(cause: &ExecutionError, steps: &[Step], training: &Training) -> Error {
    let (first, last) = (steps.first().map_or(0, |step| step.number), steps.last().map_or(0, |step| step.number));
    let which = if first == last { format!("step {first}") } else { format!("one of the steps {first} to {last}") };
    let rows = steps.iter().map(|step| step.stats.rows).max().unwrap_or(0);
    let width = steps.iter().map(|step| step.stats.padded_tokens / step.stats.rows.max(1)).max().unwrap_or(0);
    // The library's text is a chain of causes, the innermost last, with places in between.
    let text = cause.to_string();
    let told = |line: &&str| !line.is_empty() && !["Caused by:", "No backtrace available", "Asked at:"].contains(line);
    let reason = text.lines().map(str::trim).rfind(told).unwrap_or_default();
    let what = format!("the device has failed in {which}, of {rows} rows of up to {width} tokens: {reason}");
    let help = match ["alloc", "memory"].iter().any(|word| text.contains(word)) {
        true => format!(
            "it has too little memory. training.batch_size={} with training.global_batch_size={} makes the same updates; \
             device.recompute=true, a half as device.precision and a shorter data.max_seq_length need less, too; the last \
             checkpoint is good",
            training.batch_size.div_ceil(2),
            training.batch_size.div_ceil(2) * 2 * training.blocks()
        ),
        false => "the same command goes on from the last checkpoint".into(),
    };
    Error::run(Problem::new(what).help(help))
}
