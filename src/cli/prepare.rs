//! `kiln prepare`.

use std::path::PathBuf;

use super::device::use_threads;
use super::output::print;
use super::recipe::RecipeArgs;
use super::{on_ranks, stop_on_signals};
use crate::error::{Problem, Result};
use crate::experiment::Purpose;
use crate::models::Corpora;
use crate::ranks::Ranks;
use crate::recipe::{CorpusOptions, Loaded, Recipe, TaskName};
use crate::tokenize::Tokenizer;
use crate::{device, experiment, prepare};

pub fn run(args: &RecipeArgs) -> Result<()> {
    on_ranks(args, prepare)
}

/// All ranks end alike: each step that can fail is agreed on.
fn prepare(mut loaded: Loaded, ranks: &Ranks) -> Result<()> {
    ranks.agree(use_threads(device::threads(&loaded.recipe.device, ranks.place())))?;
    let options = loaded.recipe.corpus.clone().ok_or_else(|| {
        let problem = Problem::new("has no [corpus]: there is nothing to prepare").in_file(&loaded.file);
        problem.help("[corpus] names the text, `input`, and the corpus to make, `output`").into()
    });
    let options = &ranks.agree(options)?;
    ranks.first_then_rest(|| experiment::fetch(&mut loaded, Purpose::Prepare))?;
    let stop = ranks.agree(stop_on_signals())?;
    let summary = match loaded.recipe.task.name {
        TaskName::BidirectionalLm => {
            let given = ranks.agree(given_vocabulary(&loaded.recipe, options))?;
            prepare::segment(options, given.as_deref(), ranks, &stop)?.to_string()
        }
        _ => {
            let tokenizer = ranks.agree(tokenizer(&loaded))?;
            prepare::run(options, &tokenizer, ranks, &stop)?.to_string()
        }
    };
    if !ranks.is_first() {
        return Ok(());
    }
    print(&format!("{}: {summary}\n", options.output.display()))
}

/// The tokenizer, of a model that corpora can be made for.
fn tokenizer(loaded: &Loaded) -> Result<Tokenizer> {
    let tokenizer = experiment::tokenizer(&loaded.recipe)?;
    let family = loaded.recipe.model.architecture;
    let is_made = match family.corpora {
        // Whole words are known by the tokens of WordPiece.
        Corpora::Documents => tokenizer.as_word_piece().is_some(),
        Corpora::Multilingual => true,
        Corpora::None | Corpora::Streams => false,
    };
    if is_made {
        return Ok(tokenizer);
    }
    let what = format!("corpora cannot be made for \"{}\" with this tokenizer", family.name);
    let help = "they are made for \"ernie\" and \"bert\" with a vocab.txt, and for \"ernie-m\"";
    Err(Problem::new(what).in_file(&loaded.file).help(help).into())
}

/// The vocabulary of a language model that is there already; none where it is made too.
fn given_vocabulary(recipe: &Recipe, options: &CorpusOptions) -> Result<Option<PathBuf>> {
    if options.makes_vocabulary(recipe.model.tokenizer.as_deref()) {
        return Ok(None);
    }
    experiment::vocabulary_file(recipe).map(Some).map_err(|error| {
        let output = options.output.display();
        error.with_help(&format!("model.tokenizer={output} makes a vocabulary there"))
    })
}
