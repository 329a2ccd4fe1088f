//! The features' way into a safetensors file: its header needs the number of rows and the longest of them, so they lie in
//! temporary files until all are there, without padding. No more than a batch of them is in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::scratch;
use crate::weights::Writer;

/// What a feature has a vector for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Per {
    Row,
    /// `[rows, seq, ...]`
    Token,
}

/// The output in the making.
pub(super) struct Output {
    path: PathBuf,
    tensors: BTreeMap<String, Spool>,
    /// The number and the tokens of each row, in the order in which they were computed.
    rows: Vec<(usize, usize)>,
}

/// The numbers of one tensor, row after row as they were computed, in the machine's own byte order.
struct Spool {
    file: BufWriter<File>,
    per: Per,
    /// The shape of what each row or token has.
    shape: Vec<usize>,
}

impl Spool {
    /// How many numbers each row or token has.
    fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Output {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), tensors: BTreeMap::new(), rows: Vec::new() }
    }

    /// Begins rows that were computed together: the number and the tokens of each.
    pub fn batch(&mut self, rows: impl IntoIterator<Item = (usize, usize)>) -> Batch<'_> {
        let start = self.rows.len();
        self.rows.extend(rows);
        Batch { start, output: self }
    }

    /// Writes the file: the rows in the order of their numbers, with zeros behind the shorter ones.
    pub fn finish(self) -> Result<()> {
        let writing = |cause| Error::writing(&self.path, &cause);
        let width = self.rows.iter().map(|(_, tokens)| *tokens).max().unwrap_or(0);
        let shape = |spool: &Spool| {
            let rows = match spool.per {
                Per::Row => vec![self.rows.len()],
                Per::Token => vec![self.rows.len(), width],
            };
            [rows, spool.shape.clone()].concat()
        };
        let shapes = self.tensors.iter().map(|(name, spool)| (name.clone(), shape(spool))).collect();
        let mut writer = Writer::create(&self.path, &shapes)?;
        // Of each row in the order of the numbers: when it was computed, how many tokens came before, and how many it has.
        let mut places = vec![(0, 0, 0); self.rows.len()];
        let mut before = 0;
        for (computed, &(number, tokens)) in self.rows.iter().enumerate() {
            places[number] = (computed, before, tokens);
            before += tokens;
        }
        for (name, spool) in self.tensors {
            let size = spool.size();
            let mut file = spool.file.into_inner().map_err(|error| writing(error.into_error()))?;
            if spool.per == Per::Token && width == 0 {
                writer.put(&name, &[])?; // no text has a word
                continue;
            }
            for &(computed, before, tokens) in &places {
                let (start, count, padding) = match spool.per {
                    Per::Row => (computed, 1, 0),
                    Per::Token => (before, tokens, width - tokens),
                };
                let mut bytes = vec![0; 4 * count * size];
                file.seek(SeekFrom::Start((4 * start * size) as u64)).map_err(writing)?;
                file.read_exact(&mut bytes).map_err(writing)?;
                let numbers = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_ne_bytes(*four));
                let numbers: Vec<f32> = numbers.chain(std::iter::repeat_n(0.0, padding * size)).collect();
                writer.put(&name, &numbers)?;
            }
        }
        writer.finish()
    }
}

/// Rows that were computed together.
pub(super) struct Batch<'a> {
    output: &'a mut Output,
    start: usize,
}

impl Batch<'_> {
    /// Keeps one feature of the rows, `values` of `shape` `[rows, ...]` or `[rows, seq, ...]`: what stands beyond the tokens of a row
    /// is padding, and left out.
    pub fn put(&mut self, name: &str, per: Per, shape: &[usize], values: &[f32]) -> Result<()> {
        let Output { path, tensors, rows } = &mut *self.output;
        let writing = |cause| Error::writing(path, &cause);
        if !tensors.contains_key(name) {
            let file = BufWriter::new(scratch(path).map_err(writing)?);
            let shape = shape[if per == Per::Token { 2 } else { 1 }..].to_vec();
            tensors.insert(name.to_string(), Spool { file, per, shape });
        }
        let Some(spool) = tensors.get_mut(name) else { return Ok(()) }; // it was put there
        let size = spool.size();
        let rows = &rows[self.start..];
        for ((_, tokens), values) in rows.iter().zip(values.chunks((values.len() / rows.len()).max(1))) {
            let kept = if per == Per::Token { tokens * size } else { size };
            let bytes: Vec<u8> = values[..kept].iter().flat_map(|value| value.to_ne_bytes()).collect();
            spool.file.write_all(&bytes).map_err(writing)?;
        }
        Ok(())
    }
}
