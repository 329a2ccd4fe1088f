//! Which tokens of a sample are hidden: `create_masked_lm_predictions` of PaddleNLP's `model_zoo/ernie-1.0` (2.5 to
//! 2.8), draw for draw.
//!
//! The example it came from (`domain_adaptive_pretraining`) gives hidden characters their stored "##" ids as labels;
//! the later one, and this, the plain ids that the model sees everywhere else.

use super::random::{MOST_WEIGHTS, RandomState, cumulative, normalised};
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};

/// How long the spans are that are hidden at a time, in words.
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
    /// Share of a row's tokens that are hidden, 0 to 1.
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

/// Hides spans of words. A pure function of the row and the state of the generator.
#[derive(Debug)]
pub struct SpanMasking {
    options: SpanOptions,
    /// Cumulative probabilities of the lengths 1, 2, ...
    lengths: Vec<f64>,
}

/// A position of the row and the token that stood there.
pub type Masked = (usize, u32);

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

    /// Hides tokens of `row`, which holds plain ids already; `words` are its words by the stored ids. At most `most` of
    /// them, a fraction as in the original: 0.3 hides nothing. Returns what was hidden, in the order of the row.
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
    ) -> Vec<Masked> {
        if self.options.masked_lm_prob == 0.0 {
            return Vec::new();
        }
        let wanted = (row.len() as f64 * self.options.masked_lm_prob).round_ties_even().max(1.0);
        let most = most.min(wanted);
        let mut order: Vec<u32> = (0..words.len() as u32).collect();
        rng.shuffle(&mut order);
        let mut covered = vec![false; row.len()];
        let mut masked: Vec<Masked> = Vec::new();
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
        masked
    }

    /// Puts the tokens of further spans into each other's places.
    fn permute(
        &self,
        row: &mut [u32],
        words: &Words,
        order: &[u32],
        most: f64,
        covered: &mut [bool],
        rng: &mut RandomState,
    ) -> Vec<Masked> {
        let mut places = Vec::new();
        for word in order {
            if places.len() as f64 >= most {
                break;
            }
            for &position in self.span(words, *word, places.len(), most, covered, rng) {
                covered[position] = true;
                places.push(position);
            }
        }
        places.sort_unstable();
        let mut sources = places.clone();
        rng.shuffle(&mut sources);
        let before: Vec<u32> = sources.iter().map(|source| row[*source]).collect();
        let labels: Vec<Masked> = places.iter().map(|place| (*place, row[*place])).collect();
        places.iter().zip(before).for_each(|(place, token)| row[*place] = token);
        labels
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

    /// What stands where a token is hidden: `[MASK]` in 8 of 10 cases, the token itself in one, a random token in one.
    fn replacement(&self, token: u32, row: &[u32], vocabulary: &Vocabulary, rng: &mut RandomState) -> u32 {
        if rng.random_sample() < 0.8 {
            vocabulary.specials().mask
        } else if rng.random_sample() < 0.5 {
            token
        } else if self.options.inplace_random_mask {
            row[rng.randint(0, row.len() as u32) as usize]
        } else {
            rng.randint(0, vocabulary.size())
        }
    }

    pub fn options(&self) -> &SpanOptions {
        &self.options
    }
}

/// `masked_lm_prob`, if it is a share.
pub(super) fn checked_share(masked_lm_prob: f64) -> Result<f64> {
    let is_share = (0.0..=1.0).contains(&masked_lm_prob);
    is_share
        .then_some(masked_lm_prob)
        .ok_or_else(|| Error::input(format!("masked_lm_prob {masked_lm_prob:?} is not between 0 and 1")))
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
    pub fn of(row: &[u32], vocabulary: &Vocabulary, whole: bool) -> Self {
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
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The positions of up to `count` words from `first` on.
    pub fn span(&self, first: usize, count: usize) -> &[usize] {
        let last = (first + count).min(self.len());
        &self.positions[self.starts[first]..self.starts[last]]
    }
}
