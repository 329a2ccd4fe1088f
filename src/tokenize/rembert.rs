//! RemBERT's tokenizer: SentencePiece pieces with the model's own ids, special tokens among them.
//!
//! The rules are those of PaddleNLP 2.8 and of transformers 4.46 (`RemBertTokenizer` in both), which differ where special
//! tokens are typed in a text: see [`TypedSpecials`]. Of the three options in `tokenizer_config.json` both use only
//! `do_lower_case`; `remove_space` and `keep_accents` are read by neither, so they change nothing here and are kept when saving.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::config::{Specials, TokenizerConfig, write};
use super::normalizer::SPACE;
use super::sentencepiece::{PieceKind, SentencePiece};
use super::text::Reading;
use super::{Encoding, TextToken, Token, hash, located};
use crate::error::{Error, Problem, Result};
use crate::recipe::TypedSpecials;

/// The name both libraries have for the model; it is saved under it.
const MODEL_FILE: &str = "sentencepiece.model";
/// Where the model may be, the first one first.
const MODEL_FILES: [&str; 2] = [MODEL_FILE, "rembert.sentencepiece.model"];
/// The key of the config file for [`TypedSpecials`]; only Kiln reads it.
const TYPED_KEY: &str = "typed_specials";

/// Cuts texts for RemBERT. Made by [`RemBertTokenizer::from_dir`].
#[derive(Debug)]
pub struct RemBertTokenizer {
    sentencepiece: SentencePiece,
    /// The pieces that no text is cut into. The libraries look ids up by text, so that a run of unknown characters that is
    /// written like one of these gets its id.
    uncut: HashMap<String, u32>,
    specials: Specials,
    lower_case: bool,
    typed: TypedSpecials,
    /// The files as they were read, for [`Self::save`] and [`Self::fingerprint`].
    model_data: Vec<u8>,
    config: TokenizerConfig,
}

impl RemBertTokenizer {
    /// Reads `sentencepiece.model` (or `rembert.sentencepiece.model`) and, if it is there, `tokenizer_config.json` from `dir`.
    /// Without `typed` the config file's `typed_specials` holds, and without that PaddleNLP's rules.
    ///
    /// # Errors
    /// A file is missing or damaged, or the model lacks a special token.
    pub fn from_dir(dir: &Path, typed: Option<TypedSpecials>) -> Result<Self> {
        let file = model_file(dir)?;
        let model_data = std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause))?;
        let sentencepiece = SentencePiece::from_bytes(&model_data, &file)?;
        let config = TokenizerConfig::read(dir)?;
        let help =
            "RemBERT's model has [CLS], [PAD], [SEP], [UNK] and [MASK]; other names stand in tokenizer_config.json";
        let specials = config.specials(&file, "the model", help, |text| sentencepiece.piece_id(text))?;
        let lower_case = config.lower_case()?;
        let typed = typed.or(config.value(TYPED_KEY, "\"paddlenlp\" or \"huggingface\"")?).unwrap_or_default();
        let uncut =
            (0..).zip(sentencepiece.pieces()).filter(|(_, p)| matches!(p.kind, PieceKind::Control | PieceKind::Unused));
        let uncut = uncut.map(|(id, piece)| (piece.text.clone(), id)).collect();
        Ok(Self { sentencepiece, uncut, specials, lower_case, typed, model_data, config })
    }

    /// The tokens of `text`, without any added.
    pub fn tokenize(&self, text: &str) -> Vec<TextToken> {
        let mut tokens = Vec::new();
        self.each_token(text, |text, token| tokens.push(TextToken { text: text.to_string(), token }));
        tokens
    }

    /// One text as `[CLS] A [SEP]`, or two as `[CLS] A [SEP] B [SEP]`, of at most `max_length` tokens: the longer text gives
    /// first, from its end, and the second where they are equally long. Type ids are 0 up to the first `[SEP]`, that
    /// included, and 1 after it. If not even the added tokens fit, the row is cut.
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: Option<usize>) -> Encoding {
        let second = pair.map(|pair| self.ids(pair));
        Encoding::of(&self.ids(text), second.as_deref(), &[0], &self.specials, max_length)
    }

    /// [`Self::encode`] for many rows, on all threads; the results are in the order of the rows.
    pub fn encode_batch(&self, rows: &[(&str, Option<&str>)], max_length: Option<usize>) -> Vec<Encoding> {
        rows.par_iter().map(|(text, pair)| self.encode(text, *pair, max_length)).collect()
    }

    /// A pair as PaddleNLP's RemBERT example encodes it, each text on its own: `[CLS] A [SEP] [CLS] B [SEP]`, with type ids 0
    /// and 1, never cut. [`Self::pad_apart`] makes a batch of such rows.
    pub fn encode_apart(&self, text: &str, pair: &str) -> Encoding {
        let Specials { cls, sep, .. } = self.specials;
        let texts = [self.ids(text), self.ids(pair)];
        let mut encoding = Encoding::with_capacity(texts[0].len() + texts[1].len() + 4);
        for (sequence, tokens) in (0..).zip(&texts) {
            encoding.push_special(cls, sequence);
            encoding.push_text(tokens, sequence, sequence);
            encoding.push_special(sep, sequence);
        }
        encoding
    }

    /// Makes rows of [`Self::encode_apart`] equally long, as PaddleNLP's RemBERT example does: the first texts are padded to the
    /// longest of them, the second texts to theirs (`[CLS] A [SEP] [PAD].. [CLS] B [SEP] [PAD]..`), and every row is cut to its
    /// first `max_length` tokens. Padding has the type id of its text. The attention mask of such a row is 0 where the id is
    /// [`Self::pad_id`], also in the middle; positions count on over the padding.
    pub fn pad_apart(&self, rows: &[Encoding], max_length: usize) -> Vec<Encoding> {
        let firsts: Vec<usize> = rows.iter().map(|row| row.type_ids.partition_point(|type_id| *type_id == 0)).collect();
        let first_width = firsts.iter().copied().max().unwrap_or(0);
        let second_width = rows.iter().zip(&firsts).map(|(row, first)| row.len() - first).max().unwrap_or(0);
        let pad = |row: &Encoding, first: usize| {
            let mut padded = Encoding::with_capacity(first_width + second_width);
            padded.push_tokens_of(row, 0..first);
            (first..first_width).for_each(|_| padded.push_special(self.specials.pad, 0));
            padded.push_tokens_of(row, first..row.len());
            (row.len() - first..second_width).for_each(|_| padded.push_special(self.specials.pad, 1));
            padded.truncate(max_length);
            padded
        };
        rows.iter().zip(firsts).map(|(row, first)| pad(row, first)).collect()
    }

    /// The id that fills short rows.
    pub fn pad_id(&self) -> u32 {
        self.specials.pad
    }

    /// The id that hides a token in masked language modelling.
    pub fn mask_id(&self) -> u32 {
        self.specials.mask
    }

    /// The id of what the model does not have.
    pub fn unk_id(&self) -> u32 {
        self.specials.unk
    }

    /// Whether `id` is one of the five special tokens.
    pub fn is_special(&self, id: u32) -> bool {
        self.specials.contains(id)
    }

    /// How many ids there are.
    pub fn vocab_size(&self) -> usize {
        self.sentencepiece.pieces().len()
    }

    /// The token of an id; the unknown token for ids that do not exist.
    pub fn token(&self, id: u32) -> &str {
        let pieces = self.sentencepiece.pieces();
        let piece = pieces.get(id as usize).or_else(|| pieces.get(self.specials.unk as usize));
        piece.map_or("", |piece| &piece.text)
    }

    /// The text of `ids` without special tokens, as far as tokens tell it: unknown characters are lost, and what normalisation
    /// changed stays changed.
    pub fn decode(&self, ids: &[u32]) -> String {
        let tokens = ids.iter().filter(|id| !self.is_special(**id)).map(|id| self.token(*id));
        tokens.collect::<String>().replace(SPACE, " ").trim().to_string()
    }

    /// Hex SHA-256 over everything that decides which ids a text gets: a key for cached tokens.
    pub fn fingerprint(&self) -> String {
        let options = format!("rembert 1 {} {} {:?}", self.typed.word(), self.lower_case, self.specials.texts);
        hash(&[options.as_bytes(), &self.model_data])
    }

    /// Writes the model as it was read, as `sentencepiece.model`, and a `tokenizer_config.json` that transformers and Kiln
    /// understand: what it held before, this tokenizer's options, and `max_length`, the longest row the model was trained on.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, dir: &Path, max_length: usize) -> Result<()> {
        let options = [
            ("do_lower_case", self.lower_case.into()),
            (TYPED_KEY, self.typed.word().into()),
            ("model_max_length", max_length.into()),
        ];
        self.config.save(dir, "RemBertTokenizer", &self.specials, &options)?;
        write(&dir.join(MODEL_FILE), &self.model_data)
    }

    /// The longest row that the model was trained on, if the config file says so.
    pub fn max_length(&self) -> Option<usize> {
        self.config.max_length()
    }

    fn ids(&self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(text.len() / 4);
        self.each_token(text, |_, token| tokens.push(token));
        tokens
    }

    fn each_token(&self, text: &str, emit: impl FnMut(&str, Token)) {
        let reading = Reading {
            specials: &self.specials,
            lower_case: self.lower_case,
            typed_specials: self.typed == TypedSpecials::HuggingFace,
            // transformers gives [MASK] `lstrip=True`.
            strips_left: Some(self.specials.mask),
        };
        let cut = |text: &str, emit: &mut dyn FnMut(&str, Token)| {
            let segments = self.sentencepiece.segment(text);
            for segment in segments.pieces {
                let piece = &segments.text[segment.bytes];
                let known = segment.id != self.sentencepiece.unknown_id();
                let id = if known { segment.id } else { *self.uncut.get(piece).unwrap_or(&segment.id) };
                emit(piece, located(id, piece, &segments.spans[segment.chars]));
            }
        };
        reading.each_token(text, cut, emit);
    }
}

fn model_file(dir: &Path) -> Result<PathBuf> {
    let found = MODEL_FILES.iter().map(|name| dir.join(name)).find(|file| file.exists());
    found.ok_or_else(|| {
        let problem = Problem::new(format!("there is no {MODEL_FILE} here")).in_file(dir);
        problem.help(format!("RemBERT's tokenizer is the file {MODEL_FILE}, beside the weights")).into()
    })
}
