//! XLM-R's tokenizer: SentencePiece pieces, whose ids are the model's and 1, because fairseq has its own special tokens before them;
//! `<mask>` comes after the last.
//!
//! The rules are those of `XLMRobertaTokenizer` in transformers 4.46.

use std::path::Path;

use serde_json::json;

use super::config::TokenizerConfig;
use super::sentencepiece::SentencePiece;
use super::text::Reading;
use super::tokenizer_json::{self, Entry};
use super::{Common, PairEncoding, TextTokenizer, Token, TokenizerKind};
use crate::error::{Error, Result};

pub(super) const MODEL_FILE: &str = "sentencepiece.bpe.model";
/// fairseq's first ids, and how the last one is called.
const FIRST: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];
const MASK: &str = "<mask>";
/// What `tokenizer_config.json` calls the special tokens, if it does not say: CLS, PAD, SEP, UNK, MASK.
pub(super) const SPECIALS: [&str; 5] = ["<s>", "<pad>", "</s>", "<unk>", MASK];
/// What is added to the id of a piece.
const OFFSET: u32 = 1;

/// Cuts texts for XLM-R. Made by [`XlmRobertaTokenizer::from_dir`].
#[derive(Debug)]
pub struct XlmRobertaTokenizer {
    sentencepiece: SentencePiece,
    common: Common,
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
        let common = Common {
            kind: TokenizerKind::XlmRoberta,
            pairs: PairEncoding::Standard,
            rules: vec![format!("xlm-roberta 1 {:?}", specials.texts)],
            specials,
            files: vec![(MODEL_FILE, model_data)],
            config,
            class: "XLMRobertaTokenizer",
            // Without it transformers gives type ids, for which the model has a table of one row.
            options: vec![("model_input_names", json!(["input_ids", "attention_mask"]))],
        };
        Ok(Self { sentencepiece, common })
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
        let specials = &self.common.specials;
        // transformers gives <mask> `lstrip=True`.
        let strips_left = Some(specials.mask);
        let reading = Reading { specials, lower_case: false, typed_specials: true, strips_left };
        let id = |own: Option<u32>, _: &str| own.map_or(specials.unk, |own| own + OFFSET);
        reading.each_token(text, |text, emit| self.sentencepiece.each_token(text, id, emit), emit);
    }

    fn common(&self) -> &Common {
        &self.common
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

    fn tokenizer_json(&self) -> tokenizers::Result<Option<String>> {
        let pieces = &self.sentencepiece;
        let first = FIRST.map(|token| Entry::not_of_text(token, true));
        let rest = (FIRST.len() as u32..=pieces.pieces().len() as u32)
            .map(|id| Entry::of_piece(pieces, id - OFFSET, self.common.specials.contains(id)));
        let entries = first.into_iter().chain(rest).chain([Entry::not_of_text(MASK, true)]).collect();
        let unknown = self.common.specials.unk;
        tokenizer_json::unigram(pieces, entries, unknown, false, true, &self.common).map(Some)
    }
}
