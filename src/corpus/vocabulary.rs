//! The vocabulary as masking needs it: which tokens continue a word, and which character a "##" form stands for.

use std::collections::HashMap;

use crate::error::{Error, Problem, Result};
use crate::tokenize::Tokenizer;

/// The ids of the special tokens that masking deals with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    pub cls: u32,
    pub sep: u32,
    pub mask: u32,
}

impl SpecialIds {
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let specials = tokenizer.specials();
        Self { cls: specials.cls, sep: specials.sep, mask: specials.mask }
    }
}

/// A table over all ids a corpus may hold.
#[derive(Debug)]
pub struct Vocabulary {
    entries: Vec<Entry>,
    /// How many tokens the model has: random ids are drawn from all of them.
    pub size: u32,
    pub specials: SpecialIds,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    plain: u32,
    continues: bool,
}

impl Vocabulary {
    /// `tokens` are the texts of the ids from 0. The first `size` of them are the model's; what comes after
    /// (PaddleNLP's `extend_chinese_char` adds "##" forms of Chinese characters) may stand in a corpus, and is never
    /// given to the model.
    ///
    /// # Errors
    /// A special token or `size` lies outside; a token after the first `size` has no plain form.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a str>, size: usize, specials: SpecialIds) -> Result<Self> {
        let tokens: Vec<&str> = tokens.into_iter().collect();
        let count = tokens.len();
        let model_size =
            u32::try_from(size).ok().filter(|_| (1..=count).contains(&size) && u32::try_from(count).is_ok());
        let size =
            model_size.ok_or_else(|| Error::input(format!("a vocabulary of {count} tokens cannot give {size}")))?;
        if let Some(id) = [specials.cls, specials.sep, specials.mask].into_iter().find(|id| *id >= size) {
            return Err(Error::input(format!("the special token {id} is not in the vocabulary of {size} tokens")));
        }
        let model_tokens = tokens.iter().zip(0..size);
        let ids: HashMap<&str, u32> = model_tokens.map(|(token, id)| (*token, id)).collect();
        let mut entries = Vec::with_capacity(count);
        for (token, id) in tokens.iter().zip(0u32..) {
            let plain = chinese(token).and_then(|plain| ids.get(plain).copied()).unwrap_or(id);
            if plain >= size {
                let what = format!("token {id}, {token:?}, lies past the model's {size} tokens and has no plain form");
                return Err(Problem::new(what).help("only \"##\" forms of its Chinese characters may").into());
            }
            entries.push(Entry { plain, continues: token.starts_with("##") });
        }
        Ok(Self { entries, size, specials })
    }

    /// The id the model sees: of "##汉" that of "汉", of any other token its own. `None` for an id the vocabulary does
    /// not have.
    pub fn plain(&self, id: u32) -> Option<u32> {
        self.entries.get(id as usize).map(|entry| entry.plain)
    }

    /// Whether a token continues the word before it.
    pub fn continues(&self, id: u32) -> bool {
        self.entries.get(id as usize).is_some_and(|entry| entry.continues)
    }

    /// Whether a token is `[CLS]` or `[SEP]`, which are never masked.
    pub fn is_boundary(&self, id: u32) -> bool {
        id == self.specials.cls || id == self.specials.sep
    }
}

/// What stands after "##" where Chinese (U+4E00 to U+9FA5) does.
///
/// PaddleNLP does the same; where its vocabulary lacks the plain form, it puts the last token of the row, which is a
/// slip of its code. Here such a token stays what it is. Baidu's vocabularies have every plain form.
fn chinese(token: &str) -> Option<&str> {
    let plain = token.strip_prefix("##")?;
    let is_chinese = |text: &str| text.starts_with(|c| ('\u{4e00}'..='\u{9fa5}').contains(&c));
    let mut ends = token.char_indices().filter_map(|(at, _)| token[at..].strip_prefix("##"));
    ends.any(is_chinese).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIALS: SpecialIds = SpecialIds { cls: 1, sep: 2, mask: 3 };

    #[test]
    fn only_chinese_continuations_become_plain() {
        let tokens = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "汉", "##汉", "##ing", "ing", "##字", "龥", "##龥", "##汉"];
        let vocabulary = Vocabulary::new(tokens, 11, SPECIALS).unwrap();
        let plain: Vec<u32> = (0..12).map(|id| vocabulary.plain(id).unwrap()).collect();
        assert_eq!(plain, [0, 1, 2, 3, 4, 4, 6, 7, 8, 9, 9, 4]);
        assert_eq!((0..13).filter(|id| vocabulary.continues(*id)).collect::<Vec<_>>(), [5, 6, 8, 10, 11]);
        assert_eq!((vocabulary.plain(12), vocabulary.size), (None, 11));
    }

    #[test]
    fn tables_that_would_send_the_model_unknown_ids_are_refused() {
        let message = |tokens: &[&'static str], size| {
            Vocabulary::new(tokens.iter().copied(), size, SPECIALS).unwrap_err().to_string()
        };
        let tokens = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "##字"];
        assert_eq!(message(&tokens, 4), "token 4, \"##字\", lies past the model's 4 tokens and has no plain form");
        assert_eq!(message(&tokens, 3), "the special token 3 is not in the vocabulary of 3 tokens");
        assert_eq!(message(&tokens, 6), "a vocabulary of 5 tokens cannot give 6");
        assert_eq!(message(&[], 0), "a vocabulary of 0 tokens cannot give 0");
    }
}
