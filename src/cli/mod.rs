//! The command line: one file a command.

mod convert;
mod device;
mod devices;
mod encode;
mod eval;
mod output;
mod predict;
mod prepare;
pub mod recipe;
mod train;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::output::print;
use crate::error::{Error, Problem, Result};
use crate::model_folder::Described;
use crate::ranks::{self, Ranks};
use crate::recipe::{Device, Loaded};
use crate::tokenize::Tokenizer;

/// Trains ERNIE-M, ERNIE 1.0, RemBERT, BERT, XLM-R and ELMo from recipe files, on CUDA, wgpu or a CPU
#[derive(Debug, Parser)]
#[command(name = "kiln", version, arg_required_else_help = true)]
pub struct Kiln {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model, or go on with an unfinished run of the same recipe
    Train(train::TrainArgs),
    /// Make raw text into a corpus for pre-training, as the recipe's [corpus] says
    Prepare(recipe::RecipeArgs),
    /// Evaluate a run folder or a model folder, per language
    Eval(eval::EvalArgs),
    /// Label rows: TSV or JSONL in, JSONL out, in the order of the input
    Predict(predict::PredictArgs),
    /// Write hidden states, pooled vectors and logits as safetensors
    Encode(encode::EncodeArgs),
    /// Convert a checkpoint from one library's layout to another's, with a load report
    Convert(convert::ConvertArgs),
    /// Check, show and list recipes; print their JSON Schema
    #[command(subcommand)]
    Recipe(recipe::RecipeCommand),
    /// What this build can run on, and what this machine has
    Devices,
}

impl Kiln {
    /// Carries the command out.
    pub fn run(&self) -> Result<()> {
        if !matches!(self.command, Command::Train(_)) {
            crate::logging::start();
        }
        if !matches!(self.command, Command::Train(_) | Command::Prepare(_)) {
            ranks::refuse()?;
        }
        match &self.command {
            Command::Train(args) => args.run(),
            Command::Prepare(args) => prepare::run(args),
            Command::Eval(args) => args.run(),
            Command::Predict(args) => args.run(),
            Command::Encode(args) => args.run(),
            Command::Convert(args) => args.run(),
            Command::Recipe(command) => print(&command.run()?),
            Command::Devices => print(&devices::list()),
        }
    }
}

/// The tokenizer of a model folder, and how many tokens its model's longest row has.
fn tokenizer(described: &Described) -> Result<(Tokenizer, usize)> {
    let config = &described.model;
    let tokenizer = described.tokenizer()?;
    let positions = config.max_length();
    let max_length = tokenizer.max_length().map_or(positions, |length| length.min(positions));
    Ok((tokenizer, max_length))
}

/// Refuses an output that is also the input, which would be gone before it is read.
fn keep_apart(input: &Path, output: &Path) -> Result<()> {
    let file = |path: &Path| path.canonicalize().ok().filter(|path| path.is_file());
    if file(output).is_some_and(|output| file(input) == Some(output)) {
        let problem = Problem::new("is both the input and the --output").in_file(output);
        return Err(problem.help("choose another file for the output").into());
    }
    Ok(())
}

/// Carries a command on a recipe out, on all ranks that a launcher has started.
fn on_ranks(args: &recipe::RecipeArgs, work: impl FnOnce(Loaded, &Ranks) -> Result<()>) -> Result<()> {
    let loaded = crate::recipe::load(&args.recipe, &args.overrides);
    let patience = loaded.as_ref().map_or_else(|_| Device::default(), |loaded| loaded.recipe.device.clone());
    let ranks = Ranks::start(Duration::from_secs(patience.exchange_patience as u64))?;
    let ended = ranks.agree(loaded).and_then(|loaded| work(loaded, &ranks));
    let have_left = ranks.finish();
    match ended {
        // The rank that tells of it ends with its code. A launcher would not leave it the time to do so if another ended so before.
        Err(Error::Elsewhere(_)) if have_left => Ok(()),
        Err(Error::Interrupted) if have_left && !ranks.is_first() => Ok(()),
        other => other,
    }
}

/// What asks for a stop.
#[cfg(unix)]
const STOP_SIGNALS: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGUSR1];
#[cfg(not(unix))]
const STOP_SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// A flag that Ctrl-C and SIGTERM set, and SIGUSR1, which launchers pass on to ranks. A second one ends the process at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for &signal in STOP_SIGNALS {
        // The order matters: the first signal finds the flag down and only raises it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|cause| Error::run(Problem::new(format!("signals cannot be caught: {cause}"))))?;
    }
    Ok(stop)
}
