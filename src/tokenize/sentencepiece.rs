//! SentencePiece unigram models: the `.model` file, and cutting a text into pieces exactly as SentencePiece 0.2.0 does.
//!
//! Exactly means: the longest character-map rule at each byte position, sums rounded where SentencePiece rounds them, and
//! runs of unknown characters as one piece. Unlike SentencePiece's, every piece knows the characters of the original text
//! it came from.
//!
//! Sources: `sentencepiece_model.proto`, `Model::EncodeOptimized` (unigram_model.cc), `normalizer.cc`.

use std::ops::Range;
use std::path::Path;

use prost::{Enumeration, Message};

use super::double_array::DoubleArray;
use super::normalizer::{Normalized, Normalizer, Rules};
use super::{Token, located};
use crate::error::{Problem, Result};

/// What an unknown character costs beside the rarest piece.
const UNKNOWN_PENALTY: f32 = 10.0;
/// Longer pieces are damage: SentencePiece's own limit when training is 512 characters.
const MAX_PIECE_BYTES: usize = 2048;

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum PieceKind {
    Normal = 1,
    Unknown = 2,
    /// A token such as `<s>`, which no text gives.
    Control = 3,
    /// A symbol that is always kept whole.
    UserDefined = 4,
    Unused = 5,
    /// Only models with `byte_fallback` have them, which are refused.
    Byte = 6,
}

/// One entry of the model; its id is its place.
#[derive(Clone, PartialEq, Message)]
pub struct Piece {
    #[prost(string, required, tag = "1")]
    pub text: String,
    /// Log probability.
    #[prost(float, required, tag = "2")]
    pub score: f32,
    #[prost(enumeration = "PieceKind", required, default = "Normal", tag = "3")]
    pub kind: i32,
}

impl Piece {
    /// Why it can be in no model.
    fn fault(&self) -> Option<&'static str> {
        if PieceKind::try_from(self.kind).is_err() {
            return Some("is of an unknown type");
        }
        if self.text.is_empty() || self.text.len() > MAX_PIECE_BYTES || self.text.contains('\0') {
            return Some("is empty, too long, or holds a zero byte");
        }
        (!self.score.is_finite()).then_some("has a score that is not finite")
    }
}

/// What is read of the file, `ModelProto`; the defaults are those of `sentencepiece_model.proto`.
#[derive(Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, required, tag = "2")]
    trainer: TrainerSpec,
    #[prost(message, required, tag = "3")]
    normalizer: NormalizerSpec,
}

#[derive(Message)]
struct TrainerSpec {
    #[prost(int32, required, default = "1", tag = "3")]
    model_type: i32,
    #[prost(bool, required, tag = "24")]
    treat_whitespace_as_suffix: bool,
    #[prost(bool, required, tag = "35")]
    byte_fallback: bool,
}

#[derive(Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", required, tag = "2")]
    rules: Vec<u8>,
    #[prost(bool, required, default = "true", tag = "3")]
    add_dummy_prefix: bool,
    #[prost(bool, required, default = "true", tag = "4")]
    remove_extra_whitespaces: bool,
    #[prost(bool, required, default = "true", tag = "5")]
    escape_whitespaces: bool,
}

/// A unigram model, ready to cut texts.
#[derive(Debug)]
pub struct SentencePiece {
    pieces: Vec<Piece>,
    unknown: u32,
    trie: DoubleArray,
    normalizer: Normalizer,
    unknown_score: f32,
    /// What each piece adds to the score of a path.
    weights: Vec<f64>,
}

/// A piece of a text: `bytes` and `chars` are ranges in [`Segments::text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub id: u32,
    pub bytes: Range<usize>,
    pub chars: Range<usize>,
}

/// A text cut into pieces, which together cover the normalised text.
#[derive(Debug)]
pub struct Segments {
    /// The normalised text.
    pub text: String,
    /// For each character of `text`, the characters of the original it came from (start, end).
    pub spans: Vec<(u32, u32)>,
    pub pieces: Vec<Segment>,
}

impl SentencePiece {
    /// Reads a model from the bytes of `file`, whose name is for messages.
    ///
    /// # Errors
    /// The data is damaged, or the model is not a unigram model.
    pub fn from_bytes(data: &[u8], file: &Path) -> Result<Self> {
        let problem = |what: String| Problem::new(what).in_file(file);
        let damaged = |what: String| {
            problem(format!("not a SentencePiece model, or a damaged one: {what}"))
                .help("copy or download the file again")
        };
        let model = Model::decode(data).map_err(|cause| damaged(cause.to_string()))?;
        if model.pieces.is_empty() {
            return Err(damaged("it holds no pieces".into()).into());
        }
        let fault = (0..).zip(&model.pieces).find_map(|(id, piece): (u32, _)| Some((id, piece.fault()?)));
        if let Some((id, what)) = fault {
            return Err(damaged(format!("piece {id} {what}")).into());
        }
        if let Some(name) = other_model_type(model.trainer.model_type) {
            return Err(problem(format!(
                "this is a SentencePiece {name} model, and only unigram models are supported"
            ))
            .help("ERNIE-M and RemBERT use unigram models: is it the right file?")
            .into());
        }
        if model.trainer.byte_fallback {
            return Err(problem("this SentencePiece model falls back to bytes, which is not supported".into())
                .help("ERNIE-M and RemBERT use models without byte_fallback: is it the right file?")
                .into());
        }
        Self::build(model).map_err(|what| problem(format!("a damaged SentencePiece model: {what}")).into())
    }

    fn build(model: Model) -> Result<Self, String> {
        let Model { pieces, trainer, normalizer } = model;
        let ids = |wanted: fn(PieceKind) -> bool| -> Vec<(&[u8], u32)> {
            let chosen = pieces.iter().enumerate().filter(|(_, piece)| wanted(piece.kind()));
            chosen.map(|(id, piece)| (piece.text.as_bytes(), id as u32)).collect()
        };
        let trie = DoubleArray::build(ids(|kind| matches!(kind, PieceKind::Normal | PieceKind::UserDefined)));
        let trie = trie.map_err(|what| format!("the pieces cannot be looked up: {what}"))?;
        let user_symbols = DoubleArray::build(ids(|kind| kind == PieceKind::UserDefined)).ok();
        let mut unknowns = pieces.iter().enumerate().filter(|(_, piece)| piece.kind() == PieceKind::Unknown);
        let (Some((unknown, _)), None) = (unknowns.next(), unknowns.next()) else {
            return Err("it does not have exactly one unknown piece".to_string());
        };
        let scores = || pieces.iter().filter(|piece| piece.kind() == PieceKind::Normal).map(|piece| piece.score);
        let unknown_score = scores().fold(f32::MAX, f32::min) - UNKNOWN_PENALTY;
        let max_score = scores().fold(f32::MIN_POSITIVE, f32::max);
        let normalizer = Normalizer {
            rules: if normalizer.rules.is_empty() { None } else { Some(Rules::read(&normalizer.rules)?) },
            user_symbols,
            add_dummy_prefix: normalizer.add_dummy_prefix,
            remove_extra_whitespaces: normalizer.remove_extra_whitespaces,
            escape_whitespaces: normalizer.escape_whitespaces,
            treat_whitespace_as_suffix: trainer.treat_whitespace_as_suffix,
        };
        let weights = pieces.iter().map(|piece| match piece.kind() {
            // So that it is always taken.
            PieceKind::UserDefined => f64::from(piece.text.len() as f32 * max_score) - 0.1,
            _ => f64::from(piece.score),
        });
        Ok(Self { unknown: unknown as u32, trie, normalizer, unknown_score, weights: weights.collect(), pieces })
    }

    /// All pieces; a piece's id is its index.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// What the piece `id` adds to the score of a path.
    pub fn weight(&self, id: u32) -> f64 {
        self.weights[id as usize]
    }

    /// How texts are normalised.
    pub(super) fn normalizer(&self) -> &Normalizer {
        &self.normalizer
    }

    /// The id of the piece written so, special or not. Looks through all pieces: meant for a handful of special tokens.
    pub fn piece_id(&self, text: &str) -> Option<u32> {
        self.pieces.iter().position(|piece| piece.text == text).map(|id| id as u32)
    }

    /// The id of text that no piece covers.
    pub fn unknown_id(&self) -> u32 {
        self.unknown
    }

    /// Cuts `text` into its most probable pieces. A run of unknown characters is one piece.
    pub fn segment(&self, text: &str) -> Segments {
        let Normalized { text, spans } = self.normalizer.normalize(text);
        let pieces = self.best_path(&text);
        Segments { text, spans, pieces }
    }

    /// Gives the pieces of `text` as tokens. `id` says which each has: it gets the piece's own, or none for an unknown one, and its text.
    pub fn each_token(&self, text: &str, id: impl Fn(Option<u32>, &str) -> u32, emit: &mut dyn FnMut(&str, Token)) {
        let segments = self.segment(text);
        for segment in segments.pieces {
            let piece = &segments.text[segment.bytes];
            let own = (segment.id != self.unknown).then_some(segment.id);
            emit(piece, located(id(own, piece), piece, &segments.spans[segment.chars]));
        }
    }

    /// Viterbi over the bytes of a normalised text. The order of offers and the kinds of floats decide between equal sums,
    /// and are those of SentencePiece 0.2.0 (0.2.3 rounds elsewhere: of 74,700 XNLI sentences it cuts 6 differently).
    fn best_path(&self, text: &str) -> Vec<Segment> {
        /// The best path that ends at a byte: its score, its last piece, and how many characters stand before the byte.
        #[derive(Clone, Copy)]
        struct Best {
            score: f32,
            start: u32,
            id: u32,
            chars: u32,
        }
        const UNREACHED: u32 = u32::MAX;
        let mut ends = vec![Best { score: 0.0, start: UNREACHED, id: 0, chars: 0 }; text.len() + 1];
        let mut chars = 0;
        for (start, first) in text.char_indices() {
            ends[start].chars = chars;
            chars += 1;
            let so_far = ends[start].score;
            // SentencePiece compares sums of doubles and keeps them as floats.
            let mut offer = |end: usize, id: u32, score: f64| {
                let best = &mut ends[end];
                if best.start == UNREACHED || score > f64::from(best.score) {
                    *best = Best { score: score as f32, start: start as u32, id, chars: 0 };
                }
            };
            let mut covered = false;
            for (length, id) in self.trie.prefixes(&text.as_bytes()[start..]) {
                offer(start + length, id, self.weights[id as usize] + f64::from(so_far));
                covered |= length == first.len_utf8();
            }
            if !covered {
                // Here it adds floats, so that the sum is rounded before the comparison.
                offer(start + first.len_utf8(), self.unknown, f64::from(self.unknown_score + so_far));
            }
        }
        ends[text.len()].chars = chars;
        let mut path: Vec<Segment> = Vec::with_capacity(text.len() / 3 + 1);
        let mut end = text.len();
        while end > 0 {
            let Best { start, id, chars: end_char, .. } = ends[end];
            let start = start as usize;
            let start_char = ends[start].chars as usize;
            match path.last_mut() {
                Some(next) if next.id == self.unknown && id == self.unknown => {
                    (next.bytes.start, next.chars.start) = (start, start_char);
                }
                _ => path.push(Segment { id, bytes: start..end, chars: start_char..end_char as usize }),
            }
            end = start;
        }
        path.reverse();
        path
    }
}

/// The name of a `TrainerSpec.ModelType` that is not unigram.
fn other_model_type(model_type: i32) -> Option<String> {
    match model_type {
        1 => None,
        2 => Some("BPE".into()),
        3 => Some("word".into()),
        4 => Some("character".into()),
        other => Some(format!("type {other}")),
    }
}
