//! SentencePiece unigram models: the `.model` file, and cutting a text into pieces exactly as SentencePiece 0.2.0 does.
//!
//! Exactly means: the longest character-map rule at each byte position, sums rounded where SentencePiece rounds them, and
//! runs of unknown characters as one piece. Unlike SentencePiece's, every piece knows the characters of the original text
//! it came from.
//!
//! Sources: `sentencepiece_model.proto`, `Model::EncodeOptimized` (unigram_model.cc), `normalizer.cc`.

use std::ops::Range;
use std::path::Path;

use super::double_array::DoubleArray;
use super::normalizer::{Normalized, Normalizer, Rules};
use super::protobuf::{Damage, Fields, Value};
use crate::error::{Error, Problem, Result};

/// What an unknown character costs beside the rarest piece.
const UNKNOWN_PENALTY: f32 = 10.0;
/// Longer pieces are damage: SentencePiece's own limit when training is 512 characters.
const MAX_PIECE_BYTES: usize = 2048;

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    Normal,
    Unknown,
    /// A token such as `<s>`, which no text gives.
    Control,
    /// A symbol that is always kept whole.
    UserDefined,
    Unused,
}

/// One entry of the model; its id is its place.
#[derive(Debug, Clone)]
pub struct Piece {
    pub text: String,
    /// Log probability.
    pub score: f32,
    pub kind: PieceKind,
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

/// The parts of the file that are read, before they are checked.
struct Specs<'a> {
    pieces: Vec<Piece>,
    model_type: u64,
    byte_fallback: bool,
    treat_whitespace_as_suffix: bool,
    rules: &'a [u8],
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl SentencePiece {
    /// Reads a model from the bytes of `file`, whose name is for messages.
    ///
    /// # Errors
    /// The data is damaged, or the model is not a unigram model.
    pub fn from_bytes(data: &[u8], file: &Path) -> Result<Self> {
        let problem = |what: String| Problem::new(what).in_file(file);
        let specs = Specs::read(data).map_err(|damage| {
            problem(format!("not a SentencePiece model, or a damaged one: {} (byte {})", damage.what, damage.at))
                .help("copy or download the file again")
        })?;
        if let Some(name) = other_model_type(specs.model_type) {
            return Err(problem(format!(
                "this is a SentencePiece {name} model, and only unigram models are supported"
            ))
            .help("ERNIE-M and RemBERT use unigram models: is it the right file?")
            .into());
        }
        if specs.byte_fallback {
            return Err(problem("this SentencePiece model falls back to bytes, which is not supported".into())
                .help("ERNIE-M and RemBERT use models without byte_fallback: is it the right file?")
                .into());
        }
        Self::build(specs).map_err(|what| problem(format!("a damaged SentencePiece model: {what}")).into())
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// As [`Self::from_bytes`]; also if the file cannot be read.
    pub fn from_file(file: &Path) -> Result<Self> {
        let data = std::fs::read(file).map_err(|cause| Error::reading(file, &cause))?;
        Self::from_bytes(&data, file)
    }

    fn build(specs: Specs) -> Result<Self, String> {
        let pieces = specs.pieces;
        let ids = |wanted: fn(PieceKind) -> bool| -> Vec<(&[u8], u32)> {
            let chosen = pieces.iter().enumerate().filter(|(_, piece)| wanted(piece.kind));
            chosen.map(|(id, piece)| (piece.text.as_bytes(), id as u32)).collect()
        };
        let trie = DoubleArray::build(ids(|kind| matches!(kind, PieceKind::Normal | PieceKind::UserDefined)));
        let trie = trie.map_err(|what| format!("the pieces cannot be looked up: {what}"))?;
        let user_symbols = DoubleArray::build(ids(|kind| kind == PieceKind::UserDefined)).ok();
        let mut unknowns = pieces.iter().enumerate().filter(|(_, piece)| piece.kind == PieceKind::Unknown);
        let (Some((unknown, _)), None) = (unknowns.next(), unknowns.next()) else {
            return Err("it does not have exactly one unknown piece".to_string());
        };
        let scores = || pieces.iter().filter(|piece| piece.kind == PieceKind::Normal).map(|piece| piece.score);
        let unknown_score = scores().fold(f32::MAX, f32::min) - UNKNOWN_PENALTY;
        let max_score = scores().fold(f32::MIN_POSITIVE, f32::max);
        let normalizer = Normalizer {
            rules: if specs.rules.is_empty() { None } else { Some(Rules::read(specs.rules)?) },
            user_symbols,
            add_dummy_prefix: specs.add_dummy_prefix,
            remove_extra_whitespaces: specs.remove_extra_whitespaces,
            escape_whitespaces: specs.escape_whitespaces,
            treat_whitespace_as_suffix: specs.treat_whitespace_as_suffix,
        };
        let weights = pieces.iter().map(|piece| match piece.kind {
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

    /// Viterbi over the bytes of a normalised text. The order of offers and the kinds of floats decide between equal sums,
    /// and are those of SentencePiece 0.2.0 (0.2.3 rounds elsewhere: of 74,700 XNLI sentences it cuts 6 differently).
    fn best_path(&self, text: &str) -> Vec<Segment> {
        /// The best path that ends at a byte: its score, and its last piece.
        #[derive(Clone, Copy)]
        struct Best {
            score: f32,
            start: usize,
            id: u32,
        }
        const UNREACHED: usize = usize::MAX;
        let mut ends = vec![Best { score: 0.0, start: UNREACHED, id: 0 }; text.len() + 1];
        for (start, first) in text.char_indices() {
            let so_far = ends[start].score;
            // SentencePiece compares sums of doubles and keeps them as floats.
            let mut offer = |end: usize, id: u32, score: f64| {
                let best = &mut ends[end];
                if best.start == UNREACHED || score > f64::from(best.score) {
                    *best = Best { score: score as f32, start, id };
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
        let mut path: Vec<Segment> = Vec::with_capacity(text.len() / 3 + 1);
        let mut end = text.len();
        while end > 0 {
            let best = ends[end];
            match path.last_mut() {
                Some(next) if next.id == self.unknown && best.id == self.unknown => next.bytes.start = best.start,
                _ => path.push(Segment { id: best.id, bytes: best.start..end, chars: 0..0 }),
            }
            end = best.start;
        }
        path.reverse();
        let mut chars = 0;
        for segment in &mut path {
            let start = chars;
            chars += text[segment.bytes.clone()].chars().count();
            segment.chars = start..chars;
        }
        path
    }
}

/// The name of a `TrainerSpec.ModelType` that is not unigram.
fn other_model_type(model_type: u64) -> Option<String> {
    match model_type {
        1 => None,
        2 => Some("BPE".into()),
        3 => Some("word".into()),
        4 => Some("character".into()),
        other => Some(format!("type {other}")),
    }
}

impl<'a> Specs<'a> {
    /// Reads the file's fields; those that are missing keep the defaults of `sentencepiece_model.proto`.
    fn read(data: &'a [u8]) -> Result<Self, Damage> {
        let mut specs = Self {
            pieces: Vec::new(),
            model_type: 1,
            byte_fallback: false,
            treat_whitespace_as_suffix: false,
            rules: &[],
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        for field in Fields::new(data, 0) {
            match field? {
                (1, Value::Bytes(message, base)) => specs.pieces.push(read_piece(message, base)?),
                (2, Value::Bytes(message, base)) => specs.read_trainer(Fields::new(message, base))?,
                (3, Value::Bytes(message, base)) => specs.read_normalizer(Fields::new(message, base))?,
                _ => {}
            }
        }
        if specs.pieces.is_empty() {
            return Err(Damage { at: data.len(), what: "it holds no pieces" });
        }
        Ok(specs)
    }

    fn read_trainer(&mut self, fields: Fields<'a>) -> Result<(), Damage> {
        for field in fields {
            match field? {
                (3, Value::Varint(value)) => self.model_type = value,
                (24, Value::Varint(value)) => self.treat_whitespace_as_suffix = value != 0,
                (35, Value::Varint(value)) => self.byte_fallback = value != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, fields: Fields<'a>) -> Result<(), Damage> {
        for field in fields {
            match field? {
                (2, Value::Bytes(rules, _)) => self.rules = rules,
                (3, Value::Varint(value)) => self.add_dummy_prefix = value != 0,
                (4, Value::Varint(value)) => self.remove_extra_whitespaces = value != 0,
                (5, Value::Varint(value)) => self.escape_whitespaces = value != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_piece(message: &[u8], base: usize) -> Result<Piece, Damage> {
    let damage = |what| Damage { at: base, what };
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    for field in Fields::new(message, base) {
        match field? {
            (1, Value::Bytes(text, _)) => {
                piece.text = std::str::from_utf8(text).map_err(|_| damage("a piece is not UTF-8"))?.to_string();
            }
            (2, Value::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Value::Varint(kind)) => {
                piece.kind = match kind {
                    1 => PieceKind::Normal,
                    2 => PieceKind::Unknown,
                    3 => PieceKind::Control,
                    4 => PieceKind::UserDefined,
                    5 => PieceKind::Unused,
                    // A byte: only models with byte_fallback have them, and those are refused later, by name.
                    6 => PieceKind::Control,
                    _ => return Err(damage("a piece is of an unknown type")),
                }
            }
            _ => {}
        }
    }
    if piece.text.is_empty() || piece.text.len() > MAX_PIECE_BYTES || piece.text.contains('\0') {
        return Err(damage("a piece is empty, too long, or holds a zero byte"));
    }
    if !piece.score.is_finite() {
        return Err(damage("the score of a piece is not finite"));
    }
    Ok(piece)
}
