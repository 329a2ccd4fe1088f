//! `kiln predict`.

mod answers;
mod classes;
mod output;
mod tags;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;
use serde_json::Value;

use self::answers::Answers;
use self::classes::Classes;
use self::output::Output;
use self::tags::Tags;
use crate::data::lines::RowError;
use crate::data::{input, question_input};
use crate::error::{Error, Problem, Result};
use crate::models::{EncoderInput, InputRow};
use crate::recipe::TaskName;
use crate::tasks::Logits;
use crate::tokenize::{Tokenizer, TokenizerOptions};
use crate::{device, model_folder};

/// Rows that are read, labelled and written together; sorted by length among themselves.
const CHUNK: usize = 256;
/// Rows that go through the model at once.
const BATCH: usize = 32;

/// What to label, and with which model.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// A run folder (its best model is taken) or a model folder
    dir: PathBuf,
    /// TSV or JSONL, plain or .gz; - reads standard input. A model that tags words takes {"tokens": [...]} lists, or texts, which it
    /// splits as its training data was: into characters if all words there were single characters, else at white space. A model that
    /// answers takes {"question": ..., "context": ...}, SQuAD's JSON, DuReader's lines, or a question and a context a line
    #[arg(long, value_name = "FILE|-")]
    input: PathBuf,
    /// Where the JSON lines go; - is standard output
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    output: PathBuf,
}

impl PredictArgs {
    pub fn run(&self) -> Result<()> {
        let folder = model_folder::resolve(&self.dir)?;
        let device = device::open(&Default::default())?.device;
        let model = Loaded::open(&folder, device)?;
        match model.opened.described.task {
            Some(TaskName::SequenceClassification) => {
                let classes = Classes(model);
                self.label(input::open(&self.input)?, |rows| classes.predict(rows))
            }
            Some(TaskName::TokenClassification) => {
                let rows = input::open_words(&self.input, model.opened.described.characters_as_words)?;
                let tags = Tags::new(model);
                self.label(rows, |rows| tags.predict(rows))
            }
            Some(TaskName::QuestionAnswering) => {
                let rows = question_input::open(&self.input)?;
                let answers = Answers::new(model)?;
                self.label(rows, |rows| answers.predict(rows))
            }
            other => {
                let found = other.map_or("no head", TaskName::word);
                let what = format!(
                    "is a model with {found}; predictions are of sequence-classification, token-classification and \
                     question-answering"
                );
                let help = "`kiln encode` gives the outputs of any model";
                Err(Problem::new(what).in_file(&folder).help(help).into())
            }
        }
    }

    /// Writes a line for each row, in their order, up to the first that cannot be read.
    fn label<R>(
        &self,
        mut rows: impl Iterator<Item = Result<R, RowError>>,
        predict: impl Fn(&[R]) -> Vec<Value>,
    ) -> Result<()> {
        let mut output = Output::open(&self.output, &self.input)?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let mut failed = None;
            while chunk.len() < CHUNK
                && let Some(row) = rows.next()
            {
                match row {
                    Ok(row) => chunk.push(row),
                    Err(error) => {
                        failed = Some(Error::from(error));
                        break;
                    }
                }
            }
            for line in predict(&chunk) {
                if !output.write(&line)? {
                    return Ok(());
                }
            }
            if let Some(error) = failed {
                output.flush()?;
                return Err(error);
            }
            if chunk.len() < CHUNK {
                return output.flush().map(|_| ());
            }
        }
    }
}

/// A model with what brings rows to it.
pub struct Loaded {
    pub opened: model_folder::Opened,
    pub tokenizer: Tokenizer,
    /// Ids of the longest row.
    pub max_length: usize,
    device: Device,
}

impl Loaded {
    fn open(folder: &Path, device: Device) -> Result<Self> {
        let opened = model_folder::open(folder, &device)?;
        let config = &opened.described.model;
        let tokenizer = Tokenizer::from_dir(config.architecture(), folder, TokenizerOptions::default())?;
        let positions = config.max_length();
        let max_length = tokenizer.max_length().map_or(positions, |length| length.min(positions));
        Ok(Self { opened, tokenizer, max_length, device })
    }

    /// What `lines` makes of the logits of each batch, given the numbers of its rows, in the order of the rows.
    fn lines(&self, rows: &[InputRow], lines: impl Fn(Logits, &[usize]) -> Vec<Value>) -> Vec<Value> {
        self.each(rows, lines).into_iter().map(Option::unwrap_or_default).collect()
    }

    /// [`Self::lines`] of anything; `None` where the logits were of another head.
    fn each<T>(&self, rows: &[InputRow], read: impl Fn(Logits, &[usize]) -> Vec<T>) -> Vec<Option<T>> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| rows[row].ids.len());
        let mut all: Vec<Option<T>> = rows.iter().map(|_| None).collect();
        for batch in order.chunks(BATCH) {
            let batch_rows: Vec<InputRow> = batch.iter().map(|&row| rows[row]).collect();
            let input = EncoderInput::from_rows(&batch_rows, self.tokenizer.padding(self.max_length), 0, &self.device);
            let Some(logits) = self.opened.model.logits(&input) else { continue }; // the command has seen to the head
            for (&row, found) in batch.iter().zip(read(logits, batch)) {
                all[row] = Some(found);
            }
        }
        all
    }
}
