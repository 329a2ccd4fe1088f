//! XLM-R's tokenizer: SentencePiece pieces, whose ids are the model's and 1, because fairseq has its own special tokens before them;
//! `<mask>` comes after the last.
//!
//! The rules are those of `XLMRobertaTokenizer` in transformers 4.46.

use std::path::Path;

use super::config::{Specials, TokenizerConfig, write};
use super::normalizer::SPACE;
use super::sentencepiece::SentencePiece;
use super::text::Reading;
use super::{TextTokenizer, Token, TokenizerKind, hash, located};
use crate::error::{Error, Result};

pub(super) const MODEL_FILE: &str = "sentencepiece.bpe.model";
/// fairseq's first ids, and how the last one is called.
const FIRST: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];
const MASK: &str = "<mask>";
/// What `tokenizer_config.json` calls the special tokens, if it does not say: CLS, PAD, SEP, UNK, MASK.
const SPECIALS: [&str; 5] = ["<s>", "<pad>", "</s>", "<unk>", MASK];
/// What is added to the id of a piece.
const OFFSET: u32 = 1;

/// Cuts texts for XLM-R. Made by [`XlmRobertaTokenizer::from_dir`].
#[derive(Debug)]
pub struct XlmRobertaTokenizer {
    sentencepiece: SentencePiece,
    specials: Specials,
    /// The files as they were read, for [`TextTokenizer::save`] and [`TextTokenizer::fingerprint`].
    model_data: Vec<u8>,
    config: TokenizerConfig,
}

impl XlmRobertaTokenizer {
    /// Reads `sentencepiece.bpe.model` and, if it is there, `tokenizer_config.json` from `dir`.
    ///
    /// # Errors
    /// A file is missing or damaged, or a special token has another name than fairseq's.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let file = dir.join(MODEL_FILE);
        let model_data = std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause))?;
        let sentencepiece = SentencePiece::from_bytes(&model_data, &file)?;
        let config = TokenizerConfig::read(dir)?;
        let help =
            "XLM-R's special tokens are <s>, <pad>, </s>, <unk> and <mask>; other names stand in tokenizer_config.json";
        let specials = config.specials(&file, "the model", SPECIALS, help, |text| id(text, &sentencepiece))?;
        Ok(Self { sentencepiece, specials, model_data, config })
    }

    /// The text of `ids` without special tokens, as far as tokens tell it.
    pub fn decode(&self, ids: &[u32]) -> String {
        let tokens = ids.iter().filter(|id| !self.specials.contains(**id)).map(|id| self.token(*id));
        tokens.collect::<String>().replace(SPACE, " ").trim().to_string()
    }
}

/// The id of a token by its text.
fn id(text: &str, sentencepiece: &SentencePiece) -> Option<u32> {
    match FIRST.iter().position(|first| *first == text) {
        Some(first) => Some(first as u32),
        None if text == MASK => Some(sentencepiece.pieces().len() as u32 + OFFSET),
        None => sentencepiece.piece_id(text).map(|piece| piece + OFFSET),
    }
}

impl TextTokenizer for XlmRobertaTokenizer {
    fn each_token(&self, text: &str, emit: &mut dyn FnMut(&str, Token)) {
        let reading = Reading {
            specials: &self.specials,
            lower_case: false,
            typed_specials: true,
            // transformers gives <mask> `lstrip=True`.
            strips_left: Some(self.specials.mask),
        };
        let cut = |text: &str, emit: &mut dyn FnMut(&str, Token)| {
            let segments = self.sentencepiece.segment(text);
            for segment in segments.pieces {
                let piece = &segments.text[segment.bytes];
                let known = segment.id != self.sentencepiece.unknown_id();
                let id = if known { segment.id + OFFSET } else { self.specials.unk };
                emit(piece, located(id, piece, &segments.spans[segment.chars]));
            }
        };
        reading.each_token(text, cut, emit);
    }

    fn specials(&self) -> &Specials {
        &self.specials
    }

    fn vocab_size(&self) -> usize {
        self.sentencepiece.pieces().len() + OFFSET as usize + 1
    }

    fn token(&self, id: u32) -> &str {
        let pieces = self.sentencepiece.pieces();
        match FIRST.get(id as usize) {
            Some(first) => first,
            None if id as usize + 1 == self.vocab_size() => MASK,
            None => pieces.get((id - OFFSET) as usize).map_or(FIRST[3], |piece| &piece.text),
        }
    }

    fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    fn separators(&self) -> Option<&'static [u8]> {
        TokenizerKind::XlmRoberta.separators()
    }

    fn has_types(&self) -> bool {
        false
    }

    fn fingerprint(&self) -> String {
        hash(&[format!("xlm-roberta 1 {:?}", self.specials.texts).as_bytes(), &self.model_data])
    }

    fn save(&self, dir: &Path, max_length: usize) -> Result<()> {
        let options = [("model_max_length", max_length.into())];
        self.config.save(dir, "XLMRobertaTokenizer", &self.specials, &options)?;
        write(&dir.join(MODEL_FILE), &self.model_data)
    }
}
