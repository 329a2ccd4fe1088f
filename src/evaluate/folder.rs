//! Evaluating a model folder on a recipe's data.

use std::path::Path;

use burn::tensor::Device;

use super::{Evaluation, Evaluator};
use crate::data::card::{Card, Split};
use crate::data::{Preparation, Source};
use crate::error::{Problem, Result};
use crate::logging::Pace;
use crate::model_folder::{self, Described};
use crate::recipe::{Recipe, TaskName};
use crate::tokenize::{Tokenizer, TokenizerOptions};

/// The figures of the model in `folder` on some splits of the recipe's data.
///
/// # Errors
/// The folder cannot be opened, has no head for the recipe's task, or has other labels than the data.
pub fn folder(
    folder: &Path,
    recipe: &Recipe,
    source: &Source,
    splits: &[Split],
    device: &Device,
) -> Result<Evaluation> {
    let opened = model_folder::open(folder, device)?;
    if opened.described.task != Some(recipe.task.name) {
        let what = format!("has no {} head", recipe.task.name.word());
        return Err(Problem::new(what).in_file(folder).help("train one with `kiln train RECIPE`").into());
    }
    let architecture = opened.described.model.architecture();
    let tokenizer = Tokenizer::from_dir(architecture, folder, TokenizerOptions::default())?;
    let evaluators = match source {
        Source::Rows(card) => {
            if recipe.task.name != TaskName::QuestionAnswering {
                check_labels(&opened.described, card, folder)?;
            }
            let preparation = Preparation { card, recipe, tokenizer: &tokenizer };
            vec![Evaluator::of_rows(&preparation, splits, device)?]
        }
        Source::Samples => {
            let found = splits.iter().map(|split| Evaluator::of_samples(recipe, &tokenizer, *split, device));
            found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
        }
    };
    let mut pace = Pace::start();
    let mut all = Evaluation::default();
    for evaluator in evaluators {
        let found = evaluator.run(&opened.model, &*evaluator.loader(), || false, |_, progress| pace.say(&progress))?;
        all.sets.extend(found.sets);
        all.averages.extend(found.averages);
        all.seconds += found.seconds;
    }
    Ok(all)
}

fn check_labels(described: &Described, card: &Card, folder: &Path) -> Result<()> {
    if described.labels == card.labels.names() {
        return Ok(());
    }
    let what = format!(
        "has the labels {}, the data set `{}` has {}",
        described.labels.join(", "),
        card.name,
        card.labels.names().join(", ")
    );
    Err(Problem::new(what).in_file(folder).help("evaluate it on the data it was trained for").into())
}
