//! `kiln encode`.

mod elmo;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Args;

use crate::data::{InputRow, pad};
use crate::error::{Error, Problem, Result};
use crate::lines;
use crate::model_folder::Described;
use crate::models::{EncoderInput, EncoderOutput, ModelConfig};
use crate::tasks::{HeadVisitor, TaskHead, with_head};
use crate::tokenize::{Encoding, Tokenizer, TokenizerOptions};
use crate::weights::{self, NamedTensor, Weights};
use crate::{device, model_folder};

/// Texts that go through the model at once.
const BATCH: usize = 32;

/// What to encode, and with which model.
#[derive(Debug, Args)]
pub struct EncodeArgs {
    /// A run folder (its best model is taken) or a model folder
    dir: PathBuf,
    /// Texts, one a line, plain or .gz; for ELMo, the words of a text with spaces between them (see --words)
    #[arg(long, required_unless_present = "ids", conflicts_with = "ids")]
    input: Option<PathBuf>,
    /// Ids instead of texts: a safetensors file with input_ids and, if need be, attention_mask, token_type_ids,
    /// position_ids and task_type_ids, all [batch, seq] int64; for ELMo, with word_ids [batch, seq] and, if need be,
    /// attention_mask, or with char_ids [batch, seq, characters], where 0 is padding
    #[arg(long, value_name = "IN.safetensors")]
    ids: Option<PathBuf>,
    /// Where hidden.0 .. hidden.n, last_hidden_state, pooled and the head's outputs go, and of texts attention_mask (0 for
    /// padding); for ELMo, layer.0 .. layer.n, their mixture elmo, and mask
    #[arg(long, value_name = "OUT.safetensors")]
    output: PathBuf,
    #[command(flatten)]
    elmo: elmo::ElmoArgs,
}

impl EncodeArgs {
    pub fn run(&self) -> Result<()> {
        if let Some(folder) = model_folder::elmo::resolve(&self.dir) {
            return self.run_elmo(&folder);
        }
        let folder = model_folder::resolve(&self.dir)?;
        let described = model_folder::describe(&folder)?;
        with_head(described.task, Encode { args: self, described })
    }
}

struct Encode<'a> {
    args: &'a EncodeArgs,
    described: Described,
}

impl HeadVisitor for Encode<'_> {
    type Output = Result<()>;

    fn visit<H: TaskHead>(self) -> Result<()> {
        let device = device::open(&Default::default())?.device;
        let folder = self.described.folder.clone();
        let options = self.described.options::<H>()?;
        let opened = model_folder::open::<H>(self.described, &options, &device)?;
        tracing::info!("{}: {}", folder.display(), opened.report);
        let config = &opened.described.model;
        let inputs = match (&self.args.ids, &self.args.input) {
            (Some(ids), _) => vec![ids_input(ids, config, &device)?],
            (None, Some(texts)) => text_inputs(texts, &folder, config, &device)?,
            (None, None) => Vec::new(), // clap asks for one of the two
        };
        let mut collected = Collected::default();
        for input in &inputs {
            let (output, logits) = opened.model.forward(input);
            collected.add(output, H::named_logits(input, logits));
            if let (Some(_), Some(mask)) = (&self.args.input, &input.attention_mask) {
                collected.join("attention_mask", mask.clone().float());
            }
        }
        weights::save(&self.args.output, &collected.tensors)
    }
}

/// Outputs of batches, joined row by row.
#[derive(Default)]
struct Collected {
    tensors: BTreeMap<String, NamedTensor>,
}

impl Collected {
    fn add(&mut self, output: EncoderOutput, logits: Vec<(&'static str, Vec<usize>, Vec<f32>)>) {
        self.join("last_hidden_state", output.last_hidden_state());
        for (number, state) in output.hidden_states.into_iter().enumerate() {
            self.join(&format!("hidden.{number}"), state);
        }
        if let Some(pooled) = output.pooled {
            self.join("pooled", pooled);
        }
        logits.into_iter().for_each(|(name, shape, values)| self.extend(name, shape, values));
    }

    fn join<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) {
        let shape = tensor.dims().to_vec();
        self.extend(name, shape, tensor.into_data().iter::<f32>().collect());
    }

    fn extend(&mut self, name: &str, shape: Vec<usize>, values: Vec<f32>) {
        match self.tensors.get_mut(name) {
            Some(held) => {
                held.shape[0] += shape[0];
                held.values.extend(values);
            }
            None => {
                self.tensors.insert(name.to_string(), NamedTensor { shape, values });
            }
        }
    }
}

/// The rows of a safetensors file, checked: an id or position beyond its table would read another row, or crash a GPU.
fn ids_input(path: &Path, config: &ModelConfig, device: &Device) -> Result<EncoderInput> {
    let positions = config.max_length();
    let file = Weights::open(path)?;
    let problem = |what: String| Problem::new(what).in_file(path);
    let input_ids = matrix(&file, "input_ids")?
        .ok_or_else(|| problem("holds no input_ids".into()).help("input_ids is [batch, seq] int64"))?;
    let read = |name: &str, limit: usize| -> Result<Option<Matrix>> {
        let Some(found) = matrix(&file, name)? else { return Ok(None) };
        if found.shape != input_ids.shape {
            return Err(problem(format!("{name} is {:?}, input_ids {:?}", found.shape, input_ids.shape)).into());
        }
        match found.values.iter().find(|&&value| value < 0 || value >= limit as i64) {
            Some(value) => Err(problem(format!("{name} holds {value}; the model knows 0 to {}", limit - 1)).into()),
            None => Ok(Some(found)),
        }
    };
    if input_ids.shape[1] > positions {
        return Err(problem(format!("has rows of {} tokens, the model holds {positions}", input_ids.shape[1])).into());
    }
    if input_ids.values.is_empty() {
        return Err(problem(format!("input_ids is {:?}: there are no ids", input_ids.shape)).into());
    }
    let tensor = |matrix: Matrix| Tensor::<2, Int>::from_data(TensorData::new(matrix.values, matrix.shape), device);
    read("input_ids", config.vocab_size())?;
    let [token_types, task_types] = config.types();
    let token_type_ids = read("token_type_ids", token_types)?.map(tensor);
    let task_type_ids = read("task_type_ids", task_types)?.map(tensor);
    let attention_mask = read("attention_mask", 2)?.map(tensor);
    let position_ids = read("position_ids", positions)?.map(tensor);
    Ok(EncoderInput {
        input_ids: tensor(input_ids),
        token_type_ids,
        task_type_ids,
        attention_mask,
        position_ids,
        language_ids: None,
        visibility: None,
    })
}

struct Matrix {
    values: Vec<i64>,
    shape: [usize; 2],
}

/// An integer matrix, under its own name or as reference files call it, with `in.` before it.
fn matrix(file: &Weights, name: &str) -> Result<Option<Matrix>> {
    let prefixed = format!("in.{name}");
    let Some(name) = [name, &prefixed].into_iter().find(|name| file.get(name).is_some()) else { return Ok(None) };
    let shape = file.get(name).map(|entry| entry.shape.clone()).unwrap_or_default();
    let &[rows, columns] = shape.as_slice() else {
        return Err(Problem::new(format!("{name} is {shape:?}"))
            .in_file(file.path())
            .help("it is [batch, seq]")
            .into());
    };
    Ok(Some(Matrix { values: file.read_i64(name)?, shape: [rows, columns] }))
}

/// The texts of a file as batches, all padded to the longest text of the file.
fn text_inputs(path: &Path, folder: &Path, config: &ModelConfig, device: &Device) -> Result<Vec<EncoderInput>> {
    let tokenizer = Tokenizer::from_dir(config.family().tokenizers, folder, TokenizerOptions::default())?;
    let max_length = tokenizer.max_length().map_or(config.max_length(), |length| length.min(config.max_length()));
    let texts = read_lines(path)?;
    let rows: Vec<(&str, Option<&str>)> = texts.iter().map(|text| (text.as_str(), None)).collect();
    let encodings = tokenizer.encode_batch(&rows, max_length);
    let longest = encodings.iter().map(Encoding::len).max().unwrap_or(0);
    let batch = |encodings: &[Encoding]| {
        let rows: Vec<InputRow> = encodings.iter().map(InputRow::from).collect();
        pad(&rows, tokenizer.padding(max_length), longest, device)
    };
    Ok(encodings.chunks(BATCH).map(batch).collect())
}

fn read_lines(path: &Path) -> Result<Vec<String>> {
    let bytes = lines::open(path).map_err(|cause| Error::reading(path, &cause))?;
    let mut texts = Vec::new();
    for (number, line) in BufReader::new(bytes).split(b'\n').enumerate() {
        let mut line = line.map_err(|cause| Error::reading(path, &cause))?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = String::from_utf8(line)
            .map_err(|_| Problem::new("is not UTF-8").at(path, number + 1, None).help("save the file as UTF-8"))?;
        texts.push(text);
    }
    if texts.is_empty() {
        return Err(Problem::new("is empty").in_file(path).help("one text a line").into());
    }
    Ok(texts)
}
