//! `kiln train`.

use clap::Args;

use super::device::use_threads;
use super::recipe::RecipeArgs;
use super::{on_ranks, stop_on_signals};
use crate::error::Result;
use crate::experiment::Purpose;
use crate::ranks::Ranks;
use crate::recipe::Loaded;
use crate::{device, experiment};

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
        on_ranks(&self.recipe, |loaded, ranks| self.train(loaded, ranks))
    }

    fn train(&self, mut loaded: Loaded, ranks: &Ranks) -> Result<()> {
        experiment::check_ranks(&loaded, ranks)?;
        use_threads(device::threads(&loaded.recipe.device, ranks.place()))?;
        let stop = stop_on_signals()?;
        ranks.first_then_rest(|| experiment::fetch(&mut loaded, Purpose::Train))?;
        experiment::train(&loaded, self.fresh, stop, ranks)
    }
}
