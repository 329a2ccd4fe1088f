//! `kiln encode`.

mod elmo;
mod encoder;
mod ids;
mod output;
mod selection;

use std::io::stdin;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;

use self::elmo::{Elmo, ElmoArgs};
use self::encoder::Encoder;
use self::output::Output;
use self::selection::Selection;
use super::device::DeviceArgs;
use super::keep_apart;
use crate::error::{Error, Problem, Result};
use crate::hub;
use crate::lines::{self, Lines};
use crate::model_folder;
use crate::model_folder::Described;
use crate::tasks::{TaskHead, with_head};
use crate::weights::Weights;

/// Texts that are read together, and put into batches of like length.
const CHUNK: usize = 4096;

/// What to encode, and with which model.
#[derive(Debug, Args)]
pub struct EncodeArgs {
    /// A run folder (its best model is taken), a model folder, or hf://OWNER/NAME[@REVISION]
    dir: PathBuf,
    /// Texts, one a line, plain or .gz; - reads standard input; for ELMo, the words of a text with spaces between them (see --words)
    #[arg(long, value_name = "FILE|-", required_unless_present = "ids", conflicts_with = "ids")]
    input: Option<PathBuf>,
    /// Ids instead of texts: a safetensors file with input_ids and, if need be, attention_mask, token_type_ids,
    /// position_ids and task_type_ids, all [batch, seq] int64; for ELMo, with word_ids [batch, seq] and, if need be,
    /// attention_mask, or with char_ids [batch, seq, characters], where 0 is padding
    #[arg(long, value_name = "IN.safetensors")]
    ids: Option<PathBuf>,
    /// Where hidden.0 .. hidden.n, last_hidden_state, pooled and the head's outputs go, and of texts attention_mask (0 for
    /// padding, whose features are 0); for ELMo, layer.0 .. layer.n, their mixture elmo, and mask
    #[arg(long, value_name = "OUT.safetensors")]
    output: PathBuf,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    elmo: ElmoArgs,
}

/// A model whose features are written.
trait Features {
    /// Puts the features of texts into the output, whose row `first` is that of the first text.
    fn of_texts(&mut self, texts: &[String], first: usize, output: &mut Output) -> Result<()>;

    /// Those of a file's rows of ids.
    fn of_ids(&mut self, file: &Weights, output: &mut Output) -> Result<()>;
}

impl EncodeArgs {
    pub fn run(&self) -> Result<()> {
        if let Some(input) = self.input.as_ref().or(self.ids.as_ref()) {
            keep_apart(input, &self.output)?;
        }
        let device = self.device.open(&Default::default())?.device;
        let dir = hub::local(&self.dir)?;
        match model_folder::elmo::resolve(&dir) {
            Some(folder) => self.encode(Elmo::open(&folder, &self.elmo, &self.selection, device)?),
            None => {
                let folder = model_folder::resolve(&dir)?;
                self.elmo.refuse_for(&folder)?;
                let described = model_folder::describe(&folder)?;
                with_head!(described.task, encode(self, described, device))
            }
        }
    }

    fn encode(&self, mut model: impl Features + Send) -> Result<()> {
        let mut output = Output::new(&self.output);
        match (&self.ids, &self.input) {
            (Some(ids), _) => model.of_ids(&Weights::open(ids)?, &mut output)?,
            (None, Some(input)) => each_chunk(input, |texts, first| {
                // As a worker of the pool it hands every operation's parts over without a call of the kernel.
                rayon::scope(|_| model.of_texts(texts, first, &mut output))
            })?,
            (None, None) => {} // clap asks for one of the two
        }
        output.finish()
    }
}

/// An encoder's way, whichever its head.
fn encode<H: TaskHead>(args: &EncodeArgs, described: Described, device: Device) -> Result<()> {
    args.encode(Encoder::<H>::open(described, &args.selection, device)?)
}

/// Reads texts, [`CHUNK`] at a time, each with the number of its first.
fn each_chunk(input: &Path, mut encode: impl FnMut(&[String], usize) -> Result<()>) -> Result<()> {
    let (bytes, name) = match input.as_os_str() == "-" {
        true => (lines::unpack(Box::new(stdin())), Path::new("<stdin>")),
        false => (lines::open(input), input),
    };
    let mut lines = Lines::new(bytes.map_err(|cause| Error::reading(name, &cause))?, name)?;
    let mut all = std::iter::from_fn(|| lines.next_line().map(|line| line.map(str::to_string)).transpose());
    let mut first = 0;
    loop {
        match all.by_ref().take(CHUNK).collect::<Result<Vec<String>, _>>()?.as_slice() {
            [] if first == 0 => return Err(Problem::new("is empty").in_file(name).help("one text a line").into()),
            [] => return Ok(()),
            texts => encode(texts, first)?,
        }
        first += CHUNK;
    }
}
