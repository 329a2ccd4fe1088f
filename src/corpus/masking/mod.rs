//! Masking: which tokens of a row are masked, and what stands in their place. The three ways share one shape,
//! `mask(row, .., rng) -> Masked`: [`SpanMasking`] (PaddleNLP's ERNIE 1.0), [`mask_units`] (the original of 2019) and
//! `TokenMasking` (ERNIE-M). A [`Mixture`] has the first two, of which each sample gets one.

mod spans;
mod tokens;

pub use spans::{SpanLength, SpanMasking, SpanOptions, Words};
pub(super) use tokens::TokenMasking;

use super::blend::shares;
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::random::numpy::{RandomState, cumulative};
use crate::random::{Keyed, Use};
use crate::recipe::MaskingPolicy;

/// The masked positions of a row, ascending, and the tokens that stood there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masked {
    pub positions: Vec<u32>,
    pub labels: Vec<u32>,
}

impl Masked {
    /// Masks the token at `position`, which becomes `replacement`.
    fn replace(&mut self, row: &mut [u32], position: usize, replacement: u32) {
        self.positions.push(position as u32);
        self.labels.push(std::mem::replace(&mut row[position], replacement));
    }

    /// Appends the masked positions of what stands further on in the row.
    pub(super) fn extend(&mut self, other: Self) {
        self.positions.extend(other.positions);
        self.labels.extend(other.labels);
    }
}

/// What the original ERNIE 1.0 of 2019 masks as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnowledgeMode {
    /// Single tokens.
    Character,
    /// Units of the segmentation.
    Word,
}

/// Knowledge masking, as that original masks its rows (`batching.py` in PaddlePaddle/ERNIE): masks each unit (of one token or
/// several) whose first token draws at most the share. Of its tokens, the first by the same draw and the others by their own on a
/// scale of 1, 8 in 10 become `mask`, one in 10 a random token, and one stays. `draw` gives a token's number in [0, 1) and its
/// random token; it is called for each token of the row in turn, so that no draw depends on another.
pub fn mask_units<'a>(
    row: &mut [u32],
    units: impl Iterator<Item = &'a [usize]>,
    share: f64,
    mask: u32,
    mut draw: impl FnMut() -> (f64, u32),
) -> Masked {
    let draws: Vec<(f64, u32)> = row.iter().map(|_| draw()).collect();
    let mut masked = Masked::default();
    for unit in units.filter(|unit| unit.first().is_some_and(|first| draws[*first].0 <= share)) {
        for (at, &position) in unit.iter().enumerate() {
            let (drawn, random) = draws[position];
            let scale = if at == 0 { share } else { 1.0 };
            let replacement = match drawn {
                _ if drawn > scale * 0.2 => mask,
                _ if drawn > scale * 0.1 => random,
                _ => row[position],
            };
            masked.replace(row, position, replacement);
        }
    }
    masked
}

/// `masked_lm_prob`, if it is a share.
fn checked_share(masked_lm_prob: f64) -> Result<f64> {
    let is_share = (0.0..=1.0).contains(&masked_lm_prob);
    is_share
        .then_some(masked_lm_prob)
        .ok_or_else(|| Error::input(format!("masked_lm_prob {masked_lm_prob:?} is not between 0 and 1")))
}

/// Masking policies and how often each is taken.
#[derive(Debug)]
pub struct Mixture {
    policies: Vec<Policy>,
    /// Cumulative shares.
    shares: Vec<f64>,
}

/// One way of masking.
#[derive(Debug)]
pub enum Policy {
    /// PaddleNLP's ways.
    Spans(SpanMasking),
    /// That of the 2019 original, by words; holds the share of words that are masked.
    Knowledge(f64),
}

impl Mixture {
    /// `parts` are policies and weights, which need not sum to 1. `masked_lm_prob` is the share of masked tokens (of
    /// "knowledge": of words); `max_ngrams` the longest span, in words, of the policies that have spans.
    ///
    /// # Errors
    /// No policy, a weight that is not above 0, or an option out of its range.
    pub fn new(parts: &[(MaskingPolicy, f64)], masked_lm_prob: f64, max_ngrams: usize) -> Result<Self> {
        let weights: Vec<f64> = parts.iter().map(|(_, weight)| *weight).collect();
        let shares = cumulative(&shares(&weights, "masking policies")?);
        let policies = parts.iter().map(|(policy, _)| Policy::new(*policy, masked_lm_prob, max_ngrams));
        let policies = policies.collect::<Result<_>>()?;
        Ok(Self { policies, shares })
    }

    /// One policy for all samples, with any options: some have no word in a recipe.
    pub fn single(policy: Policy) -> Self {
        Self { policies: vec![policy], shares: vec![1.0] }
    }

    /// The policy of a sample: a draw of its own, by the seed and the sample's index, which leaves the sample's
    /// generator alone. So a sample is the same in a mixture as where its policy is the only one.
    pub fn pick(&self, seed: u64, index: u64) -> &Policy {
        let drawn = Keyed::new(Use::Policy, [seed, index, 0]).uniform();
        let chosen = self.shares.partition_point(|share| *share <= drawn);
        // The last share is 1, and what is drawn lies below.
        &self.policies[chosen.min(self.policies.len() - 1)]
    }
}

impl Policy {
    fn new(policy: MaskingPolicy, masked_lm_prob: f64, max_ngrams: usize) -> Result<Self> {
        let all = SpanOptions { masked_lm_prob, max_ngrams, ..SpanOptions::default() };
        let options = match policy {
            MaskingPolicy::NGram => all,
            MaskingPolicy::WholeWord => SpanOptions { max_ngrams: 1, ..all },
            MaskingPolicy::Character => SpanOptions { max_ngrams: 1, whole_words: false, ..all },
            MaskingPolicy::FavorLonger => SpanOptions { span_length: SpanLength::Longer, ..all },
            MaskingPolicy::Permutation => SpanOptions { permutation: true, ..all },
            MaskingPolicy::Knowledge => return Ok(Self::Knowledge(checked_share(masked_lm_prob)?)),
        };
        Ok(Self::Spans(SpanMasking::new(options)?))
    }

    /// Whether its words are whole, or tokens.
    pub fn whole_words(&self) -> bool {
        match self {
            Self::Spans(masking) => masking.options.whole_words,
            Self::Knowledge(_) => true,
        }
    }

    /// Masks tokens of a row of plain ids, whose `words` are by its stored ids; `target` is the length in tokens that
    /// the sample was cut to.
    pub fn mask(
        &self,
        row: &mut [u32],
        words: &Words,
        vocabulary: &Vocabulary,
        target: usize,
        rng: &mut RandomState,
    ) -> Masked {
        match self {
            Self::Spans(masking) => {
                let most = masking.options.masked_lm_prob * target as f64;
                masking.mask(row, words, vocabulary, most, rng)
            }
            Self::Knowledge(share) => {
                let units = (0..words.count()).map(|word| words.span(word, 1));
                let draw = || (rng.random_sample(), rng.randint(1, vocabulary.size));
                mask_units(row, units, *share, vocabulary.specials.mask, draw)
            }
        }
    }
}
