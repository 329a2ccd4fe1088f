//! Which tokens of a multilingual sample are hidden: of each text about 15 %, of which 80 % become `[MASK]`, 10 % a random token and
//! 10 % stay (BERT's numbers; ERNIE-M's own are not published).

use super::masking::checked_share;
use super::random::Keyed;
use crate::error::{Error, Problem, Result};
use crate::tokenize::Tokenizer;

/// Hides tokens.
#[derive(Debug)]
pub(super) struct Hider {
    /// Share of the tokens.
    share: f64,
    pub(super) specials: RowSpecials,
    /// The special tokens, which no random token is.
    all_specials: Vec<u32>,
    /// The token of what the vocabulary lacks, which is never hidden: there is nothing to learn from predicting it.
    unk: u32,
    vocab_size: u32,
}

/// The special tokens of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowSpecials {
    pub(super) cls: u32,
    pub(super) sep: u32,
    mask: u32,
}

/// What is hidden: positions in the row, ascending, and what stood there.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    pub(super) positions: Vec<u32>,
    pub(super) labels: Vec<u32>,
}

impl Hider {
    /// # Errors
    /// `share` is not between 0 and 1, or the vocabulary has nothing but special tokens.
    pub(super) fn new(tokenizer: &Tokenizer, share: f64) -> Result<Self> {
        let specials = tokenizer.specials();
        let all_specials: Vec<u32> = specials.texts.iter().map(|(_, id)| *id).collect();
        let vocab_size = tokenizer.vocab_size() as u32;
        if (0..vocab_size).all(|id| all_specials.contains(&id)) {
            return Err(Error::input("the vocabulary has only special tokens"));
        }
        let row = RowSpecials { cls: specials.cls, sep: specials.sep, mask: specials.mask };
        Ok(Self { share: checked_share(share)?, specials: row, all_specials, unk: specials.unk, vocab_size })
    }

    /// Hides tokens of the text that stands in `row` from `start` to `end`: the share of those that the vocabulary has, rounded up or
    /// down by chance so that it is the share over many texts, but one at least if there is any, unless the share is 0.
    pub(super) fn hide(&self, row: &mut [u32], start: usize, end: usize, hidden: &mut Hidden, rng: &mut Keyed) {
        let mut positions: Vec<usize> = (start..end).filter(|&position| row[position] != self.unk).collect();
        let length = positions.len();
        let drawn = (self.share * length as f64 + rng.uniform()).floor() as usize;
        let least = usize::from(self.share > 0.0);
        let count = drawn.max(least).min(length);
        for place in 0..count {
            let other = rng.between(place as u32, length as u32) as usize;
            positions.swap(place, other);
        }
        positions.truncate(count);
        positions.sort_unstable();
        for position in positions {
            hidden.positions.push(position as u32);
            hidden.labels.push(row[position]);
            let drawn = rng.uniform();
            if drawn < 0.8 {
                row[position] = self.specials.mask;
            } else if drawn < 0.9 {
                row[position] = self.random_token(rng);
            }
        }
    }

    /// Checks that the model has all tokens of a text.
    ///
    /// # Errors
    /// It has not.
    pub(super) fn check(&self, text: &[u32]) -> Result<()> {
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
