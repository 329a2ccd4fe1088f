//! What masked language modelling learns from: samples of corpora, or rows that are made already.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::multilingual::Multilingual;
use super::options::SampleOptions;
use super::rows::RowSet;
use super::sample::{Sample, SampleSet};
use super::vocabulary::{SpecialIds, Vocabulary};
use crate::data::StepSource;
use crate::data::card::Split;
use crate::error::{Error, Problem, Result};
use crate::recipe::{Pretraining, Training};
use crate::tokenize::Tokenizer;

/// Samples, each a function of its number and the seed.
pub enum Samples {
    /// Sentence-order pairs or single texts of `pretraining.corpora`.
    Corpora(SampleSet),
    /// `pretraining.rows` or `pretraining.dev_rows`.
    Rows(RowSet),
    /// Pairs and text in many languages, for ERNIE-M.
    Multilingual(Box<Multilingual>),
}

impl Samples {
    /// The samples for `split`; `None` where the corpora have no document in that part, or there are no such
    /// rows.
    ///
    /// # Errors
    /// Data that cannot be read, or is of another vocabulary; options out of range.
    pub fn open(options: &SampleOptions, tokenizer: &Tokenizer, split: Split) -> Result<Option<Self>> {
        if options.multilingual {
            return Ok(Multilingual::open(options, tokenizer, split)?.map(|set| Self::Multilingual(Box::new(set))));
        }
        let vocabulary = vocabulary(tokenizer)?;
        Ok(match options.pretraining.rows {
            Some(_) => RowSet::open(options, vocabulary, split)?.map(Self::Rows),
            None => SampleSet::open(options, vocabulary, split)?.map(Self::Corpora),
        })
    }

    /// The optimizer steps of an epoch, of `size` samples each. Samples of corpora are made as long as they are wanted: the
    /// whole run is one epoch.
    pub fn steps_per_epoch(&self, training: &Training, size: usize) -> u64 {
        match self {
            Self::Corpora(_) | Self::Multilingual(_) => training.max_steps.unwrap_or(1) as u64,
            Self::Rows(rows) => rows.rows().div_ceil(size as u64),
        }
    }

    /// How many batches of `size` samples an evaluation of `split` reads: as many as `pretraining.eval_iters` says, or all rows.
    pub fn eval_batches(&self, pretraining: &Pretraining, training: &Training, split: Split, size: usize) -> u64 {
        let longer = if split == Split::Test { 10 } else { 1 };
        match self {
            Self::Corpora(_) | Self::Multilingual(_) => (pretraining.eval_iters * training.blocks() * longer) as u64,
            Self::Rows(rows) => rows.rows().div_ceil(size as u64),
        }
    }

    /// The numbers of a step's samples, of which there are `size`; fewer at the end of an epoch of rows.
    pub fn step(&self, step: u64, size: u64) -> Range<u64> {
        match self {
            Self::Corpora(_) | Self::Multilingual(_) => step * size..(step + 1) * size,
            Self::Rows(rows) => rows.step(step, size),
        }
    }

    /// A sample.
    ///
    /// # Errors
    /// There is no such sample, or its corpus has been changed since it was opened.
    pub fn sample(&self, number: u64) -> Result<Sample> {
        match self {
            Self::Corpora(set) => set.sample(number),
            Self::Rows(rows) => Ok(rows.sample(number)),
            Self::Multilingual(_) => Err(Error::input("samples in many languages come by the batch")),
        }
    }

    /// Where a sample is from, for messages.
    pub fn place(&self, number: u64) -> String {
        match self {
            Self::Corpora(set) => set.place(number),
            Self::Rows(rows) => rows.place(number),
            Self::Multilingual(set) => set.place(number),
        }
    }

    /// What the samples are: the same for the same data and options.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn fingerprint(&self) -> Result<String> {
        match self {
            Self::Corpora(set) => set.fingerprint(),
            Self::Rows(rows) => Ok(rows.fingerprint()),
            Self::Multilingual(set) => set.fingerprint(),
        }
    }

    /// Rows that could not be read and were left out.
    pub fn skipped(&self) -> usize {
        match self {
            Self::Corpora(_) | Self::Multilingual(_) => 0,
            Self::Rows(rows) => rows.skipped,
        }
    }
}

/// The samples of a run's or an evaluation's steps.
pub struct SampleSteps {
    pub set: Arc<Samples>,
    /// Samples of a step.
    pub step_size: u64,
    pub total: u64,
}

impl StepSource for SampleSteps {
    /// The numbers of the samples.
    type Step = Range<u64>;

    fn steps(&self) -> u64 {
        self.total
    }

    fn starting_at(&self, first: u64) -> Box<dyn Iterator<Item = Result<Range<u64>>> + '_> {
        Box::new((first..).map(|step| Ok(self.set.step(step, self.step_size))))
    }
}

fn vocabulary(tokenizer: &Tokenizer) -> Result<Vocabulary> {
    let size = tokenizer.vocab_size();
    Vocabulary::new((0..size as u32).map(|id| tokenizer.token(id)), size, SpecialIds::new(tokenizer))
}

/// What is wrong where there is nothing to train on.
pub fn nothing_to_train_on(settings: &Pretraining) -> Error {
    let mut named = settings.corpora.iter().chain(&settings.parallel).flatten();
    let first = named.next().map_or(Path::new(""), |path| path.as_path());
    let problem = Problem::new("has no document that samples can be made from in the train part").in_file(first);
    problem
        .help("pre-training with sentence order takes documents of two sentences or more; see pretraining.split")
        .into()
}

/// Why a part is not evaluated, where there is nothing in it.
pub fn nothing_to_evaluate(settings: &Pretraining, split: Split) -> String {
    match settings.rows {
        Some(_) => {
            "the recipe names no pretraining.dev_rows: nothing is evaluated, and no best model chosen".to_string()
        }
        None => format!(
            "the corpora have no document in the {split} part that samples can be made from: it is not evaluated; small corpora \
             need a pretraining.split that gives it more than \"{}\" does",
            settings.split
        ),
    }
}
