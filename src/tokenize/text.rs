//! A text before it is cut: special tokens typed in it, lower-casing, and the way back to its characters.

use std::borrow::Cow;

use super::Token;
use super::config::Specials;

/// How a tokenizer reads a text.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    pub specials: &'a Specials,
    pub lower_case: bool,
    /// Whether a special token typed in a text is that token, or text like any other.
    pub typed_specials: bool,
    /// The special token that takes the spaces before it, where typed ones are found.
    pub strips_left: Option<u32>,
}

impl Reading<'_> {
    /// Gives the tokens of `text` with their places in it. `cut` makes tokens of a stretch without special tokens, counting
    /// its characters from 0.
    pub fn each_token(
        &self,
        text: &str,
        cut: impl Fn(&str, &mut dyn FnMut(&str, Token)),
        mut emit: impl FnMut(&str, Token),
    ) {
        let specials = &self.specials.texts;
        let lowered = if self.lower_case { Lowered::new(text, specials) } else { Lowered::unchanged(text) };
        let parts = match self.typed_specials {
            true => split_special_tokens(&lowered.text, specials),
            false => vec![Part::Plain { text: &lowered.text, start: 0 }],
        };
        let mut emit = |text: &str, start: u32, token: Token| {
            let (start, end) = lowered.original(token.start + start, token.end + start);
            emit(text, Token { start, end, ..token });
        };
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Special { text, token } => emit(text, 0, *token),
                Part::Plain { text, start } => {
                    let next = match parts.get(index + 1) {
                        Some(Part::Special { token, .. }) => Some(token.id),
                        _ => None,
                    };
                    let strip = next.is_some() && next == self.strips_left;
                    let text = if strip { text.trim_end() } else { text };
                    cut(text, &mut |text, token| emit(text, *start, token));
                }
            }
        }
    }
}

/// A stretch of a text: plain, or one special token typed in it. `start` counts characters.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Plain { text: &'a str, start: u32 },
    Special { text: &'a str, token: Token },
}

/// Finds the special tokens (text, id) typed in `text`, the longest first at each place.
fn split_special_tokens<'a>(text: &'a str, specials: &[(String, u32)]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let specials = met(text, specials);
    // Where the plain text since the last special token begins, in bytes and in characters.
    let (mut plain, mut plain_start) = (0, 0);
    let searched = if specials.is_empty() { "" } else { text };
    for (start, (at, _)) in searched.char_indices().enumerate() {
        if at < plain {
            continue;
        }
        let Some((special, id)) = longest_special(&text[at..], &specials) else { continue };
        if plain < at {
            parts.push(Part::Plain { text: &text[plain..at], start: plain_start });
        }
        let end = start as u32 + special.chars().count() as u32;
        let after = at + special.len();
        parts.push(Part::Special { text: &text[at..after], token: Token { id: *id, start: start as u32, end } });
        (plain, plain_start) = (after, end);
    }
    if plain < text.len() {
        parts.push(Part::Plain { text: &text[plain..], start: plain_start });
    }
    parts
}

/// Those of the special tokens that stand somewhere in `text`: in most texts none does, and none has to be looked for at each place.
fn met<'s>(text: &str, specials: &'s [(String, u32)]) -> Vec<&'s (String, u32)> {
    specials.iter().filter(|(special, _)| !special.is_empty() && text.contains(special.as_str())).collect()
}

fn longest_special<'s>(text: &str, specials: &[&'s (String, u32)]) -> Option<&'s (String, u32)> {
    let found = specials.iter().filter(|(special, _)| text.starts_with(special.as_str()));
    found.max_by_key(|(special, _)| special.len()).copied()
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
        let specials = met(text, specials);
        let mut keep_until = 0;
        let mut count = 0;
        for (origin, (at, c)) in text.char_indices().enumerate() {
            if at >= keep_until
                && let Some((special, _)) = longest_special(&text[at..], &specials)
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

    fn specials() -> Vec<(String, u32)> {
        vec![("[A]".into(), 1), ("[A]+".into(), 2)]
    }

    #[test]
    fn special_tokens_are_found_longest_first_with_their_places() {
        let parts = split_special_tokens("é[A]+x[A]", &specials());
        let special = |text, id, start, end| Part::Special { text, token: Token { id, start, end } };
        let plain = |text, start| Part::Plain { text, start };
        let expected = [plain("é", 0), special("[A]+", 2, 1, 5), plain("x", 5), special("[A]", 1, 6, 9)];
        assert_eq!(parts, expected);
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
}
