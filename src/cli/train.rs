//! `kiln train`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::recipe::RecipeArgs;
use crate::error::{Error, Problem, Result};
use crate::{recipe, train};

/// What to train.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Start over; the output folder must be empty, nothing is ever deleted
    #[arg(long)]
    fresh: bool,
}

impl TrainArgs {
    pub fn run(&self) -> Result<()> {
        let loaded = recipe::load(&self.recipe.recipe, &self.recipe.overrides)?;
        if let Some(threads) = loaded.recipe.device.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
            pool.map_err(|cause| Error::run(Problem::new(format!("device.threads = {threads}: {cause}"))))?;
        }
        train::train(&loaded, self.fresh, stop_on_signals()?)
    }
}

/// A flag that Ctrl-C and SIGTERM set. A second one ends the process at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag down and only raises it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|cause| Error::run(Problem::new(format!("signals cannot be caught: {cause}"))))?;
    }
    Ok(stop)
}
