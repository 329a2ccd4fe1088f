//! Evaluating a model folder on a recipe's data.

use std::path::Path;

use burn::tensor::Device;

use super::{Evaluation, Evaluator};
use crate::data::card::{Card, Split};
use crate::data::{Preparation, Source};
use crate::error::{Error, Problem, Result};
use crate::logging::Pace;
use crate::model_folder::{self, Described};
use crate::models::elmo::{self, SoftmaxUse};
use crate::recipe::{Recipe, TaskName};
use crate::streams::StreamForm;
use crate::tasks::Network;
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
    if let Source::Streams = source {
        return language_model(folder, recipe, splits, device);
    }
    let opened = model_folder::open(folder, device)?;
    // A class may be that of several tasks, as the four that hide tokens of ERNIE-M's text.
    if opened.described.task.map(TaskName::class_suffix) != Some(recipe.task.name.class_suffix()) {
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
        Source::Samples | Source::Streams => {
            let found = splits.iter().map(|split| Evaluator::of_samples(recipe, &tokenizer, *split, device));
            found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
        }
    };
    run(&Network::Encoder(opened.model), evaluators)
}

/// The figures of the language model in `folder`.
fn language_model(folder: &Path, recipe: &Recipe, splits: &[Split], device: &Device) -> Result<Evaluation> {
    let opened = elmo::open(folder, SoftmaxUse::Require, device)?;
    let vocabulary = opened.vocabulary.ok_or_else(|| {
        Error::from(Problem::new("has no vocabulary (vocab.txt)").in_file(folder).help("it is a word a line"))
    })?;
    let characters = opened.elmo.config().characters().map(|characters| characters.max_characters_per_token);
    let form = StreamForm::of(recipe, &vocabulary, characters)?;
    let found = splits.iter().map(|split| Evaluator::of_streams(recipe, form, &vocabulary, *split, device));
    let evaluators = found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    run(&Network::LanguageModel(opened.elmo), evaluators)
}

fn run(network: &Network, evaluators: Vec<Evaluator>) -> Result<Evaluation> {
    let mut pace = Pace::start();
    let mut all = Evaluation::default();
    for evaluator in evaluators {
        let found = evaluator.run(network, &*evaluator.loader(), || false, |_, progress| pace.say(&progress))?;
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
