//! Masking of single tokens, as in ERNIE-M's pre-training: of each text about 15 %, of which 80 % become `[MASK]`, 10 % a random token
//! and 10 % stay (BERT's numbers; ERNIE-M's own are not published).

use std::ops::Range;

use super::{Masked, checked_share};
use crate::corpus::vocabulary::SpecialIds;
use crate::error::{Error, Problem, Result};
use crate::random::Keyed;
use crate::tokenize::Tokenizer;

/// Masks single tokens.
#[derive(Debug)]
pub struct TokenMasking {
    /// Share of the tokens.
    share: f64,
    pub specials: SpecialIds,
    /// The special tokens, which no random token is.
    all_specials: Vec<u32>,
    /// The token of what the vocabulary lacks, which is never masked: there is nothing to learn from predicting it.
    unk: u32,
    vocab_size: u32,
}

impl TokenMasking {
    /// # Errors
    /// `share` is not between 0 and 1, or the vocabulary has nothing but special tokens.
    pub fn new(tokenizer: &Tokenizer, share: f64) -> Result<Self> {
        let specials = tokenizer.specials();
        let all_specials: Vec<u32> = specials.texts.iter().map(|(_, id)| *id).collect();
        let vocab_size = tokenizer.vocab_size() as u32;
        if (0..vocab_size).all(|id| all_specials.contains(&id)) {
            return Err(Error::input("the vocabulary has only special tokens"));
        }
        let (share, unk) = (checked_share(share)?, specials.unk);
        Ok(Self { share, specials: SpecialIds::new(tokenizer), all_specials, unk, vocab_size })
    }

    /// Masks tokens of the text that stands in `row` at `text`: the share of those that the vocabulary has, rounded up or
    /// down by chance so that it is the share over many texts, but one at least if there is any, unless the share is 0.
    pub fn mask(&self, row: &mut [u32], text: Range<usize>, rng: &mut Keyed) -> Masked {
        let mut positions: Vec<usize> = text.filter(|&position| row[position] != self.unk).collect();
        let length = positions.len();
        let drawn = (self.share * length as f64 + rng.uniform()).floor() as usize;
        let least = usize::from(self.share > 0.0);
        let count = drawn.max(least).min(length);
        for next in 0..count {
            let other = rng.between(next as u32, length as u32) as usize;
            positions.swap(next, other);
        }
        positions.truncate(count);
        positions.sort_unstable();
        let mut masked = Masked::default();
        for position in positions {
            let drawn = rng.uniform();
            let replacement = match drawn {
                _ if drawn < 0.8 => self.specials.mask,
                _ if drawn < 0.9 => self.random_token(rng),
                _ => row[position],
            };
            masked.replace(row, position, replacement);
        }
        masked
    }

    /// Checks that the model has all tokens of a text.
    ///
    /// # Errors
    /// It has not.
    pub fn check(&self, text: &[u32]) -> Result<()> {
        let Some(id) = text.iter().find(|id| **id >= self.vocab_size) else { return Ok(()) };
        let problem = Problem::new(format!("the corpus holds the token {id}, which the vocabulary does not have"));
        Err(problem.help("prepare the corpus with the tokenizer of the model that is trained").into())
    }

    fn random_token(&self, rng: &mut Keyed) -> u32 {
        loop {
            let id = rng.between(0, self.vocab_size);
            if !self.all_specials.contains(&id) {
                return id;
            }
        }
    }
}
