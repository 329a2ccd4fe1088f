//! From text to ids: what all families share, and one file a family.
//!
//! - [`sentencepiece`] reads SentencePiece unigram models and cuts texts as SentencePiece does;
//! - [`ernie_m`] and [`rembert`] are the families' tokenizers over it;
//! - [`xlm_roberta`] is XLM-R's, with fairseq's ids;
//! - [`ernie`] is ERNIE 1.0's and BERT's, which needs no such model: words, and pieces of words.
//! - [`hugging_face`] is any that a folder has as a `tokenizer.json` alone.
//! - [`elmo`] has whole words, or their bytes; [`words`] are the former as tokens of a tagger or reader.
//!
//! Offsets count characters (Unicode scalar values) of the text as it was given, start included, end not.

mod config;
mod double_array;
pub mod elmo;
pub mod ernie;
pub mod ernie_m;
pub mod hugging_face;
mod normalizer;
mod options;
pub mod rembert;
mod replacements;
pub mod sentencepiece;
mod text;
mod tokenizer;
mod tokenizer_json;
mod vocab;
pub mod words;
pub mod xlm_roberta;

pub use config::Specials;
pub use options::{PairEncoding, PieceSplitting, Segmentation, TokenizerOptions, TypedSpecials, WordSplitting};
pub use tokenizer::{Common, Padding, TextTokenizer, Tokenizer, TokenizerKind};

use std::iter::once;

use self::normalizer::SPACE;

/// A token of a text before anything is added round it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub id: u32,
    /// First character in the text.
    pub start: u32,
    /// The character after its last one.
    pub end: u32,
}

/// A token with its text, as the tokenizers' `tokenize` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextToken {
    /// As it stands after normalisation; may be missing in the vocabulary.
    pub text: String,
    pub token: Token,
}

/// One row as a model reads it, not padded. All vectors have the same length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    pub ids: Vec<u32>,
    pub type_ids: Vec<u8>,
    /// Characters (start, end) in the token's own text; (0, 0) for added special tokens.
    pub offsets: Vec<(u32, u32)>,
    /// True for special tokens the tokenizer added, false for those typed in the text.
    pub special: Vec<bool>,
    /// Which text a token is from: 0, 1, or none for added special tokens.
    pub sequences: Vec<Option<u8>>,
}

impl Encoding {
    /// Tokens in the row.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many tokens have the type id 0: all up to the second text.
    pub fn first_length(&self) -> usize {
        self.type_ids.partition_point(|type_id| *type_id == 0)
    }

    /// True if there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// One text as `[CLS] A [SEP]`, or two with a `[SEP]` between them for each type id in `between`, of at most `max_length`
    /// tokens: the longer text gives first, from its end, and the second where they are equally long. Type ids are 0 for A
    /// and 1 for B and the `[SEP]` after it. If not even the added tokens fit, the row is cut.
    fn of(
        first: &[Token],
        second: Option<&[Token]>,
        between: &[u8],
        specials: &Specials,
        max_length: Option<usize>,
    ) -> Self {
        let length = max_length.unwrap_or(usize::MAX);
        let added = 2 + if second.is_some() { between.len() } else { 0 };
        let (first_kept, second_kept) =
            truncate_longest_first(first.len(), second.map_or(0, <[_]>::len), length.saturating_sub(added));
        let second = second.map(|tokens| {
            let separators = between.iter().map(|type_id| added_token(specials.sep, *type_id));
            separators.chain(of_text(&tokens[..second_kept], 1))
        });
        let end = added_token(specials.sep, second.is_some().into());
        let row = once(added_token(specials.cls, 0)).chain(of_text(&first[..first_kept], 0));
        row.chain(second.into_iter().flatten()).chain(once(end)).take(length).collect()
    }

    /// One text or two with nothing added, of at most `max_length` tokens, as [`Self::of`] cuts them.
    fn without_specials(first: &[Token], second: Option<&[Token]>, max_length: Option<usize>) -> Self {
        let second = second.unwrap_or_default();
        let (first_kept, second_kept) =
            truncate_longest_first(first.len(), second.len(), max_length.unwrap_or(usize::MAX));
        of_text(&first[..first_kept], 0).chain(of_text(&second[..second_kept], 1)).collect()
    }

    /// `[CLS] A [SEP]` and `[CLS] B [SEP]` one after the other, with type ids 0 and 1.
    fn apart(texts: [&[Token]; 2], specials: &Specials) -> Self {
        let rows = (0..).zip(texts).flat_map(|(sequence, tokens)| {
            let [begin, end] = [specials.cls, specials.sep].map(|id| once(added_token(id, sequence)));
            begin.chain(of_text(tokens, sequence)).chain(end)
        });
        rows.collect()
    }
}

/// A token of a row: what [`Encoding`] has of it, in the same order.
type RowToken = (u32, u8, (u32, u32), bool, Option<u8>);

impl FromIterator<RowToken> for Encoding {
    fn from_iter<I: IntoIterator<Item = RowToken>>(tokens: I) -> Self {
        let (ids, type_ids, offsets, special, sequences) = tokens.into_iter().collect();
        Self { ids, type_ids, offsets, special, sequences }
    }
}

fn added_token(id: u32, type_id: u8) -> RowToken {
    (id, type_id, (0, 0), true, None)
}

/// The tokens of a text, `sequence` saying which.
fn of_text(tokens: &[Token], sequence: u8) -> impl Iterator<Item = RowToken> {
    tokens.iter().map(move |token| (token.id, sequence, (token.start, token.end), false, Some(sequence)))
}

/// How many tokens two texts keep if they may have `room` together: one at a time goes from the end of the longer, from the
/// second if they are equally long. This is `longest_first` of transformers and PaddleNLP.
pub(crate) fn truncate_longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    let excess = (first + second).saturating_sub(room);
    let gap = first.abs_diff(second);
    let (long, short) = (first.max(second), first.min(second));
    let (long, short) = if excess <= gap {
        (long - excess, short)
    } else {
        // Both have come down to `short`; from here they take turns, the second text first.
        let both = excess - gap;
        let (from_second, from_first) = (both.div_ceil(2), both / 2);
        return (short.saturating_sub(from_first), short.saturating_sub(from_second));
    };
    if first >= second { (long, short) } else { (short, long) }
}

/// A token over the characters with these `spans` in the original. The space in front of a word is not part of it.
fn located(id: u32, text: &str, spans: &[(u32, u32)]) -> Token {
    let spaces = text.chars().take_while(|c| *c == SPACE).count();
    let word = if spaces < spans.len() { &spans[spaces..] } else { spans };
    let (start, end) = (word.first().map_or(0, |span| span.0), word.last().map_or(0, |span| span.1));
    Token { id, start, end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The closed form equals the libraries' loop, which takes one token at a time.
        #[test]
        fn truncation_is_the_libraries_loop(first in 0usize..40, second in 0usize..40, room in 0usize..80) {
            let (mut a, mut b) = (first, second);
            for _ in 0..(first + second).saturating_sub(room) {
                if a > b { a -= 1 } else { b = b.saturating_sub(1) }
            }
            prop_assert_eq!(truncate_longest_first(first, second, room), (a, b));
        }
    }
}
