//! The samples of one part of the corpora, blended.

use sha2::{Digest, Sha256};

use super::Corpus;
use super::blend::Blend;
use super::index::{Documents, IndexSettings, SampleIndex};
use super::masking::Mixture;
use super::options::SampleOptions;
use super::sample::{Sample, SampleMaker};
use super::split::Splits;
use super::vocabulary::Vocabulary;
use crate::data::card::Split;
use crate::error::{Error, Result};
use crate::hash::hex;
use crate::recipe::{Pretraining, TaskName};

/// The samples of a part, each a function of its number.
pub struct SampleSet {
    parts: Vec<Part>,
    blend: Blend,
    maker: SampleMaker,
}

struct Part {
    corpus: Corpus,
    index: SampleIndex,
}

impl SampleSet {
    /// The samples of `split` in all corpora, as many as the run asks for; `None` where no corpus has a document there,
    /// which small ones come to.
    ///
    /// # Errors
    /// A corpus that cannot be read, or is of another vocabulary; options out of range.
    pub fn open(options: &SampleOptions, vocabulary: Vocabulary, split: Split) -> Result<Option<Self>> {
        let pretraining = options.pretraining;
        let maker = maker(options, vocabulary)?;
        let mut found = Vec::new();
        for (corpus, weight) in corpora(pretraining)? {
            let Some(documents) = Splits::new(&pretraining.split, corpus.documents())?.documents(split) else {
                continue;
            };
            let documents = Documents::survey(&corpus, documents, maker.sentence_order);
            tracing::info!("{split} {}: {documents}", corpus.prefix().display());
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
            let samples = if weights.len() == 1 { blend.len() } else { samples };
            let settings = IndexSettings {
                samples,
                max_seq_length: options.data.max_seq_length,
                short_seq_prob: pretraining.short_seq_prob,
                seed: options.seed,
            };
            let index = SampleIndex::open(&corpus, &documents, &settings, &settings.file(corpus.prefix(), split))?;
            parts.push(Part { corpus, index });
        }
        Ok(Some(Self { parts, blend, maker }))
    }

    /// How many samples the run asks for.
    pub fn len(&self) -> u64 {
        self.blend.len()
    }

    pub fn is_empty(&self) -> bool {
        self.blend.is_empty()
    }

    /// A sample.
    ///
    /// # Errors
    /// There is no such sample, or its corpus has been changed since it was opened.
    pub fn sample(&self, number: u64) -> Result<Sample> {
        let (part, own) = self.locate(number)?;
        let span = part.index.span(own)?;
        self.maker.make(&part.corpus, &span, own)
    }

    /// Where a sample's sentences are, for messages.
    pub fn place(&self, number: u64) -> String {
        let place = || -> Result<String> {
            let (part, own) = self.locate(number)?;
            let sentences = part.index.span(own)?.sentences;
            Ok(format!("{}: sentences {} to {}", part.corpus.prefix().display(), sentences.start, sentences.end - 1))
        };
        place().unwrap_or_else(|_| format!("sample {number}"))
    }

    /// What the samples are: the same for the same corpora and options.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for part in &self.parts {
            hash.update((part.corpus.sentences() as u64).to_le_bytes());
            hash.update(part.corpus.tokens().to_le_bytes());
        }
        // A corpus may be more than one would read through at every start; some samples say enough.
        for number in (0..self.len()).step_by((self.len() as usize / 256).max(1)) {
            let sample = self.sample(number)?;
            sample.ids.iter().chain(&sample.masked_positions).for_each(|number| hash.update(number.to_le_bytes()));
        }
        Ok(hex(&hash.finalize()[..16]))
    }

    fn locate(&self, number: u64) -> Result<(&Part, u64)> {
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

fn maker(options: &SampleOptions, vocabulary: Vocabulary) -> Result<SampleMaker> {
    let Pretraining { masking, masked_lm_prob, max_ngrams, .. } = options.pretraining;
    let policies: Vec<_> = masking.iter().map(|share| (share.policy, share.weight)).collect();
    Ok(SampleMaker {
        vocabulary,
        masking: Mixture::new(&policies, *masked_lm_prob, *max_ngrams)?,
        seed: options.seed,
        sentence_order: options.task.name == TaskName::PreTraining,
    })
}
