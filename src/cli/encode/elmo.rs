//! `kiln encode` for ELMo.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use clap::{Args, ValueEnum};
use jieba_rs::Jieba;

use super::{EncodeArgs, matrix, read_lines};
use crate::device;
use crate::error::{Problem, Result};
use crate::model_folder::elmo::{ElmoModel, SoftmaxUse, open};
use crate::model_folder::elmo_features::{Features, StateUse};
use crate::models::elmo::{ElmoConfig, ElmoInput};
use crate::tokenize::elmo::sentence_boundaries;
use crate::weights::{NamedTensor, Weights, save};

/// What only ELMo has.
#[derive(Debug, Args)]
#[command(next_help_heading = "ELMo")]
pub(super) struct ElmoArgs {
    /// How the words of a text are told
    #[arg(long, value_enum, default_value_t = Words::Spaces)]
    words: Words,
    /// Begin each text with the state that the one before it left, as bilm-tf and AllenNLP do; without it a text's features
    /// depend on that text alone
    #[arg(long, conflicts_with = "ids")]
    carry_state: bool,
    /// The file of the model's words, one a line, where its folder has none (Baidu's vocabulary_min5k.txt)
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    vocabulary: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Words {
    /// There are spaces between them
    Spaces,
    /// By jieba, for Chinese that is not segmented
    Jieba,
}

impl EncodeArgs {
    pub(super) fn run_elmo(&self, folder: &Path) -> Result<()> {
        let device = device::open(&Default::default())?.device;
        let mut model = open(folder, SoftmaxUse::LeaveOut, &device)?;
        tracing::info!("{}: {}", folder.display(), model.report);
        if let Some(file) = &self.elmo.vocabulary {
            model = model.with_vocabulary(file)?;
        }
        let tensors = match (&self.ids, &self.input) {
            (Some(ids), _) => of_ids(ids, &model, &device)?,
            (None, Some(texts)) => of_texts(texts, &self.elmo, &model)?,
            (None, None) => BTreeMap::new(), // clap asks for one of the two
        };
        save(&self.output, &tensors)
    }
}

fn of_texts(file: &Path, args: &ElmoArgs, model: &ElmoModel) -> Result<BTreeMap<String, NamedTensor>> {
    let texts = read_lines(file)?;
    let sentences: Vec<Vec<&str>> = match args.words {
        Words::Spaces => texts.iter().map(|text| text.split_whitespace().collect()).collect(),
        Words::Jieba => {
            let jieba = Jieba::new();
            let words = |text| jieba.cut(text, true).into_iter().map(|token| token.word);
            texts.iter().map(|text| words(text).filter(|word| !word.trim().is_empty()).collect()).collect()
        }
    };
    let state = if args.carry_state { StateUse::Carry } else { StateUse::Reset };
    Ok(padded(&model.features(&sentences, state)?, model.elmo.config()))
}

/// All sentences side by side, with 0 where one has ended.
fn padded(features: &[Features], config: &ElmoConfig) -> BTreeMap<String, NamedTensor> {
    let longest = features.iter().map(|features| features.words).max().unwrap_or(0);
    let width = 2 * config.projection_dim;
    let joined = |of: &dyn Fn(&Features) -> &[f32], width: usize| {
        let mut values = vec![0.0; features.len() * longest * width];
        for (row, features) in features.iter().enumerate() {
            let start = row * longest * width;
            let part = of(features);
            values[start..start + part.len()].copy_from_slice(part);
        }
        values
    };
    let mut tensors = BTreeMap::new();
    let mut keep = |name: String, values| {
        tensors.insert(name, NamedTensor { shape: vec![features.len(), longest, width], values });
    };
    for number in 0..config.feature_layers() {
        keep(format!("layer.{number}"), joined(&|features| features.layers[number].as_slice(), width));
    }
    keep("elmo".into(), joined(&|features| features.elmo.as_slice(), width));
    let lengths: Vec<usize> = features.iter().map(|features| features.words).collect();
    tensors.insert("mask".into(), mask(&lengths, longest));
    tensors
}

/// 1 for each word, 0 for padding: `[rows, words]`.
fn mask(lengths: &[usize], words: usize) -> NamedTensor {
    let values = lengths.iter().flat_map(|&length| (0..words).map(move |word| f32::from(u8::from(word < length))));
    NamedTensor { shape: vec![lengths.len(), words], values: values.collect() }
}

fn of_ids(file: &Path, model: &ElmoModel, device: &Device) -> Result<BTreeMap<String, NamedTensor>> {
    let weights = Weights::open(file)?;
    let (input, lengths, words) = match model.elmo.config().characters() {
        None => word_input(&weights, model.elmo.config(), device)?,
        Some(config) => character_input(&weights, config.n_characters, config.max_characters_per_token, device)?,
    };
    let (layers, _) = model.elmo.layers(&input, model.elmo.start(input.rows(), device));
    let mut tensors = BTreeMap::new();
    let mut keep = |name: String, tensor: Tensor<3>| {
        let data = tensor.into_data();
        let shape = data.shape().as_slice().to_vec();
        tensors.insert(name, NamedTensor { shape, values: data.iter::<f32>().collect() });
    };
    keep("elmo".into(), model.elmo.mix(&layers));
    for (number, layer) in layers.into_iter().enumerate() {
        keep(format!("layer.{number}"), layer);
    }
    tensors.insert("mask".into(), mask(&lengths, words));
    Ok(tensors)
}

/// An input, the lengths of its rows, and how wide they are.
type Read = (ElmoInput, Vec<usize>, usize);

fn word_input(file: &Weights, config: &ElmoConfig, device: &Device) -> Result<Read> {
    let problem = |what: String| Problem::new(what).in_file(file.path());
    let found = matrix(file, "word_ids")?
        .ok_or_else(|| problem("holds no word_ids".into()).help("word_ids is [batch, seq] int64"))?;
    let [rows, words] = found.shape;
    check_ids("word_ids", &found.values, config.vocab_size, file)?;
    let lengths = match matrix(file, "attention_mask")? {
        None => vec![words; rows],
        Some(mask) if mask.shape == found.shape => lengths(&mask.values, rows, words, file)?,
        Some(mask) => {
            return Err(problem(format!("attention_mask is {:?}, word_ids {:?}", mask.shape, found.shape)).into());
        }
    };
    Ok((ElmoInput::words(found.values, words, lengths.clone(), device), lengths, words))
}

fn character_input(file: &Weights, known: usize, count: usize, device: &Device) -> Result<Read> {
    let problem = |what: String| Problem::new(what).in_file(file.path());
    let name = ["char_ids", "in.char_ids"].into_iter().find(|name| file.get(name).is_some());
    let help = format!("char_ids is [batch, seq, {count}] int64, with 0 for words that are not there");
    let name = name.ok_or_else(|| problem("holds no char_ids".into()).help(help.clone()))?;
    let shape = file.get(name).map(|entry| entry.shape.clone()).unwrap_or_default();
    let &[rows, words, characters] = shape.as_slice() else {
        return Err(problem(format!("{name} is {shape:?}")).help(help).into());
    };
    if characters != count {
        return Err(problem(format!("{name} is {shape:?}")).help(help).into());
    }
    let ids = file.read_i64(name)?;
    check_ids(name, &ids, known, file)?;
    let mask: Vec<i64> = ids.chunks(count).map(|word| i64::from(word.iter().any(|id| *id != 0))).collect();
    let lengths = lengths(&mask, rows, words, file)?;
    Ok((ElmoInput::characters(&ids, words, &lengths, sentence_boundaries(count), device), lengths, words))
}

/// An id beyond its table would read another row, or crash a GPU.
fn check_ids(name: &str, ids: &[i64], known: usize, file: &Weights) -> Result<()> {
    if ids.is_empty() {
        return Err(Problem::new(format!("{name} holds no ids")).in_file(file.path()).into());
    }
    match ids.iter().find(|&&id| id < 0 || id >= known as i64) {
        Some(id) => {
            let what = format!("{name} holds {id}; the model knows 0 to {}", known - 1);
            Err(Problem::new(what).in_file(file.path()).into())
        }
        None => Ok(()),
    }
}

/// How many words each row has, whose padding must be at its end.
fn lengths(mask: &[i64], rows: usize, words: usize, file: &Weights) -> Result<Vec<usize>> {
    let mut lengths = Vec::with_capacity(rows);
    for (number, row) in mask.chunks(words).enumerate() {
        let length = row.iter().position(|word| *word == 0).unwrap_or(words);
        if row[length..].iter().any(|word| *word != 0) {
            let what = format!("row {number} has a word behind padding");
            return Err(Problem::new(what).in_file(file.path()).help("padding stands at the ends of rows").into());
        }
        lengths.push(length);
    }
    Ok(lengths)
}
