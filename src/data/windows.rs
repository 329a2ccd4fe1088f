//! Sliding windows over passages: the rows an encoder reads, each a question and a window of a passage after it.
//!
//! The rules are those of transformers' `run_qa.py` (4.46): windows overlap by `doc_stride` tokens, and a window that does
//! not hold the whole answer is one whose answer is its first token, `[CLS]`. (An answer that is the last token of a
//! window keeps its place; `run_qa.py` has its start at the end of the row then.) The question is cut to `max_query_length`
//! tokens first, as BERT's `run_squad.py` does (`run_qa.py` fails on one that leaves no room).
//!
//! Tokens know their characters in the passage, whatever normalisation made of them, so that an answer is never looked
//! for in the text: characters that the vocabulary lacks, or that a tokenizer drops, can be part of one.

use super::align::IGNORED;
use super::questions::{Placing, QuestionRow};
use crate::tokenize::{Token, Tokenizer};

/// How passages are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowOptions {
    /// The most tokens a window may have, question and special tokens included.
    pub max_seq_length: usize,
    /// Tokens of the passage that a window shares with the one before it.
    pub doc_stride: usize,
    /// Tokens that are read of a question.
    pub max_query_length: usize,
}

/// A row for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub ids: Vec<u32>,
    /// How many of them have the type id 0.
    pub first: usize,
    /// First and last token of the answer; both 0 if it is not here, both [`IGNORED`] if nobody knows where it is.
    pub answer: [i32; 2],
    /// Where the passage's tokens are, for [`crate::metrics::spans`].
    pub place: WindowPlace,
}

/// What a window shows of which passage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WindowPlace {
    pub passage: u32,
    /// The token of the window that the passage begins at.
    pub start: u32,
    /// For each of the passage's tokens here its characters in the passage (start, end).
    pub offsets: Vec<(u32, u32)>,
}

/// The windows of a question: at least one a passage, in the order of the passages.
///
/// # Panics
/// If no token of a passage fits beside the question, or windows would not get on; the recipe's rules see to that.
pub fn windows(row: &QuestionRow, tokenizer: &Tokenizer, options: WindowOptions) -> Vec<Window> {
    // As run_qa.py does: spaces before some questions would take up the whole room.
    let mut question = tokenizer.ids(row.question.trim_start());
    question.truncate(options.max_query_length);
    let used = question.len() + tokenizer.added_to_pair();
    let room = options.max_seq_length.checked_sub(used).filter(|room| *room > options.doc_stride);
    let room = room.expect("max_seq_length is more than max_query_length, doc_stride and the special tokens");
    let mut windows = Vec::new();
    for (passage, text) in (0..).zip(&row.passages) {
        let tokens = tokenizer.ids(text);
        for range in ranges(tokens.len(), room, options.doc_stride) {
            let shown = &tokens[range];
            let encoding = tokenizer.pair(&question, shown);
            // Behind the passage there is a special token, if there are any.
            let start = encoding.len() - usize::from(tokenizer.added_to_pair() > 0) - shown.len();
            windows.push(Window {
                first: encoding.first_length(),
                answer: match answer(row.placing, passage, shown, start) {
                    // Words have no first token that could stand for "not here".
                    [0, 0] if tokenizer.added_to_pair() == 0 => [IGNORED; 2],
                    found => found,
                },
                ids: encoding.ids,
                place: WindowPlace {
                    passage,
                    start: start as u32,
                    offsets: shown.iter().map(|token| (token.start, token.end)).collect(),
                },
            });
        }
    }
    windows
}

/// The windows over `count` tokens: each of at most `room`, beginning `room - stride` after the one before; the last is
/// the first that reaches the end.
fn ranges(count: usize, room: usize, stride: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let step = room - stride;
    let more = count.saturating_sub(room).div_ceil(step);
    (0..=more).map(move |number| number * step..(number * step + room).min(count))
}

/// First and last token of the answer in a window whose passage begins at the token `start`: those that share a
/// character with it.
fn answer(placing: Placing, passage: u32, shown: &[Token], start: usize) -> [i32; 2] {
    let place = match (placing, placing.span()) {
        (Placing::Nowhere, _) => return [IGNORED; 2],
        (_, Some(place)) if place.passage == passage => place,
        _ => return [0; 2],
    };
    let holds = shown.first().is_some_and(|token| token.start <= place.start)
        && shown.last().is_some_and(|token| token.end >= place.end);
    let first = shown.iter().position(|token| token.end > place.start);
    let last = shown.iter().rposition(|token| token.start < place.end);
    match (holds, first, last) {
        (true, Some(first), Some(last)) if first <= last => [first, last].map(|token| (start + token) as i32),
        _ => [0; 2],
    }
}
