//! From the text of a document to the ids of its sentences.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use super::marks::{Continuations, is_chinese, whole_words};
use super::product::{Product, restore_count, restore_numbers, store_count, store_numbers};
use super::sentences;
use super::state::Summary;
use super::words::{Dictionary, Segmenter};
use crate::corpus::{CorpusWriter, Written, is_finished};
use crate::error::Result;
use crate::recipe::{CorpusOptions, SentenceEnds};
use crate::tokenize::TextTokenizer;
use crate::tokenize::ernie::ErnieTokenizer;
use crate::tokenize::{Token, Tokenizer};

/// Longest sentence (tokens) that a document of several may have to be trained on: PaddleNLP's `helpers.cpp`.
const LONGEST_SENTENCE: u32 = 512;

/// What all documents are encoded with.
pub(super) struct Encoder<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    /// Of ERNIE 1.0.
    pub(super) marks: Option<Marks<'a>>,
    pub(super) options: &'a CorpusOptions,
}

/// What tells ERNIE 1.0's whole words.
pub(super) struct Marks<'a> {
    tokenizer: &'a ErnieTokenizer,
    continuations: Continuations,
    segmenter: Segmenter,
    dictionary: Dictionary,
    max_word_tokens: usize,
}

/// A document as a corpus holds it.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// The ids of its sentences, one after the other.
    pub(super) ids: Vec<u32>,
    /// Tokens of each sentence.
    pub(super) lens: Vec<u32>,
    pub(super) summary: Summary,
}

impl Encoder<'_> {
    fn sentence(&self, sentence: &str, document: &mut Encoded) {
        let before = document.ids.len();
        match &self.marks {
            Some(marks) => marks.sentence(sentence, document),
            None => {
                let unknown = self.tokenizer.specials().unk;
                document.ids.extend(self.tokenizer.ids(sentence).iter().map(|token| token.id));
                let found = document.ids[before..].iter().filter(|id| **id == unknown).count();
                document.summary.unknown_tokens += found as u64;
            }
        }
        let count = document.ids.len() - before;
        if count > 0 {
            document.lens.push(count as u32);
        }
    }

    /// The sentences of a text, or of a pair; a pair that lacks one has none.
    fn encode(&self, text: &str) -> Encoded {
        let mut document = Encoded::default();
        // A pair is two lines, each a sentence.
        let is_pair = self.options.pair().is_some();
        let ends = if is_pair { SentenceEnds::Newline } else { self.options.sentences };
        sentences::each(text, ends, |sentence| self.sentence(sentence, &mut document));
        if is_pair && document.lens.len() != 2 { Encoded::default() } else { document }
    }
}

impl<'a> Marks<'a> {
    pub(super) fn new(tokenizer: &'a ErnieTokenizer, dictionary: Dictionary, options: &CorpusOptions) -> Self {
        Self {
            tokenizer,
            continuations: Continuations::new(tokenizer),
            segmenter: Segmenter::new(options),
            dictionary,
            max_word_tokens: options.max_word_tokens,
        }
    }

    fn sentence(&self, sentence: &str, document: &mut Encoded) {
        let (text, told) = self.segmenter.read(sentence);
        let entries = self.dictionary.find(&text);
        let mut words: HashSet<&str> = told.into_iter().collect();
        between(&entries, text.len()).for_each(|gap| words.extend(self.segmenter.cut(&text[gap])));
        let tokens = self.tokenizer.ids(&text);
        let goes_on = self.mark(&text, &tokens, &words, &entries, &mut document.summary);
        let unknown = self.tokenizer.specials().unk;
        for (Token { id, .. }, goes_on) in tokens.into_iter().zip(goes_on) {
            document.summary.unknown_tokens += u64::from(id == unknown);
            // The original writes [UNK] for a form that the vocabulary does not have; the text is kept here.
            let form = goes_on.then(|| self.continuations.id(self.tokenizer.token(id), self.tokenizer)).flatten();
            document.ids.push(form.unwrap_or(id));
        }
    }

    /// For each token, whether it goes on with a word. Entries of the dictionary are words where they stand; between
    /// them the words of the sentence are looked for.
    fn mark(
        &self,
        text: &str,
        tokens: &[Token],
        words: &HashSet<&str>,
        entries: &[Range<usize>],
        summary: &mut Summary,
    ) -> Vec<bool> {
        let unknown = self.tokenizer.specials().unk;
        if words.is_empty() && entries.is_empty() {
            return vec![false; tokens.len()];
        }
        // As in the original, where the text of a token that the vocabulary does not have is "[UNK]".
        let text_of = |token: &Token| if token.id == unknown { "[UNK]" } else { self.tokenizer.token(token.id) };
        let texts: Vec<&str> = tokens.iter().map(text_of).collect();
        let mut goes_on = Vec::with_capacity(tokens.len());
        for (entry, run) in runs(text, tokens, entries) {
            let marks = match entry {
                true => run.clone().map(|at| at > run.start && texts[at].chars().all(is_chinese)).collect(),
                false => whole_words(&texts[run.clone()], words, self.max_word_tokens),
            };
            let joined = marks.windows(2).filter(|pair| !pair[0] && pair[1]).count() as u64;
            summary.joined_words += joined;
            summary.dictionary_words += if entry { joined } else { 0 };
            goes_on.extend(marks);
        }
        goes_on
    }
}

impl Product for Encoder<'_> {
    type Made = Encoded;
    type Writer = CorpusWriter;
    type Written = Written;

    const WORK: &'static str = "tokenising";

    /// Sentences without a token are left out.
    fn make(&self, text: &str) -> Encoded {
        let mut document = self.encode(text);
        let summary = &mut document.summary;
        summary.sentences = document.lens.len() as u64;
        summary.tokens = document.ids.len() as u64;
        summary.documents = u64::from(!document.lens.is_empty());
        summary.empty_documents = u64::from(document.lens.is_empty());
        if self.marks.is_some() {
            summary.single_sentence_documents = u64::from(document.lens.len() == 1);
            let overlong = document.lens.len() > 1 && document.lens.iter().any(|length| *length > LONGEST_SENTENCE);
            summary.overlong_documents = u64::from(overlong);
        }
        document
    }

    fn store(document: &Encoded, bytes: &mut Vec<u8>) {
        store_numbers(&document.ids, bytes);
        store_numbers(&document.lens, bytes);
        document.summary.clone().counts().into_iter().for_each(|count| store_count(*count, bytes));
    }

    fn restore(bytes: &mut &[u8]) -> Option<Encoded> {
        let (ids, lens) = (restore_numbers(bytes)?, restore_numbers(bytes)?);
        let mut document = Encoded { ids, lens, summary: Summary::default() };
        for count in document.summary.counts() {
            *count = restore_count(bytes)?;
        }
        Some(document)
    }

    fn writer(&self, folder: &Path, written: &Written) -> Result<CorpusWriter> {
        let plain = || self.tokenizer.vocab_size();
        let id_count = self.marks.as_ref().map_or_else(plain, |marks| marks.continuations.id_count());
        CorpusWriter::open(folder, self.options.layout, id_count, *written)
    }

    fn write(&self, writer: &mut CorpusWriter, document: &Encoded, summary: &mut Summary) -> Result<()> {
        summary.add(&document.summary);
        writer.push(&document.ids, &document.lens)
    }

    fn sync(writer: &mut CorpusWriter) -> Result<Written> {
        writer.sync()
    }

    fn finish(writer: CorpusWriter) -> Result<()> {
        writer.finish()
    }

    fn is_finished(&self, folder: &Path) -> bool {
        is_finished(folder)
    }
}

/// What `entries` leave of a text of `length` bytes.
fn between(entries: &[Range<usize>], length: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let starts = [0].into_iter().chain(entries.iter().map(|entry| entry.end));
    let ends = entries.iter().map(|entry| entry.start).chain([length]);
    starts.zip(ends).map(|(start, end)| start..end).filter(|gap| !gap.is_empty())
}

/// The tokens in runs: those of an entry of the dictionary (true), and those between two of them.
fn runs(text: &str, tokens: &[Token], entries: &[Range<usize>]) -> Vec<(bool, Range<usize>)> {
    let mut runs = Vec::new();
    let (mut byte, mut character, mut token) = (0, 0, 0);
    let mut count_to = |target: usize| {
        character += text[byte..target].chars().count();
        byte = target;
        character as u32
    };
    for entry in entries {
        let (start, end) = (count_to(entry.start), count_to(entry.end));
        let first = token + tokens[token..].partition_point(|token| token.start < start);
        let behind = first + tokens[first..].partition_point(|token| token.end <= end);
        runs.push((false, token..first));
        runs.push((true, first..behind));
        token = behind;
    }
    runs.push((false, token..tokens.len()));
    runs
}
