//! Samples of corpora as the source of batches for masked language modelling.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;

use super::Opened;
use super::encoder::{TaskData, TaskSetup, TaskSource};
use super::model::overhead;
use crate::corpus::options::{SampleCounts, SampleOptions};
use crate::corpus::samples::{SampleSteps, Samples, nothing_to_evaluate, nothing_to_train_on};
use crate::data::CompactVocabulary;
use crate::data::card::Split;
use crate::device::Chosen;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::model_folder::{self, Origin};
use crate::models::Corpora;
use crate::ranks::Place;
use crate::recipe::{Recipe, TaskName};
use crate::tasks::masked_lm::{Guessed, MaskedLm};
use crate::tasks::sample_batches::SampleCollate;
use crate::tasks::{EvalSet, TaskModel};
use crate::tokenize::Tokenizer;
use crate::train::{Plan, TrainingData};

/// Prepared corpora, or rows with segmentation labels, which the recipe's `[pretraining]` names.
pub struct SampleSource;

impl TaskSource<MaskedLm> for SampleSource {
    fn labels(&self) -> Vec<String> {
        Vec::new()
    }

    fn origin(&self, recipe: &Recipe) -> Origin {
        let settings = recipe.pretraining.as_ref();
        let corpora = settings.and_then(|settings| settings.corpora.as_ref()).into_iter().flatten();
        let rows = settings.and_then(|settings| settings.rows.as_ref()).into_iter().flatten().map(Path::new);
        let names = corpora.map(PathBuf::as_path).chain(rows);
        let names = names.map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        Origin {
            dataset: names.collect::<Vec<_>>().join(", "),
            licence: "see the corpora".to_string(),
            ..Origin::default()
        }
    }

    /// Samples are made when they are due, and the loss of a masked token is over all others.
    fn read(&mut self, _: &TaskSetup<MaskedLm>) -> Result<Option<CompactVocabulary>> {
        Ok(None)
    }

    fn data(
        &mut self,
        setup: &mut TaskSetup<MaskedLm>,
        _: Option<Arc<CompactVocabulary>>,
        model: &TaskModel<MaskedLm>,
        chosen: &Chosen,
        place: Place,
    ) -> Result<TaskData<MaskedLm>> {
        let TaskSetup { recipe, tokenizer, .. } = setup;
        let set = Samples::open(&sample_options(recipe)?, tokenizer, Split::Train)?;
        let set = Arc::new(set.map_or_else(|| Err(nothing_to_train_on(recipe.pretraining()?)), Ok)?);
        let collate = SampleCollate { overhead: Some(overhead(chosen, model)), place, ..collate(recipe, tokenizer)? };
        let rows_per_step = collate.batch_size * recipe.training.blocks();
        let per_epoch = set.steps_per_epoch(&recipe.training, rows_per_step);
        let plan = Plan::new(recipe, per_epoch);
        let steps = SampleSteps { set: set.clone(), step_size: rows_per_step as u64, total: plan.total_steps };
        let split = recipe.evaluation.select_on.split();
        Ok(TrainingData {
            plan,
            rows_per_step,
            loader: Arc::new(collate.loader(steps, &chosen.device.clone().autodiff())),
            fingerprint: set.fingerprint()?,
            place: Box::new(move |row| set.place(row as u64)),
            evaluator: evaluator(recipe, tokenizer, split, &chosen.device)?,
        })
    }
}

/// What the samples of a recipe of masked language modelling follow from.
///
/// # Errors
/// The recipe has no `[pretraining]`.
pub fn sample_options(recipe: &Recipe) -> Result<SampleOptions<'_>> {
    let Recipe { model, task, data, training, evaluation, .. } = recipe;
    let pretraining = recipe.pretraining()?;
    let step_size = training.batch_size * training.blocks();
    let steps = training.max_steps.unwrap_or(1);
    let every = evaluation.every_steps.unwrap_or(steps);
    Ok(SampleOptions {
        pretraining,
        data,
        task,
        seed: training.seed,
        batch_size: training.batch_size,
        counts: SampleCounts::new(step_size as u64, steps as u64, every as u64, pretraining.eval_iters as u64),
        multilingual: model.architecture.corpora == Corpora::Multilingual,
        num_languages: model.config.num_languages.unwrap_or(0),
    })
}

/// What a recipe says of its batches.
fn collate(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<SampleCollate> {
    Ok(SampleCollate {
        batch_size: recipe.training.batch_size,
        normalization: recipe.pretraining()?.loss_normalization,
        with_sop: recipe.task.name == TaskName::PreTraining,
        padding: tokenizer.padding(recipe.data.max_seq_length),
        overhead: None,
        place: Place::ALONE,
    })
}

/// Samples of one part of the recipe's corpora, always the first ones, or all of its rows. Where there is none, there is nothing to
/// evaluate.
fn evaluator(
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    split: Split,
    device: &Device,
) -> Result<Option<Evaluator<TaskModel<MaskedLm>>>> {
    let Some(samples) = Samples::open(&sample_options(recipe)?, tokenizer, split)? else {
        tracing::warn!("{}", nothing_to_evaluate(recipe.pretraining()?, split));
        return Ok(None);
    };
    let collate = collate(recipe, tokenizer)?;
    let total = samples.eval_batches(recipe.pretraining()?, &recipe.training, split, collate.batch_size);
    let set = EvalSet {
        split: split.to_string(),
        language: "all".to_string(),
        skipped: samples.skipped(),
        ..EvalSet::default()
    };
    let steps = SampleSteps { set: Arc::new(samples), step_size: collate.batch_size as u64, total };
    let loader = collate.loader(steps, &device.clone().inner());
    Ok(Some(Evaluator {
        sets: vec![set],
        loader: Box::new(move |place| Arc::new(loader.of_rank(place))),
        is_shared: true,
        set_of: Box::new(|_| 0),
        scorers: vec![Box::new(|| Box::new(Guessed::default()))],
    }))
}

/// The model in a folder, and what it is evaluated on.
pub fn opened(
    folder: &Path,
    recipe: &Recipe,
    splits: &[Split],
    device: &Device,
) -> Result<Opened<TaskModel<MaskedLm>>> {
    let described = model_folder::describe_for(folder, recipe.task.name)?;
    described.check_length(recipe.data.max_seq_length)?;
    let tokenizer = described.tokenizer()?;
    let options = described.options::<MaskedLm>()?;
    let opened = model_folder::open::<MaskedLm>(described, &options, device)?;
    let found = splits.iter().map(|split| evaluator(recipe, &tokenizer, *split, device));
    Ok((opened.model, found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()))
}
