//! Evaluation: counts over whole splits, a figure per language, their average.

pub mod answers;
pub mod chunks;
mod folder;
mod questions;
mod report;
mod result;
pub mod spans;

pub use folder::folder;
pub use questions::BatchLogits;
pub use report::table;
pub use result::{
    AnswerAverage, AnswerFigures, Average, ChunkAverage, ChunkFigures, ChunkResult, Evaluation, OrderResult, SetResult,
    TypeResult,
};

use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::{DataLoader, Progress};
use burn::data::dataset::Dataset as _;
use burn::tensor::{Device, Int, Tensor};
use burn::train::InferenceStep;

use self::answers::Scoring;
use self::chunks::{ChunkCounter, ChunkScheme};
use self::questions::{Questions, Said};
use self::result::average;
use crate::corpus::samples::{Samples, nothing_to_evaluate, settings};
use crate::data::align::NO_TAG;
use crate::data::card::Split;
use crate::data::{EvalLoader, Preparation, RowForm, SampleBatches, SampleLoader, Tags, Target, TokenRows, find};
use crate::error::{Error, Problem, Result};
use crate::recipe::{Recipe, TaskName};
use crate::streams::{Sentences, StreamForm, StreamLoader, streams_of};
use crate::tasks::{Answering, Batch, Labels, Logits, Network, StepOutput, TaskModel};
use crate::tokenize::Tokenizer;
use crate::tokenize::elmo::WordVocabulary;

/// What is counted together: one language of one split, or one part of the corpora.
#[derive(Debug, Clone)]
struct EvalSet {
    split: String,
    language: String,
    /// Rows that could not be read and were left out, and rows with an empty text.
    skipped: usize,
    empty: usize,
    /// Words that were cut off or vanished.
    unseen_words: usize,
}

/// The sets to evaluate, and how to bring them to the device.
pub struct Evaluator {
    sets: Vec<EvalSet>,
    loader: Arc<dyn DataLoader<Batch>>,
    /// Tells which set a row is of, where there are several, and what its words are.
    rows: Option<Arc<TokenRows>>,
    /// How chunks of words are told, where words have tags.
    scheme: Option<ChunkScheme>,
    /// What is answered, where questions are.
    questions: Option<Questions>,
}

#[derive(Default, Clone)]
struct Counts {
    correct: usize,
    labelled: usize,
    loss_sum: f64,
    /// What the loss is a mean over: the labels, or with a CRF the rows.
    loss_weight: usize,
    order_correct: usize,
    order_rows: usize,
    order_loss_sum: f64,
    is_next_words: bool,
    chunks: Option<ChunkCounter>,
    answers: Option<AnswerFigures>,
}

impl Evaluator {
    /// The rows of some splits in every language that the recipe evaluates.
    ///
    /// # Errors
    /// Rows that cannot be read, and tags that do not say what a chunk is.
    pub fn of_rows(preparation: &Preparation, splits: &[Split], device: &Device) -> Result<Self> {
        let (card, recipe) = (preparation.card, preparation.recipe);
        let scheme = || ChunkScheme::new(card.labels.names(), recipe.task.chunk_counting.unwrap_or_default());
        let scheme = (recipe.task.name == TaskName::TokenClassification).then(scheme).transpose()?;
        let is_of_questions = recipe.task.name == TaskName::QuestionAnswering;
        let (mut sets, mut parts, mut questions) = (Vec::new(), Vec::new(), Vec::new());
        for &split in splits {
            for language in find::eval_languages(card, &recipe.data, split)? {
                let rows = match is_of_questions {
                    true => {
                        let (rows, read) = preparation.questions(split, &language)?;
                        questions.push(read);
                        rows
                    }
                    false => preparation.rows(split, &language)?,
                };
                let (skipped, empty, words) = (rows.info.skipped, rows.info.empty, rows.info.words);
                let unseen_words = words.cut + words.vanished;
                sets.push(EvalSet { split: split.to_string(), language, skipped, empty, unseen_words });
                parts.push(rows);
            }
        }
        let form = RowForm::of(recipe, preparation.tokenizer);
        let rows = Arc::new(TokenRows::new(parts));
        let loader = EvalLoader::new(rows.clone(), recipe.evaluation.batch_size, form, device.clone().inner());
        let options = Answering::from(&recipe.task).spans(card.scoring == Scoring::DuReader);
        let questions = is_of_questions.then_some(Questions { sets: questions, scoring: card.scoring, options });
        Ok(Self { sets, loader: Arc::new(loader), rows: Some(rows), scheme, questions })
    }

    /// Samples of one part of the recipe's corpora, always the first ones, or all of its rows. Where there is none, there is
    /// nothing to evaluate.
    pub fn of_samples(recipe: &Recipe, tokenizer: &Tokenizer, split: Split, device: &Device) -> Result<Option<Self>> {
        let Some(samples) = Samples::open(recipe, tokenizer, split)? else {
            tracing::warn!("{}", nothing_to_evaluate(settings(recipe)?, split));
            return Ok(None);
        };
        let form = SampleBatches { accumulation: 1, ..SampleBatches::of(recipe, tokenizer)? };
        let batches = samples.eval_batches(settings(recipe)?, recipe, split, form.batch_size);
        let skipped = samples.skipped();
        let loader = SampleLoader::new(Arc::new(samples), form, device.clone().inner(), batches);
        let set = EvalSet { split: split.to_string(), language: "all".to_string(), skipped, empty: 0, unseen_words: 0 };
        Ok(Some(Self { sets: vec![set], loader: Arc::new(loader), rows: None, scheme: None, questions: None }))
    }

    /// The sentences of a language model's dev or test files, each once; `None` where there are no such files.
    pub fn of_streams(
        recipe: &Recipe,
        form: StreamForm,
        vocabulary: &WordVocabulary,
        split: Split,
        device: &Device,
    ) -> Result<Option<Self>> {
        let streams = streams_of(recipe)?;
        let Some(patterns) = (if split == Split::Test { &streams.test } else { &streams.dev }) else { return Ok(None) };
        let sentences = Arc::new(Sentences::read(patterns, vocabulary)?);
        let form = StreamForm { accumulation: 1, sampler: None, ..form };
        let loader = StreamLoader::once(sentences, form, device.clone().inner());
        let set =
            EvalSet { split: split.to_string(), language: "all".to_string(), skipped: 0, empty: 0, unseen_words: 0 };
        Ok(Some(Self { sets: vec![set], loader: Arc::new(loader), rows: None, scheme: None, questions: None }))
    }

    /// The same rows as a Burn data loader.
    pub fn loader(&self) -> Arc<dyn DataLoader<Batch>> {
        self.loader.clone()
    }

    /// Rows to evaluate.
    pub fn rows(&self) -> usize {
        self.loader.num_items()
    }

    /// Runs `model` (in inference mode) over the rows of `loader`, which is [`Self::loader`]. `seen` gets each batch's output;
    /// `stop` ends it early with [`Error::Interrupted`].
    pub fn run(
        &self,
        model: &Network,
        loader: &dyn DataLoader<Batch>,
        stop: impl Fn() -> bool,
        mut seen: impl FnMut(StepOutput, Progress),
    ) -> Result<Evaluation> {
        let start = Instant::now();
        let chunks = self.scheme.clone().map(ChunkCounter::new);
        let mut counts = vec![Counts { chunks, ..Counts::default() }; self.sets.len()];
        let mut said = vec![Said::new(); self.sets.len()];
        let mut batches = loader.iter();
        let mut carried = None;
        while let Some(batch) = batches.next() {
            if stop() {
                return Err(Error::Interrupted);
            }
            let mut batch = batch.map_err(|cause| Error::run(Problem::new(cause.to_string())))?;
            batch.carry(carried.take());
            let set = self.rows.as_ref().map_or(0, |rows| rows.locate(batch.rows[0]).0);
            let (labels, numbers) = (batch.labels.clone(), batch.rows.clone());
            let output = InferenceStep::step(model, batch);
            counts[set].add(&output, &labels);
            carried.clone_from(&output.carried);
            if let (Network::Encoder(model), Some(rows), Some(Logits::Token(scores))) =
                (model, &self.rows, &output.logits)
            {
                counts[set].add_words(model, scores, rows, &numbers)?;
            }
            if let (Some(questions), Some(rows), Some(Logits::Span(start, end))) =
                (&self.questions, &self.rows, &output.logits)
            {
                let logits = BatchLogits::new(start, end);
                counts[set].correct += questions.listen(&logits, rows, &numbers, &mut said[set])?;
            }
            seen(output, batches.progress());
        }
        if let Some(questions) = &self.questions {
            for (set, said) in said.into_iter().enumerate() {
                let found = questions.count(set, said);
                counts[set].answers = Some(AnswerFigures::new(found, questions.scoring));
            }
        }
        Ok(self.evaluation(counts, start.elapsed().as_secs_f64()))
    }

    fn evaluation(&self, counts: Vec<Counts>, seconds: f64) -> Evaluation {
        let sets: Vec<SetResult> = self.sets.iter().zip(&counts).map(|(set, counts)| counts.result(set)).collect();
        let mut splits: Vec<&str> = Vec::new();
        for set in &sets {
            if !splits.contains(&set.split.as_str()) {
                splits.push(&set.split);
            }
        }
        let averages = splits.iter().map(|split| average(split, &sets)).collect();
        Evaluation { step: None, selected_on: None, sets, averages, seconds }
    }
}

impl Counts {
    /// Counts what needs nothing but the batch.
    fn add(&mut self, output: &StepOutput, labels: &Labels) {
        let number = |sum: &Tensor<1>| sum.to_data().iter::<f64>().sum::<f64>();
        self.loss_sum += number(&output.loss_sum);
        self.loss_weight += output.weight;
        // Words are counted where their tags are read.
        if !matches!(output.logits, Some(Logits::Token(_))) {
            self.labelled += output.weight;
        }
        if let Some((sum, rows)) = &output.order {
            self.order_loss_sum += number(sum);
            self.order_rows += rows;
        }
        match (&output.logits, labels) {
            (Some(Logits::Sequence(logits)), Labels::Classes(classes)) => self.correct += right(logits, classes),
            (Some(Logits::Next(logits)), Labels::Next(words)) => {
                self.is_next_words = true;
                self.correct += right(logits, words);
            }
            (Some(Logits::Hidden(logits, order)), Labels::Masked { tokens, order: labels, .. }) => {
                self.correct += right(logits, tokens);
                if let (Some(order), Some(labels)) = (order, labels) {
                    self.order_correct += right(order, labels);
                }
            }
            _ => {}
        }
    }

    /// Counts the model's tags, by its `scores` `[batch, seq, tags]`, of the rows with these numbers.
    fn add_words(&mut self, model: &TaskModel, scores: &Tensor<3>, rows: &TokenRows, numbers: &[usize]) -> Result<()> {
        let tags_of = |row: &usize| match rows.get(*row).map(|row| row.target) {
            Ok(Target::Tags(tags)) => Ok(tags),
            Ok(Target::Class(_) | Target::Span(_)) => Err(Error::run(Problem::new("a row has no tags"))),
            Err(cause) => Err(Error::run(Problem::new(cause.to_string()))),
        };
        let gold: Vec<Tags> = numbers.iter().map(tags_of).collect::<Result<_>>()?;
        let starts: Vec<&[Option<u32>]> = gold.iter().map(|tags| tags.starts.as_slice()).collect();
        for (tags, best) in gold.iter().zip(model.word_tags(scores, &starts)) {
            self.labelled += best.iter().filter(|tag| **tag != NO_TAG).count();
            self.correct += best.iter().zip(&tags.gold).filter(|(best, gold)| best == gold).count();
            if let Some(chunks) = &mut self.chunks {
                chunks.add(&tags.gold, &best);
            }
        }
        Ok(())
    }

    fn result(&self, set: &EvalSet) -> SetResult {
        let share = |correct: usize, of: usize| correct as f64 / of.max(1) as f64;
        SetResult {
            split: set.split.clone(),
            language: set.language.clone(),
            accuracy: share(self.correct, self.labelled),
            correct: self.correct,
            labelled: self.labelled,
            loss: self.loss_sum / self.loss_weight.max(1) as f64,
            perplexity: self.is_next_words.then(|| (self.loss_sum / self.loss_weight.max(1) as f64).exp()),
            sentence_order: (self.order_rows > 0).then(|| OrderResult {
                accuracy: share(self.order_correct, self.order_rows),
                correct: self.order_correct,
                rows: self.order_rows,
                loss: self.order_loss_sum / self.order_rows as f64,
            }),
            chunks: self.chunks.as_ref().map(|counter| ChunkResult::new(counter, set.unseen_words)),
            answers: self.answers.clone(),
            skipped: set.skipped,
            empty: set.empty,
        }
    }
}

/// How many rows have their highest score, of `[rows, classes]`, where the labels, `[rows]`, say.
fn right(logits: &Tensor<2>, labels: &Tensor<1, Int>) -> usize {
    let best = logits.clone().argmax(1).into_data(); // [rows, 1]
    let labels = labels.to_data(); // [rows]
    best.iter::<i64>().zip(labels.iter::<i64>()).filter(|(best, label)| best == label).count()
}
