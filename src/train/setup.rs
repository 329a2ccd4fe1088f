//! From a recipe to a run: everything that is made ready before the first step, and put in order after the last.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::DataLoader;
use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::{LearningRateMetric, LossMetric};
use burn::train::renderer::default_renderer;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};

use super::checkpoint::State;
use super::plan::Plan;
use super::prepared::Prepared;
use super::progress::Metrics;
use super::renderer::Nothing;
use super::run_folder::RunFolder;
use super::schedule::Schedule;
use super::strategy::{Ending, Run, StepStrategy};
use super::subject::{Start, Subject};
use crate::data::card::Split;
use crate::data::{EvalLoader, RowForm, Source, TokenRows};
use crate::device::{self, Chosen};
use crate::error::{Error, Problem, Result};
use crate::evaluate::{self, Evaluation, Evaluator, table};
use crate::files::write_file;
use crate::logging;
use crate::models::Padding;
use crate::recipe::{Loaded, Recipe};
use crate::tasks::{Batch, Network};

/// Carries a recipe out, or goes on where its run folder stands. `stop` asks for a checkpoint and an end.
///
/// # Errors
/// Whatever is wrong with the recipe's files, the run folder or the device; [`Error::Interrupted`] after a stop.
pub fn train(loaded: &Loaded, fresh: bool, stop: Arc<AtomicBool>) -> Result<()> {
    let recipe = &loaded.recipe;
    let chosen = device::open(&recipe.device)?;
    let source = Source::open(recipe)?;
    let subject = Subject::open(recipe, &source)?;
    let folder = Arc::new(RunFolder::open(loaded, fresh)?);
    let dashboard = cfg!(feature = "tui") && std::io::stdout().is_terminal();
    logging::start_run(&folder.log(), !dashboard)?;

    let training_device = chosen.device.clone().autodiff();
    let mut optimizer = subject.optimizer(recipe);
    let Start { network, mut state, carried } = subject.start(recipe, &folder, &mut optimizer, &training_device)?;
    if state.finished {
        tracing::info!("{}: this run is finished, after {} steps", folder.path().display(), state.step);
        return finish(&folder, recipe, &source, &chosen.device, dashboard);
    }

    let prepared = subject.prepare(&source, recipe, &network, &chosen, &training_device)?;
    let export = subject.export(&source, loaded, prepared.characters_as_words);
    let Prepared { plan, rows_per_step, loader, fingerprint, places, evaluator, .. } = prepared;
    claim(&mut state, fingerprint, folder.path())?;
    announce(&plan, rows_per_step, &chosen, evaluator.as_ref());
    // burn-train wants a loader to validate on, be it of nothing.
    let valid = evaluator.as_ref().map_or_else(|| no_rows(), Evaluator::loader);
    let run = Run {
        schedule: Schedule::new(&recipe.schedule, recipe.optimizer.learning_rate, plan.total_steps),
        metrics: Metrics::open(&folder.metrics(), state.step)?,
        device: training_device,
        plan,
        folder: folder.clone(),
        places,
        evaluator,
        optimizer,
        export,
        carried,
        state,
        stop,
        dashboard,
    };
    launch(run, network, loader, valid)?;
    finish(&folder, recipe, &source, &chosen.device, dashboard)
}

/// Ties a new run to its training rows, or sees that a resumed one still has them.
fn claim(state: &mut State, found: String, folder: &Path) -> Result<()> {
    if !state.data.is_empty() && state.data != found {
        let problem = Problem::new("was begun with other training rows: the data has changed since").in_file(folder);
        return Err(problem.help("restore the data, or begin anew in another folder with output.dir=FOLDER").into());
    }
    state.data = found;
    Ok(())
}

/// Leaves the best model's figures in `eval.json`, with those of the test split if the recipe asks for them, and shows them.
fn finish(folder: &RunFolder, recipe: &Recipe, source: &Source, device: &Device, dashboard: bool) -> Result<()> {
    let best = folder.best();
    let text = if best.exists() {
        let evaluation = best_evaluation(folder, recipe, source, device)?;
        let step = evaluation.step.unwrap_or_default();
        format!("{}done: the best model is {}, of step {step}", table(&evaluation), best.display())
    } else {
        format!("done: the last model is {}; nothing was evaluated", folder.last().display())
    };
    tracing::info!("the model\n{text}");
    if dashboard {
        // It has closed by now, and nothing but the log has been written to. That nobody reads it is no error.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    Ok(())
}

fn best_evaluation(folder: &RunFolder, recipe: &Recipe, source: &Source, device: &Device) -> Result<Evaluation> {
    let best = folder.best();
    let mut evaluation = Evaluation::read(&best.join("eval.json"))?;
    match Evaluation::read(&folder.evaluation()) {
        Ok(held) if held.step == evaluation.step => return Ok(held),
        // There is none, or `kiln eval` has left another.
        _ if recipe.evaluation.test && !evaluation.has(Split::Test) => {
            let test = evaluate::folder(&best, recipe, source, &[Split::Test], device)?;
            evaluation.sets.extend(test.sets);
            evaluation.averages.extend(test.averages);
            evaluation.write(&folder.evaluation())?;
        }
        _ => copy(&best.join("eval.json"), &folder.evaluation())?,
    }
    Ok(evaluation)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from).map_err(|cause| Error::reading(from, &cause))?;
    write_file(to, &bytes)
}

fn announce(plan: &Plan, rows_per_step: usize, chosen: &Chosen, evaluator: Option<&Evaluator>) {
    tracing::info!(
        "{} steps of {rows_per_step} rows ({} epochs of {} steps) on {}; {} rows to evaluate",
        plan.total_steps,
        plan.epochs(),
        plan.steps_per_epoch,
        chosen.backend.word(),
        evaluator.map_or(0, Evaluator::rows)
    );
}

fn no_rows() -> Arc<dyn DataLoader<Batch>> {
    let form = RowForm::plain(Padding { id: 0, apart: None });
    Arc::new(EvalLoader::new(Arc::new(TokenRows::new(Vec::new())), 1, form, Device::flex()))
}

fn launch(
    run: Run,
    network: Network,
    loader: Arc<dyn DataLoader<Vec<Batch>>>,
    valid: Arc<dyn DataLoader<Batch>>,
) -> Result<()> {
    let interrupter = Interrupter::new();
    let starting_epoch = run.state.epoch as usize;
    let renderer = if run.dashboard {
        default_renderer(interrupter.clone(), (starting_epoch > 0).then_some(starting_epoch))
    } else {
        Box::new(Nothing)
    };
    let (path, epochs) = (run.folder.path().to_path_buf(), run.plan.epochs() as usize);
    let ending: Ending = Arc::new(Mutex::new(None));
    let strategy = StepStrategy::new(run, ending.clone());
    // The strategy has its own optimizer and schedule: burn-train's are private to its learner and cannot be saved from here.
    let learner = Learner::new(network, AdamWConfig::new().init(), 0.0);
    let result = SupervisedTraining::new(path, loader, valid)
        .metrics((LossMetric::new(),))
        .metric_train(LearningRateMetric::new())
        .with_metric_logger(InMemoryMetricLogger::default())
        .with_application_logger(None)
        .with_interrupter(interrupter)
        .renderer(renderer)
        .num_epochs(epochs)
        .with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)))
        .launch(learner);
    if let Some(error) = result.error {
        return Err(Error::run(Problem::new(error.to_string())));
    }
    ending.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(Ok(()))
}
