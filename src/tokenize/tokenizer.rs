//! The tokenizer of any family.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::config::Specials;
use super::ernie::{self, ErnieTokenizer};
use super::ernie_m::{self, ErnieMTokenizer};
use super::rembert::{self, RemBertTokenizer};
use super::words::WordTokenizer;
use super::{Encoding, TextToken, Token};
use crate::error::Result;
use crate::models::Padding;
use crate::recipe::{Architecture, Model, PairEncoding, PieceSplitting, Segmentation, TypedSpecials, WordSplitting};

/// What a recipe says about a tokenizer; what it leaves out is as the tokenizer's own folder says.
#[derive(Debug, Clone, Default)]
pub struct TokenizerOptions {
    pub piece_splitting: Option<PieceSplitting>,
    pub word_splitting: Option<WordSplitting>,
    pub typed_specials: Option<TypedSpecials>,
    pub pair_encoding: Option<PairEncoding>,
    pub replacements: Option<PathBuf>,
    pub segmentation: Option<Segmentation>,
}

impl From<&Model> for TokenizerOptions {
    fn from(model: &Model) -> Self {
        let Model { piece_splitting, word_splitting, typed_specials, pair_encoding, segmentation, .. } = *model;
        let replacements = model.replacements.clone();
        Self { piece_splitting, word_splitting, typed_specials, pair_encoding, replacements, segmentation }
    }
}

/// Cuts texts for a model of any family. Made by [`Tokenizer::from_dir`].
#[derive(Debug)]
pub enum Tokenizer {
    ErnieM(ErnieMTokenizer),
    Ernie(ErnieTokenizer),
    RemBert(RemBertTokenizer),
    /// Of ELMo's taggers and readers.
    Words(WordTokenizer),
}

impl Tokenizer {
    /// Reads a tokenizer's files from `dir`.
    ///
    /// # Errors
    /// A file is missing or damaged, or does not belong to the others.
    pub fn from_dir(architecture: Architecture, dir: &Path, options: TokenizerOptions) -> Result<Self> {
        match architecture {
            Architecture::ErnieM => ErnieMTokenizer::from_dir(dir, options.piece_splitting).map(Self::ErnieM),
            Architecture::Ernie => {
                ErnieTokenizer::from_dir(dir, options.word_splitting, options.typed_specials).map(Self::Ernie)
            }
            Architecture::RemBert => {
                RemBertTokenizer::from_dir(dir, options.typed_specials, options.pair_encoding).map(Self::RemBert)
            }
            Architecture::Elmo => {
                WordTokenizer::from_dir(dir, options.replacements.as_deref(), options.segmentation).map(Self::Words)
            }
        }
    }

    /// The tokens of `text`, without any added.
    pub fn tokenize(&self, text: &str) -> Vec<TextToken> {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.tokenize(text),
            Self::Ernie(tokenizer) => tokenizer.tokenize(text),
            Self::RemBert(tokenizer) => tokenizer.tokenize(text),
            Self::Words(tokenizer) => tokenizer.tokenize(text),
        }
    }

    /// One text or a pair as a row of at most `max_length` tokens; see the families' own.
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: Option<usize>) -> Encoding {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.encode(text, pair, max_length),
            Self::Ernie(tokenizer) => tokenizer.encode(text, pair, max_length),
            Self::RemBert(tokenizer) => tokenizer.encode(text, pair, max_length),
            Self::Words(tokenizer) => tokenizer.encode(text, pair, max_length),
        }
    }

    /// The tokens of `text` without their texts, and without any added.
    pub fn ids(&self, text: &str) -> Vec<Token> {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.ids(text),
            Self::Ernie(tokenizer) => tokenizer.ids(text),
            Self::RemBert(tokenizer) => tokenizer.ids(text),
            Self::Words(tokenizer) => tokenizer.ids(text),
        }
    }

    /// The tokens of two texts as one row, as [`Self::encode`] makes it of a pair, whole.
    pub fn pair(&self, first: &[Token], second: &[Token]) -> Encoding {
        if let Self::Words(_) = self {
            return Encoding::without_specials(first, Some(second), None);
        }
        Encoding::whole(first, Some(second), self.between(), self.specials())
    }

    /// How many special tokens a pair has.
    pub fn added_to_pair(&self) -> usize {
        if let Self::Words(_) = self { 0 } else { self.between().len() + 2 }
    }

    /// The type ids of the `[SEP]`s between the two texts of a pair.
    fn between(&self) -> &'static [u8] {
        match self {
            Self::ErnieM(_) => ernie_m::BETWEEN,
            Self::Ernie(_) => ernie::BETWEEN,
            Self::RemBert(_) => rembert::BETWEEN,
            Self::Words(_) => &[],
        }
    }

    /// [`Self::encode`] for many rows, on all threads; the results are in the order of the rows.
    pub fn encode_batch(&self, rows: &[(&str, Option<&str>)], max_length: usize) -> Vec<Encoding> {
        rows.par_iter().map(|(text, pair)| self.encode(text, *pair, Some(max_length))).collect()
    }

    /// How rows of at most `max_length` tokens are made equally long.
    pub fn padding(&self, max_length: usize) -> Padding {
        let apart = matches!(self, Self::RemBert(tokenizer) if tokenizer.pair_encoding() == PairEncoding::Apart);
        Padding { id: self.specials().pad, apart: apart.then_some(max_length) }
    }

    /// The ids of the special tokens.
    pub fn specials(&self) -> &Specials {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.specials(),
            Self::Ernie(tokenizer) => tokenizer.specials(),
            Self::RemBert(tokenizer) => tokenizer.specials(),
            Self::Words(tokenizer) => tokenizer.specials(),
        }
    }

    /// The token of an id; the unknown token for ids that do not exist.
    pub fn token(&self, id: u32) -> &str {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.token(id),
            Self::Ernie(tokenizer) => tokenizer.token(id),
            Self::RemBert(tokenizer) => tokenizer.token(id),
            Self::Words(tokenizer) => tokenizer.vocabulary().word(id),
        }
    }

    /// How many ids there are.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.vocab_size(),
            Self::Ernie(tokenizer) => tokenizer.vocab_size(),
            Self::RemBert(tokenizer) => tokenizer.vocab_size(),
            Self::Words(tokenizer) => tokenizer.vocabulary().len(),
        }
    }

    /// The longest row that the model was trained on, if the tokenizer's folder says so.
    pub fn max_length(&self) -> Option<usize> {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.max_length(),
            Self::Ernie(tokenizer) => tokenizer.max_length(),
            Self::RemBert(tokenizer) => tokenizer.max_length(),
            Self::Words(tokenizer) => tokenizer.max_length(),
        }
    }

    /// Hex SHA-256 over everything that decides which ids a row gets: a key for cached tokens.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.fingerprint(),
            Self::Ernie(tokenizer) => tokenizer.fingerprint(),
            Self::RemBert(tokenizer) => tokenizer.fingerprint(),
            Self::Words(tokenizer) => tokenizer.fingerprint(),
        }
    }

    /// Writes the tokenizer's files, with `max_length`, the longest row the model was trained on.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, dir: &Path, max_length: usize) -> Result<()> {
        match self {
            Self::ErnieM(tokenizer) => tokenizer.save(dir, max_length),
            Self::Ernie(tokenizer) => tokenizer.save(dir, max_length),
            Self::RemBert(tokenizer) => tokenizer.save(dir, max_length),
            Self::Words(tokenizer) => tokenizer.save(dir, max_length),
        }
    }
}
