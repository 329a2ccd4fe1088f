//! `kiln encode` for ELMo.

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::{Args, ValueEnum};
use jieba_rs::Jieba;

use super::ids;
use super::output::{Output, Per};
use super::selection::{Pooling, Selection};
use crate::error::{Problem, Result};
use crate::model_folder::elmo::{ElmoModel, SoftmaxUse, open};
use crate::model_folder::elmo_features::{Features, StateUse};
use crate::models::elmo::{ElmoInput, ElmoState};
use crate::tokenize::elmo::sentence_boundaries;
use crate::weights::Weights;

/// Texts whose features are held at once.
const BATCH: usize = 32;

/// What only ELMo has.
#[derive(Debug, Args)]
#[command(next_help_heading = "ELMo")]
pub(super) struct ElmoArgs {
    /// How the words of a text are told: by the spaces between them, if this is left out
    #[arg(long, value_enum, conflicts_with = "ids")]
    words: Option<Words>,
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

impl ElmoArgs {
    /// # Errors
    /// One of the options is given for a folder that holds another model.
    pub fn refuse_for(&self, folder: &Path) -> Result<()> {
        if self.words.is_none() && !self.carry_state && self.vocabulary.is_none() {
            return Ok(());
        }
        let problem = Problem::new("is no ELMo: --words, --carry-state and --vocabulary are for ELMo alone");
        Err(problem.in_file(folder).help("leave them out").into())
    }
}

/// An ELMo that reads one text after the other.
pub(super) struct Elmo<'a> {
    model: ElmoModel,
    selection: &'a Selection,
    jieba: Option<Jieba>,
    state: StateUse,
    carried: Option<ElmoState>,
    device: Device,
}

impl<'a> Elmo<'a> {
    pub fn open(folder: &Path, args: &ElmoArgs, selection: &'a Selection, device: Device) -> Result<Self> {
        if let Some(Pooling::Cls | Pooling::Pooler) = selection.pooling {
            let problem = Problem::new("is an ELMo, which has neither a [CLS] nor a pooler").in_file(folder);
            return Err(problem.help("--pooling mean is the mean of the words' `elmo`").into());
        }
        let mut model = open(folder, SoftmaxUse::LeaveOut, &device)?;
        tracing::info!("{}: {}", folder.display(), model.report);
        if let Some(file) = &args.vocabulary {
            model = model.with_vocabulary(file)?;
        }
        let jieba = (args.words == Some(Words::Jieba)).then(Jieba::new);
        let state = if args.carry_state { StateUse::Carry } else { StateUse::Reset };
        Ok(Self { model, selection, jieba, state, carried: None, device })
    }

    fn words<'t>(&self, text: &'t str) -> Vec<&'t str> {
        match &self.jieba {
            None => text.split_whitespace().collect(),
            Some(jieba) => {
                let words = jieba.cut(text, true).into_iter().map(|token| token.word);
                words.filter(|word| !word.trim().is_empty()).collect()
            }
        }
    }

    /// Puts one row into the output, of which the first `length` words are there.
    fn put(&self, row: usize, features: &Features, length: usize, output: &mut Output) -> Result<()> {
        let config = self.model.elmo.config();
        let (words, width) = (features.words, 2 * config.projection_dim);
        let mut batch = output.batch([(row, words)]);
        if self.selection.pooling.is_some() {
            let mut mean = vec![0.0; width];
            for word in features.elmo.chunks(width).take(length) {
                mean.iter_mut().zip(word).for_each(|(sum, value)| *sum += value / length as f32);
            }
            batch.put("embeddings", Per::Row, &[1, width], &self.selection.embeddings(mean, width))?;
        }
        if self.selection.only_embeddings() {
            return Ok(());
        }
        let count = config.feature_layers();
        let mut layers = self.selection.layers(count)?;
        if self.selection.last() {
            layers.insert(count - 1);
        }
        let shape = [1, words, width];
        for number in layers {
            batch.put(&format!("layer.{number}"), Per::Token, &shape, &features.layers[number])?;
        }
        batch.put("elmo", Per::Token, &shape, &features.elmo)?;
        let mask: Vec<f32> = (0..words).map(|word| f32::from(u8::from(word < length))).collect();
        batch.put("mask", Per::Token, &[1, words], &mask)
    }
}

impl super::Features for Elmo<'_> {
    fn of_texts(&mut self, texts: &[String], first: usize, output: &mut Output) -> Result<()> {
        for (number, texts) in texts.chunks(BATCH).enumerate() {
            let sentences: Vec<Vec<&str>> = texts.iter().map(|text| self.words(text)).collect();
            let found = self.model.features_after(&mut self.carried, &sentences, self.state)?;
            for (row, features) in found.iter().enumerate() {
                self.put(first + number * BATCH + row, features, features.words, output)?;
            }
        }
        Ok(())
    }

    fn of_ids(&mut self, file: &Weights, output: &mut Output) -> Result<()> {
        let ids = Ids::read(file, &self.model)?;
        for start in (0..ids.lengths.len()).step_by(BATCH) {
            let rows = start..ids.lengths.len().min(start + BATCH);
            let words = vec![ids.words; rows.len()];
            let (found, _) = self.model.features_of(&ids.input(&rows, &self.device), &words, None);
            for (row, features) in rows.zip(found) {
                self.put(row, &features, ids.lengths[row], output)?;
            }
        }
        Ok(())
    }
}

/// Rows of words' ids, or of their characters'.
struct Ids {
    values: Vec<i64>,
    /// Of each row, padding included.
    words: usize,
    /// Of each word, where a model reads them.
    characters: Option<usize>,
    /// The words of each row.
    lengths: Vec<usize>,
}

impl Ids {
    fn read(file: &Weights, model: &ElmoModel) -> Result<Self> {
        let config = model.elmo.config();
        let Some(characters) = config.characters() else {
            let ids = ids::required(file, "word_ids", config.vocab_size)?;
            let [rows, words] = ids.shape;
            let lengths = match ids::optional(file, "attention_mask", 2, ("word_ids", &ids))? {
                Some(mask) => lengths(&mask.values, words, file)?,
                None => vec![words; rows],
            };
            return Ok(Self { values: ids.values, words, characters: None, lengths });
        };
        let count = characters.max_characters_per_token;
        let help = format!("char_ids is [batch, seq, {count}] int64, with 0 for words that are not there");
        let (name, shape) = ids::find(file, "char_ids")
            .ok_or_else(|| ids::problem(file, "holds no char_ids".into()).help(help.clone()))?;
        let (words, values) = match shape.as_slice() {
            &[_, words, found] if found == count => (words, file.read_i64(&name)?),
            _ => return Err(ids::problem(file, format!("{name} is {shape:?}")).help(help).into()),
        };
        ids::check(file, &name, &values, characters.n_characters)?;
        if values.is_empty() {
            return Err(ids::problem(file, format!("{name} is {shape:?}: there are no ids")).into());
        }
        let mask: Vec<i64> = values.chunks(count).map(|word| i64::from(word.iter().any(|id| *id != 0))).collect();
        Ok(Self { lengths: lengths(&mask, words, file)?, values, words, characters: Some(count) })
    }

    fn input(&self, rows: &Range<usize>, device: &Device) -> ElmoInput {
        let size = self.words * self.characters.unwrap_or(1);
        let values = &self.values[rows.start * size..rows.end * size];
        let lengths = &self.lengths[rows.clone()];
        match self.characters {
            Some(count) => ElmoInput::characters(values, self.words, lengths, sentence_boundaries(count), device),
            None => ElmoInput::words(values.to_vec(), self.words, lengths.to_vec(), device),
        }
    }
}

/// How many words each row has, whose padding must be at its end.
fn lengths(mask: &[i64], words: usize, file: &Weights) -> Result<Vec<usize>> {
    let mut lengths = Vec::new();
    for (number, row) in mask.chunks(words).enumerate() {
        let length = row.iter().position(|word| *word == 0).unwrap_or(words);
        if row[length..].iter().any(|word| *word != 0) {
            let problem = ids::problem(file, format!("row {number} has a word behind padding"));
            return Err(problem.help("padding stands at the ends of rows").into());
        }
        lengths.push(length);
    }
    Ok(lengths)
}
