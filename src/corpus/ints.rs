//! Integer arrays in a file: mapped where the file holds them as they are, held in memory where they had to
//! be unpacked.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// How one number is stored; always little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
}

impl Dtype {
    /// What PaddleNLP stores the ids of a vocabulary in: its `create_pretraining_data.py` takes int32 from 65,535
    /// entries on.
    pub fn for_ids(count: usize) -> Self {
        if count < 65_535 { Self::U16 } else { Self::I32 }
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 => 4,
            Self::U64 | Self::I64 => 8,
        }
    }

    /// One number of [`Self::size`] bytes; what an i64 cannot hold becomes the largest that it can.
    fn read(self, bytes: &[u8]) -> i64 {
        let mut word = [0; 8];
        let size = self.size().min(bytes.len());
        word[..size].copy_from_slice(&bytes[..size]);
        let [a, b, c, d, ..] = word;
        match self {
            Self::U8 => a.into(),
            Self::I8 => (a as i8).into(),
            Self::U16 => u16::from_le_bytes([a, b]).into(),
            Self::I16 => i16::from_le_bytes([a, b]).into(),
            Self::U32 => u32::from_le_bytes([a, b, c, d]).into(),
            Self::I32 => i32::from_le_bytes([a, b, c, d]).into(),
            Self::U64 => u64::from_le_bytes(word).try_into().unwrap_or(i64::MAX),
            Self::I64 => i64::from_le_bytes(word),
        }
    }
}

/// A file that is read through the page cache.
pub(super) fn map(path: &Path) -> Result<Arc<Mmap>> {
    let file = File::open(path).map_err(|cause| Error::reading(path, &cause))?;
    // SAFETY: a corpus is renamed into place whole, and nothing of Kiln's changes its files afterwards.
    let map = unsafe { Mmap::map(&file) };
    map.map(Arc::new).map_err(|cause| Error::reading(path, &cause))
}

#[derive(Debug)]
enum Bytes {
    Mapped(Arc<Mmap>, Range<usize>),
    Held(Vec<u8>),
}

/// Numbers of one kind, one after the other.
#[derive(Debug)]
pub(super) struct Ints {
    bytes: Bytes,
    dtype: Dtype,
}

impl Ints {
    /// `count` numbers that begin at byte `start` of a mapped file; `None` if the file ends before they do.
    pub(super) fn mapped(map: &Arc<Mmap>, start: u64, count: u64, dtype: Dtype) -> Option<Self> {
        let start = usize::try_from(start).ok()?;
        let length = usize::try_from(count).ok()?.checked_mul(dtype.size())?;
        let end = start.checked_add(length).filter(|end| *end <= map.len())?;
        Some(Self { bytes: Bytes::Mapped(Arc::clone(map), start..end), dtype })
    }

    /// Numbers that had to be unpacked.
    pub(super) fn held(bytes: Vec<u8>, dtype: Dtype) -> Self {
        Self { bytes: Bytes::Held(bytes), dtype }
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map, range) => &map[range.clone()],
            Bytes::Held(bytes) => bytes,
        }
    }

    pub(super) fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len() / self.dtype.size()
    }

    /// `None` past the end.
    pub(super) fn get(&self, index: usize) -> Option<i64> {
        let start = index.checked_mul(self.dtype.size())?;
        self.bytes().get(start..start.checked_add(self.dtype.size())?).map(|bytes| self.dtype.read(bytes))
    }

    /// All numbers from `start` on.
    pub(super) fn iter_from(&self, start: usize) -> impl Iterator<Item = i64> + '_ {
        let start = start.saturating_mul(self.dtype.size());
        let bytes = self.bytes().get(start..).unwrap_or_default();
        bytes.chunks_exact(self.dtype.size()).map(|bytes| self.dtype.read(bytes))
    }

    /// `count` numbers from byte `start` on, as ids; none past the end. A number that is no u32 becomes one that no
    /// vocabulary has.
    pub(super) fn ids(&self, start: usize, count: usize) -> Vec<u32> {
        let end = count.checked_mul(self.dtype.size()).and_then(|length| start.checked_add(length));
        let bytes = end.and_then(|end| self.bytes().get(start..end)).unwrap_or_default();
        match self.dtype {
            // What nearly every corpus is stored in.
            Dtype::U16 => bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect(),
            dtype => {
                let numbers = bytes.chunks_exact(dtype.size()).map(|bytes| dtype.read(bytes));
                numbers.map(|number| u32::try_from(number).unwrap_or(u32::MAX)).collect()
            }
        }
    }
}
