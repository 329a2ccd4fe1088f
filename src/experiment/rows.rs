//! Rows of a data set as the source of a task's batches.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataset::Dataset as _;
use burn::tensor::Device;
use rayon::prelude::*;

use super::encoder::{TaskData, TaskSetup, TaskSource};
use super::model::{is_packed, overhead};
use super::{Opened, run_all};
use crate::data::card::{Card, RowKind, Split};
use crate::data::{
    CompactVocabulary, EvaluationSteps, MicroBatching, Order, TokenInfo, TokenRows, TrainingSteps, WordCounts, find,
};
use crate::device::Chosen;
use crate::error::{Error, Problem, Result};
use crate::evaluate::Evaluator;
use crate::metrics::Evaluation;
use crate::metrics::answers::Scoring;
use crate::model_folder::{self, Origin};
use crate::ranks::{Place, Ranks};
use crate::recipe::{Recipe, SelectOn};
use crate::tasks::{EvalSet, Remark, RowData, RowTask, TaskModel, Tokenised, loader};
use crate::tokenize::Padding;
use crate::train::{Plan, TrainingData};

/// The data set of a recipe, by its card.
pub struct RowSource<T: RowTask> {
    card: Box<Card>,
    /// What has been read of it, until it is trained on.
    read: Option<(TokenRows, EvalRows<T>)>,
}

/// Rows to evaluate: sets, one after the other.
struct EvalRows<T: RowTask> {
    rows: TokenRows,
    sets: Vec<EvalSet>,
    gold: Vec<T::Gold>,
}

impl<T: RowTask> RowSource<T> {
    /// The data set that the recipe's task learns from.
    ///
    /// # Errors
    /// As [`Card::open`], and a data set that is not of the task.
    pub fn open(recipe: &Recipe) -> Result<Self> {
        let card = Card::open(&recipe.data)?;
        if card.rows() != T::ROWS {
            return Err(card.has_other_rows(T::ROWS).into());
        }
        let select_on = recipe.evaluation.select_on;
        let by_rouge = matches!(select_on, SelectOn::DevRougeL | SelectOn::TestRougeL);
        if by_rouge && card.scoring != Scoring::DuReader {
            let what =
                format!("evaluation.select_on is \"{}\", but `{}` is not scored so", select_on.word(), card.name);
            return Err(Problem::new(what)
                .help("choose \"dev.f1\"; scoring = \"dureader\" in a card gives Rouge-L")
                .into());
        }
        Ok(Self { card: Box::new(card), read: None })
    }
}

impl<T: RowTask> TaskSource<T> for RowSource<T> {
    fn labels(&self) -> Vec<String> {
        match T::ROWS {
            // Hugging Face's name for the only output.
            RowKind::Scores => vec!["LABEL_0".to_string()],
            _ => self.card.labels.names().to_vec(),
        }
    }

    fn origin(&self, _: &Recipe) -> Origin {
        let Card { name, licence, languages, .. } = &*self.card;
        Origin { dataset: name.clone(), licence: licence.clone(), languages: languages.clone(), ..Origin::default() }
    }

    fn read(&mut self, setup: &TaskSetup<T>) -> Result<Option<CompactVocabulary>> {
        let TaskSetup { recipe, tokenizer, options, config } = setup;
        let rows = RowData::new(&self.card, &recipe.data, tokenizer);
        let training = training_rows::<T>(&rows, options, recipe)?;
        if recipe.evaluation.test {
            // Before the training, not after it.
            find::eval_languages(&self.card, &recipe.data, Split::Test)
                .map_err(|error| error.with_help("evaluation.test=false leaves the test split out"))?;
        }
        let evaluated = evaluated_rows::<T>(&rows, options, recipe, &[recipe.evaluation.select_on.split()])?;
        let padding = [config.pad_token_id() as u32, tokenizer.padding(recipe.data.max_seq_length).id];
        let met = training.met().chain(evaluated.rows.met()).chain(padding);
        // The table of a model of words is small.
        let vocabulary = (!config.is_of_words()).then(|| CompactVocabulary::of(met, config.vocab_size()));
        self.read = Some((training, evaluated));
        Ok(vocabulary)
    }

    fn data(
        &mut self,
        setup: &mut TaskSetup<T>,
        words: Option<Arc<CompactVocabulary>>,
        model: &TaskModel<T>,
        chosen: &Chosen,
        place: Place,
    ) -> Result<TaskData<T>> {
        let TaskSetup { recipe, tokenizer, options, .. } = setup;
        let (data, mut evaluated) = self.read.take().ok_or_else(|| Error::input("the rows have not been read"))?;
        let data = Arc::new(data.numbered(words.clone()));
        *options = T::options_for(options.clone(), &data);
        let mut padding = tokenizer.padding(recipe.data.max_seq_length);
        if let Some(words) = &words {
            padding.id = words.number(padding.id);
        }
        evaluated.rows = evaluated.rows.numbered(words);
        let evaluator = evaluator::<T>(evaluated, &self.card, options, padding, recipe, &chosen.device)?;

        let batch_size = recipe.training.batch_size;
        let rows_per_step = batch_size * recipe.training.blocks();
        let order = Order { seed: recipe.training.seed, rows: data.len(), rows_per_step };
        let plan = Plan::new(recipe, order.steps_per_epoch());
        let is_packed = is_packed(chosen, model);
        let overhead = (recipe.data.group_by_length && !is_packed).then(|| overhead(chosen, model));
        let micro_batching = MicroBatching { batch_size, overhead };
        let steps = TrainingSteps { data: data.clone(), order, micro_batching, total: plan.total_steps, place };
        let device = chosen.device.clone().autodiff();
        Ok(TrainingData {
            plan,
            rows_per_step,
            loader: Arc::new(loader::<T, _>(steps, data.clone(), options.clone(), padding, is_packed, device)),
            fingerprint: data.fingerprint(),
            place: Box::new(move |row| data.place(row)),
            evaluator: Some(evaluator),
        })
    }
}

/// Some languages of a split, in their order: a few at a time side by side, as one thread reads a file and many tokenise it.
fn read_all<T: RowTask>(
    rows: &RowData,
    options: &T::Options,
    split: Split,
    languages: &[String],
) -> Result<Vec<Tokenised<T::Gold>>> {
    /// Languages whose rows are in memory at once.
    const MOST: usize = 4;
    let mut parts = Vec::new();
    for some in languages.chunks(rayon::current_num_threads().min(MOST)) {
        let read: Vec<_> = some.par_iter().map(|language| T::read(rows, options, split, language)).collect();
        // The first error, whichever came first.
        for part in read {
            parts.push(part?);
        }
    }
    Ok(parts)
}

fn training_rows<T: RowTask>(rows: &RowData, options: &T::Options, recipe: &Recipe) -> Result<TokenRows> {
    let data = &recipe.data;
    let chosen = data.train_languages.as_deref();
    let languages = find::train_languages(rows.card, &data.root, data.protocol.word(), chosen)?;
    let parts = read_all::<T>(rows, options, Split::Train, &languages)?;
    parts.iter().flat_map(|part| &part.remarks).for_each(Remark::log);
    let parts: Vec<_> = parts.into_iter().map(|part| part.rows).collect();
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

/// The rows of some splits in every language that the recipe evaluates.
fn evaluated_rows<T: RowTask>(
    rows: &RowData,
    options: &T::Options,
    recipe: &Recipe,
    splits: &[Split],
) -> Result<EvalRows<T>> {
    let (mut sets, mut parts, mut gold) = (Vec::new(), Vec::new(), Vec::new());
    for &split in splits {
        let languages = find::eval_languages(rows.card, &recipe.data, split)?;
        let read = read_all::<T>(rows, options, split, &languages)?;
        for (language, part) in languages.into_iter().zip(read) {
            part.remarks.iter().for_each(Remark::log);
            let TokenInfo { skipped, empty, words, .. } = part.rows.info;
            let unseen_words = words.cut + words.vanished;
            sets.push(EvalSet { split: split.to_string(), language, skipped, empty, unseen_words });
            parts.push(part.rows);
            gold.push(part.gold);
        }
    }
    Ok(EvalRows { rows: TokenRows::new(parts), sets, gold })
}

fn evaluator<T: RowTask>(
    EvalRows { rows, sets, gold }: EvalRows<T>,
    card: &Card,
    options: &T::Options,
    padding: Padding,
    recipe: &Recipe,
    device: &Device,
) -> Result<Evaluator<TaskModel<T>>> {
    let data = Arc::new(rows);
    let scorers = gold.into_iter().map(|gold| T::scorer(options, card, &data, gold)).collect::<Result<_>>()?;
    let steps = EvaluationSteps::new(&data, recipe.evaluation.batch_size);
    let loader = loader::<T, _>(steps, data.clone(), options.clone(), padding, false, device.clone().inner());
    Ok(Evaluator {
        sets,
        loader: Box::new(move |place| Arc::new(loader.of_rank(place))),
        is_shared: true,
        set_of: Box::new(move |batch| data.locate(batch.rows[0]).0),
        scorers,
    })
}

/// The figures of the model in a folder.
pub fn evaluate_rows<T: RowTask>(
    folder: &Path,
    recipe: &Recipe,
    splits: &[Split],
    device: &Device,
    ranks: &Ranks,
) -> Result<Evaluation> {
    run_all(|| opened::<T>(folder, recipe, splits, device), ranks)
}

fn opened<T: RowTask>(
    folder: &Path,
    recipe: &Recipe,
    splits: &[Split],
    device: &Device,
) -> Result<Opened<TaskModel<T>>> {
    let RowSource { card, .. } = RowSource::<T>::open(recipe)?;
    let described = model_folder::describe_for(folder, recipe.task.name)?;
    let (names, found) = (card.labels.names(), &described.labels);
    if !names.is_empty() && found != names {
        let what =
            format!("has the labels {}, the data set `{}` has {}", found.join(", "), card.name, names.join(", "));
        return Err(Problem::new(what).in_file(folder).help("evaluate it on the data it was trained for").into());
    }
    described.check_length(recipe.data.max_seq_length)?;
    let tokenizer = described.tokenizer()?;
    let options = T::options(&recipe.task, found.len());
    let head = described.options::<T>()?;
    let opened = model_folder::open::<T>(described, &head, device)?;
    let rows = RowData::new(&card, &recipe.data, &tokenizer);
    let evaluated = evaluated_rows::<T>(&rows, &options, recipe, splits)?;
    let padding = tokenizer.padding(recipe.data.max_seq_length);
    Ok((opened.model, vec![evaluator::<T>(evaluated, &card, &options, padding, recipe, device)?]))
}
