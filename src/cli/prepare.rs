//! `kiln prepare`.

use super::device::use_threads;
use super::output::print;
use super::recipe::RecipeArgs;
use super::stop_on_signals;
use crate::error::{Problem, Result};
use crate::experiment::Purpose;
use crate::models::Corpora;
use crate::recipe::{CorpusOptions, Recipe, TaskName};
use crate::{experiment, prepare, recipe};

pub fn run(args: &RecipeArgs) -> Result<()> {
    let mut loaded = recipe::load(&args.recipe, &args.overrides)?;
    use_threads(loaded.recipe.device.threads)?;
    let Some(options) = &loaded.recipe.corpus.clone() else {
        let problem = Problem::new("has no [corpus]: there is nothing to prepare").in_file(&loaded.file);
        return Err(problem.help("[corpus] names the text, `input`, and the corpus to make, `output`").into());
    };
    experiment::fetch(&mut loaded, Purpose::Prepare)?;
    if loaded.recipe.task.name == TaskName::BidirectionalLm {
        return sentences(&loaded.recipe, options);
    }
    let tokenizer = experiment::tokenizer(&loaded.recipe)?;
    let family = loaded.recipe.model.architecture;
    let is_made = match family.corpora {
        // Whole words are known by the tokens of WordPiece.
        Corpora::Documents => tokenizer.as_word_piece().is_some(),
        Corpora::Multilingual => true,
        Corpora::None | Corpora::Streams => false,
    };
    if !is_made {
        let what = format!("corpora cannot be made for \"{}\" with this tokenizer", family.name);
        let help = "they are made for \"ernie\" and \"bert\" with a vocab.txt, and for \"ernie-m\"";
        return Err(Problem::new(what).in_file(&loaded.file).help(help).into());
    }
    let stop = stop_on_signals()?;
    let summary = prepare::run(options, &tokenizer, &stop)?;
    print(&format!("{}: {summary}\n", options.output.display()))
}

/// For a language model, whose vocabulary is made too, or is there already.
fn sentences(recipe: &Recipe, options: &CorpusOptions) -> Result<()> {
    let given = match options.makes_vocabulary(recipe.model.tokenizer.as_deref()) {
        true => None,
        false => Some(experiment::vocabulary_file(recipe).map_err(|error| {
            let output = options.output.display();
            error.with_help(&format!("model.tokenizer={output} makes a vocabulary there"))
        })?),
    };
    let stop = stop_on_signals()?;
    let summary = prepare::segment(options, given.as_deref(), &stop)?;
    print(&format!("{}: {summary}\n", options.output.display()))
}
