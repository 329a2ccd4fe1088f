//! Tokenised rows, kept in a file that is keyed by the content it was made from: tokenised once, mapped ever after.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::data::dataset::{Dataset, DatasetError};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::windows::WindowPlace;
use crate::error::{Error, Result};
use crate::files::temporary;

/// Begins every cache file; a new layout takes a new number.
const MAGIC: &[u8; 8] = b"KILNTK04";

/// One row as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub ids: Vec<u32>,
    /// How many of them have the type id 0; the rest is of the second text.
    pub first: u32,
    /// The line of its source file, from 1.
    pub line: u32,
    pub target: Target,
}

/// What is to be learnt of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Its class; negative for a row without a label.
    Class(i32),
    Tags(Tags),
    Span(Span),
}

/// What is to be learnt of a window on a passage, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// First and last token of the answer, see [`super::windows::Window::answer`].
    pub answer: [i32; 2],
    /// The number of the question among those of its file.
    pub question: u32,
    pub place: WindowPlace,
}

/// What is to be learnt of a row of tagged words, and what its predictions are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    /// For each id the tag to learn; negative for none.
    pub labels: Vec<i32>,
    /// For each word where its first id stands; `None` for a word without any.
    pub starts: Vec<Option<u32>>,
    /// For each word its tag.
    pub gold: Vec<u32>,
}

/// Which [`Target`] the rows of a file have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetKind {
    Class,
    Tags,
    Span,
}

/// Stands in a file for a word without ids; no row is that long.
const NO_START: u32 = u32::MAX;

impl TargetKind {
    /// How many numbers a target takes in the file; `None` where each row has its own count.
    fn width(self) -> Option<usize> {
        match self {
            Self::Class => Some(1),
            Self::Tags | Self::Span => None,
        }
    }

    /// What [`Target::push`] has made of the target of a row with this many ids.
    fn target(self, numbers: &[u32], ids: usize) -> Option<Target> {
        match self {
            Self::Span => {
                let (&[first, last, question, passage, start], offsets) = numbers.split_first_chunk()?;
                let offsets = offsets.as_chunks::<2>().0.iter().map(|&[start, end]| (start, end)).collect();
                let answer = [first, last].map(u32::cast_signed);
                Some(Target::Span(Span { answer, question, place: WindowPlace { passage, start, offsets } }))
            }
            Self::Class => Some(Target::Class(numbers.first()?.cast_signed())),
            Self::Tags => {
                let (labels, words) = numbers.split_at_checked(ids)?;
                let (starts, gold) = words.split_at(words.len() / 2);
                (starts.len() == gold.len()).then(|| {
                    Target::Tags(Tags {
                        labels: labels.iter().map(|label| label.cast_signed()).collect(),
                        starts: starts.iter().map(|start| (*start != NO_START).then_some(*start)).collect(),
                        gold: gold.to_vec(),
                    })
                })
            }
        }
    }
}

impl Target {
    fn kind(&self) -> TargetKind {
        match self {
            Self::Class(_) => TargetKind::Class,
            Self::Tags(_) => TargetKind::Tags,
            Self::Span(_) => TargetKind::Span,
        }
    }

    /// Appends the target as numbers of a file: a class; the labels of all ids, the starts of all words, their tags; or a
    /// window's answer, question, passage and start, and its tokens' characters.
    fn push(&self, numbers: &mut Vec<u32>) {
        match self {
            Self::Class(class) => numbers.push(class.cast_unsigned()),
            Self::Span(Span { answer: [first, last], question, place }) => {
                let head = [first.cast_unsigned(), last.cast_unsigned(), *question, place.passage, place.start];
                numbers.extend(head);
                numbers.extend(place.offsets.iter().flat_map(|(start, end)| [*start, *end]));
            }
            Self::Tags(tags) => {
                let labels = tags.labels.iter().map(|label| label.cast_unsigned());
                let starts = tags.starts.iter().map(|start| start.unwrap_or(NO_START));
                numbers.extend(labels.chain(starts).chain(tags.gold.iter().copied()));
            }
        }
    }
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
    /// What their targets are.
    pub target: TargetKind,
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
    /// Where the tables begin: ends of the ids (u64 a row), lines (u32), firsts (u32), ends of the targets (u64; none where all are
    /// as long), ids (u32), targets (u32).
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
        let of_target = if self.info.target.width().is_some() { 0 } else { 8 };
        self.tables + self.info.rows * (16 + of_target)
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
        match self.info.target.width() {
            Some(width) => Some(row * width),
            None => self.before(self.tables + self.info.rows * 16, row),
        }
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
        let target = self.info.target.target(&target, ids.len())?;
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
    debug_assert!(rows.iter().all(|row| row.target.kind() == info.target), "the rows of a file are of one kind");
    let (mut targets, mut ends) = (Vec::new(), Vec::new());
    for row in rows {
        row.target.push(&mut targets);
        ends.push(targets.len() as u64);
    }
    let mut end = 0u64;
    for row in rows {
        end += row.ids.len() as u64;
        bytes.extend_from_slice(&end.to_le_bytes());
    }
    push_numbers(&mut bytes, rows.iter().map(|row| row.line));
    push_numbers(&mut bytes, rows.iter().map(|row| row.first));
    if info.target.width().is_none() {
        ends.iter().for_each(|end| bytes.extend_from_slice(&end.to_le_bytes()));
    }
    push_numbers(&mut bytes, rows.iter().flat_map(|row| row.ids.iter().copied()));
    push_numbers(&mut bytes, targets.into_iter());
    bytes
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

    fn classes() -> Vec<TokenRow> {
        let row = |ids: Vec<u32>, first, line, class| TokenRow { ids, first, line, target: Target::Class(class) };
        vec![row(vec![0, 5, 2], 2, 1, 1), row(vec![], 0, 2, -100), row(vec![250_001, 7], 2, 9, 0)]
    }

    /// A word of two ids, one that was cut off, one that vanished; a row without words; a row of no ids at all.
    fn tags() -> Vec<TokenRow> {
        let row = |ids: Vec<u32>, line, labels: Vec<i32>, starts: Vec<Option<u32>>, gold: Vec<u32>| TokenRow {
            first: ids.len() as u32,
            ids,
            line,
            target: Target::Tags(Tags { labels, starts, gold }),
        };
        vec![
            row(vec![1, 7, 8, 2], 1, vec![-100, 3, -100, -100], vec![None, Some(1), None], vec![4, 3, 0]),
            row(vec![1, 2], 5, vec![-100, -100], vec![], vec![]),
            row(vec![], 6, vec![], vec![None], vec![1]),
        ]
    }

    fn info(target: TargetKind) -> TokenInfo {
        let words = WordCounts { all: 4, long: 3, cut: 2, vanished: 1 };
        let (source, sha256) = ("a.tsv".into(), "0".into());
        TokenInfo { source, sha256, rows: 3, skipped: 2, empty: 1, truncated: 0, target, words }
    }

    /// An answer in a window, one that nobody knows, a window without any token of its passage.
    fn spans() -> Vec<TokenRow> {
        let row = |ids: Vec<u32>, answer, question, start, offsets| TokenRow {
            first: start,
            ids,
            line: 3,
            target: Target::Span(Span { answer, question, place: WindowPlace { passage: question, start, offsets } }),
        };
        vec![
            row(vec![1, 5, 2, 9, 9, 2], [3, 4], 0, 3, vec![(0, 2), (2, 3)]),
            row(vec![1, 5, 2, 9, 2], [-100, -100], 0, 3, vec![(7, 70_000)]),
            row(vec![1, 2, 2], [0, 0], 1, 2, vec![]),
        ]
    }

    fn kinds() -> [(TokenInfo, Vec<TokenRow>); 3] {
        [(info(TargetKind::Class), classes()), (info(TargetKind::Tags), tags()), (info(TargetKind::Span), spans())]
    }

    #[test]
    fn rows_come_back_from_the_file() {
        for (info, rows) in kinds() {
            let folder = tempfile::tempdir().unwrap();
            let made = TokenCache::create(Some(folder.path()), "k", info.clone(), &rows).unwrap();
            let opened = TokenCache::open(folder.path(), "k").unwrap();
            for cache in [made, opened] {
                assert_eq!(cache.info, info);
                assert_eq!((0..3).map(|i| cache.get(i).unwrap()).collect::<Vec<_>>(), rows);
                assert!((0..3).all(|row| cache.length(row) == rows[row].ids.len()));
            }
        }
    }

    /// A cache cut short by a full disk or a crash must be made again, not read.
    #[test]
    fn a_cut_file_counts_as_none() {
        for (info, rows) in kinds() {
            let folder = tempfile::tempdir().unwrap();
            TokenCache::create(Some(folder.path()), "k", info, &rows).unwrap();
            let path = folder.path().join("k.tokens");
            let whole = std::fs::read(&path).unwrap();
            for length in 0..whole.len() {
                std::fs::write(&path, &whole[..length]).unwrap();
                assert!(TokenCache::open(folder.path(), "k").is_none(), "cut to {length} bytes");
            }
        }
    }
}
