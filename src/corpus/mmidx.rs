//! The index of the newer layout, `P.idx` beside `P.bin`: Megatron-LM's "MMIDIDX" version 1, as in PaddleNLP 2.8.1
//! (`paddlenlp/data/indexed_dataset.py`).

use std::io::{self, Write};
use std::path::Path;

use crate::data::ints::{Dtype, Ints, map};
use crate::error::{Problem, Result};

const MAGIC: &[u8; 9] = b"MMIDIDX\0\0";
/// Magic, version, type, sentences, documents + 1.
const HEADER_LENGTH: u64 = 9 + 8 + 1 + 8 + 8;

/// The tables of an index file.
pub(super) struct Index {
    /// What the ids in the `.bin` file are stored in.
    pub(super) dtype: Dtype,
    /// Tokens of each sentence.
    pub(super) lens: Ints,
    /// Where each sentence begins in the `.bin` file (bytes).
    pub(super) pointers: Ints,
    /// The sentence that each document begins with, and the number of all.
    pub(super) docs: Ints,
}

impl Index {
    /// Maps an index file.
    ///
    /// # Errors
    /// It cannot be read, is of another format, or has not the length that its header asks for.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let map = map(path)?;
        let wrong = |what: String| Problem::new(what).in_file(path);
        if !map.starts_with(MAGIC) {
            let help = "an index of the \"lazy\" layout (TNTIDX) or of another program; prepare the corpus again";
            return Err(wrong("not an MMIDIDX index".to_string()).help(help).into());
        }
        let word = |at: usize| map.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let (version, code, count, marks) = (word(9), map.get(17).copied(), word(18), word(26));
        let (Some(version), Some(code), Some(count), Some(marks)) = (version, code, count, marks) else {
            return Err(wrong("the index is cut short".to_string()).into());
        };
        if version != 1 {
            return Err(wrong(format!("version {version} of the index format where 1 is known")).into());
        }
        let dtype = Dtype::of_code(code).ok_or_else(|| {
            wrong(format!("ids stored as type {code}")).help("token ids are whole numbers: types 1 to 5 and 8 to 10")
        })?;
        let tables = || -> Option<Self> {
            let mut end = HEADER_LENGTH;
            Some(Self {
                dtype,
                lens: Ints::next(&map, &mut end, count, Dtype::I32)?,
                pointers: Ints::next(&map, &mut end, count, Dtype::I64)?,
                docs: Ints::next(&map, &mut end, marks, Dtype::I64)?,
            })
        };
        tables().ok_or_else(|| {
            let what = format!("the index is cut short: it should hold {count} sentences and {marks} document marks");
            wrong(what).help("copy or prepare the corpus again").into()
        })
    }
}

/// Writes what stands before the tables.
pub(super) fn write_header(out: &mut impl Write, dtype: Dtype, sentences: u64, documents: u64) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&1u64.to_le_bytes())?;
    out.write_all(&[dtype.code()])?;
    out.write_all(&sentences.to_le_bytes())?;
    out.write_all(&(documents + 1).to_le_bytes())
}
