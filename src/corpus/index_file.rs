//! The file of a sample index: an `.npy` table of three unsigned columns, as numpy's `np.save` writes it.

use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::npy;
use crate::data::ints::{Dtype, Ints, hold, map};
use crate::error::{Error, Problem, Result};
use crate::files::write_file;

/// The first sentence of a sample, one behind its last, and the most tokens it may have.
pub(super) const COLUMNS: usize = 3;

/// An index in the making: the whole file in memory.
pub(super) struct Table {
    bytes: Vec<u8>,
    dtype: Dtype,
}

impl Table {
    /// An empty table for so many rows of a corpus of so many sentences, whose number decides about the width as in
    /// PaddleNLP.
    pub(super) fn new(rows: u64, sentences: usize) -> Result<Self> {
        let dtype = if sentences as u64 > u64::from(u32::MAX) { Dtype::U64 } else { Dtype::U32 };
        let mut bytes = header(rows, dtype);
        let size = usize::try_from(rows).ok().and_then(|rows| rows.checked_mul(COLUMNS * dtype.size()));
        let reserved = size.filter(|size| bytes.try_reserve_exact(*size).is_ok());
        reserved.ok_or_else(|| {
            let problem = Problem::new(format!("an index of {rows} samples does not fit into the memory"));
            problem.help("each sample takes 12 bytes; lower training.max_steps or the batch size")
        })?;
        Ok(Self { bytes, dtype })
    }

    pub(super) fn push(&mut self, row: [usize; COLUMNS]) {
        for number in row {
            self.bytes.extend_from_slice(&(number as u64).to_le_bytes()[..self.dtype.size()]);
        }
    }

    pub(super) fn len(&self) -> u64 {
        ((self.bytes.len() - npy::HEADER_LENGTH) / (COLUMNS * self.dtype.size())) as u64
    }

    /// Swaps two rows, which there must be.
    pub(super) fn swap(&mut self, one: u64, other: u64) {
        let size = COLUMNS * self.dtype.size();
        let (low, high) = (one.min(other) as usize * size, one.max(other) as usize * size);
        if low != high {
            let (before, after) = self.bytes[npy::HEADER_LENGTH..].split_at_mut(high);
            before[low..low + size].swap_with_slice(&mut after[..size]);
        }
    }
}

/// An index that is mapped, or held where it could not be written.
#[derive(Debug)]
pub(super) struct IndexFile {
    numbers: Ints,
    pub(super) rows: u64,
}

impl IndexFile {
    /// Maps a file; `None` if there is none, or it is not such a table, or not whole.
    pub(super) fn open(path: &Path) -> Option<Self> {
        Self::of(&map(path).ok()?)
    }

    fn of(map: &Arc<Mmap>) -> Option<Self> {
        let (data, dtype, rows) = parse(map)?;
        Some(Self { numbers: Ints::new(map, data as u64, rows * COLUMNS as u64, dtype)?, rows })
    }

    /// Writes a table, whole or not at all, and maps it. Where it cannot be written, it stays in memory, with a
    /// warning.
    pub(super) fn create(path: &Path, table: &Table) -> Result<Self> {
        if let Err(cause) = write_file(path, &table.bytes) {
            tracing::warn!("the index of samples is not kept: {cause}");
        } else if let Some(file) = Self::open(path) {
            return Ok(file);
        }
        Self::of(&hold(&table.bytes)?).ok_or_else(|| Error::input("the index of samples could not be laid out"))
    }

    /// The three numbers of a row. `None` where there is no such row, or a number that this machine cannot count to.
    pub(super) fn row(&self, row: u64) -> Option<[usize; COLUMNS]> {
        let start = usize::try_from(row).ok()?.checked_mul(COLUMNS)?;
        Some([self.numbers.count(start)?, self.numbers.count(start + 1)?, self.numbers.count(start + 2)?])
    }
}

fn header(rows: u64, dtype: Dtype) -> Vec<u8> {
    npy::header_of(dtype, &format!("({rows}, {COLUMNS})"))
}

/// Where the numbers of a whole table begin, what they are, and the table's rows.
fn parse(bytes: &[u8]) -> Option<(usize, Dtype, u64)> {
    let (text, data) = npy::header_text(bytes).ok()?;
    let text: String = text.split_whitespace().collect();
    let is_of = |dtype: &Dtype| text.contains(&format!("'descr':'{}'", dtype.descr()));
    let dtype = [Dtype::U32, Dtype::U64].into_iter().find(is_of)?;
    let (rows, columns) = text.split_once("'shape':(")?.1.split_once(')')?.0.split_once(',')?;
    let rows: u64 = rows.parse().ok()?;
    let size = rows.checked_mul((COLUMNS * dtype.size()) as u64)?.checked_add(data as u64)?;
    let is_table = text.contains("'fortran_order':False") && columns == COLUMNS.to_string();
    (is_table && size == bytes.len() as u64).then_some((data, dtype, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sentences: usize) -> Table {
        let mut table = Table::new(2, sentences).unwrap();
        table.push([1, 3, 29]);
        table.push([70_000, 70_002, 2]);
        table
    }

    /// numpy's own header for such an array, but for spaces: `np.save` of numpy 1.26.
    #[test]
    fn the_header_is_numpys() {
        let header = header(2, Dtype::U32);
        assert_eq!(header.len() % 64, 0);
        let start = b"\x93NUMPY\x01\x00v\x00{'descr': '<u4', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(&header[..start.len()], start);
    }

    #[test]
    fn both_widths_come_back() {
        for (sentences, width) in [(100_000, 4), (u32::MAX as usize + 1, 8)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("index.npy");
            let mut table = table(sentences);
            table.swap(0, 1);
            let written = IndexFile::create(&path, &table).unwrap();
            assert!(path.is_file());
            assert_eq!((written.numbers.dtype.size(), written.rows), (width, 2));
            let rows = [0, 1, 2].map(|row| written.row(row));
            assert_eq!(rows, [Some([70_000, 70_002, 2]), Some([1, 3, 29]), None]);
        }
    }

    #[test]
    fn an_index_that_cannot_be_written_is_held() {
        let held = IndexFile::create(Path::new("/nowhere/at/all/index.npy"), &table(10)).unwrap();
        assert_eq!(held.row(0), Some([1, 3, 29]));
    }

    #[test]
    fn what_is_not_a_whole_table_is_none() {
        let whole = table(10).bytes;
        assert!(parse(&whole).is_some());
        assert!((0..whole.len()).all(|cut| parse(&whole[..cut]).is_none()));
        let text = String::from_utf8_lossy(&whole[10..]).into_owned();
        for (right, wrong) in [("<u4", "<i4"), ("False", "True "), ("(2, 3)", "(3, 2)"), ("(2, 3)", "(6,)  ")] {
            assert!(text.contains(right));
            let changed: Vec<u8> = replace(&whole, right.as_bytes(), wrong.as_bytes());
            assert!(parse(&changed).is_none(), "{wrong}");
        }
        let endless = replace(&whole, b"(2, 3), }  ", b"(99999999, ");
        assert!(parse(&endless).is_none());
    }

    fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        [&bytes[..at], new, &bytes[at + old.len()..]].concat()
    }

    #[test]
    fn more_samples_than_fit_are_refused() {
        assert!(Table::new(u64::MAX / 2, 10).is_err());
    }
}
