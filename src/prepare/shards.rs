//! Sentences in files of so many lines, which can be gone on with behind any sentence.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::shuffle::open_to_append;
use crate::error::{Error, Problem, Result};

/// How much of the sentences of one folder is certain to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) sentences: u64,
    pub(super) words: u64,
    /// Bytes of the last file.
    pub(super) bytes: u64,
}

/// The files of one folder.
pub(super) struct Shards {
    folder: PathBuf,
    /// Sentences of a file.
    size: u64,
    part: Part,
    /// The last one; none before the first sentence.
    file: Option<(PathBuf, BufWriter<File>)>,
}

/// The file that holds the sentences from `number * size` on.
pub(super) fn shard_file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("sentence_file_{number:05}.txt"))
}

/// How many files hold so many sentences.
pub(super) fn shard_count(sentences: u64, size: u64) -> u64 {
    sentences.div_ceil(size)
}

impl Shards {
    /// Goes on behind `part`, `size` sentences a file; what else stands in the last file is cut off.
    ///
    /// # Errors
    /// A file cannot be written, or is not as long as `part` says ([`Error::Input`]).
    pub(super) fn open(folder: PathBuf, size: u64, part: Part) -> Result<Self> {
        let mut shards = Self { folder, size, part, file: None };
        let Some(last) = shard_count(part.sentences, size).checked_sub(1) else { return Ok(shards) };
        let short = |path: &Path| Error::from(Problem::new("shorter than it was written").in_file(path));
        for number in 0..last {
            let path = shard_file(&shards.folder, number);
            path.is_file().then_some(()).ok_or_else(|| short(&path))?;
        }
        let path = shard_file(&shards.folder, last);
        let file = open_to_append(&path, part.bytes).map_err(|cause| Error::writing(&path, &cause))?;
        let file = file.ok_or_else(|| short(&path))?;
        shards.file = Some((path, BufWriter::with_capacity(1 << 18, file)));
        Ok(shards)
    }

    /// Appends a sentence of so many words, which ends with a line end.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn push(&mut self, line: &str, words: u64) -> Result<()> {
        if self.part.sentences.is_multiple_of(self.size) {
            self.next_file()?;
        }
        if let Some((path, file)) = &mut self.file {
            file.write_all(line.as_bytes()).map_err(|cause| Error::writing(path, &cause))?;
        }
        self.part.sentences += 1;
        self.part.words += words;
        self.part.bytes += line.len() as u64;
        Ok(())
    }

    fn next_file(&mut self) -> Result<()> {
        self.sync()?;
        let path = shard_file(&self.folder, self.part.sentences / self.size);
        let create = || std::fs::create_dir_all(&self.folder).and_then(|()| File::create(&path));
        let file = create().map_err(|cause| Error::writing(&path, &cause))?;
        self.file = Some((path, BufWriter::with_capacity(1 << 18, file)));
        self.part.bytes = 0;
        Ok(())
    }

    /// Makes sure that everything pushed is on the disk.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn sync(&mut self) -> Result<Part> {
        if let Some((path, file)) = &mut self.file {
            let synced = file.flush().and_then(|()| file.get_ref().sync_data());
            synced.map_err(|cause| Error::writing(path, &cause))?;
        }
        Ok(self.part)
    }
}
