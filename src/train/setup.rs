//! From a recipe to a run: everything that is made ready before the first step, and put in order after the last.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::DataLoader;
use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::{LearningRateMetric, LossMetric};
use burn::train::renderer::default_renderer;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use serde_json::{Map, Value};

use super::checkpoint::{self, State};
use super::optimizer::Optimizer;
use super::plan::Plan;
use super::prepared::{self, Prepared};
use super::progress::Metrics;
use super::renderer::Nothing;
use super::run_folder::RunFolder;
use super::schedule::Schedule;
use super::strategy::{Ending, Run, StepStrategy};
use crate::data::card::Split;
use crate::data::{EvalLoader, Source, TokenRows};
use crate::device::{self, Chosen};
use crate::error::{Error, Problem, Result};
use crate::evaluate::{self, Evaluation, Evaluator, table};
use crate::files::write_file;
use crate::logging;
use crate::model_folder::{self, Export, Origin};
use crate::models::{ModelConfig, Padding};
use crate::recipe::{Loaded, Recipe, TaskName};
use crate::tasks::{Answering, Batch, TaskModel};
use crate::tokenize::Tokenizer;
use crate::weights::{Initialisation, Missing, Weights, fill};

/// Carries a recipe out, or goes on where its run folder stands. `stop` asks for a checkpoint and an end.
///
/// # Errors
/// Whatever is wrong with the recipe's files, the run folder or the device; [`Error::Interrupted`] after a stop.
pub fn train(loaded: &Loaded, fresh: bool, stop: Arc<AtomicBool>) -> Result<()> {
    let recipe = &loaded.recipe;
    let chosen = device::open(&recipe.device)?;
    let source = Source::open(recipe)?;
    let tokenizer = tokenizer(recipe)?;
    let config = model_config(recipe, &tokenizer)?;
    let folder = Arc::new(RunFolder::open(loaded, fresh)?);
    let dashboard = cfg!(feature = "tui") && std::io::stdout().is_terminal();
    logging::start_run(&folder.log(), !dashboard)?;

    let training_device = chosen.device.clone().autodiff();
    let layers = config.common().encoder.num_hidden_layers;
    let mut optimizer = Optimizer::new(&recipe.optimizer, layers, config.architecture().names());
    let (model, mut state) = start(recipe, &config, source.labels().len(), &folder, &mut optimizer, &training_device)?;
    if state.finished {
        tracing::info!("{}: this run is finished, after {} steps", folder.path().display(), state.step);
        return finish(&folder, recipe, &source, &chosen.device, dashboard);
    }

    let Prepared { plan, rows_per_step, loader, fingerprint, places, characters_as_words, evaluator } =
        prepared::prepare(&source, recipe, &tokenizer, &chosen, &training_device)?;
    claim(&mut state, fingerprint, folder.path())?;
    announce(&plan, rows_per_step, &chosen, evaluator.as_ref());
    // burn-train wants a loader to validate on, be it of nothing.
    let valid = evaluator.as_ref().map_or_else(|| no_rows(), Evaluator::loader);
    let export = Export {
        task: recipe.task.name,
        labels: source.labels(),
        characters_as_words,
        answering: (recipe.task.name == TaskName::QuestionAnswering).then(|| Answering::from(&recipe.task)),
        tokenizer,
        max_length: recipe.data.max_seq_length,
        origin: Origin::of(&source, recipe),
        recipe: loaded.resolved_toml(),
        model: config,
    };
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
        state,
        stop,
        dashboard,
    };
    launch(run, model, loader, valid)?;
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

/// The tokenizer that a recipe names, or that lies beside its weights.
pub fn tokenizer(recipe: &Recipe) -> Result<Tokenizer> {
    let folder = match (&recipe.model.tokenizer, &recipe.model.weights) {
        (Some(folder), _) => folder.clone(),
        (None, Some(weights)) => folder_of(weights),
        (None, None) => return Err(Error::input("the recipe names neither model.tokenizer nor model.weights")),
    };
    if !folder.is_dir() {
        let problem = Problem::new("is no folder").in_file(&folder);
        return Err(problem
            .help("model.tokenizer is a folder with the tokenizer's files, which come with the weights")
            .into());
    }
    Tokenizer::from_dir(recipe.model.architecture, &folder, (&recipe.model).into())
}

fn folder_of(weights: &Path) -> PathBuf {
    if weights.is_file() { weights.parent().unwrap_or(Path::new(".")).to_path_buf() } else { weights.to_path_buf() }
}

/// The weights' own configuration with the recipe's words on top, checked against the tokenizer and the data.
fn model_config(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<ModelConfig> {
    let mut words = match &recipe.model.weights {
        Some(weights) if !weights.exists() => {
            let problem = Problem::new("is not there").in_file(weights);
            return Err(problem.help("model.weights is a folder or a file with the weights to start from").into());
        }
        // Paddle's static checkpoints have no config.json: the recipe may say all of it.
        Some(weights) if model_folder::has_config(&folder_of(weights)) || recipe.model.config == Default::default() => {
            model_folder::read_config(&folder_of(weights))?
        }
        _ => Map::from_iter([("vocab_size".to_string(), Value::from(tokenizer.vocab_size()))]),
    };
    // A table of words and numbers is always an object.
    if let Ok(Value::Object(own)) = serde_json::to_value(&recipe.model.config) {
        words.extend(own.into_iter().filter(|(_, value)| !value.is_null()));
    }
    let config =
        ModelConfig::from_words(recipe.model.architecture, &words).map_err(|error| match &recipe.model.weights {
            // A recipe's own words have been checked by now.
            Some(weights) => error.in_file(&folder_of(weights).join("config.json")),
            None => error,
        })?;
    if tokenizer.vocab_size() > config.common().vocab_size {
        let what = format!(
            "the tokenizer has {} tokens, the model's table {} rows",
            tokenizer.vocab_size(),
            config.common().vocab_size
        );
        return Err(Problem::new(what).help("the vocabulary is of another model: see model.tokenizer").into());
    }
    if recipe.data.max_seq_length > config.max_length() {
        let what = format!(
            "data.max_seq_length = {} is more than the {} positions of the model",
            recipe.data.max_seq_length,
            config.max_length()
        );
        return Err(Problem::new(what).help(format!("data.max_seq_length={}", config.max_length())).into());
    }
    Ok(config)
}

/// The model and the state to go on from: the newest whole checkpoint, or the recipe's weights and step 0.
fn start(
    recipe: &Recipe,
    config: &ModelConfig,
    classes: usize,
    folder: &RunFolder,
    optimizer: &mut Optimizer,
    device: &Device,
) -> Result<(TaskModel, State)> {
    let names = config.architecture().names();
    let initialisation = Initialisation { seed: recipe.training.seed, range: config.common().initializer_range };
    let empty = TaskModel::new(config, recipe.task.name, classes, device).with_recompute(recipe.device.recompute);
    if let Some((path, state)) = checkpoint::newest(&folder.checkpoints()) {
        let (model, held) = checkpoint::load(&path)?;
        optimizer.load(&held, &device.clone().inner())?;
        let (model, _) = fill(empty, Some(&model), names, initialisation, Missing::Refuse)?;
        tracing::info!("going on from {}", path.display());
        return Ok((model, state));
    }
    let weights = recipe.model.weights.as_deref().map(Weights::open).transpose()?;
    let (model, report) = fill(empty, weights.as_ref(), names, initialisation, Missing::HeadsAreNew)?;
    let source = recipe.model.weights.as_ref().map_or("no weights".to_string(), |path| path.display().to_string());
    tracing::info!("{source}: {report}");
    if let Some(folder) =
        recipe.model.weights.as_deref().map(folder_of).filter(|folder| !model_folder::has_config(folder))
    {
        tracing::warn!("{} has no config.json: the model's sizes are those of [model.config]", folder.display());
    }
    Ok((model, State::default()))
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
    let padding = Padding { id: 0, apart: None };
    Arc::new(EvalLoader::new(Arc::new(TokenRows::new(Vec::new())), 1, padding, Device::flex()))
}

fn launch(
    run: Run,
    model: TaskModel,
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
    let learner = Learner::new(model, AdamWConfig::new().init(), 0.0);
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
