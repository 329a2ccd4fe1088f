//! From the text of a document to lines of words with spaces between them, in shards of so many sentences, some documents for the dev
//! files. The shards can be gone on with behind any sentence.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::product::{Product, restore_bytes, restore_count, store_count};
use super::sentences;
use super::state::Summary;
use super::words::Segmenter;
use crate::corpus::Output;
use crate::error::{Error, Problem, Result};
use crate::recipe::CorpusOptions;

/// Where the sentences are, in the folder of the output.
pub(super) const TRAIN: &str = "train";
pub(super) const DEV: &str = "dev";

/// What all documents are segmented with.
pub(super) struct Segmentation<'a> {
    segmenter: Segmenter,
    options: &'a CorpusOptions,
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
}

impl<'a> Segmentation<'a> {
    pub(super) fn new(options: &'a CorpusOptions) -> Self {
        Self { segmenter: Segmenter::new(options), options }
    }

    /// Sentences of a file.
    fn shard(&self) -> u64 {
        self.options.shard_sentences.unwrap_or(100_000)
    }

    /// The files of so many sentences, from the folder of the output on.
    pub(super) fn files(&self, written: &LinesWritten) -> Vec<PathBuf> {
        let of = |name: &'static str, part: Part| {
            (0..part.sentences.div_ceil(self.shard())).map(move |number| shard_file(Path::new(name), number))
        };
        of(TRAIN, written.train).chain(of(DEV, written.dev)).collect()
    }
}

impl Product for Segmentation<'_> {
    type Made = Lines;
    type Writer = LinesWriter;
    type Written = LinesWritten;

    const WORK: &'static str = "segmenting";

    /// Sentences without a word are left out.
    fn make(&self, text: &str) -> Lines {
        let mut lines = Lines { text: String::with_capacity(text.len() * 5 / 4), lens: Vec::new() };
        sentences::each(text, self.options.sentences, |sentence| {
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

    fn store(document: &Lines, bytes: &mut Vec<u8>) {
        store_count(document.text.len() as u64, bytes);
        bytes.extend(document.text.as_bytes());
        store_count(document.lens.len() as u64, bytes);
        document.lens.iter().for_each(|words| store_count(*words, bytes));
    }

    fn restore(bytes: &mut &[u8]) -> Option<Lines> {
        let length = restore_count(bytes)?;
        let text = String::from_utf8(restore_bytes(bytes, length)?.to_vec()).ok()?;
        let count = restore_count(bytes)?;
        let lens = (0..count).map(|_| restore_count(bytes)).collect::<Option<_>>()?;
        Some(Lines { text, lens })
    }

    fn writer(&self, folder: &Path, written: &LinesWritten) -> Result<LinesWriter> {
        Ok(LinesWriter {
            train: Shards::open(folder.join(TRAIN), self.shard(), written.train)?,
            dev: Shards::open(folder.join(DEV), self.shard(), written.dev)?,
        })
    }

    fn write(&self, writer: &mut LinesWriter, document: &Lines, summary: &mut Summary) -> Result<()> {
        if document.lens.is_empty() {
            summary.empty_documents += 1;
            return Ok(());
        }
        summary.documents += 1;
        summary.sentences += document.lens.len() as u64;
        summary.tokens += document.lens.iter().sum::<u64>();
        let is_dev = self.options.dev_every.is_some_and(|every| summary.documents.is_multiple_of(every));
        let shards = if is_dev { &mut writer.dev } else { &mut writer.train };
        let lines = document.text.split_inclusive('\n');
        lines.zip(&document.lens).try_for_each(|(line, words)| shards.push(line, *words))
    }

    fn sync(writer: &mut LinesWriter) -> Result<LinesWritten> {
        Ok(LinesWritten { train: writer.train.sync()?, dev: writer.dev.sync()? })
    }
}

/// How much of the sentences of one folder is certain to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) sentences: u64,
    pub(super) words: u64,
    /// Bytes of the last file.
    pub(super) bytes: u64,
}

/// The files of one folder.
struct Shards {
    folder: PathBuf,
    /// Sentences of a file.
    size: u64,
    part: Part,
    /// The last one; none before the first sentence.
    file: Option<Output>,
}

/// The file that holds the sentences from `number * size` on.
fn shard_file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("sentence_file_{number:05}.txt"))
}

impl Shards {
    /// Goes on behind `part`, `size` sentences a file; what else stands in the last file is cut off.
    ///
    /// # Errors
    /// A file cannot be written, or is not as long as `part` says ([`Error::Input`]).
    fn open(folder: PathBuf, size: u64, part: Part) -> Result<Self> {
        let mut shards = Self { folder, size, part, file: None };
        let Some(last) = part.sentences.div_ceil(size).checked_sub(1) else { return Ok(shards) };
        let mut before = (0..last).map(|number| shard_file(&shards.folder, number));
        if let Some(path) = before.find(|path| !path.is_file()) {
            return Err(Problem::new("shorter than it was written").in_file(&path).into());
        }
        shards.file = Some(Output::open(shard_file(&shards.folder, last), part.bytes)?);
        Ok(shards)
    }

    /// Appends a sentence of so many words, which ends with a line end.
    ///
    /// # Errors
    /// A file cannot be written.
    fn push(&mut self, line: &str, words: u64) -> Result<()> {
        if self.part.sentences.is_multiple_of(self.size) {
            self.next_file()?;
        }
        if let Some(file) = &mut self.file {
            file.write(line.as_bytes())?;
        }
        self.part.sentences += 1;
        self.part.words += words;
        self.part.bytes += line.len() as u64;
        Ok(())
    }

    fn next_file(&mut self) -> Result<()> {
        self.sync()?;
        std::fs::create_dir_all(&self.folder).map_err(|cause| Error::writing(&self.folder, &cause))?;
        let path = shard_file(&self.folder, self.part.sentences / self.size);
        self.file = Some(Output::open(path, 0)?);
        self.part.bytes = 0;
        Ok(())
    }

    /// Makes sure that everything pushed is on the disk.
    ///
    /// # Errors
    /// A file cannot be written.
    fn sync(&mut self) -> Result<Part> {
        self.file.as_mut().map_or(Ok(()), Output::sync)?;
        Ok(self.part)
    }
}
