//! Masking of spans of words: `create_masked_lm_predictions` of PaddleNLP's `model_zoo/ernie-1.0` (2.5 to 2.8), draw for
//! draw.
//!
//! The example it came from (`domain_adaptive_pretraining`) gives masked characters their stored "##" ids as labels;
//! the later one, and this, the plain ids that the model sees everywhere else.

use super::{Masked, checked_share};
use crate::corpus::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::random::numpy::{MOST_WEIGHTS, RandomState, cumulative, normalised};

/// How long the masked spans are, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanLength {
    /// n words with a probability in proportion to 1/n.
    Shorter,
    /// The same probabilities, the longest span having the greatest.
    Longer,
    /// Geometric with p = 0.2, at most `max_ngrams`, as in SpanBERT (arXiv 1907.10529).
    Geometric,
}

/// The options of the original, in its words where it has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpanOptions {
    /// Share of a row's tokens that is masked, 0 to 1.
    pub masked_lm_prob: f64,
    /// Longest span, in words; 1 to 128.
    pub max_ngrams: usize,
    pub span_length: SpanLength,
    /// Whether the tokens of a word go together; else each token is a word.
    pub whole_words: bool,
    /// Whether as many tokens again are left visible and put into each other's places.
    pub permutation: bool,
    /// Whether a random token comes from the row; else from the whole vocabulary.
    pub inplace_random_mask: bool,
}

impl Default for SpanOptions {
    /// What PaddleNLP's ERNIE 1.0 is trained with.
    fn default() -> Self {
        Self {
            masked_lm_prob: 0.15,
            max_ngrams: 3,
            span_length: SpanLength::Shorter,
            whole_words: true,
            permutation: false,
            inplace_random_mask: false,
        }
    }
}

/// Masks spans of words. A pure function of the row and the state of the generator.
#[derive(Debug)]
pub struct SpanMasking {
    pub options: SpanOptions,
    /// Cumulative probabilities of the lengths 1, 2, ...
    lengths: Vec<f64>,
}

impl SpanMasking {
    /// # Errors
    /// An option is out of its range.
    pub fn new(options: SpanOptions) -> Result<Self> {
        checked_share(options.masked_lm_prob)?;
        if !(1..=MOST_WEIGHTS).contains(&options.max_ngrams) {
            let what = format!("max_ngrams {} is not between 1 and {MOST_WEIGHTS}", options.max_ngrams);
            return Err(Error::input(what));
        }
        let inverse: Vec<f64> = (1..=options.max_ngrams).map(|n| 1.0 / n as f64).collect();
        let mut probabilities = normalised(&inverse);
        if options.span_length == SpanLength::Longer {
            probabilities.reverse();
        }
        // The original divides by the sum once more, and the last bits show it.
        Ok(Self { options, lengths: cumulative(&normalised(&probabilities)) })
    }

    /// Masks tokens of `row`, which holds plain ids already; `words` are its words by the stored ids. At most `most` of
    /// them, a fraction as in the original: 0.3 masks nothing.
    ///
    /// For a permutation the original draws span lengths from numpy's global generator, which no run could resume; here
    /// they come from `rng` like all else, so that such rows differ from the original's in what is permuted.
    pub fn mask(
        &self,
        row: &mut [u32],
        words: &Words,
        vocabulary: &Vocabulary,
        most: f64,
        rng: &mut RandomState,
    ) -> Masked {
        if self.options.masked_lm_prob == 0.0 {
            return Masked::default();
        }
        let wanted = (row.len() as f64 * self.options.masked_lm_prob).round_ties_even().max(1.0);
        let most = most.min(wanted);
        let mut order: Vec<u32> = (0..words.count() as u32).collect();
        rng.shuffle(&mut order);
        let mut covered = vec![false; row.len()];
        let mut masked: Vec<(usize, u32)> = Vec::new();
        let original = row.to_vec();
        for word in &order {
            if masked.len() as f64 >= most {
                break;
            }
            for &position in self.span(words, *word, masked.len(), most, &covered, rng) {
                covered[position] = true;
                masked.push((position, original[position]));
                row[position] = self.replacement(row[position], &original, vocabulary, rng);
            }
        }
        if self.options.permutation {
            rng.shuffle(&mut order);
            masked.extend(self.permute(row, words, &order, most, &mut covered, rng));
        }
        masked.sort_unstable_by_key(|(position, _)| *position);
        let (positions, labels) = masked.into_iter().map(|(position, label)| (position as u32, label)).unzip();
        Masked { positions, labels }
    }

    /// Puts the tokens of further spans into each other's places. Returns the positions and the tokens that stood there.
    fn permute(
        &self,
        row: &mut [u32],
        words: &Words,
        order: &[u32],
        most: f64,
        covered: &mut [bool],
        rng: &mut RandomState,
    ) -> Vec<(usize, u32)> {
        let mut positions = Vec::new();
        for word in order {
            if positions.len() as f64 >= most {
                break;
            }
            for &position in self.span(words, *word, positions.len(), most, covered, rng) {
                covered[position] = true;
                positions.push(position);
            }
        }
        positions.sort_unstable();
        let mut sources = positions.clone();
        rng.shuffle(&mut sources);
        let tokens: Vec<u32> = sources.iter().map(|source| row[*source]).collect();
        positions.into_iter().zip(tokens).map(|(at, token)| (at, std::mem::replace(&mut row[at], token))).collect()
    }

    /// The span that begins at a word: of a drawn length, shortened until it fits beside the `taken` tokens. Empty if
    /// it cannot, or if some of it is covered.
    fn span<'a>(
        &self,
        words: &'a Words,
        word: u32,
        taken: usize,
        most: f64,
        covered: &[bool],
        rng: &mut RandomState,
    ) -> &'a [usize] {
        let longest = match self.options.span_length {
            SpanLength::Geometric => rng.geometric(0.2).min(self.options.max_ngrams as u64) as usize,
            SpanLength::Shorter | SpanLength::Longer => rng.choice(&self.lengths) + 1,
        };
        let spans = (1..=longest).rev().map(|count| words.span(word as usize, count));
        let fits = |span: &&[usize]| (taken + span.len()) as f64 <= most;
        match spans.into_iter().find(fits) {
            Some(span) if !span.iter().any(|position| covered[*position]) => span,
            _ => &[],
        }
    }

    /// What stands where a token is masked: `[MASK]` in 8 of 10 cases, the token itself in one, a random token in one.
    fn replacement(&self, token: u32, row: &[u32], vocabulary: &Vocabulary, rng: &mut RandomState) -> u32 {
        if rng.random_sample() < 0.8 {
            vocabulary.specials.mask
        } else if rng.random_sample() < 0.5 {
            token
        } else if self.options.inplace_random_mask {
            row[rng.randint(0, row.len() as u32) as usize]
        } else {
            rng.randint(0, vocabulary.size)
        }
    }
}

/// The words of a row: the positions of each one's tokens, `[CLS]` and `[SEP]` left out.
#[derive(Debug)]
pub struct Words {
    /// All positions, word after word.
    positions: Vec<usize>,
    /// Where each word begins in `positions`, and the end of the last one.
    starts: Vec<usize>,
}

impl Words {
    /// The words of `row`, which holds ids as they are stored. A token that continues belongs to the word before it,
    /// also where a separator stands between; the first token begins a word whatever it is. Without `whole`, each token
    /// is a word.
    pub fn new(row: &[u32], vocabulary: &Vocabulary, whole: bool) -> Self {
        let mut words = Self { positions: Vec::with_capacity(row.len()), starts: Vec::with_capacity(row.len() + 1) };
        for (position, &id) in row.iter().enumerate().filter(|(_, id)| !vocabulary.is_boundary(**id)) {
            if !(whole && vocabulary.continues(id)) || words.starts.is_empty() {
                words.starts.push(words.positions.len());
            }
            words.positions.push(position);
        }
        words.starts.push(words.positions.len());
        words
    }

    /// How many words there are.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The positions of up to `count` words from `first` on.
    pub fn span(&self, first: usize, count: usize) -> &[usize] {
        let last = (first + count).min(self.count());
        &self.positions[self.starts[first]..self.starts[last]]
    }
}
