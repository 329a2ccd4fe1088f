//! Whole numbers of one kind in a mapped file.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};

use crate::error::{Error, Problem, Result};

/// How one number is stored; always little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
}

/// Each type with what NumPy's headers call it, and its number in an "MMIDIDX" index.
const NAMES: [(Dtype, &str, u8); 8] = [
    (Dtype::U8, "|u1", 1),
    (Dtype::I8, "|i1", 2),
    (Dtype::U16, "<u2", 8),
    (Dtype::I16, "<i2", 3),
    (Dtype::U32, "<u4", 9),
    (Dtype::I32, "<i4", 4),
    (Dtype::U64, "<u8", 10),
    (Dtype::I64, "<i8", 5),
];

impl Dtype {
    /// What PaddleNLP stores the ids of a vocabulary in: its `create_pretraining_data.py` takes int32 from 65,535
    /// entries on.
    pub(crate) fn for_ids(count: usize) -> Self {
        if count < 65_535 { Self::U16 } else { Self::I32 }
    }

    pub(crate) fn of_descr(descr: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known, _)| *known == descr).map(|(dtype, ..)| *dtype)
    }

    pub(crate) fn of_code(code: u8) -> Option<Self> {
        NAMES.iter().find(|(.., known)| *known == code).map(|(dtype, ..)| *dtype)
    }

    /// What NumPy calls it.
    pub(crate) fn descr(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// Its number in an "MMIDIDX" index.
    pub(crate) fn code(self) -> u8 {
        NAMES[self as usize].2
    }

    /// Bytes of one number.
    pub(crate) fn size(self) -> usize {
        // Two types of each size follow each other.
        1 << (self as usize / 2)
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
pub(crate) fn map(path: &Path) -> Result<Arc<Mmap>> {
    let file = File::open(path).map_err(|cause| Error::reading(path, &cause))?;
    // SAFETY: what is mapped here was renamed into place whole, and nothing of Kiln's changes it afterwards. Should another program
    // write into it meanwhile, other numbers are read, which are checked.
    let map = unsafe { Mmap::map(&file) };
    map.map(Arc::new).map_err(|cause| Error::reading(path, &cause))
}

/// Bytes that are in no file, or were packed in it, as if they were mapped.
pub(crate) fn hold(bytes: &[u8]) -> Result<Arc<Mmap>> {
    let held = MmapMut::map_anon(bytes.len()).and_then(|mut map| {
        map.copy_from_slice(bytes);
        map.make_read_only()
    });
    held.map(Arc::new)
        .map_err(|cause| Error::run(Problem::new(format!("no memory for {} bytes: {cause}", bytes.len()))))
}

/// Numbers of one kind, one after the other.
#[derive(Debug)]
pub(crate) struct Ints {
    map: Arc<Mmap>,
    /// Their bytes.
    range: Range<usize>,
    pub(crate) dtype: Dtype,
}

impl Ints {
    /// `count` numbers that begin at byte `start` of a file; `None` if the file ends before they do.
    pub(crate) fn new(map: &Arc<Mmap>, start: u64, count: u64, dtype: Dtype) -> Option<Self> {
        let start = usize::try_from(start).ok()?;
        let length = usize::try_from(count).ok()?.checked_mul(dtype.size())?;
        let end = start.checked_add(length).filter(|end| *end <= map.len())?;
        Some(Self { map: Arc::clone(map), range: start..end, dtype })
    }

    /// [`Self::new`] from `start` on, which becomes where they end.
    pub(crate) fn next(map: &Arc<Mmap>, start: &mut u64, count: u64, dtype: Dtype) -> Option<Self> {
        let numbers = Self::new(map, *start, count, dtype)?;
        *start = numbers.range.end as u64;
        Some(numbers)
    }

    fn bytes(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }

    pub(crate) fn len(&self) -> usize {
        self.range.len() / self.dtype.size()
    }

    /// `None` past the end.
    pub(crate) fn get(&self, index: usize) -> Option<i64> {
        let start = index.checked_mul(self.dtype.size())?;
        self.bytes().get(start..start.checked_add(self.dtype.size())?).map(|bytes| self.dtype.read(bytes))
    }

    /// A number that counts something. `None` past the end, or if this machine cannot count to it.
    pub(crate) fn count(&self, index: usize) -> Option<usize> {
        self.get(index).and_then(|number| usize::try_from(number).ok())
    }

    /// All numbers from `start` on.
    pub(crate) fn iter_from(&self, start: usize) -> impl Iterator<Item = i64> + '_ {
        let start = start.saturating_mul(self.dtype.size());
        let bytes = self.bytes().get(start..).unwrap_or_default();
        bytes.chunks_exact(self.dtype.size()).map(|bytes| self.dtype.read(bytes))
    }

    /// `count` numbers from byte `start` on, as ids; `None` past the end. A number that is no u32 becomes one that no
    /// vocabulary has.
    pub(crate) fn ids(&self, start: usize, count: usize) -> Option<Vec<u32>> {
        let end = start.checked_add(count.checked_mul(self.dtype.size())?)?;
        let bytes = self.bytes().get(start..end)?;
        Some(match self.dtype {
            // What nearly every corpus is stored in.
            Dtype::U16 => bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect(),
            // And the token cache.
            Dtype::U32 => bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
            dtype => {
                let numbers = bytes.chunks_exact(dtype.size()).map(|bytes| dtype.read(bytes));
                numbers.map(|number| u32::try_from(number).unwrap_or(u32::MAX)).collect()
            }
        })
    }
}
