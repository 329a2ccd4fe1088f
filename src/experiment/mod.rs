//! From a recipe to what it trains: the only place where the kind of model is chosen. The training loop and the evaluation behind it
//! are generic.

mod bidirectional_lm;
mod encoder;
mod model;
mod rows;
mod samples;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;

pub use bidirectional_lm::vocabulary_file;
pub use encoder::{TaskExperiment, TaskSource};
pub use model::tokenizer;
pub use samples::sample_options;

use bidirectional_lm::BidirectionalLm;
use rows::RowSource;
use samples::SampleSource;

use crate::data::card::Split;
use crate::device::{self, Chosen};
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::logging::Pace;
use crate::metrics::Evaluation;
use crate::recipe::{Loaded, Recipe, TaskName};
use crate::tasks::{RowTask, RowTaskVisitor, Trainable, with_row_task};
use crate::train;

/// Trains what a recipe says, or goes on where its run folder stands. `stop` asks for a checkpoint and an end.
///
/// # Errors
/// Whatever is wrong with the recipe's files, the run folder or the device; [`crate::error::Error::Interrupted`] after a stop.
pub fn train(loaded: &Loaded, fresh: bool, stop: Arc<AtomicBool>) -> Result<()> {
    let chosen = device::open(&loaded.recipe.device)?;
    let chosen = &chosen;
    match loaded.recipe.task.name {
        TaskName::BidirectionalLm => train::run(BidirectionalLm::open(loaded)?, loaded, chosen, fresh, stop),
        task if task.is_masked_lm() => {
            train::run(TaskExperiment::open(loaded, SampleSource)?, loaded, chosen, fresh, stop)
        }
        task => with_row_task(task, TrainRows { loaded, chosen, fresh, stop }).unwrap_or(Ok(())),
    }
}

struct TrainRows<'a> {
    loaded: &'a Loaded,
    chosen: &'a Chosen,
    fresh: bool,
    stop: Arc<AtomicBool>,
}

impl RowTaskVisitor for TrainRows<'_> {
    type Output = Result<()>;

    fn visit<T: RowTask>(self) -> Result<()> {
        let source = RowSource::open::<T>(&self.loaded.recipe)?;
        let experiment = TaskExperiment::<T, _>::open(self.loaded, source)?;
        train::run(experiment, self.loaded, self.chosen, self.fresh, self.stop)
    }
}

/// The figures of the model in a folder on some splits of a recipe's data.
///
/// # Errors
/// The folder cannot be opened, has no head for the recipe's task, or has other labels than the data.
pub fn evaluate(folder: &Path, recipe: &Recipe, splits: &[Split], device: &Device) -> Result<Evaluation> {
    match recipe.task.name {
        TaskName::BidirectionalLm => bidirectional_lm::evaluate(folder, recipe, splits, device),
        task if task.is_masked_lm() => samples::evaluate(folder, recipe, splits, device),
        task => {
            let visitor = EvaluateRows { folder, recipe, splits, device };
            with_row_task(task, visitor).unwrap_or_else(|_| Ok(Evaluation::default()))
        }
    }
}

struct EvaluateRows<'a> {
    folder: &'a Path,
    recipe: &'a Recipe,
    splits: &'a [Split],
    device: &'a Device,
}

impl RowTaskVisitor for EvaluateRows<'_> {
    type Output = Result<Evaluation>;

    fn visit<T: RowTask>(self) -> Result<Evaluation> {
        let source = RowSource::open::<T>(self.recipe)?;
        rows::evaluate::<T>(&source, self.folder, self.recipe, self.splits, self.device)
    }
}

/// The figures of several evaluations of one model together.
fn run_all<M: Trainable>(model: &M, evaluators: Vec<Evaluator<M>>) -> Result<Evaluation> {
    let mut pace = Pace::start();
    let mut all = Evaluation::default();
    for evaluator in evaluators {
        let found = evaluator.run(model, || false, |_, progress| pace.say(&progress))?;
        all.sets.extend(found.sets);
        all.averages.extend(found.averages);
        all.seconds += found.seconds;
    }
    Ok(all)
}
