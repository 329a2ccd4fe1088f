//! The token cache: tokenised rows in a file that is keyed by the content it was made from. Tokenised once, mapped ever after.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::ints::{Dtype, Ints, hold, map};
use crate::error::{Error, Result};
use crate::files::temporary;
use crate::hash;

/// Begins every cache file; a new layout takes a new number.
const MAGIC: &[u8; 8] = b"KILNTK06";

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
    /// Where there are several files: each of them, and how many lines are counted before its first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<(PathBuf, u32)>,
    pub rows: usize,
    /// Rows that could not be read and were left out, as the recipe asked.
    pub skipped: usize,
    /// What is wrong with the first of them.
    pub left_out: Vec<String>,
    /// Rows with an empty text.
    pub empty: usize,
    /// Rows cut to the longest length allowed.
    pub truncated: usize,
    /// Of rows of words.
    pub words: WordCounts,
}

impl TokenInfo {
    /// Where a row with this line was read: `file:line`, for messages.
    pub fn place(&self, line: u32) -> String {
        let shard = self.shards.iter().rev().find(|(_, before)| *before < line);
        let (file, before) = shard.map_or((&self.source, 0), |(file, before)| (file, *before));
        format!("{}:{}", file.display(), line - before)
    }
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
    /// Of each row: where its ids end among all of them, its line, its `first`, and where its target ends among all targets.
    ends: Ints,
    lines: Ints,
    firsts: Ints,
    target_ends: Ints,
    ids: Ints,
    targets: Ints,
    /// The ids that there are, each once, ascending.
    met: Ints,
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
        Self::parse(&map(&place(folder, key)).ok()?)
    }

    /// Writes rows under `key`, whole or not at all, and opens them. Without a folder, or where it cannot be written, they are
    /// held in memory.
    pub fn create(folder: Option<&Path>, key: &str, info: TokenInfo, rows: &[TokenRow]) -> Result<Self> {
        let bytes = encode(&info, rows);
        if let Some(folder) = folder {
            if let Err(cause) = write_whole(&place(folder, key), &bytes) {
                tracing::warn!("{}: tokenised rows are not kept: {cause}", folder.display());
            } else if let Some(cache) = Self::open(folder, key) {
                return Ok(cache);
            }
        }
        Self::parse(&hold(&bytes)?).ok_or_else(|| Error::input("tokenised rows could not be laid out"))
    }

    fn parse(map: &Arc<Mmap>) -> Option<Self> {
        if !map.starts_with(MAGIC) {
            return None;
        }
        let header = u64::from_le_bytes(map.get(8..16)?.try_into().ok()?);
        let tables = 16usize.checked_add(usize::try_from(header).ok()?)?;
        let info: TokenInfo = serde_json::from_slice(map.get(16..tables)?).ok()?;
        let mut end = tables as u64;
        let mut table = |count: usize, dtype: Dtype| Ints::next(map, &mut end, count as u64, dtype);
        let rows = info.rows;
        let (ends, lines) = (table(rows, Dtype::U64)?, table(rows, Dtype::U32)?);
        let (firsts, target_ends) = (table(rows, Dtype::U32)?, table(rows, Dtype::U64)?);
        let ids = table(before(&ends, rows)?, Dtype::U32)?;
        let targets = table(before(&target_ends, rows)?, Dtype::U32)?;
        let met = table(1, Dtype::U64)?.count(0)?;
        let met = table(met, Dtype::U32)?;
        (end == map.len() as u64).then_some(Self { info, ends, lines, firsts, target_ends, ids, targets, met })
    }

    /// Tokens of a row.
    pub fn length(&self, row: usize) -> usize {
        match (before(&self.ends, row), before(&self.ends, row + 1)) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            _ => 0,
        }
    }

    /// The ids that its rows have, each once, ascending.
    pub(super) fn met(&self) -> impl Iterator<Item = u32> + '_ {
        self.met.iter_from(0).filter_map(|id| u32::try_from(id).ok())
    }

    fn row(&self, row: usize) -> Option<TokenRow> {
        let number = |table: &Ints| u32::try_from(table.get(row)?).ok();
        let numbers = |table: &Ints, ends: &Ints| {
            let (start, end) = (before(ends, row)?, before(ends, row + 1)?);
            table.ids(start.checked_mul(4)?, end.checked_sub(start)?)
        };
        let (ids, target) = (numbers(&self.ids, &self.ends)?, numbers(&self.targets, &self.target_ends)?);
        let (line, first) = (number(&self.lines)?, number(&self.firsts)?);
        (first as usize <= ids.len()).then_some(TokenRow { ids, first, line, target })
    }
}

/// How many numbers come before those of `row`, by a table of where each row's end.
fn before(ends: &Ints, row: usize) -> Option<usize> {
    row.checked_sub(1).map_or(Some(0), |last| ends.count(last))
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
    let met = met(rows);
    bytes.extend_from_slice(&(met.len() as u64).to_le_bytes());
    push_numbers(&mut bytes, met.into_iter());
    bytes
}

/// The ids of rows, each once, ascending.
fn met(rows: &[TokenRow]) -> Vec<u32> {
    let mut is_met = Vec::new();
    for &id in rows.iter().flat_map(|row| &row.ids) {
        if is_met.len() <= id as usize {
            is_met.resize(id as usize + 1, false);
        }
        is_met[id as usize] = true;
    }
    (0..).zip(is_met).filter_map(|(id, is_met)| is_met.then_some(id)).collect()
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

fn place(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.tokens"))
}

/// Writes a file of the cache, whole or not at all. What a crash of the machine makes of it is found when it is read.
pub(super) fn write_whole(place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    file.persist(place)?;
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
        let (source, sha256, left_out) = ("a.tsv".into(), "0".into(), vec!["a.tsv:3: no".to_string()]);
        TokenInfo { source, sha256, shards: Vec::new(), rows: 3, skipped: 2, left_out, empty: 1, truncated: 0, words }
    }

    #[test]
    fn a_row_of_several_files_is_told_by_its_own() {
        let shards = vec![("a-0".into(), 0), ("a-1".into(), 7), ("a-2".into(), 7), ("a-3".into(), 9)];
        let info = TokenInfo { shards, ..info() };
        assert_eq!([1, 7, 8, 9, 10].map(|line| info.place(line)), ["a-0:1", "a-0:7", "a-2:1", "a-2:2", "a-3:1"]);
        assert_eq!(super::TokenInfo { shards: Vec::new(), ..info }.place(3), "a.tsv:3");
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
            assert_eq!(cache.met().collect::<Vec<_>>(), [0, 2, 5, 7, 250_001]);
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
