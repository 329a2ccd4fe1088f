//! The sample index: which sentences make up each pre-training sample, and how long it is to be. PaddleNLP's
//! `build_mapping` (tool_helpers 0.1.2), draw for draw, kept in the file PaddleNLP keeps it in, so that either program
//! can use the other's.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand_mt::{Mt, Mt64};

use super::index_file::{COLUMNS, IndexFile, Table};
use super::layout::Corpus;
use crate::data::card::Split;
use crate::error::{Error, Problem, Result};
use crate::random::{SPLIT_MIX_STEP, split_mix};

/// A document with a longer sentence (tokens) is left out, unless that is its only sentence.
const LONGEST_SENTENCE: usize = 512;

/// One entry of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub sentences: Range<usize>,
    /// The most text tokens the sample may have; special tokens come on top.
    pub target: usize,
}

impl Span {
    /// As it stands in the index.
    fn row(&self) -> [usize; COLUMNS] {
        [self.sentences.start, self.sentences.end, self.target]
    }
}

/// What a sample index is made from, besides the corpus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IndexSettings {
    /// How many samples there must be at least. Whole epochs are made, so that mostly there are more.
    pub samples: u64,
    /// Longest row, with its three special tokens.
    pub max_seq_length: usize,
    /// About this share of the samples is cut to a random length.
    pub short_seq_prob: f64,
    pub seed: u64,
}

impl IndexSettings {
    /// The name PaddleNLP has for the index of a part of the corpus with this prefix. It tells neither the split nor
    /// whether samples are pairs, so that the file must be compared with what it ought to hold: [`SampleIndex::open`]
    /// does.
    pub fn file(&self, prefix: &Path, split: Split) -> PathBuf {
        let part = ["train", "valid", "test"][split as usize];
        let length = self.max_seq_length.saturating_sub(3);
        let mut name = prefix.file_name().unwrap_or_default().to_os_string();
        name.push(format!("_{part}_indexmap_{}mns_{length}msl_", self.samples));
        name.push(format!("{:.2}ssp_{}s.npy", self.short_seq_prob, self.seed));
        prefix.with_file_name(name)
    }
}

/// The documents of a part that samples can be made from.
#[derive(Debug)]
pub struct Documents {
    usable: Vec<Range<usize>>,
    min_sentences: usize,
    too_few_sentences: usize,
    long_sentence: usize,
}

impl Documents {
    /// Looks through the documents of a part. A sentence-order pair takes two sentences, a single text takes one.
    pub fn survey(corpus: &Corpus, documents: Range<usize>, sentence_order: bool) -> Self {
        let min_sentences = if sentence_order { 2 } else { 1 };
        let mut survey = Self { usable: Vec::new(), min_sentences, too_few_sentences: 0, long_sentence: 0 };
        for document in documents {
            let sentences = corpus.document(document);
            let is_long = |sentence| corpus.sentence_len(sentence) > LONGEST_SENTENCE;
            if sentences.len() < min_sentences {
                survey.too_few_sentences += 1;
            } else if sentences.len() > 1 && sentences.clone().any(is_long) {
                survey.long_sentence += 1;
            } else {
                survey.usable.push(sentences);
            }
        }
        survey
    }

    /// Whether no sample can be made: an evaluation on this part can only be left out.
    pub fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }
}

impl fmt::Display for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.usable.len() + self.too_few_sentences + self.long_sentence;
        write!(
            f,
            "of {all} documents {} can be used, {} have fewer than {} sentences, {} have a sentence of more than \
             {LONGEST_SENTENCE} tokens",
            self.usable.len(),
            self.too_few_sentences,
            self.min_sentences,
            self.long_sentence
        )
    }
}

/// The samples of one part of a corpus, in order.
#[derive(Debug)]
pub struct SampleIndex {
    file: IndexFile,
    /// How many sentences the corpus has.
    sentences: usize,
}

impl SampleIndex {
    /// Opens the index that `path` holds, or makes it. A file that holds other samples than these documents and
    /// settings give is replaced: PaddleNLP uses such a file after a change of the split, and so trains on what it
    /// tests on. Where the file cannot be written, the index is held in memory.
    ///
    /// # Errors
    /// Settings out of range, no usable document, or more samples than the memory can hold.
    pub fn open(corpus: &Corpus, documents: &Documents, settings: &IndexSettings, path: &Path) -> Result<Self> {
        let walk = Walk::new(corpus, documents, settings)?;
        let sentences = corpus.sentences();
        let found = IndexFile::open(path);
        if found.is_none() {
            // Where the memory cannot hold as many samples, that shows before the long walk.
            Table::new(settings.samples, sentences)?;
        }
        let mut expected = Digest::default();
        walk.each(|span| expected.add(span.row()));
        if let Some(found) = found {
            if digest(&found) == expected {
                return Ok(Self { file: found, sentences });
            }
            tracing::warn!("{}: made for another corpus, split or task; it is made anew", path.display());
        }
        let mut table = Table::new(expected.count, sentences)?;
        walk.each(|span| table.push(span.row()));
        shuffle(&mut table, settings.seed);
        Ok(Self { file: IndexFile::create(path, &table)?, sentences })
    }

    /// How many samples there are: at least as many as were asked for.
    pub fn samples(&self) -> u64 {
        self.file.rows
    }

    /// The entry of a sample.
    ///
    /// # Errors
    /// There is no such sample, or the file was changed while it was in use.
    pub fn span(&self, sample: u64) -> Result<Span> {
        let [first, end, target] =
            self.file.row(sample).ok_or_else(|| Error::input(format!("there is no sample {sample}")))?;
        if first >= end || end > self.sentences {
            let problem = Problem::new(format!("sample {sample} of the index names sentences that do not exist"));
            return Err(problem.help("the index was changed during the run; start again, and it is made anew").into());
        }
        Ok(Span { sentences: first..end, target })
    }
}

/// Goes through the documents, epoch after epoch, and cuts them into samples.
struct Walk<'a> {
    corpus: &'a Corpus,
    documents: &'a Documents,
    settings: &'a IndexSettings,
    longest: u64,
    /// One sample in so many is short; 0: none.
    short_ratio: u64,
}

impl<'a> Walk<'a> {
    fn new(corpus: &'a Corpus, documents: &'a Documents, settings: &'a IndexSettings) -> Result<Self> {
        let IndexSettings { max_seq_length, short_seq_prob, .. } = *settings;
        if max_seq_length < 5 {
            let what = format!("max_seq_length {max_seq_length} leaves no room for a text: 5 is the least");
            return Err(Error::input(what));
        }
        if !(0.0..=1.0).contains(&short_seq_prob) {
            return Err(Error::input(format!("short_seq_prob {short_seq_prob:?} is not between 0 and 1")));
        }
        if documents.is_empty() {
            let problem = Problem::new(format!("no sample can be made: {documents}"));
            return Err(problem.help("put each sentence on its own line, and a blank line between documents").into());
        }
        let short_ratio = if short_seq_prob > 0.0 { (1.0 / short_seq_prob).round() as u64 } else { 0 };
        Ok(Self { corpus, documents, settings, longest: max_seq_length as u64 - 3, short_ratio })
    }

    /// Gives the samples of whole epochs, until there are enough.
    fn each(&self, mut emit: impl FnMut(Span)) {
        let mut rng = Mt::new(self.settings.seed as u32);
        let mut emitted = 0;
        while emitted < self.settings.samples {
            for document in &self.documents.usable {
                self.each_of_document(document.clone(), &mut rng, |span| {
                    emitted += 1;
                    emit(span);
                });
            }
        }
    }

    /// A sample ends where it is long enough, has enough sentences, and more than one remains; the last takes what is
    /// left. Every sample, and one that never comes after the last, draws a length.
    fn each_of_document(&self, document: Range<usize>, rng: &mut Mt, mut emit: impl FnMut(Span)) {
        let mut start = document.start;
        let mut target = self.target(rng);
        let mut length = 0;
        for sentence in document.clone() {
            length += self.corpus.sentence_len(sentence) as u64;
            let next = sentence + 1;
            let remaining = document.end - next;
            let is_full = length >= target && next - start >= self.documents.min_sentences;
            if is_full && remaining > 1 || remaining == 0 {
                emit(Span { sentences: start..next, target: target as usize });
                start = next;
                target = self.target(rng);
                length = 0;
            }
        }
    }

    fn target(&self, rng: &mut Mt) -> u64 {
        if self.short_ratio == 0 {
            return self.longest;
        }
        let drawn = u64::from(rng.next_u32());
        if drawn.is_multiple_of(self.short_ratio) { 2 + drawn % (self.longest - 1) } else { self.longest }
    }
}

/// Fisher-Yates from the end, by the 64-bit generator.
fn shuffle(table: &mut Table, seed: u64) {
    let mut rng = Mt64::new(seed.wrapping_add(1));
    for last in (1..table.len()).rev() {
        table.swap(last, rng.next_u64() % (last + 1));
    }
}

/// Tells two sets of samples apart, whatever their order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Digest {
    count: u64,
    sum: u64,
}

impl Digest {
    fn add(&mut self, row: [usize; COLUMNS]) {
        // Chained over the three numbers: sums of the plain numbers would not tell swapped ends.
        let mix = |state: u64, number: usize| split_mix((state ^ number as u64).wrapping_add(SPLIT_MIX_STEP));
        let mixed = row.into_iter().fold(0, mix);
        self.sum = self.sum.wrapping_add(mixed);
        self.count += 1;
    }
}

fn digest(file: &IndexFile) -> Digest {
    let mut digest = Digest::default();
    (0..file.rows).filter_map(|sample| file.row(sample)).for_each(|row| digest.add(row));
    digest
}
