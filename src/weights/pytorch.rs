//! `pytorch_model.bin`: what `torch.save` writes for a dictionary of tensors.
//!
//! Since PyTorch 1.6 that is a zip archive, uncompressed, of `data.pkl`, one member `data/KEY` for each storage and
//! `byteorder`; before, a row of pickles with the storages behind them (torch/serialization.py, `_save` and
//! `_legacy_save`). Tensors are views of storages, so tied weights are two names for one storage.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use indexmap::IndexMap;
use zip::{CompressionMethod, ZipArchive};

use super::entry::{Entry, Piece, Place};
use super::pickle::{Object, Pickle, Storage, Value};
use super::{Fault, Named, pickle_vm};
use crate::error::{Problem, caught};

/// The first pickle of the older format: 0x1950a86a20f9469cfc6c, least significant byte first.
const MAGIC: [u8; 10] = [0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19];
const AGAIN: &str = "load it in Python and save it again with torch.save or as a safetensors file";

/// The tensors of a zip archive; `bytes` is the whole file.
pub(super) fn zip_entries(bytes: &[u8], file: usize) -> Result<Vec<Named>, Fault> {
    let members = caught("zip", || members(bytes)).map_err(|what| Problem::new(format!("is damaged: {what}")))??;
    let pickles = members.iter().filter_map(|(name, range)| Some((name.strip_suffix("data.pkl")?, range)));
    let (folder, range) = pickles.min_by_key(|(folder, _)| *folder).ok_or_else(|| {
        Problem::new("is a zip archive without `data.pkl`, so not one of PyTorch's")
            .help("unpack it, if weights are in it")
    })?;
    let pickle = pickle_vm::read(&bytes[..range.end], range.start)?;
    let order = members.get(&format!("{folder}byteorder")).map(|range| &bytes[range.clone()]);
    let storages = Storages {
        ranges: members
            .iter()
            .filter_map(|(name, range)| Some((name.strip_prefix(folder)?.strip_prefix("data/")?, range.clone())))
            .collect(),
        big_endian: order == Some(b"big"),
    };
    tensors(&pickle, &storages, bytes, file)
}

/// The members of an archive and where their bytes lie.
fn members(bytes: &[u8]) -> Result<HashMap<String, Range<usize>>, Fault> {
    let damaged = |why: &dyn std::fmt::Display| Fault::from(Problem::new(format!("is cut short or damaged: {why}")));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(&e))?;
    let mut found = HashMap::new();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(|e| damaged(&e))?;
        if member.compression() != CompressionMethod::Stored {
            return Err(Problem::new("is compressed: PyTorch writes archives without compression").help(AGAIN).into());
        }
        let start = member.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start.zip(usize::try_from(member.size()).ok()).and_then(|(start, size)| start.checked_add(size));
        match start.zip(end).filter(|(_, end)| *end <= bytes.len()) {
            Some((start, end)) => found.insert(member.name().map_err(|e| damaged(&e))?.to_string(), start..end),
            None => return Err(damaged(&"a member lies beyond the end of the file")),
        };
    }
    Ok(found)
}

/// Whether a pickle is the first one of a file of the older format.
pub(super) fn is_legacy(pickle: &Pickle<'_>) -> bool {
    pickle.long(pickle.root) == Some(&MAGIC)
}

/// The tensors of a file of the older format, whose first pickle ends at byte `at`; `bytes` is the whole file.
pub(super) fn legacy_entries(bytes: &[u8], at: usize, file: usize) -> Result<Vec<Named>, Fault> {
    let version = pickle_vm::read(bytes, at)?;
    if version.root != Value::Int(1001) {
        return Err(Problem::new("has a version of PyTorch's older format that is not known").help(AGAIN).into());
    }
    let system = pickle_vm::read(bytes, version.end)?;
    let state = pickle_vm::read(bytes, system.end)?;
    let keys = pickle_vm::read(bytes, state.end)?;
    let mut little_endian = system.dict(system.root).unwrap_or_default().iter();
    let big_endian =
        little_endian.any(|(key, value)| system.text(*key) == Some("little_endian") && *value == Value::Bool(false));
    let kinds: HashMap<&str, &Storage> =
        state.storages().filter_map(|storage| Some((state.span_text(storage.key)?, storage))).collect();
    let mut ranges = HashMap::new();
    let mut at = keys.end;
    for key in keys.items(keys.root).unwrap_or_default() {
        let key = keys.text(*key).unwrap_or_default();
        let dtype = kinds.get(key).map(|storage| storage.dtype);
        let head = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>);
        let (Some(dtype), Some(head)) = (dtype, head) else {
            return Err(Problem::new(format!("is cut short or damaged: the storage `{}`", key.escape_default())).into());
        };
        let start = at + head.len();
        // The count is written with the byte order of the numbers.
        let count = if big_endian { u64::from_be_bytes(*head) } else { u64::from_le_bytes(*head) };
        let size = usize::try_from(count).ok().and_then(|count| count.checked_mul(dtype.bitsize() / 8));
        at = size.and_then(|size| start.checked_add(size)).filter(|end| *end <= bytes.len()).ok_or_else(|| {
            let left = bytes.len() - start;
            Problem::new(format!("is cut short: a storage of {count} elements of {dtype} has {left} bytes"))
        })?;
        ranges.insert(key, start..at);
    }
    tensors(&state, &Storages { ranges, big_endian }, bytes, file)
}

/// Where the storages lie.
struct Storages<'a> {
    ranges: HashMap<&'a str, Range<usize>>,
    big_endian: bool,
}

/// The tensors of the dictionary at the root; what is not a tensor is left out.
fn tensors(pickle: &Pickle<'_>, storages: &Storages<'_>, bytes: &[u8], file: usize) -> Result<Vec<Named>, Fault> {
    let Some(items) = pickle.dict(pickle.root) else {
        return Err(Problem::new("holds no dictionary of tensors")
            .help("save the model's state: torch.save(model.state_dict(), ...)")
            .into());
    };
    // By name: one that comes twice is there once, and the later one counts.
    let items: IndexMap<&str, Value> =
        items.iter().filter_map(|(key, value)| Some((pickle.text(*key)?, *value))).collect();
    let mut found = Vec::new();
    for (name, value) in items {
        let Some(Object::Tensor(tensor)) = pickle.object(value) else { continue };
        let damaged = |why: String| Problem::new(format!("is damaged: the tensor `{}`: {why}", name.escape_default()));
        let key = pickle.span_text(tensor.storage.key).unwrap_or_default();
        let range = storages.ranges.get(key).ok_or_else(|| damaged("its storage is missing".to_string()))?;
        let dtype = tensor.storage.dtype;
        if tensor.storage.count.checked_mul(dtype.bitsize() / 8) != Some(range.len()) {
            let (count, held) = (tensor.storage.count, range.len());
            return Err(
                damaged(format!("its storage should hold {count} elements of {dtype}, and has {held} bytes")).into()
            );
        }
        let place = Place {
            file,
            pieces: vec![Piece::Bytes(range.clone())],
            offset: tensor.offset,
            strides: Some(tensor.strides.clone()),
            big_endian: storages.big_endian,
        };
        found.push((name.to_string(), Entry::new(tensor.shape.clone(), dtype, place, bytes).map_err(damaged)?));
    }
    Ok(found)
}
