//! ERNIE-M's tokenizer: SentencePiece pieces, split further at digits, Chinese characters and punctuation, with ids from
//! `vocab.txt`.
//!
//! The rules are those of PaddleNLP 2.8 and of transformers 4.46 (`ErnieMTokenizer` in both), which differ: see
//! [`PieceSplitting`].

mod files;
mod pieces;

use std::path::Path;

use self::files::Files;
pub(super) use self::files::{MODEL_FILE, VOCAB_FILE};
use self::pieces::split_piece;
use super::config::{Specials, TokenizerConfig};
use super::normalizer::SPACE;
use super::sentencepiece::{Segments, SentencePiece};
use super::text::Reading;
use super::vocab::Vocab;
use super::{PieceSplitting, TextTokenizer, Token, TokenizerKind, hash, located};
use crate::error::Result;

/// A piece that is nothing but a space.
const SPACE_PIECE: &str = "▁";

/// Cuts texts for ERNIE-M. Made by [`ErnieMTokenizer::from_dir`].
#[derive(Debug)]
pub struct ErnieMTokenizer {
    sentencepiece: SentencePiece,
    vocab: Vocab,
    /// For each piece of the model its id in the vocabulary, if no rule splits it and it is there.
    whole: Vec<Option<u32>>,
    specials: Specials,
    lower_case: bool,
    splitting: PieceSplitting,
    /// The files as they were read, for [`Self::save`] and [`Self::fingerprint`].
    files: Files,
}

impl ErnieMTokenizer {
    /// Reads `sentencepiece.bpe.model`, `vocab.txt` and, if it is there, `tokenizer_config.json` from `dir`. Without
    /// `splitting` the config file's `piece_splitting` holds, and without that PaddleNLP's rules.
    ///
    /// # Errors
    /// A file is missing or damaged, the vocabulary lacks a special token, or it does not belong to the model.
    pub fn from_dir(dir: &Path, splitting: Option<PieceSplitting>) -> Result<Self> {
        let files = Files::read(dir)?;
        let sentencepiece = files.model()?;
        let vocab = files.vocab()?;
        let specials = files.specials(&vocab)?;
        files.check_fit(&sentencepiece, &vocab)?;
        let lower_case = files.config.lower_case()?;
        let splitting = splitting.or(files.splitting()?).unwrap_or_default();
        let whole = sentencepiece.pieces().iter().map(|piece| whole_id(&piece.text, &vocab)).collect();
        Ok(Self { sentencepiece, vocab, whole, specials, lower_case, splitting, files })
    }

    /// The text of `ids` without special tokens, as far as tokens tell it: spaces before digits and Chinese characters are
    /// lost, because the tokenizer drops them.
    pub fn decode(&self, ids: &[u32]) -> String {
        let tokens = ids.iter().filter(|id| !self.specials.contains(**id)).map(|id| self.token(*id));
        tokens.collect::<String>().replace(SPACE, " ").trim().to_string()
    }

    /// Gives the pieces of one stretch of text as tokens, split where the rules say so.
    fn each_piece(&self, segments: &Segments, mut emit: impl FnMut(&str, Token)) {
        for (index, segment) in segments.pieces.iter().enumerate() {
            let text = &segments.text[segment.bytes.clone()];
            let spans = &segments.spans[segment.chars.clone()];
            if text == SPACE_PIECE && !self.keeps_space(segments, index) {
                continue;
            }
            let whole =
                if segment.id == self.sentencepiece.unknown_id() { None } else { self.whole[segment.id as usize] };
            if let Some(id) = whole {
                emit(text, located(id, text, spans));
                continue;
            }
            let mut chars = 0;
            let mut bytes = 0;
            split_piece(text, |range| {
                let part = &text[range.clone()];
                chars += text[bytes..range.start].chars().count();
                let count = part.chars().count();
                let id = self.vocab.id(part).unwrap_or(self.specials.unk);
                emit(part, located(id, part, &spans[chars..chars + count]));
                chars += count;
                bytes = range.end;
            });
        }
    }

    fn keeps_space(&self, segments: &Segments, index: usize) -> bool {
        let next = segments.pieces.get(index + 1).map(|next| &segments.text[next.bytes.clone()]);
        self.splitting == PieceSplitting::HuggingFace && index > 0 && next.is_some_and(|next| !next.starts_with(SPACE))
    }
}

impl TextTokenizer for ErnieMTokenizer {
    fn each_token(&self, text: &str, emit: &mut dyn FnMut(&str, Token)) {
        let reading = Reading {
            specials: &self.specials,
            lower_case: self.lower_case,
            typed_specials: self.splitting == PieceSplitting::HuggingFace,
            strips_left: None,
        };
        reading.each_token(text, |text, emit| self.each_piece(&self.sentencepiece.segment(text), emit), emit);
    }

    fn specials(&self) -> &Specials {
        &self.specials
    }

    fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    fn token(&self, id: u32) -> &str {
        self.vocab.token(id).or_else(|| self.vocab.token(self.specials.unk)).unwrap_or_default()
    }

    fn config(&self) -> &TokenizerConfig {
        &self.files.config
    }

    fn separators(&self) -> Option<&'static [u8]> {
        TokenizerKind::ErnieM.separators()
    }

    fn fingerprint(&self) -> String {
        let options = format!("ernie-m 1 {} {} {:?}", self.splitting.word(), self.lower_case, self.specials.texts);
        hash(&[options.as_bytes(), &self.files.model_data, &self.files.vocab_data])
    }

    fn save(&self, dir: &Path, max_length: usize) -> Result<()> {
        self.files.save(dir, &self.specials, self.lower_case, self.splitting, max_length)
    }
}

/// The id of a piece that no rule splits and that is in the vocabulary.
fn whole_id(piece: &str, vocab: &Vocab) -> Option<u32> {
    let mut parts = 0;
    let mut whole = false;
    split_piece(piece, |range| {
        parts += 1;
        whole = range.len() == piece.len();
    });
    if parts == 1 && whole { vocab.id(piece) } else { None }
}
