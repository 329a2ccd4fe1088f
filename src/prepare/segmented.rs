//! From the text of a document to lines of words with spaces between them, some documents for the dev files.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::pipeline::Product;
use super::sentences;
use super::shards::{Part, Shards, shard_count, shard_file};
use super::summary::Summary;
use super::words::Segmenter;
use crate::error::Result;
use crate::recipe::{CorpusOptions, SentenceEnds};

/// Where the sentences are, in the folder of the output.
pub(super) const TRAIN: &str = "train";
pub(super) const DEV: &str = "dev";

/// What all documents are segmented with.
pub(super) struct Segmentation {
    segmenter: Segmenter,
    sentences: SentenceEnds,
    dev_every: Option<u64>,
    /// Sentences of a file.
    shard: u64,
}

/// A document's sentences.
pub(super) struct Lines {
    /// Each with a line end.
    text: String,
    /// Words of each.
    lens: Vec<u64>,
}

/// How much is certain to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinesWritten {
    pub(super) train: Part,
    pub(super) dev: Part,
}

pub(super) struct LinesWriter {
    train: Shards,
    dev: Shards,
    dev_every: Option<u64>,
}

impl Segmentation {
    pub(super) fn new(options: &CorpusOptions) -> Self {
        Self {
            segmenter: Segmenter::new(options),
            sentences: options.sentences,
            dev_every: options.dev_every,
            shard: options.shard_sentences.unwrap_or(100_000),
        }
    }

    /// The files of so many sentences, from the folder of the output on.
    pub(super) fn files(&self, written: &LinesWritten) -> Vec<PathBuf> {
        let of = |name: &'static str, part: Part| {
            (0..shard_count(part.sentences, self.shard)).map(move |number| shard_file(Path::new(name), number))
        };
        of(TRAIN, written.train).chain(of(DEV, written.dev)).collect()
    }
}

impl Product for Segmentation {
    type Made = Lines;
    type Writer = LinesWriter;
    type Written = LinesWritten;

    /// Sentences without a word are left out.
    fn make(&self, text: &str) -> Lines {
        let mut lines = Lines { text: String::with_capacity(text.len() * 5 / 4), lens: Vec::new() };
        sentences::each(text, self.sentences, |sentence| {
            let mut count = 0;
            self.segmenter.each_word(sentence, |word| {
                if count > 0 {
                    lines.text.push(' ');
                }
                lines.text.push_str(word);
                count += 1;
            });
            if count > 0 {
                lines.text.push('\n');
                lines.lens.push(count);
            }
        });
        lines
    }

    fn writer(&self, folder: &Path, written: &LinesWritten) -> Result<LinesWriter> {
        Ok(LinesWriter {
            train: Shards::open(folder.join(TRAIN), self.shard, written.train)?,
            dev: Shards::open(folder.join(DEV), self.shard, written.dev)?,
            dev_every: self.dev_every,
        })
    }

    fn write(writer: &mut LinesWriter, document: &Lines, summary: &mut Summary) -> Result<()> {
        if document.lens.is_empty() {
            summary.empty_documents += 1;
            return Ok(());
        }
        summary.documents += 1;
        summary.sentences += document.lens.len() as u64;
        summary.tokens += document.lens.iter().sum::<u64>();
        let is_dev = writer.dev_every.is_some_and(|every| summary.documents.is_multiple_of(every));
        let shards = if is_dev { &mut writer.dev } else { &mut writer.train };
        let lines = document.text.split_inclusive('\n');
        lines.zip(&document.lens).try_for_each(|(line, words)| shards.push(line, *words))
    }

    fn sync(writer: &mut LinesWriter) -> Result<LinesWritten> {
        Ok(LinesWritten { train: writer.train.sync()?, dev: writer.dev.sync()? })
    }

    fn finish(_: LinesWriter) -> Result<()> {
        Ok(())
    }
}
