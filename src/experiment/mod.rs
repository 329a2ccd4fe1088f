//! From a recipe to what it trains: the only place where the kind of model is chosen. The training loop and the evaluation behind it
//! are generic.

mod bidirectional_lm;
mod check_ranks;
mod encoder;
mod fetch;
mod model;
mod rows;
mod samples;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;

pub use bidirectional_lm::vocabulary_file;
pub use check_ranks::check_ranks;
pub use encoder::{TaskExperiment, TaskSource};
pub use fetch::fetch;
pub use model::tokenizer;
pub use samples::sample_options;

use bidirectional_lm::BidirectionalLm;
use rows::{RowSource, evaluate_rows};
use samples::SampleSource;

use crate::data::card::Split;
use crate::device;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::logging::Pace;
use crate::metrics::Evaluation;
use crate::ranks::Ranks;
use crate::recipe::{Loaded, Recipe, TaskName};
use crate::tasks::{RowTask, Trainable, with_row_task};
use crate::train::{self, Launch};

/// What a recipe is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Train,
    Evaluate,
    /// Making a corpus, which needs the tokenizer alone.
    Prepare,
}

/// Trains what a recipe says, or goes on where its run folder stands. `stop` asks for a checkpoint and an end.
///
/// # Errors
/// Whatever is wrong with the recipe's files, the run folder or the device; [`crate::error::Error::Interrupted`] after a stop.
pub fn train(loaded: &Loaded, fresh: bool, stop: Arc<AtomicBool>, ranks: &Ranks) -> Result<()> {
    let chosen = &ranks.agree(device::open(&loaded.recipe.device, ranks.place()))?;
    let launch = Launch { loaded, chosen, fresh, stop, evaluate, ranks };
    match loaded.recipe.task.name {
        TaskName::BidirectionalLm => train::run(ranks.agree(BidirectionalLm::open(loaded))?, launch),
        task if task.is_masked_lm() => train::run(ranks.agree(TaskExperiment::open(loaded, SampleSource))?, launch),
        task => with_row_task!(task, train_rows(launch), Ok(())),
    }
}

fn train_rows<T: RowTask>(launch: Launch) -> Result<()> {
    let open = || TaskExperiment::<T, _>::open(launch.loaded, RowSource::<T>::open(&launch.loaded.recipe)?);
    train::run(launch.ranks.agree(open())?, launch)
}

/// The figures of the model in a folder on some splits of a recipe's data, which the ranks share and all get.
///
/// # Errors
/// The folder cannot be opened, has no head for the recipe's task, or has other labels than the data.
pub fn evaluate(
    folder: &Path,
    recipe: &Recipe,
    splits: &[Split],
    device: &Device,
    ranks: &Ranks,
) -> Result<Evaluation> {
    match recipe.task.name {
        TaskName::BidirectionalLm => run_all(|| bidirectional_lm::opened(folder, recipe, splits, device), ranks),
        task if task.is_masked_lm() => run_all(|| samples::opened(folder, recipe, splits, device), ranks),
        task => with_row_task!(task, evaluate_rows(folder, recipe, splits, device, ranks), Ok(Evaluation::default())),
    }
}

/// A model, and what it is evaluated on.
type Opened<M> = (M, Vec<Evaluator<M>>);

/// The figures of several evaluations of one model together. One rank of a machine opens them first, and leaves its caches to the others.
fn run_all<M: Trainable>(open: impl Fn() -> Result<Opened<M>>, ranks: &Ranks) -> Result<Evaluation> {
    let (model, evaluators) = ranks.first_then_rest(open)?;
    let mut pace = Pace::start();
    let mut all = Evaluation::default();
    for evaluator in evaluators {
        let found = evaluator.run(&model, ranks, || false, |_, progress| pace.say(&progress))?;
        all.sets.extend(found.sets);
        all.averages.extend(found.averages);
        all.seconds += found.seconds;
    }
    Ok(all)
}
