//! The token cache: tokenised rows in a file that is keyed by the content it was made from. Tokenised once, mapped ever after.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::data::dataset::{Dataset, DatasetError};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::temporary;
use crate::hash;

/// Begins every cache file; a new layout takes a new number.
const MAGIC: &[u8; 8] = b"KILNTK05";

/// One row as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub ids: Vec<u32>,
    /// How many of them have the type id 0; the rest is of the second text.
    pub first: u32,
    /// The line of its source file, from 1.
    pub line: u32,
    /// What is to be learnt of it: numbers that its task reads.
    pub target: Vec<u32>,
}

/// What is known of the rows besides their tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// The file they were read from, and the SHA-256 of its content.
    pub source: PathBuf,
    pub sha256: String,
    pub rows: usize,
    /// Rows that could not be read and were left out, as the recipe asked.
    pub skipped: usize,
    /// Rows with an empty text.
    pub empty: usize,
    /// Rows cut to the longest length allowed.
    pub truncated: usize,
    /// Of rows of words.
    pub words: WordCounts,
}

/// How many words of tagged rows there are, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordCounts {
    pub all: usize,
    /// With more than one character.
    pub long: usize,
    /// Cut off with the end of their row.
    pub cut: usize,
    /// Of which the tokenizer makes nothing.
    pub vanished: usize,
}

/// Tokenised rows, in the order of their source.
#[derive(Debug)]
pub struct TokenCache {
    pub info: TokenInfo,
    bytes: Bytes,
    /// Where the tables begin: ends of the ids (u64 a row), lines (u32), firsts (u32), ends of the targets (u64), ids (u32), targets
    /// (u32).
    tables: usize,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    /// Where no cache folder can be written.
    Held(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}

/// The name of the cache file for rows made from all of `parts`.
pub fn cache_key(parts: &[&str]) -> String {
    let mut key = hash::of_parts(parts.iter().map(|part| part.as_bytes()));
    key.truncate(32);
    key
}

impl TokenCache {
    /// Opens the rows of `key`, if `folder` holds them whole; a damaged file counts as none.
    pub fn open(folder: &Path, key: &str) -> Option<Self> {
        let file = File::open(folder.join(format!("{key}.tokens"))).ok()?;
        // SAFETY: the file is written once under a temporary name and renamed; nothing of Kiln's changes it afterwards.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        Self::parse(Bytes::Mapped(map))
    }

    /// Writes rows under `key`, whole or not at all, and opens them. Without a folder, or where it cannot be written, they are
    /// held in memory.
    pub fn create(folder: Option<&Path>, key: &str, info: TokenInfo, rows: &[TokenRow]) -> Result<Self> {
        let bytes = encode(&info, rows);
        if let Some(folder) = folder {
            match write_whole(folder, key, &bytes) {
                Ok(()) => {
                    if let Some(cache) = Self::open(folder, key) {
                        return Ok(cache);
                    }
                }
                Err(cause) => tracing::warn!("{}: tokenised rows are not kept: {cause}", folder.display()),
            }
        }
        Self::parse(Bytes::Held(bytes)).ok_or_else(|| Error::input("tokenised rows could not be laid out"))
    }

    fn parse(bytes: Bytes) -> Option<Self> {
        let all = bytes.get();
        if all.get(..8)? != MAGIC {
            return None;
        }
        let header = usize::try_from(u64::from_le_bytes(all.get(8..16)?.try_into().ok()?)).ok()?;
        let tables = 16usize.checked_add(header)?;
        let info: TokenInfo = serde_json::from_slice(all.get(16..tables)?).ok()?;
        let cache = Self { info, bytes, tables };
        // So that places in the file can be counted without overflow.
        (cache.info.rows <= cache.bytes.get().len()).then_some(())?;
        let numbers = cache.ids_before(cache.info.rows)?.checked_add(cache.target_before(cache.info.rows)?)?;
        let expected = cache.ids().checked_add(numbers.checked_mul(4)?)?;
        (cache.bytes.get().len() == expected).then_some(cache)
    }

    fn word<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get().get(at..at.checked_add(N)?)?.try_into().ok()
    }

    /// Where the ids begin.
    fn ids(&self) -> usize {
        self.tables + self.info.rows * 24
    }

    /// The sum of the lengths before `row`, by a table of ends that begins at `table`.
    fn before(&self, table: usize, row: usize) -> Option<usize> {
        let Some(last) = row.checked_sub(1) else { return Some(0) };
        usize::try_from(u64::from_le_bytes(self.word(table + last * 8)?)).ok()
    }

    /// How many ids come before a row's.
    fn ids_before(&self, row: usize) -> Option<usize> {
        self.before(self.tables, row)
    }

    /// How many numbers of targets come before a row's.
    fn target_before(&self, row: usize) -> Option<usize> {
        self.before(self.tables + self.info.rows * 16, row)
    }

    /// Tokens of a row.
    pub fn length(&self, row: usize) -> usize {
        match (self.ids_before(row), self.ids_before(row + 1)) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            _ => 0,
        }
    }

    fn numbers(&self, table: usize, range: Range<usize>) -> Option<Vec<u32>> {
        let bytes = self.bytes.get().get(table + range.start * 4..table + range.end * 4)?;
        Some(bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }

    fn row(&self, row: usize) -> Option<TokenRow> {
        let rows = self.info.rows;
        let line = u32::from_le_bytes(self.word(self.tables + rows * 8 + row * 4)?);
        let first = u32::from_le_bytes(self.word(self.tables + rows * 12 + row * 4)?);
        let ids = self.numbers(self.ids(), self.ids_before(row)?..self.ids_before(row + 1)?)?;
        let targets = self.ids() + self.ids_before(rows)? * 4;
        let target = self.numbers(targets, self.target_before(row)?..self.target_before(row + 1)?)?;
        (first as usize <= ids.len()).then_some(TokenRow { ids, first, line, target })
    }
}

impl Dataset<TokenRow> for TokenCache {
    fn get(&self, index: usize) -> Result<TokenRow, DatasetError> {
        self.row(index)
            .ok_or_else(|| DatasetError::new(std::io::Error::other(format!("the tokenised row {index} is damaged"))))
    }

    fn len(&self) -> usize {
        self.info.rows
    }
}

fn encode(info: &TokenInfo, rows: &[TokenRow]) -> Vec<u8> {
    // A struct of numbers and a path is always written.
    let header = serde_json::to_vec(info).unwrap_or_default();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    push_ends(&mut bytes, rows.iter().map(|row| row.ids.len()));
    push_numbers(&mut bytes, rows.iter().map(|row| row.line));
    push_numbers(&mut bytes, rows.iter().map(|row| row.first));
    push_ends(&mut bytes, rows.iter().map(|row| row.target.len()));
    push_numbers(&mut bytes, rows.iter().flat_map(|row| row.ids.iter().copied()));
    push_numbers(&mut bytes, rows.iter().flat_map(|row| row.target.iter().copied()));
    bytes
}

fn push_ends(bytes: &mut Vec<u8>, lengths: impl Iterator<Item = usize>) {
    let mut end = 0u64;
    for length in lengths {
        end += length as u64;
        bytes.extend_from_slice(&end.to_le_bytes());
    }
}

fn push_numbers(bytes: &mut Vec<u8>, numbers: impl Iterator<Item = u32>) {
    numbers.for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
}

fn write_whole(folder: &Path, key: &str, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = BufWriter::new(temporary(folder)?);
    file.write_all(bytes)?;
    file.flush()?;
    file.into_inner().map_err(|error| error.into_error())?.persist(folder.join(format!("{key}.tokens")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A class, a longer target, none; a row of no ids at all.
    fn rows() -> Vec<TokenRow> {
        let row = |ids: Vec<u32>, first, line, target| TokenRow { ids, first, line, target };
        vec![
            row(vec![0, 5, 2], 2, 1, vec![1]),
            row(vec![], 0, 2, vec![u32::MAX, 3, 70_000]),
            row(vec![250_001, 7], 2, 9, vec![]),
        ]
    }

    fn info() -> TokenInfo {
        let words = WordCounts { all: 4, long: 3, cut: 2, vanished: 1 };
        let (source, sha256) = ("a.tsv".into(), "0".into());
        TokenInfo { source, sha256, rows: 3, skipped: 2, empty: 1, truncated: 0, words }
    }

    #[test]
    fn rows_come_back_from_the_file() {
        let (folder, rows) = (tempfile::tempdir().unwrap(), rows());
        let made = TokenCache::create(Some(folder.path()), "k", info(), &rows).unwrap();
        let opened = TokenCache::open(folder.path(), "k").unwrap();
        for cache in [made, opened] {
            assert_eq!(cache.info, info());
            assert_eq!((0..3).map(|i| cache.get(i).unwrap()).collect::<Vec<_>>(), rows);
            assert!((0..3).all(|row| cache.length(row) == rows[row].ids.len()));
        }
    }

    /// A cache cut short by a full disk or a crash must be made again, not read.
    #[test]
    fn a_cut_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        TokenCache::create(Some(folder.path()), "k", info(), &rows()).unwrap();
        let path = folder.path().join("k.tokens");
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(TokenCache::open(folder.path(), "k").is_none(), "cut to {length} bytes");
        }
    }
}
