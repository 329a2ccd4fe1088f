//! A run, and what it learns from a step: alone, or with other ranks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::optim::GradientsParams;
use burn::tensor::Device;

use super::checkpoint::State;
use super::experiment::{Experiment, TrainingData};
use super::gradients::{Blocks, Computed, mix};
use super::loss_scale::LossScale;
use super::losses::{Losses, ReadLoss};
use super::optimizer::{Norm, Optimizer, Reduced, Shards, global_norm};
use super::progress::Metrics;
use super::run_folder::RunFolder;
use super::schedule::Schedule;
use super::step::{self, Step};
use crate::error::{Error, Problem, Result};
use crate::ranks::Ranks;
use crate::tasks::{BatchOf, StepTotals, Trainable};

/// The model of an experiment.
pub type ModelOf<E> = <E as Experiment>::Model;

/// A run: what it is made of and where it stands.
pub struct Run<E: Experiment> {
    pub experiment: E,
    pub data: TrainingData<ModelOf<E>>,
    pub folder: Arc<RunFolder>,
    pub device: Device,
    pub ranks: Ranks,
    /// What of the parameters this rank updates, where there are others.
    pub shards: Option<Shards>,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    /// What the last step has left.
    pub carried: <ModelOf<E> as Trainable>::Carried,
    /// Of the first rank.
    pub metrics: Option<Metrics>,
    pub state: State,
    /// Set by Ctrl-C, SIGTERM and SIGUSR1.
    pub stop: Arc<AtomicBool>,
    /// What of an evaluation the dashboard shows.
    pub figures: &'static [&'static str],
    /// Whether burn-train's dashboard has the terminal.
    pub dashboard: bool,
}

/// The gradients of a step, of one process or of several.
pub enum Gradients {
    Whole(GradientsParams),
    Reduced(Reduced),
}

/// What a step has come to: its losses, its gradients and their norm, and what is left to the next step.
pub type Outcome<E> = (Losses, Gradients, Norm, <ModelOf<E> as Trainable>::Carried);

impl<E: Experiment> Run<E> {
    /// Learns from this rank's batches of a step, and adds up what all ranks have learnt.
    pub fn learn(
        &self,
        model: &ModelOf<E>,
        batches: Vec<BatchOf<ModelOf<E>>>,
        totals: &StepTotals,
    ) -> Result<Outcome<E>> {
        let seed = mix(self.data.plan.training.seed, self.state.step);
        let blocks = Blocks { model, carried: &self.carried, seed, device: &self.device };
        let needs_norm = self.optimizer.clips() || self.state.loss_scale.is_some();
        let Some(shards) = &self.shards else {
            let Computed { losses, gradients, carried } = blocks.compute(batches, totals.blocks);
            let norm = if needs_norm { global_norm(model, &gradients) } else { Norm::default() };
            return Ok((Losses::OnDevice(losses), Gradients::Whole(gradients), norm, carried));
        };
        let own = self.ranks.place().blocks(totals.blocks);
        let Computed { losses, gradients: mut exchange, carried } =
            blocks.compute_and_exchange(batches, (own, totals.blocks), shards);
        // After a failure, which is told of here, nothing is exchanged any more.
        let absent = exchange.absent()?;
        let all = self.ranks.gather((ReadLoss::read(&losses), absent))?;
        let (losses, absent): (Vec<_>, Vec<BTreeSet<usize>>) = all.into_iter().unzip();
        let in_none = absent.into_iter().reduce(|one, other| &one & &other).unwrap_or_default();
        let reduced = exchange.finish(&in_none)?;
        let norm = if needs_norm { reduced.norm() } else { Norm::default() };
        Ok((Losses::Read(losses.concat()), Gradients::Reduced(reduced), norm, carried))
    }

    /// Whether the gradients of a scaled loss make an update, and their norm without the scale. As in PyTorch's `GradScaler` it waits
    /// for the device: whether a gradient has overflowed says whether there is an update, and what the next scale is.
    pub fn unscaled(&mut self, step: &Step, norm: Norm, mut scale: LossScale) -> Result<Option<Norm>> {
        let norm = match norm {
            Norm::Read(norm) => norm,
            Norm::OnDevice(norm) => step::numbers(vec![*norm], std::slice::from_ref(step), &self.data)?.iter().sum(),
        };
        let norm = norm / scale.scale;
        self.optimizer.loss_scale = scale.scale;
        scale.update(norm.is_finite());
        let (step, exhausted, next) = (step.number, scale.is_exhausted(), scale.scale);
        self.state.loss_scale = Some(scale);
        if norm.is_finite() {
            return Ok(Some(Norm::Read(norm)));
        }
        if exhausted {
            let what =
                format!("the gradients of step {step} are too large for f16, even of a loss that is not scaled up");
            let help = "device.precision=\"bf16\" has the range of f32; the last checkpoint is good";
            return Err(Error::run(Problem::new(what).help(help)));
        }
        tracing::info!(
            "step {step}: a gradient is too large for f16; its update is left out, the loss is scaled by {next} now"
        );
        Ok(None)
    }
}
