//! `kiln train`.

use std::time::Duration;

use clap::Args;

use super::device::use_threads;
use super::recipe::RecipeArgs;
use super::stop_on_signals;
use crate::error::{Error, Result};
use crate::experiment::Purpose;
use crate::ranks::Ranks;
use crate::recipe::{Device, Loaded};
use crate::{device, experiment, recipe};

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
        let loaded = recipe::load(&self.recipe.recipe, &self.recipe.overrides);
        let patience =
            loaded.as_ref().map_or(Device::default(), |loaded| loaded.recipe.device.clone()).exchange_patience;
        let ranks = Ranks::start(Duration::from_secs(patience as u64))?;
        let result = ranks.agree(loaded).and_then(|loaded| self.train(loaded, &ranks));
        match result {
            // The rank that tells of it ends with its code. A launcher would not leave it the time to do so if another ended so before.
            Err(Error::Elsewhere(_)) if ranks.finish() => Ok(()),
            Err(Error::Interrupted) if ranks.finish() && !ranks.is_first() => Ok(()),
            other => {
                ranks.finish();
                other
            }
        }
    }

    fn train(&self, mut loaded: Loaded, ranks: &Ranks) -> Result<()> {
        experiment::check_ranks(&loaded, ranks)?;
        use_threads(device::threads(&loaded.recipe.device, ranks.place()))?;
        let stop = stop_on_signals()?;
        ranks.first_then_rest(|| experiment::fetch(&mut loaded, Purpose::Train))?;
        experiment::train(&loaded, self.fresh, stop, ranks)
    }
}
