//! Tokenised rows, kept in a file that is keyed by the content it was made from: tokenised once, mapped ever after.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use burn::data::dataset::{Dataset, DatasetError};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files::temporary;

/// Begins every cache file; a new layout takes a new number.
const MAGIC: &[u8; 8] = b"KILNTK03";

/// One row as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub ids: Vec<u32>,
    /// How many of them have the type id 0; the rest is of the second text.
    pub first: u32,
    /// Negative for a row without a label.
    pub label: i32,
    /// The line of its source file, from 1.
    pub line: u32,
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
}

/// Tokenised rows, in the order of their source.
#[derive(Debug)]
pub struct TokenCache {
    pub info: TokenInfo,
    bytes: Bytes,
    /// Where the tables begin: ends (u64 a row), labels (i32), lines (u32), firsts (u32), ids (u32).
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
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
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
        let ids = if cache.info.rows == 0 { 0 } else { cache.end(cache.info.rows - 1)? };
        let expected = tables.checked_add(cache.info.rows.checked_mul(20)?)?.checked_add(ids.checked_mul(4)?)?;
        (cache.bytes.get().len() == expected).then_some(cache)
    }

    fn word<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get().get(at..at.checked_add(N)?)?.try_into().ok()
    }

    /// Where the ids of a row end, counted in ids.
    fn end(&self, row: usize) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.word(self.tables + row * 8)?)).ok()
    }

    fn start(&self, row: usize) -> Option<usize> {
        if row == 0 { Some(0) } else { self.end(row - 1) }
    }

    /// Tokens of a row.
    pub fn length(&self, row: usize) -> usize {
        match (self.start(row), self.end(row)) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            _ => 0,
        }
    }

    fn row(&self, row: usize) -> Option<TokenRow> {
        let rows = self.info.rows;
        let label = i32::from_le_bytes(self.word(self.tables + rows * 8 + row * 4)?);
        let line = u32::from_le_bytes(self.word(self.tables + rows * 12 + row * 4)?);
        let first = u32::from_le_bytes(self.word(self.tables + rows * 16 + row * 4)?);
        let at = |id: usize| self.tables + rows * 20 + id * 4;
        let ids = self.bytes.get().get(at(self.start(row)?)..at(self.end(row)?))?;
        let ids: Vec<u32> = ids.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        (first as usize <= ids.len()).then_some(TokenRow { ids, first, label, line })
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
    let mut end = 0u64;
    for row in rows {
        end += row.ids.len() as u64;
        bytes.extend_from_slice(&end.to_le_bytes());
    }
    rows.iter().for_each(|row| bytes.extend_from_slice(&row.label.to_le_bytes()));
    rows.iter().for_each(|row| bytes.extend_from_slice(&row.line.to_le_bytes()));
    rows.iter().for_each(|row| bytes.extend_from_slice(&row.first.to_le_bytes()));
    rows.iter().flat_map(|row| &row.ids).for_each(|id| bytes.extend_from_slice(&id.to_le_bytes()));
    bytes
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

    fn rows() -> Vec<TokenRow> {
        vec![
            TokenRow { ids: vec![0, 5, 2], first: 2, label: 1, line: 1 },
            TokenRow { ids: vec![], first: 0, label: -100, line: 2 },
            TokenRow { ids: vec![250_001, 7], first: 2, label: 0, line: 9 },
        ]
    }

    fn info() -> TokenInfo {
        TokenInfo { source: "a.tsv".into(), sha256: "0".into(), rows: 3, skipped: 2, empty: 1, truncated: 0 }
    }

    #[test]
    fn rows_come_back_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let made = TokenCache::create(Some(folder.path()), "k", info(), &rows()).unwrap();
        let opened = TokenCache::open(folder.path(), "k").unwrap();
        for cache in [made, opened] {
            assert_eq!(cache.info, info());
            assert_eq!((0..3).map(|i| cache.get(i).unwrap()).collect::<Vec<_>>(), rows());
            assert_eq!(cache.length(2), 2);
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
