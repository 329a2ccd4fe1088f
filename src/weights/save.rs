//! Writing tensors as safetensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{NamedTensor, Weights};
use crate::error::{Error, Result};

/// Writes f32 tensors, in the order of their names: the same tensors give the same bytes.
///
/// (The `safetensors` crate writes to a temporary file that only its owner may read, and puts it in the place of whatever is at
/// `path`, be it a device.)
pub fn save(path: &Path, tensors: &BTreeMap<String, NamedTensor>) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let header = header(tensors);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for value in tensors.values().flat_map(|tensor| &tensor.values) {
            file.write_all(&value.to_le_bytes())?;
        }
        file.flush()
    };
    write().map_err(|cause| Error::writing(path, &cause))
}

/// Names, shapes and places, filled up with spaces so that the numbers begin at a multiple of eight bytes.
fn header(tensors: &BTreeMap<String, NamedTensor>) -> String {
    // transformers refuses files that do not say which library's layout they hold.
    let mut entries = Map::from_iter([("__metadata__".to_string(), json!({ "format": "pt" }))]);
    let mut start = 0;
    for (name, tensor) in tensors {
        let end = start + tensor.values.len() * 4;
        entries.insert(name.clone(), json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end] }));
        start = end;
    }
    let mut text = Value::Object(entries).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    text
}

/// Reads all tensors of a file that [`save`] wrote.
pub fn load(path: &Path) -> Result<BTreeMap<String, NamedTensor>> {
    let weights = Weights::open(path)?;
    let names: Vec<String> = weights.names().map(str::to_string).collect();
    names
        .into_iter()
        .map(|name| {
            let shape = weights.get(&name).map(|entry| entry.shape.clone()).unwrap_or_default();
            Ok((name.clone(), NamedTensor { shape, values: weights.read_f32(&name)? }))
        })
        .collect()
}
