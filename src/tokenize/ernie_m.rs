//! ERNIE-M's tokenizer: SentencePiece pieces, split further at digits, Chinese characters and punctuation, with ids from
//! `vocab.txt`.
//!
//! The rules are those of PaddleNLP 2.8 and of transformers 4.46 (`ErnieMTokenizer` in both), which differ: see
//! [`PieceSplitting`].

mod pieces;

use std::path::Path;

use serde_json::json;

use self::pieces::split_piece;
use super::config::{BERT_SPECIALS, TokenizerConfig};
use super::normalizer::SPACE;
use super::sentencepiece::{Piece, PieceKind, Segments, SentencePiece};
use super::text::Reading;
use super::tokenizer_json::{self, Entry};
use super::vocab::Vocab;
use super::{Common, PairEncoding, PieceSplitting, TextTokenizer, Token, TokenizerKind, located};
use crate::error::{Error, Problem, Result};

pub(super) const MODEL_FILE: &str = "sentencepiece.bpe.model";
pub(super) const VOCAB_FILE: &str = "vocab.txt";
/// The key of the config file that says how pieces are split; only Kiln reads it.
const SPLITTING_KEY: &str = "piece_splitting";
const SPLITTINGS: &str = "\"paddlenlp\", \"huggingface\" or \"plain\"";
/// A piece that is nothing but a space.
const SPACE_PIECE: &str = "▁";

/// Cuts texts for ERNIE-M. Made by [`ErnieMTokenizer::from_dir`].
#[derive(Debug)]
pub struct ErnieMTokenizer {
    sentencepiece: SentencePiece,
    vocab: Vocab,
    /// For each piece of the model its id in the vocabulary, if no rule splits it and it is there.
    whole: Vec<Option<u32>>,
    lower_case: bool,
    splitting: PieceSplitting,
    common: Common,
}

impl ErnieMTokenizer {
    /// Reads `sentencepiece.bpe.model`, `vocab.txt` and, if it is there, `tokenizer_config.json` from `dir`. Without
    /// `splitting` the config file's `piece_splitting` holds, and without that PaddleNLP's rules.
    ///
    /// # Errors
    /// A file is missing or damaged, the vocabulary lacks a special token, or it does not belong to the model.
    pub fn from_dir(dir: &Path, splitting: Option<PieceSplitting>) -> Result<Self> {
        let config = TokenizerConfig::read(dir)?;
        let read = |file: &Path| std::fs::read(file).map_err(|cause| Error::reading(file, &cause));
        let (model_file, vocab_file) = (dir.join(MODEL_FILE), dir.join(VOCAB_FILE));
        let (model_data, vocab_data) = (read(&model_file)?, read(&vocab_file)?);
        let sentencepiece = SentencePiece::from_bytes(&model_data, &model_file)?;
        let vocab = Vocab::from_bytes(&vocab_data, &vocab_file)?;
        let help = "ERNIE-M's vocab.txt holds [CLS], [PAD], [SEP], [UNK] and [MASK]; other names stand in tokenizer_config.json";
        let specials = config.specials(&vocab_file, "the vocabulary", BERT_SPECIALS, help, |text| vocab.id(text))?;
        check_fit(&sentencepiece, &vocab, &model_file, &vocab_file)?;
        let lower_case = config.lower_case()?;
        let splitting = splitting.or(config.value(SPLITTING_KEY, SPLITTINGS)?).unwrap_or_default();
        let whole = sentencepiece.pieces().iter().map(|piece| match splitting {
            PieceSplitting::Plain => vocab.id(&piece.text),
            _ => whole_id(&piece.text, &vocab),
        });
        let whole = whole.collect();
        let common = Common {
            kind: TokenizerKind::ErnieM,
            pairs: PairEncoding::Standard,
            rules: vec![format!("ernie-m 1 {} {lower_case} {:?}", splitting.word(), specials.texts)],
            specials,
            files: vec![(MODEL_FILE, model_data), (VOCAB_FILE, vocab_data)],
            config,
            class: "ErnieMTokenizer",
            options: vec![
                // Without it transformers gives type ids, which the model does not take.
                ("model_input_names", json!(["input_ids", "attention_mask"])),
                ("do_lower_case", lower_case.into()),
                (SPLITTING_KEY, splitting.word().into()),
            ],
        };
        Ok(Self { sentencepiece, vocab, whole, lower_case, splitting, common })
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
            let plain = (self.splitting == PieceSplitting::Plain).then_some(self.common.specials.unk);
            if let Some(id) = whole.or(plain) {
                emit(text, located(id, text, spans));
                continue;
            }
            let mut chars = 0;
            let mut bytes = 0;
            split_piece(text, |range| {
                let part = &text[range.clone()];
                chars += text[bytes..range.start].chars().count();
                let count = part.chars().count();
                let id = self.vocab.id(part).unwrap_or(self.common.specials.unk);
                emit(part, located(id, part, &spans[chars..chars + count]));
                chars += count;
                bytes = range.end;
            });
        }
    }

    fn keeps_space(&self, segments: &Segments, index: usize) -> bool {
        let next = segments.pieces.get(index + 1).map(|next| &segments.text[next.bytes.clone()]);
        match self.splitting {
            PieceSplitting::PaddleNlp => false,
            PieceSplitting::HuggingFace => index > 0 && next.is_some_and(|next| !next.starts_with(SPACE)),
            PieceSplitting::Plain => true,
        }
    }
}

impl TextTokenizer for ErnieMTokenizer {
    fn each_token(&self, text: &str, emit: &mut dyn FnMut(&str, Token)) {
        let reading = Reading {
            specials: &self.common.specials,
            lower_case: self.lower_case,
            typed_specials: self.splitting != PieceSplitting::PaddleNlp,
            strips_left: None,
        };
        reading.each_token(text, |text, emit| self.each_piece(&self.sentencepiece.segment(text), emit), emit);
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    fn token(&self, id: u32) -> &str {
        self.vocab.token(id).or_else(|| self.vocab.token(self.common.specials.unk)).unwrap_or_default()
    }

    fn without_tokenizer_json(&self) -> Option<&'static str> {
        let mut pieces = self.sentencepiece.pieces().iter().zip(&self.whole);
        if self.splitting != PieceSplitting::Plain {
            Some(
                "ERNIE-M splits pieces further, which that file cannot say; `model.piece_splitting = \"plain\"` leaves them whole",
            )
        } else if pieces.any(|(piece, id)| is_of_text(piece) && id.is_none()) {
            Some("vocab.txt has no ids for some pieces of the SentencePiece model, which that file cannot say")
        } else {
            None
        }
    }

    fn tokenizer_json(&self) -> tokenizers::Result<Option<String>> {
        if self.without_tokenizer_json().is_some() {
            return Ok(None);
        }
        let pieces = self.sentencepiece.pieces();
        let specials = &self.common.specials;
        let mut entries: Vec<Entry> = (0..self.vocab.len() as u32)
            .map(|id| Entry::not_of_text(self.vocab.token(id).unwrap_or_default(), specials.contains(id)))
            .collect();
        for (piece, id) in (0..).zip(&self.whole).filter(|(piece, _)| is_of_text(&pieces[*piece as usize])) {
            if let Some(id) = id {
                entries[*id as usize] = Entry::of_piece(&self.sentencepiece, piece, specials.contains(*id));
            }
        }
        let unknown = specials.unk;
        tokenizer_json::unigram(&self.sentencepiece, entries, unknown, self.lower_case, false, &self.common).map(Some)
    }
}

/// Whether texts are cut into a piece.
fn is_of_text(piece: &Piece) -> bool {
    matches!(piece.kind(), PieceKind::Normal | PieceKind::UserDefined)
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

/// Checks that the vocabulary was made from the model. A few pieces without an id are a warning, because texts with
/// them still work; with more, or with a vocabulary the model hardly uses, the files come from two models.
fn check_fit(model: &SentencePiece, vocab: &Vocab, model_file: &Path, file: &Path) -> Result<()> {
    let pieces = model.pieces().iter().filter(|p| matches!(p.kind(), PieceKind::Normal | PieceKind::UserDefined));
    let pieces: Vec<&str> = pieces.map(|piece| piece.text.as_str()).collect();
    let missing: Vec<&str> = pieces.iter().copied().filter(|piece| vocab.id(piece).is_none()).collect();
    let does_not_fit = |what: String| {
        let help = format!("{} and vocab.txt belong together: take both from one model", model_file.display());
        Err(Problem::new(what).in_file(file).help(help).into())
    };
    let examples = missing.iter().take(5).map(|piece| format!("{piece:?}")).collect::<Vec<_>>().join(", ");
    if missing.len() * 100 > pieces.len() {
        let (count, all) = (missing.len(), pieces.len());
        return does_not_fit(format!(
            "{count} of the {all} pieces of {MODEL_FILE} are not in the vocabulary (such as {examples})"
        ));
    }
    let found = pieces.len() - missing.len();
    if found * 2 < vocab.len() {
        return does_not_fit(format!(
            "{MODEL_FILE} gives only {found} of the {} tokens of the vocabulary",
            vocab.len()
        ));
    }
    if !missing.is_empty() {
        tracing::warn!(
            "{}: {} pieces of {MODEL_FILE} are not in the vocabulary and become the unknown token: {examples}",
            file.display(),
            missing.len()
        );
    }
    Ok(())
}
