//! `kiln train`.

use clap::Args;

use super::device::use_threads;
use super::recipe::RecipeArgs;
use super::stop_on_signals;
use crate::error::Result;
use crate::experiment::Purpose;
use crate::{experiment, recipe};

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
        let mut loaded = recipe::load(&self.recipe.recipe, &self.recipe.overrides)?;
        use_threads(loaded.recipe.device.threads)?;
        experiment::fetch(&mut loaded, Purpose::Train)?;
        experiment::train(&loaded, self.fresh, stop_on_signals()?)
    }
}
