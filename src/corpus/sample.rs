//! One pre-training sample: a sentence-order pair with masked tokens, as `ErnieDataset` of PaddleNLP's
//! `model_zoo/ernie-1.0` makes it, draw for draw. A pure function of the seed and the sample's index.

use std::ops::Range;

use super::index::Span;
use super::layout::Corpus;
use super::masking::{Masked, Mixture, Words};
use super::vocabulary::Vocabulary;
use crate::error::{Error, Problem, Result};
use crate::random::numpy::RandomState;

/// A row to learn from, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// `[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]`, with tokens masked.
    pub ids: Vec<u32>,
    /// 0 up to the first `[SEP]`, 1 after it.
    pub type_ids: Vec<u8>,
    /// Where tokens are masked, ascending. A very short sample may have none.
    pub masked_positions: Vec<u32>,
    /// What stood there.
    pub labels: Vec<u32>,
    /// Of a sentence-order pair 1 where the later sentences come first, else 0. Rows of the 2019 format bring their
    /// own, in which 1 says that B follows A: the two are opposite.
    pub sentence_label: u8,
}

/// Makes samples.
#[derive(Debug)]
pub struct SampleMaker {
    pub vocabulary: Vocabulary,
    pub masking: Mixture,
    pub seed: u64,
    /// Whether samples are sentence-order pairs; else they are single texts.
    pub sentence_order: bool,
}

impl SampleMaker {
    /// Sample `index` of a corpus, whose entry in the sample index is `span`. Of blended corpora each counts its own
    /// samples.
    ///
    /// Its generator is seeded with the sum of seed and index, cut to 32 bits, so that runs with neighbouring seeds
    /// share most of their draws; the original's choice.
    ///
    /// # Errors
    /// The corpus holds an id that the vocabulary does not have.
    pub fn make(&self, corpus: &Corpus, span: &Span, index: u64) -> Result<Sample> {
        let mut rng = RandomState::new(self.seed.wrapping_add(index) as u32);
        let pair = self.pair(corpus, span, &mut rng);
        let (stored, type_ids) = self.join(corpus, &pair)?;
        let mut ids = stored.iter().map(|id| self.plain(*id)).collect::<Result<Vec<u32>>>()?;
        let masking = self.masking.pick(self.seed, index);
        let words = Words::new(&stored, &self.vocabulary, masking.whole_words());
        let masked = masking.mask(&mut ids, &words, &self.vocabulary, span.target, &mut rng);
        let Masked { positions: masked_positions, labels } = masked;
        Ok(Sample { ids, type_ids, masked_positions, labels, sentence_label: u8::from(pair.swapped) })
    }

    /// Which tokens of which sentences make up A and B.
    fn pair(&self, corpus: &Corpus, span: &Span, rng: &mut RandomState) -> Pair {
        let sentences = span.sentences.clone();
        let mut parts = [sentences.clone(), sentences.end..sentences.end];
        let mut swapped = false;
        if self.sentence_order {
            let first = if sentences.len() < 3 { 1 } else { rng.randint(1, sentences.len() as u32) as usize };
            let middle = (sentences.start + first).min(sentences.end);
            parts = [sentences.start..middle, middle..sentences.end];
            swapped = rng.random_sample() < 0.5;
            if swapped {
                parts.reverse();
            }
        }
        let lengths = parts.clone().map(|part| part.map(|sentence| corpus.sentence_len(sentence)).sum());
        let [first, second] = parts;
        let [kept_first, kept_second] = truncated(lengths, span.target, rng);
        Pair {
            parts: [Part { sentences: first, kept: kept_first }, Part { sentences: second, kept: kept_second }],
            swapped,
        }
    }

    /// The row of a pair as stored ids, and its type ids.
    fn join(&self, corpus: &Corpus, pair: &Pair) -> Result<(Vec<u32>, Vec<u8>)> {
        let specials = self.vocabulary.specials();
        let [first, second] = &pair.parts;
        let mut ids = Vec::with_capacity(first.kept.len() + second.kept.len() + 3);
        ids.push(specials.cls);
        first.append_to(&mut ids, corpus)?;
        ids.push(specials.sep);
        let mut type_ids = vec![0; ids.len()];
        if !second.kept.is_empty() {
            second.append_to(&mut ids, corpus)?;
            ids.push(specials.sep);
        }
        type_ids.resize(ids.len(), 1);
        Ok((ids, type_ids))
    }

    fn plain(&self, id: u32) -> Result<u32> {
        self.vocabulary.plain(id).ok_or_else(|| {
            let problem = Problem::new(format!("the corpus holds the token {id}, which the vocabulary does not have"));
            problem.help("prepare the corpus with the tokenizer of the model that is trained").into()
        })
    }
}

struct Pair {
    parts: [Part; 2],
    swapped: bool,
}

/// Consecutive sentences, of whose tokens those of `kept` remain.
struct Part {
    sentences: Range<usize>,
    kept: Range<usize>,
}

impl Part {
    fn append_to(&self, ids: &mut Vec<u32>, corpus: &Corpus) -> Result<()> {
        let mut start = 0;
        for sentence in self.sentences.clone() {
            let end = start + corpus.sentence_len(sentence);
            let kept = self.kept.start.max(start)..self.kept.end.min(end);
            if !kept.is_empty() {
                let tokens = corpus.sentence(sentence);
                let tokens = tokens.get(kept.start - start..kept.end - start);
                let short = || Error::input(format!("the tokens of sentence {sentence} are not all in the corpus"));
                ids.extend_from_slice(tokens.ok_or_else(short)?);
            }
            start = end;
        }
        Ok(())
    }
}

/// What remains of two texts of these lengths in `target` tokens: the longer one gives, the second where they are
/// equally long, and each token given is the first or the last with even chances.
fn truncated(lengths: [usize; 2], target: usize, rng: &mut RandomState) -> [Range<usize>; 2] {
    let mut kept = lengths.map(|length| 0..length);
    while kept[0].len() + kept[1].len() > target {
        let longer = if kept[0].len() > kept[1].len() { &mut kept[0] } else { &mut kept[1] };
        if rng.random_sample() < 0.5 {
            longer.start += 1;
        } else {
            longer.end -= 1;
        }
    }
    kept
}
