//! `kiln predict`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::device::DeviceArgs;
use super::output::Output;
use super::tokenizer;
use crate::error::{Problem, Result};
use crate::hub;
use crate::lines::RowError;
use crate::model_folder::{self, Described};
use crate::tasks::{Predictor, RowTask, with_row_task};

/// Rows that are read, labelled and written together; sorted by length among themselves.
const CHUNK: usize = 256;

/// What to label, and with which model.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// A run folder (its best model is taken), a model folder, or hf://OWNER/NAME[@REVISION]
    dir: PathBuf,
    /// TSV or JSONL, plain or .gz; - reads standard input. A model that tags words takes {"tokens": [...]} lists, or texts, which it
    /// splits as its training data was: into characters if all words there were single characters, else at white space. A model that
    /// answers takes {"question": ..., "context": ...}, SQuAD's JSON, DuReader's lines, or a question and a context a line
    #[arg(long, value_name = "FILE|-")]
    input: PathBuf,
    /// Where the JSON lines go; - is standard output
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

impl PredictArgs {
    pub fn run(&self) -> Result<()> {
        let folder = model_folder::resolve(&hub::local(&self.dir)?)?;
        let described = model_folder::describe(&folder)?;
        let refuse = |found: &str| {
            let what = format!(
                "is a model with {found}; predictions are of sequence-classification, token-classification and \
                 question-answering"
            );
            let help = "`kiln encode` gives the outputs of any model";
            Err(Problem::new(what).in_file(&folder).help(help).into())
        };
        match described.task {
            Some(task) => with_row_task!(task, predict(self, described), refuse(task.word())),
            None => refuse("no head"),
        }
    }

    /// Writes a line for each row, in their order, up to the first that cannot be read.
    fn label<R>(
        &self,
        mut rows: impl Iterator<Item = std::result::Result<R, RowError>>,
        predict: impl Fn(&[R]) -> Vec<Value>,
    ) -> Result<()> {
        let mut output = Output::open(&self.output, &self.input)?;
        loop {
            let mut failed = None;
            let good = rows.by_ref().take(CHUNK).map_while(|row| row.map_err(|error| failed = Some(error)).ok());
            let chunk: Vec<R> = good.collect();
            for line in predict(&chunk) {
                if !output.write(&line)? {
                    return Ok(());
                }
            }
            if let Some(error) = failed {
                output.flush()?;
                return Err(error.into());
            }
            if chunk.len() < CHUNK {
                return output.flush().map(|_| ());
            }
        }
    }
}

fn predict<T: RowTask>(args: &PredictArgs, described: Described) -> Result<()> {
    let device = args.device.open(&Default::default())?.device;
    let options = described.options::<T>()?;
    let opened = model_folder::open::<T>(described, &options, &device)?;
    let (tokenizer, max_length) = tokenizer(&opened.described)?;
    let predictor =
        Predictor { max_length, model: opened.model, labels: opened.described.labels, options, tokenizer, device };
    let rows = T::open_rows(&args.input, &predictor.options)?;
    T::check_predictor(&predictor)?;
    args.label(rows, |rows| T::predict(&predictor, rows))
}
