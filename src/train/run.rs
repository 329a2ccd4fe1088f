//! A run: what is made ready before its first step, and put in order after its last.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LearningRateMetric;
use burn::train::renderer::default_renderer;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};

use super::checkpoint::{self, CARRIED, HeldWords, MODEL, OPTIMIZER, State};
use super::dashboard::{FigureMetric, LOSS, MEMORY, Nothing, SPEED};
use super::experiment::{Evaluate, Experiment};
use super::learning::Run;
use super::loss_scale::LossScale;
use super::optimizer::{Optimizer, Shards};
use super::progress::Metrics;
use super::run_folder::RunFolder;
use super::schedule::Schedule;
use super::strategy::StepStrategy;
use crate::data::card::Split;
#[cfg(all(feature = "cuda", feature = "mpi"))]
use crate::device;
use crate::device::Chosen;
use crate::error::{Error, Problem, Result};
use crate::evaluate::Evaluator;
use crate::logging;
use crate::metrics::{Evaluation, table};
use crate::ranks::{Ranks, is_launched};
use crate::recipe::{Loaded, Precision, Recipe};
use crate::tasks::{Carried, Trainable};
use crate::weights::Weights;

/// How a run is started.
pub struct Launch<'a> {
    pub loaded: &'a Loaded,
    pub chosen: &'a Chosen,
    /// Whether the run folder must be empty.
    pub fresh: bool,
    /// Asks for a checkpoint and an end.
    pub stop: Arc<AtomicBool>,
    /// Gives the figures of the test split, at the end.
    pub evaluate: Evaluate,
    pub ranks: &'a Ranks,
}

/// Carries an experiment out, or goes on where its run folder stands.
///
/// # Errors
/// Whatever is wrong with the recipe's files or the run folder; [`Error::Interrupted`] after a stop.
pub fn run<E: Experiment>(mut experiment: E, launch: Launch) -> Result<()> {
    let Launch { loaded, chosen, fresh, stop, evaluate, ranks } = launch;
    let recipe = &loaded.recipe;
    let folder = Arc::new(RunFolder::open(loaded, fresh, ranks)?);
    let dashboard = cfg!(feature = "tui") && !is_launched() && std::io::stdout().is_terminal();
    ranks.first(|| logging::start_run(&folder.log(), !dashboard))?;

    let device = chosen.device.clone().autodiff();
    let held = newest(&folder, ranks)?;
    if let Some((_, State { finished: true, step, .. })) = &held {
        tracing::info!("{}: this run is finished, after {step} steps", folder.path().display());
        return finish(&folder, recipe, &chosen.device, dashboard, evaluate, ranks);
    }
    #[cfg(all(feature = "cuda", feature = "mpi"))]
    let ranks = &ranks.with_nccl(device::cuda_index(&chosen.device))?;
    // A run that was begun with all words goes on with them.
    let may_be_compact = held.as_ref().is_none_or(|(_, state)| state.words.is_some());
    let words = ranks.first_then_rest(|| experiment.read(may_be_compact, &device))?;
    let (model, mut state, checkpoint) = match held {
        None => (experiment.begin(&device), State { words, ..State::default() }, None),
        Some((path, state)) => {
            ranks.agree(claim_words(state.words.as_ref(), words.as_ref(), folder.path()))?;
            (restored(&experiment, &path, &device), state, Some(path))
        }
    };
    let model = ranks.agree(model)?;
    let data = ranks.first_then_rest(|| experiment.data(&model, chosen, ranks.place()))?;
    ranks.agree(claim(&mut state, &data.fingerprint, folder.path()))?;
    ranks.same("set of training rows", data.fingerprint.clone())?;
    let shards = (!ranks.is_alone()).then(|| {
        let degree = recipe.device.sharding_degree.unwrap_or(ranks.size());
        Shards::new(&model, experiment.tensor_names(), ranks, degree)
    });
    let mut optimizer = experiment.optimizer();
    optimizer.left_of_words = state.words.as_ref().map_or(1.0, |words| words.left);
    let carried = go_on::<E>(checkpoint.as_deref(), &mut optimizer, shards.as_ref(), &device);
    let carried = ranks.agree(carried)?;
    if recipe.device.precision == Precision::F16 && state.loss_scale.is_none() {
        state.loss_scale = Some(LossScale::new(recipe.device.scale_loss.unwrap_or(LossScale::INITIAL)));
    }
    tracing::info!(
        "{} steps of {} rows ({} epochs of {} steps) on {}; {} batches to evaluate",
        data.plan.total_steps,
        data.rows_per_step,
        data.plan.epochs(),
        data.plan.steps_per_epoch,
        chosen.backend.word(),
        data.evaluator.as_ref().map_or(0, Evaluator::batches)
    );
    if let Some(shards) = &shards {
        tracing::info!("{}", shards.describe());
    }
    let run = Run {
        schedule: Schedule::new(&recipe.schedule, recipe.optimizer.learning_rate, data.plan.total_steps),
        metrics: ranks.first(|| Metrics::open(&folder.metrics(), state.step))?,
        experiment,
        device,
        data,
        folder: folder.clone(),
        ranks: ranks.clone(),
        shards,
        optimizer,
        carried,
        state,
        stop,
        figures: recipe.task.name.facts().figures,
        dashboard,
    };
    let first = run.state.step;
    let total = run.data.plan.total_steps;
    train(run, model)?;
    if !ranks.is_alone() {
        let (sent, steps) = (ranks.sent(), (total - first).max(1));
        tracing::info!("rank 0 has sent {sent} bytes to other ranks, {} a step", sent / steps);
    }
    finish(&folder, recipe, &chosen.device, dashboard, evaluate, ranks)
}

/// The newest whole checkpoint: the first rank looks for it, and all take it.
fn newest(folder: &RunFolder, ranks: &Ranks) -> Result<Option<(PathBuf, State)>> {
    let checkpoints = folder.checkpoints();
    let held = if ranks.is_first() { checkpoint::newest(&checkpoints) } else { None };
    let step = ranks.gather(held.as_ref().map(|(_, state)| state.step))?[0];
    let Some(step) = step else { return Ok(None) };
    let read = || Ok((checkpoint::path(&checkpoints, step), checkpoint::state(&checkpoints, step)?));
    ranks.agree(held.map_or_else(read, Ok)).map(Some)
}

/// The model of a whole checkpoint.
fn restored<E: Experiment>(experiment: &E, path: &Path, device: &Device) -> Result<E::Model> {
    let model = experiment.restore(&Weights::open(&path.join(MODEL))?, device)?;
    tracing::info!("going on from {}", path.display());
    Ok(model)
}

/// Takes the optimizer's state back from a checkpoint, and what the last step has left.
fn go_on<E: Experiment>(
    checkpoint: Option<&Path>,
    optimizer: &mut Optimizer,
    shards: Option<&Shards>,
    device: &Device,
) -> Result<<E::Model as Trainable>::Carried> {
    let Some(path) = checkpoint else { return Ok(Default::default()) };
    let open_if_there = |name: &str| {
        let path = path.join(name);
        path.exists().then(|| Weights::open(&path)).transpose()
    };
    if let Some(state) = open_if_there(OPTIMIZER)? {
        optimizer.load(&state, shards, &device.clone().inner())?;
    }
    Carried::load(open_if_there(CARRIED)?.as_ref(), device)
}

/// Sees that a resumed run still has the words that it was begun with, and the table of all others.
fn claim_words(begun: Option<&HeldWords>, found: Option<&HeldWords>, folder: &Path) -> Result<()> {
    let Some(begun) = begun else { return Ok(()) };
    let has = |same: fn(&HeldWords, &HeldWords) -> bool| found.is_some_and(|found| same(begun, found));
    let problem = if !has(|begun, found| begun.ids == found.ids) {
        Problem::new("was begun with other rows: the data, or what is evaluated of it, has changed since")
            .help("restore the data, or begin anew in another folder with output.dir=FOLDER")
    } else if !has(|begun, found| begun.table == found.table) {
        Problem::new("was begun with another table of words: the weights that it started from have changed since")
            .help("restore them: rows of words that no text has are taken from there")
    } else {
        return Ok(());
    };
    Err(problem.in_file(folder).into())
}

/// Ties a new run to its training rows, or sees that a resumed one still has them.
fn claim(state: &mut State, found: &str, folder: &Path) -> Result<()> {
    if !state.data.is_empty() && state.data != found {
        let problem = Problem::new("was begun with other training rows: the data has changed since").in_file(folder);
        return Err(problem.help("restore the data, or begin anew in another folder with output.dir=FOLDER").into());
    }
    state.data = found.to_string();
    Ok(())
}

/// Leaves the best model's figures in `eval.json`, with those of the test split if they are asked for, and shows them.
fn finish(
    folder: &RunFolder,
    recipe: &Recipe,
    device: &Device,
    dashboard: bool,
    evaluate: Evaluate,
    ranks: &Ranks,
) -> Result<()> {
    let best = folder.best();
    let has_best = ranks.gather(best.exists())?[0];
    let text = if has_best {
        let evaluation = best_evaluation(folder, recipe, device, evaluate, ranks)?;
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

fn best_evaluation(
    folder: &RunFolder,
    recipe: &Recipe,
    device: &Device,
    evaluate: Evaluate,
    ranks: &Ranks,
) -> Result<Evaluation> {
    let best = folder.best();
    let mut evaluation = ranks.agree(Evaluation::read(&best.join("eval.json")))?;
    // There may be none, or `kiln eval` has left another.
    let held = Evaluation::read(&folder.evaluation()).ok().filter(|held| held.step == evaluation.step);
    if ranks.gather(held.is_some())?[0] {
        return Ok(held.unwrap_or(evaluation));
    }
    if recipe.evaluation.test && !evaluation.has(Split::Test) {
        let test = evaluate(&best, recipe, &[Split::Test], device, ranks)?;
        evaluation.sets.extend(test.sets);
        evaluation.averages.extend(test.averages);
    }
    ranks.first(|| evaluation.write(&folder.evaluation()))?;
    Ok(evaluation)
}

/// Has burn-train carry the run out.
fn train<E: Experiment>(run: Run<E>, model: E::Model) -> Result<()> {
    let interrupter = Interrupter::new();
    let renderer =
        if run.dashboard { default_renderer(interrupter.clone(), None) } else { Box::new(Nothing) as Box<_> };
    let (path, figures, loader) = (run.folder.path().to_path_buf(), run.figures, run.data.loader.clone());
    let strategy = Arc::new(StepStrategy { run: Mutex::new(Some(run)), ending: Mutex::new(None) });
    // The strategy has its own optimizer and schedule: burn-train's are private to its learner and cannot be saved from here.
    let learner = Learner::new(model, AdamWConfig::new().init(), 0.0);
    // Its evaluator is its own, too: the second loader is not read.
    let mut training = SupervisedTraining::new(path, loader.clone(), loader)
        .metrics((FigureMetric::new(LOSS),))
        .metric_train(LearningRateMetric::new())
        .metric_train_numeric(FigureMetric::new(SPEED))
        .metric_train_numeric(FigureMetric::new(MEMORY));
    for name in figures {
        training = training.metric_valid_numeric(FigureMetric::new(name));
    }
    let result = training
        .with_metric_logger(InMemoryMetricLogger::default())
        .with_application_logger(None)
        .with_interrupter(interrupter)
        .renderer(renderer)
        .num_epochs(1) // all steps: burn-train reckons the time left from epochs that are alike
        .with_training_strategy(TrainingStrategy::Custom(strategy.clone()))
        .launch(learner);
    if let Some(error) = result.error {
        return Err(Error::run(Problem::new(error.to_string())));
    }
    let ended = strategy.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
    ended.unwrap_or_else(|| Err(Error::run(Problem::new("the training loop was not run"))))
}
