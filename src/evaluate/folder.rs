//! Evaluating a model folder on a recipe's data.

use std::path::Path;

use burn::tensor::Device;

use super::{Evaluation, Evaluator};
use crate::data::Preparation;
use crate::data::card::{Card, Split};
use crate::error::{Problem, Result};
use crate::logging::Pace;
use crate::model_folder;
use crate::recipe::Recipe;
use crate::tokenize::{Tokenizer, TokenizerOptions};

/// The figures of the model in `folder` on some splits of the recipe's data.
///
/// # Errors
/// The folder cannot be opened, has no head for the recipe's task, or has other labels than the data.
pub fn folder(folder: &Path, recipe: &Recipe, card: &Card, splits: &[Split], device: &Device) -> Result<Evaluation> {
    let opened = model_folder::open(folder, device)?;
    if opened.described.task != Some(recipe.task.name) {
        let what = format!("has no {} head", recipe.task.name.word());
        return Err(Problem::new(what).in_file(folder).help("train one with `kiln train RECIPE`").into());
    }
    if opened.described.labels != card.labels.names() {
        let what = format!(
            "has the labels {}, the data set `{}` has {}",
            opened.described.labels.join(", "),
            card.name,
            card.labels.names().join(", ")
        );
        return Err(Problem::new(what).in_file(folder).help("evaluate it on the data it was trained for").into());
    }
    let tokenizer = Tokenizer::from_dir(opened.described.model.architecture(), folder, TokenizerOptions::default())?;
    let preparation = Preparation { card, data: &recipe.data, tokenizer: &tokenizer };
    let evaluator = Evaluator::of(&preparation, recipe, splits, device)?;
    let mut pace = Pace::start();
    evaluator.run(&opened.model, &evaluator.loader(), || false, |_, progress| pace.say(&progress))
}
