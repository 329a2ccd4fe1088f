//! From text to ids: what all families share, and one file a family.
//!
//! - [`sentencepiece`] reads SentencePiece unigram models and cuts texts as SentencePiece does;
//! - [`ernie_m`] is ERNIE-M's tokenizer over it.
//!
//! Offsets count characters (Unicode scalar values) of the text as it was given, start included, end not.

mod digits;
mod double_array;
pub mod ernie_m;
mod normalizer;
mod protobuf;
pub mod sentencepiece;
mod vocab;

use std::borrow::Cow;

/// A token of a text before anything is added round it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub id: u32,
    /// First character in the text.
    pub start: u32,
    /// The character after its last one.
    pub end: u32,
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

    /// True if there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn with_capacity(count: usize) -> Self {
        Self {
            ids: Vec::with_capacity(count),
            type_ids: Vec::with_capacity(count),
            offsets: Vec::with_capacity(count),
            special: Vec::with_capacity(count),
            sequences: Vec::with_capacity(count),
        }
    }

    fn push_special(&mut self, id: u32, type_id: u8) {
        self.ids.push(id);
        self.type_ids.push(type_id);
        self.offsets.push((0, 0));
        self.special.push(true);
        self.sequences.push(None);
    }

    fn push_text(&mut self, tokens: &[Token], type_id: u8, sequence: u8) {
        for token in tokens {
            self.ids.push(token.id);
            self.type_ids.push(type_id);
            self.offsets.push((token.start, token.end));
            self.special.push(false);
            self.sequences.push(Some(sequence));
        }
    }

    fn truncate(&mut self, length: usize) {
        self.ids.truncate(length);
        self.type_ids.truncate(length);
        self.offsets.truncate(length);
        self.special.truncate(length);
        self.sequences.truncate(length);
    }
}

/// How many tokens two texts keep if they may have `room` together: one at a time goes from the end of the longer, from the
/// second if they are equally long. This is `longest_first` of transformers and PaddleNLP.
fn truncate_longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
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

/// A stretch of a text: plain, or one special token typed in it. `start` counts characters.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Plain { text: &'a str, start: u32 },
    Special(Token),
}

/// Finds the special tokens (text, id) typed in `text`, the longest first at each place.
fn split_special_tokens<'a>(text: &'a str, specials: &[(String, u32)]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    // Where the plain text since the last special token begins, in bytes and in characters.
    let (mut plain, mut plain_start) = (0, 0);
    for (start, (at, _)) in text.char_indices().enumerate() {
        if at < plain {
            continue;
        }
        let Some((special, id)) = longest_special(&text[at..], specials) else { continue };
        if plain < at {
            parts.push(Part::Plain { text: &text[plain..at], start: plain_start });
        }
        let end = start as u32 + special.chars().count() as u32;
        parts.push(Part::Special(Token { id: *id, start: start as u32, end }));
        (plain, plain_start) = (at + special.len(), end);
    }
    if plain < text.len() {
        parts.push(Part::Plain { text: &text[plain..], start: plain_start });
    }
    parts
}

fn longest_special<'s>(text: &str, specials: &'s [(String, u32)]) -> Option<&'s (String, u32)> {
    let found = specials.iter().filter(|(special, _)| !special.is_empty() && text.starts_with(special.as_str()));
    found.max_by_key(|(special, _)| special.len())
}

/// A text after lower-casing, with the way back to its characters.
struct Lowered<'a> {
    text: Cow<'a, str>,
    /// For each character of `text` the character of the original, and at the end how many those are; empty if the text
    /// is as it was.
    origins: Vec<u32>,
}

impl<'a> Lowered<'a> {
    /// Leaves the text as it is.
    fn unchanged(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), origins: Vec::new() }
    }

    /// Lower-cases character by character, as transformers' and PaddleNLP's slow tokenizers do (so that a final sigma is
    /// no special case), and leaves the special tokens typed in the text alone.
    fn new(text: &'a str, specials: &[(String, u32)]) -> Self {
        let mut lowered = String::with_capacity(text.len());
        let mut origins = Vec::with_capacity(text.len() + 1);
        let mut keep_until = 0;
        let mut count = 0;
        for (origin, (at, c)) in text.char_indices().enumerate() {
            if at >= keep_until
                && let Some((special, _)) = longest_special(&text[at..], specials)
            {
                keep_until = at + special.len();
            }
            if at < keep_until {
                lowered.push(c);
                origins.push(origin as u32);
            } else {
                for lower in c.to_lowercase() {
                    lowered.push(lower);
                    origins.push(origin as u32);
                }
            }
            count = origin as u32 + 1;
        }
        origins.push(count);
        Self { text: Cow::Owned(lowered), origins }
    }

    /// The characters of the original behind characters `start..end` of the lowered text.
    fn original(&self, start: u32, end: u32) -> (u32, u32) {
        if self.origins.is_empty() {
            return (start, end);
        }
        let first = self.origins[start as usize];
        (first, if end > start { self.origins[end as usize - 1] + 1 } else { first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn specials() -> Vec<(String, u32)> {
        vec![("[A]".into(), 1), ("[A]+".into(), 2)]
    }

    #[test]
    fn special_tokens_are_found_longest_first_with_their_places() {
        let parts = split_special_tokens("é[A]+x[A]", &specials());
        let special = |id, start, end| Part::Special(Token { id, start, end });
        let plain = |text, start| Part::Plain { text, start };
        assert_eq!(parts, [plain("é", 0), special(2, 1, 5), plain("x", 5), special(1, 6, 9)]);
        assert_eq!(split_special_tokens("", &specials()), []);
    }

    #[test]
    fn lower_casing_keeps_places_and_special_tokens() {
        let lowered = Lowered::new("İΣ[A]B", &specials());
        assert_eq!(lowered.text, "i\u{307}σ[A]b");
        assert_eq!(lowered.original(0, 2), (0, 1));
        assert_eq!(lowered.original(2, 3), (1, 2));
        assert_eq!(lowered.original(6, 7), (5, 6));
        assert_eq!(lowered.original(7, 7), (6, 6));
    }

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
