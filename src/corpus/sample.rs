//! Pre-training samples: sentence-order pairs with masked tokens, as `ErnieDataset` of PaddleNLP's `model_zoo/ernie-1.0` makes
//! them, draw for draw. Each is a pure function of the seed and its index.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::blend::Blend;
use super::index::{Documents, IndexSettings, SampleIndex, Span};
use super::layout::Corpus;
use super::masking::{Masked, Mixture, Words};
use super::options::SampleOptions;
use super::split::Splits;
use super::vocabulary::Vocabulary;
use crate::data::card::Split;
use crate::error::{Error, Problem, Result};
use crate::hash::hex;
use crate::random::numpy::RandomState;
use crate::recipe::{Pretraining, TaskName};

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
        let (parts, swapped) = self.pair(corpus, span, &mut rng);
        let (stored, type_ids) = self.join(corpus, &parts)?;
        let mut ids = stored.iter().map(|id| self.plain(*id)).collect::<Result<Vec<u32>>>()?;
        let masking = self.masking.pick(self.seed, index);
        let words = Words::new(&stored, &self.vocabulary, masking.whole_words());
        let masked = masking.mask(&mut ids, &words, &self.vocabulary, span.target, &mut rng);
        let Masked { positions: masked_positions, labels } = masked;
        Ok(Sample { ids, type_ids, masked_positions, labels, sentence_label: u8::from(swapped) })
    }

    /// Which tokens of which sentences make up A and B, and whether the later sentences come first.
    fn pair(&self, corpus: &Corpus, span: &Span, rng: &mut RandomState) -> ([Part; 2], bool) {
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
        ([Part { sentences: first, kept: kept_first }, Part { sentences: second, kept: kept_second }], swapped)
    }

    /// The row of a pair as stored ids, and its type ids.
    fn join(&self, corpus: &Corpus, [first, second]: &[Part; 2]) -> Result<(Vec<u32>, Vec<u8>)> {
        let specials = self.vocabulary.specials;
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

/// The samples of one part of the corpora, blended, each a function of its number.
pub struct SampleSet {
    parts: Vec<(Corpus, SampleIndex)>,
    blend: Blend,
    maker: SampleMaker,
}

impl SampleSet {
    /// The samples of `split` in all corpora, as many as the run asks for; `None` where no corpus has a document there,
    /// which small ones come to.
    ///
    /// # Errors
    /// A corpus that cannot be read, or is of another vocabulary; options out of range.
    pub fn open(options: &SampleOptions, vocabulary: Vocabulary, split: Split) -> Result<Option<Self>> {
        let SampleOptions { pretraining, seed, .. } = *options;
        let policies: Vec<_> = pretraining.masking.iter().map(|share| (share.policy, share.weight)).collect();
        let masking = Mixture::new(&policies, pretraining.masked_lm_prob, pretraining.max_ngrams)?;
        let sentence_order = options.task.name == TaskName::PreTraining;
        let maker = SampleMaker { vocabulary, masking, seed, sentence_order };
        let mut found = Vec::new();
        for (corpus, weight) in corpora(pretraining)? {
            let Some(documents) = Splits::new(&pretraining.split, corpus.documents())?.documents(split) else {
                continue;
            };
            let documents = Documents::survey(&corpus, documents, sentence_order);
            tracing::info!("{split} {}: {documents}", corpus.prefix.display());
            if !documents.is_empty() {
                found.push((corpus, documents, weight));
            }
        }
        if found.is_empty() {
            return Ok(None);
        }
        let weights: Vec<f64> = found.iter().map(|(_, _, weight)| *weight).collect();
        let blend = Blend::new(&weights, options.counts.get(split))?;
        let mut parts = Vec::new();
        for ((corpus, documents, _), samples) in found.into_iter().zip(blend.requests()) {
            // A single corpus is asked for what is wanted, as PaddleNLP does, so that its index has PaddleNLP's name.
            let samples = if weights.len() == 1 { blend.samples } else { samples };
            let settings = IndexSettings {
                samples,
                max_seq_length: options.data.max_seq_length,
                short_seq_prob: pretraining.short_seq_prob,
                seed,
            };
            let index = SampleIndex::open(&corpus, &documents, &settings, &settings.file(&corpus.prefix, split))?;
            parts.push((corpus, index));
        }
        Ok(Some(Self { parts, blend, maker }))
    }

    /// A sample.
    ///
    /// # Errors
    /// There is no such sample, or its corpus has been changed since it was opened.
    pub fn sample(&self, number: u64) -> Result<Sample> {
        let ((corpus, index), own) = self.locate(number)?;
        self.maker.make(corpus, &index.span(own)?, own)
    }

    /// Where a sample's sentences are, for messages.
    pub fn place(&self, number: u64) -> String {
        let place = || -> Result<String> {
            let ((corpus, index), own) = self.locate(number)?;
            let sentences = index.span(own)?.sentences;
            Ok(format!("{}: sentences {} to {}", corpus.prefix.display(), sentences.start, sentences.end - 1))
        };
        place().unwrap_or_else(|_| format!("sample {number}"))
    }

    /// What the samples are: the same for the same corpora and options.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for (corpus, _) in &self.parts {
            hash.update((corpus.sentences() as u64).to_le_bytes());
            hash.update(corpus.tokens.to_le_bytes());
        }
        // A corpus may be more than one would read through at every start; some samples say enough.
        for number in (0..self.blend.samples).step_by((self.blend.samples as usize / 256).max(1)) {
            let sample = self.sample(number)?;
            sample.ids.iter().chain(&sample.masked_positions).for_each(|number| hash.update(number.to_le_bytes()));
        }
        Ok(hex(&hash.finalize()[..16]))
    }

    fn locate(&self, number: u64) -> Result<(&(Corpus, SampleIndex), u64)> {
        let (part, own) = self.blend.get(number).ok_or_else(|| Error::input(format!("there is no sample {number}")))?;
        Ok((&self.parts[part], own))
    }
}

/// Every corpus with its weight.
fn corpora(pretraining: &Pretraining) -> Result<Vec<(Corpus, f64)>> {
    let mut found = Vec::new();
    for (number, path) in pretraining.corpora.iter().flatten().enumerate() {
        let weight = pretraining.weights.as_ref().and_then(|weights| weights.get(number)).copied().unwrap_or(1.0);
        for prefix in Corpus::find(path)? {
            found.push((Corpus::open(&prefix)?, weight));
        }
    }
    Ok(found)
}
