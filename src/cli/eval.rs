//! `kiln eval`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::device::DeviceArgs;
use super::output::print;
use crate::data::card::Split;
use crate::error::{Problem, Result};
use crate::experiment::Purpose;
use crate::metrics::table;
use crate::ranks::Ranks;
use crate::{experiment, hub, model_folder, recipe};

/// What to evaluate, and on what.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// A run folder (its best model is taken), a model folder, or hf://OWNER/NAME[@REVISION], whose figures are written nowhere
    dir: PathBuf,
    /// A recipe whose data to evaluate on (default: the run's own), then key=value overrides
    #[arg(value_name = "RECIPE|KEY=VALUE")]
    rest: Vec<String>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl EvalArgs {
    pub fn run(&self) -> Result<()> {
        let dir = hub::local(&self.dir)?;
        let folder = model_folder::resolve(&dir)?;
        let (recipe, overrides) = match self.rest.split_first() {
            Some((first, rest)) if !first.contains('=') => (PathBuf::from(first), rest),
            _ => (own_recipe(&dir)?, &self.rest[..]),
        };
        let mut loaded = recipe::load(&recipe, overrides)?;
        experiment::fetch(&mut loaded, Purpose::Evaluate)?;
        let recipe = &loaded.recipe;
        let chosen = self.device.open(&recipe.device)?;
        // As a run does: the split that the best model is chosen by, and the test split if it is asked for.
        let mut splits = vec![recipe.evaluation.select_on.split()];
        if recipe.evaluation.test && !splits.contains(&Split::Test) {
            splits.push(Split::Test);
        }
        let evaluation = experiment::evaluate(&folder, recipe, &splits, &chosen.device, &Ranks::alone())?;
        if evaluation.sets.is_empty() {
            let problem = Problem::new("there is nothing to evaluate in the recipe's data").in_file(&loaded.file);
            return Err(problem.help("name other data: kiln eval DIR RECIPE [key=value ...]").into());
        }
        // A cache of a hub's files holds nothing else.
        if dir == self.dir {
            evaluation.write(&dir.join("eval.json"))?;
        }
        print(&table(&evaluation))
    }
}

/// The recipe of a run folder, for it and for the models in it.
fn own_recipe(dir: &Path) -> Result<PathBuf> {
    let parent = dir.parent().unwrap_or(Path::new("."));
    let found = [dir, parent].into_iter().map(|folder| folder.join("recipe.toml")).find(|file| file.exists());
    found.ok_or_else(|| {
        let problem = Problem::new("holds no recipe.toml to take the data from").in_file(dir);
        problem.help("name a recipe: kiln eval DIR RECIPE [key=value ...]").into()
    })
}
