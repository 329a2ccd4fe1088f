//! What a run learns from, made ready: rows of a data set, or samples.

use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::data::dataset::Dataset as _;
use burn::module::Module as _;
use burn::tensor::Device;

use super::plan::Plan;
use crate::corpus::samples::{Samples, nothing_to_train_on, settings};
use crate::data::card::{Card, Split};
use crate::data::{
    Cut, Order, Preparation, RowForm, SampleBatches, SampleLoader, StepLoader, TokenRows, WordCounts, find,
};
use crate::device::{self, Chosen};
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::recipe::Recipe;
use crate::tasks::{Batch, Network};
use crate::tokenize::Tokenizer;

/// What a micro-batch costs beside its tokens, in tokens. On a GPU it is launches, which leave it idle unless there is much to compute.
const GPU_OVERHEAD: usize = 4096;
/// On a processor it is small operations and products of few rows, and a gradient of every parameter, made and added up: so many tokens
/// if all parameters were the layers', by which alone a token is multiplied. Between what was measured on one core and on two, with
/// 26,000 and 250,002 words.
const CPU_OVERHEAD: usize = 40;
const GRADIENTS: usize = 20;

fn overhead(chosen: &Chosen, network: &Network) -> usize {
    match network {
        _ if !device::is_cpu(chosen.backend) => GPU_OVERHEAD,
        Network::Encoder(model) => CPU_OVERHEAD + GRADIENTS * model.num_params() / model.params_per_token().max(1),
        Network::LanguageModel(_) => CPU_OVERHEAD + GRADIENTS,
    }
}

/// Training rows and what is evaluated, ready to go.
pub struct Prepared {
    pub plan: Plan,
    /// Rows of an optimizer step.
    pub rows_per_step: usize,
    pub loader: Arc<dyn DataLoader<Vec<Batch>>>,
    /// What the training rows are, so that a run does not go on with others.
    pub fingerprint: String,
    pub places: Places,
    /// Whether the words that get tags are single characters.
    pub characters_as_words: bool,
    /// `None` where there is nothing to evaluate.
    pub evaluator: Option<Evaluator>,
}

/// Where rows were read, for messages.
pub enum Places {
    Rows(Arc<TokenRows>),
    Samples(Arc<Samples>),
    /// Of streams, which pass through all sentences.
    Streams,
}

impl Places {
    pub fn of(&self, row: usize) -> String {
        match self {
            Self::Rows(rows) => rows.place(row),
            Self::Samples(samples) => samples.place(row as u64),
            Self::Streams => format!("stream {row}"),
        }
    }
}

/// Rows of a data set. `training` is the device that gradients are computed on.
pub fn rows(
    card: &Card,
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    network: &Network,
    chosen: &Chosen,
    training: &Device,
) -> Result<Prepared> {
    let preparation = Preparation { card, recipe, tokenizer };
    let data = Arc::new(training_rows(&preparation)?);
    if recipe.evaluation.test {
        // Before the training, not after it.
        find::eval_languages(card, &recipe.data, Split::Test)
            .map_err(|error| error.with_help("evaluation.test=false leaves the test split out"))?;
    }
    let split = recipe.evaluation.select_on.split();
    let evaluator = Evaluator::of_rows(&preparation, &[split], &chosen.device)?;
    let rows_per_step = recipe.training.batch_size * recipe.training.gradient_accumulation_steps;
    let order = Order { seed: recipe.training.seed, rows: data.len(), rows_per_step };
    let plan = Plan::new(recipe, order.steps_per_epoch());

    let overhead = recipe.data.group_by_length.then(|| overhead(chosen, network));
    let cut = Cut { batch_size: recipe.training.batch_size, overhead };
    let form = RowForm::of(recipe, tokenizer);
    let loader = StepLoader::new(data.clone(), order, cut, form, training.clone(), plan.total_steps);
    Ok(Prepared {
        plan,
        rows_per_step,
        loader: Arc::new(loader),
        fingerprint: data.fingerprint(),
        characters_as_words: data.has_characters_as_words(),
        places: Places::Rows(data),
        evaluator: Some(evaluator),
    })
}

fn training_rows(preparation: &Preparation) -> Result<TokenRows> {
    let data = &preparation.recipe.data;
    let chosen = data.train_languages.as_deref();
    let languages = find::train_languages(preparation.card, &data.root, data.protocol.word(), chosen)?;
    let parts =
        languages.iter().map(|language| preparation.rows(Split::Train, language)).collect::<Result<Vec<_>>>()?;
    for (language, part) in languages.iter().zip(&parts) {
        let info = &part.info;
        tracing::info!(
            "train {language}: {} rows from {} ({} left out, {} with an empty text, {} cut to {} tokens)",
            info.rows,
            info.source.display(),
            info.skipped,
            info.empty,
            info.truncated,
            data.max_seq_length
        );
        if info.words.all > 0 {
            let WordCounts { all, cut, vanished, .. } = info.words;
            tracing::info!(
                "train {language}: {all} words ({cut} cut off, {vanished} of which the tokenizer makes nothing)"
            );
        }
    }
    Ok(TokenRows::new(parts))
}

/// Samples of corpora, or rows that are made already.
pub fn samples(
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    network: &Network,
    chosen: &Chosen,
    training: &Device,
) -> Result<Prepared> {
    let set = Samples::open(recipe, tokenizer, Split::Train)?;
    let set = Arc::new(set.map_or_else(|| Err(nothing_to_train_on(settings(recipe)?)), Ok)?);
    let batches = SampleBatches { overhead: Some(overhead(chosen, network)), ..SampleBatches::of(recipe, tokenizer)? };
    let plan = Plan::new(recipe, set.steps_per_epoch(recipe, batches.step_size()));
    let split = recipe.evaluation.select_on.split();
    Ok(Prepared {
        rows_per_step: batches.step_size(),
        loader: Arc::new(SampleLoader::new(set.clone(), batches, training.clone(), plan.total_steps)),
        plan,
        fingerprint: set.fingerprint()?,
        characters_as_words: false,
        places: Places::Samples(set),
        evaluator: Evaluator::of_samples(recipe, tokenizer, split, &chosen.device)?,
    })
}
