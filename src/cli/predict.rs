//! `kiln predict`.

use std::fs::File;
use std::io::{BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn::tensor::activation::softmax;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::data::input;
use crate::data::rows::Row;
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
    /// TSV or JSONL, plain or .gz; - reads standard input
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
        let predictor = Predictor::open(&folder, device)?;
        let mut rows = input::open(&self.input)?;
        let mut output = self.open_output()?;
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
            for line in predictor.predict(&chunk) {
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

    /// # Errors
    /// The output is the input, which would be gone before it is read.
    fn open_output(&self) -> Result<Output> {
        if self.output.as_os_str() == "-" {
            return Ok(Output::Standard(BufWriter::new(std::io::stdout().lock())));
        }
        let same = |path: &Path| path.canonicalize().ok();
        if same(&self.output).is_some_and(|output| same(&self.input) == Some(output)) {
            let problem = Problem::new("is both --input and --output").in_file(&self.output);
            return Err(problem.help("choose another file for the output").into());
        }
        let file = File::create(&self.output).map_err(|cause| Error::writing(&self.output, &cause))?;
        Ok(Output::File(BufWriter::new(file), self.output.clone()))
    }
}

/// Where the lines go.
enum Output {
    Standard(BufWriter<StdoutLock<'static>>),
    File(BufWriter<File>, PathBuf),
}

impl Output {
    /// Writes a line; false where nobody reads any more.
    fn write(&mut self, line: &Value) -> Result<bool> {
        let written = match self {
            Self::Standard(output) => writeln!(output, "{line}"),
            Self::File(output, _) => writeln!(output, "{line}"),
        };
        self.check(written)
    }

    fn flush(&mut self) -> Result<bool> {
        let flushed = match self {
            Self::Standard(output) => output.flush(),
            Self::File(output, _) => output.flush(),
        };
        self.check(flushed)
    }

    fn check(&self, result: std::io::Result<()>) -> Result<bool> {
        match (result, self) {
            (Ok(()), _) => Ok(true),
            (Err(cause), Self::Standard(_)) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            (Err(cause), Self::Standard(_)) => {
                Err(Error::run(Problem::new(format!("standard output cannot be written: {cause}"))))
            }
            (Err(cause), Self::File(_, path)) => Err(Error::writing(path, &cause)),
        }
    }
}

struct Predictor {
    opened: model_folder::Opened,
    tokenizer: Tokenizer,
    max_length: usize,
    device: Device,
}

impl Predictor {
    fn open(folder: &Path, device: Device) -> Result<Self> {
        let opened = model_folder::open(folder, &device)?;
        if opened.described.task != Some(TaskName::SequenceClassification) {
            let found = opened.described.task.map_or("no head", TaskName::word);
            let problem =
                Problem::new(format!("is a model with {found}; rows are labelled by sequence-classification"));
            return Err(problem.in_file(folder).help("`kiln encode` gives the outputs of any model").into());
        }
        let config = &opened.described.model;
        let tokenizer = Tokenizer::from_dir(config.architecture(), folder, TokenizerOptions::default())?;
        let positions = config.max_length();
        let max_length = tokenizer.max_length().map_or(positions, |length| length.min(positions));
        Ok(Self { opened, tokenizer, max_length, device })
    }

    /// One line a row, in the order of the rows.
    fn predict(&self, rows: &[Row]) -> Vec<Value> {
        let texts: Vec<(&str, Option<&str>)> =
            rows.iter().map(|row| (row.text.as_str(), row.text_pair.as_deref())).collect();
        let encodings = self.tokenizer.encode_batch(&texts, self.max_length);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| encodings[row].len());
        let mut lines = vec![Value::Null; rows.len()];
        for batch in order.chunks(BATCH) {
            let batch_rows: Vec<InputRow> = batch.iter().map(|&row| InputRow::from(&encodings[row])).collect();
            let padding = self.tokenizer.padding(self.max_length);
            let input = EncoderInput::from_rows(&batch_rows, padding, 0, &self.device);
            for (&row, probabilities) in batch.iter().zip(self.probabilities(&input)) {
                lines[row] = self.line(&probabilities);
            }
        }
        lines
    }

    fn probabilities(&self, input: &EncoderInput) -> Vec<Vec<f32>> {
        let Some(Logits::Sequence(logits)) = self.opened.model.logits(input) else {
            return Vec::new(); // `open` has seen to the head
        };
        let classes = self.opened.described.labels.len();
        let values: Vec<f32> = softmax(logits, 1).into_data().iter::<f32>().collect(); // [batch, classes]
        values.chunks(classes).map(<[f32]>::to_vec).collect()
    }

    fn line(&self, probabilities: &[f32]) -> Value {
        let labels = &self.opened.described.labels;
        let best = (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap_or(0);
        let shares: Map<String, Value> =
            labels.iter().zip(probabilities).map(|(label, &share)| (label.clone(), json!(rounded(share)))).collect();
        json!({ "label": labels.get(best), "probabilities": shares })
    }
}

/// To six places: further digits of an f32 say nothing.
fn rounded(share: f32) -> f64 {
    (f64::from(share) * 1e6).round() / 1e6
}
