//! RemBERT's tokenizer: SentencePiece pieces with the model's own ids, special tokens among them.
//!
//! The rules are those of PaddleNLP 2.8 and of transformers 4.46 (`RemBertTokenizer` in both), which differ where special
//! tokens are typed in a text: see [`TypedSpecials`]. Of the three options in `tokenizer_config.json` both use only
//! `do_lower_case`; `remove_space` and `keep_accents` are read by neither, so they change nothing here and are kept when saving.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::config::{BERT_SPECIALS, LIBRARIES, TokenizerConfig};
use super::sentencepiece::{PieceKind, SentencePiece};
use super::text::Reading;
use super::tokenizer_json::{self, Entry, IGNORES_TYPED};
use super::{Common, PairEncoding, TextTokenizer, Token, TokenizerKind, TypedSpecials};
use crate::error::{Error, Problem, Result};

/// The name both libraries have for the model; it is saved under it.
const MODEL_FILE: &str = "sentencepiece.model";
/// Where the model may be, the first one first.
pub(super) const MODEL_FILES: [&str; 2] = [MODEL_FILE, "rembert.sentencepiece.model"];
/// The keys of the config file for [`TypedSpecials`] and [`PairEncoding`]; only Kiln reads them.
const TYPED_KEY: &str = "typed_specials";
const PAIR_KEY: &str = "pair_encoding";

/// Cuts texts for RemBERT. Made by [`RemBertTokenizer::from_dir`].
#[derive(Debug)]
pub struct RemBertTokenizer {
    sentencepiece: SentencePiece,
    /// The pieces that no text is cut into. The libraries look ids up by text, so that a run of unknown characters that is
    /// written like one of these gets its id.
    uncut: HashMap<String, u32>,
    lower_case: bool,
    typed: TypedSpecials,
    common: Common,
}

impl RemBertTokenizer {
    /// Reads `sentencepiece.model` (or `rembert.sentencepiece.model`) and, if it is there, `tokenizer_config.json` from `dir`.
    /// Without `typed` the config file's `typed_specials` holds, and without that PaddleNLP's rules; without `pairs` its
    /// `pair_encoding`, and without that the standard one.
    ///
    /// # Errors
    /// A file is missing or damaged, or the model lacks a special token.
    pub fn from_dir(dir: &Path, typed: Option<TypedSpecials>, pairs: Option<PairEncoding>) -> Result<Self> {
        let file = model_file(dir)?;
        let model_data = std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause))?;
        let sentencepiece = SentencePiece::from_bytes(&model_data, &file)?;
        let config = TokenizerConfig::read(dir)?;
        let help =
            "RemBERT's model has [CLS], [PAD], [SEP], [UNK] and [MASK]; other names stand in tokenizer_config.json";
        let specials = config.specials(&file, "the model", BERT_SPECIALS, help, |text| sentencepiece.piece_id(text))?;
        let lower_case = config.lower_case()?;
        let typed = typed.or(config.value(TYPED_KEY, LIBRARIES)?).unwrap_or_default();
        let pairs = pairs.or(config.value(PAIR_KEY, "\"standard\" or \"apart\"")?).unwrap_or_default();
        let uncut = (0..)
            .zip(sentencepiece.pieces())
            .filter(|(_, p)| matches!(p.kind(), PieceKind::Control | PieceKind::Unused | PieceKind::Byte));
        let uncut = uncut.map(|(id, piece)| (piece.text.clone(), id)).collect();
        let (typed_word, pairs_word) = (typed.word(), pairs.word());
        let common = Common {
            kind: TokenizerKind::RemBert,
            pairs,
            rules: vec![format!("rembert 2 {typed_word} {pairs_word} {lower_case} {:?}", specials.texts)],
            specials,
            files: vec![(MODEL_FILE, model_data)],
            config,
            class: "RemBertTokenizer",
            options: vec![
                ("do_lower_case", lower_case.into()),
                (TYPED_KEY, typed_word.into()),
                (PAIR_KEY, pairs_word.into()),
                (IGNORES_TYPED, (typed == TypedSpecials::PaddleNlp).into()),
            ],
        };
        Ok(Self { sentencepiece, uncut, lower_case, typed, common })
    }
}

impl TextTokenizer for RemBertTokenizer {
    fn each_token(&self, text: &str, emit: &mut dyn FnMut(&str, Token)) {
        let specials = &self.common.specials;
        let reading = Reading {
            specials,
            lower_case: self.lower_case,
            typed_specials: self.typed == TypedSpecials::HuggingFace,
            // transformers gives [MASK] `lstrip=True`.
            strips_left: Some(specials.mask),
        };
        let unknown = self.sentencepiece.unknown_id();
        let id = |own: Option<u32>, piece: &str| own.or(self.uncut.get(piece).copied()).unwrap_or(unknown);
        reading.each_token(text, |text, emit| self.sentencepiece.each_token(text, id, emit), emit);
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn vocab_size(&self) -> usize {
        self.sentencepiece.pieces().len()
    }

    fn token(&self, id: u32) -> &str {
        let pieces = self.sentencepiece.pieces();
        let piece = pieces.get(id as usize).or_else(|| pieces.get(self.common.specials.unk as usize));
        piece.map_or("", |piece| &piece.text)
    }

    fn tokenizer_json(&self) -> tokenizers::Result<Option<String>> {
        let (pieces, specials) = (&self.sentencepiece, &self.common.specials);
        let entries = (0..self.vocab_size() as u32).map(|id| Entry::of_piece(pieces, id, specials.contains(id)));
        let unknown = pieces.unknown_id();
        tokenizer_json::unigram(pieces, entries.collect(), unknown, self.lower_case, true, &self.common).map(Some)
    }
}

fn model_file(dir: &Path) -> Result<PathBuf> {
    let found = MODEL_FILES.iter().map(|name| dir.join(name)).find(|file| file.exists());
    found.ok_or_else(|| {
        let problem = Problem::new(format!("there is no {MODEL_FILE} here")).in_file(dir);
        problem.help(format!("RemBERT's tokenizer is the file {MODEL_FILE}, beside the weights")).into()
    })
}
