//! `kiln recipe`: check, show and list recipes, and print their JSON Schema.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::recipe::{self, shipped};

/// What to do with recipes.
#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// Check a recipe and report everything that is wrong with it
    Check(RecipeArgs),
    /// Print a recipe with every default, and where each value came from
    Show {
        #[command(flatten)]
        recipe: RecipeArgs,
        /// Print the documentation of each key above it
        #[arg(long)]
        docs: bool,
    },
    /// List the recipes that come with Kiln
    List,
    /// Print the JSON Schema of recipe files, for editors
    Schema,
}

/// A recipe on the command line.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// A recipe file, or the name of a shipped recipe (see `kiln recipe list`)
    pub recipe: PathBuf,
    /// Values laid over the recipe, such as optimizer.learning_rate=2e-5
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

impl RecipeCommand {
    /// Carries the command out; returns what to print on standard output.
    pub fn run(&self) -> Result<String> {
        match self {
            Self::Check(args) => {
                let loaded = recipe::load(&args.recipe, &args.overrides)?;
                let (all, given, file) = (loaded.count(), loaded.origins.len(), loaded.file.display());
                Ok(format!("{file}: fine ({all} values: {given} given, {} defaults)\n", all - given))
            }
            Self::Show { recipe: args, docs } => Ok(recipe::load(&args.recipe, &args.overrides)?.show(*docs)),
            Self::List => list(),
            Self::Schema => Ok(format!("{:#}\n", recipe::file_schema())),
        }
    }
}

/// The shipped recipes: name, task and title.
fn list() -> Result<String> {
    let width = shipped::SHIPPED.iter().map(|shipped| shipped.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for shipped in shipped::SHIPPED {
        let task = recipe::load(Path::new(&shipped.path()), &[])?.recipe.task.name.word();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:width$}  {task}\n{:width$}  {}", shipped.name, "", shipped.title());
    }
    Ok(text)
}
