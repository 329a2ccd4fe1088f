//! Writing tensors as safetensors.
//!
//! (The `safetensors` crate writes to a temporary file that only its owner may read, puts it in the place of whatever is at the
//! path, be it a device, and wants all numbers in memory at once.)

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Problem, Result};

/// A tensor in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Writes f32 tensors, in the order of their names: the same tensors give the same bytes.
pub fn save(path: &Path, tensors: &BTreeMap<String, NamedTensor>) -> Result<()> {
    let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    let mut writer = Writer::create(path, &shapes)?;
    tensors.iter().try_for_each(|(name, tensor)| writer.put(name, &tensor.values))?;
    writer.finish()
}

/// A file in the making, whose tensors come one after the other, each at once or in parts. In the order of their names it needs no
/// seeking, so that it may go into a pipe; the bytes are the same in any order.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    /// Where each tensor has the bytes that are still to come.
    missing: BTreeMap<String, Range<u64>>,
    position: u64,
}

impl Writer {
    /// Begins a file of f32 tensors of these names and shapes.
    pub fn create(path: &Path, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Self> {
        let (header, places) = header(shapes);
        let writing = |cause| Error::writing(path, &cause);
        let mut file = BufWriter::new(File::create(path).map_err(writing)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(writing)?;
        file.write_all(header.as_bytes()).map_err(writing)?;
        let position = 8 + header.len() as u64;
        let moved = |place: Range<u64>| place.start + position..place.end + position;
        let missing = places.into_iter().map(|(name, place)| (name, moved(place))).collect();
        Ok(Self { path: path.to_path_buf(), file, missing, position })
    }

    /// Writes the numbers of one of the tensors, row after row, or the next of them.
    pub fn put(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let wrong = |what: String| Error::run(Problem::new(what).in_file(&self.path));
        let place = self.missing.get_mut(name).ok_or_else(|| wrong(format!("has no place for a tensor `{name}`")))?;
        let (start, left) = (place.start, place.end - place.start);
        let bytes = 4 * values.len() as u64;
        if bytes > left {
            return Err(wrong(format!("has {left} bytes for `{name}`, not {bytes}")));
        }
        place.start += bytes;
        if bytes == left {
            self.missing.remove(name);
        }
        let mut write = || -> std::io::Result<()> {
            if self.position != start {
                self.file.seek(SeekFrom::Start(start))?;
            }
            values.iter().try_for_each(|value| self.file.write_all(&value.to_le_bytes()))
        };
        write().map_err(|cause| Error::writing(&self.path, &cause))?;
        self.position = start + bytes;
        Ok(())
    }

    /// Ends the file, which must have all its tensors by now.
    pub fn finish(mut self) -> Result<()> {
        if let Some(name) = self.missing.keys().next() {
            return Err(Error::run(Problem::new(format!("lacks numbers of the tensor `{name}`")).in_file(&self.path)));
        }
        self.file.flush().map_err(|cause| Error::writing(&self.path, &cause))
    }
}

/// Names, shapes and places, filled up with spaces so that the numbers begin at a multiple of eight bytes; and the places again.
fn header(shapes: &BTreeMap<String, Vec<usize>>) -> (String, BTreeMap<String, Range<u64>>) {
    // transformers refuses files that do not say which library's layout they hold.
    let mut entries = Map::from_iter([("__metadata__".to_string(), json!({ "format": "pt" }))]);
    let mut places = BTreeMap::new();
    let mut start = 0;
    for (name, shape) in shapes {
        let end = start + 4 * shape.iter().product::<usize>() as u64;
        entries.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] }));
        places.insert(name.clone(), start..end);
        start = end;
    }
    let mut text = Value::Object(entries).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    (text, places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;

    #[test]
    fn the_order_of_writing_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let shapes =
            BTreeMap::from([("a".to_string(), vec![2]), ("b".to_string(), vec![1, 3]), ("c".to_string(), vec![])]);
        let values = BTreeMap::from([("a", vec![1.0, 2.0]), ("b", vec![3.0, 4.0, 5.0]), ("c", vec![6.0])]);
        let write = |name: &str, order: [&str; 3]| {
            let path = folder.path().join(name);
            let mut writer = Writer::create(&path, &shapes).unwrap();
            order.iter().for_each(|name| {
                let (first, rest) = values[name].split_at(1);
                writer.put(name, first).unwrap();
                if !rest.is_empty() {
                    writer.put(name, rest).unwrap();
                }
            });
            writer.finish().unwrap();
            std::fs::read(path).unwrap()
        };
        assert_eq!(write("x", ["c", "a", "b"]), write("y", ["a", "b", "c"]));
        let weights = Weights::open(&folder.path().join("x")).unwrap();
        values.iter().for_each(|(name, values)| assert_eq!(&weights.read_f32(name).unwrap(), values));
    }

    /// A file with a hole would be read as zeros.
    #[test]
    fn a_tensor_that_is_missing_or_of_another_size_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let shapes = BTreeMap::from([("a".to_string(), vec![2])]);
        let mut writer = Writer::create(&folder.path().join("x"), &shapes).unwrap();
        assert!(writer.put("b", &[1.0, 2.0]).is_err());
        assert!(writer.put("a", &[1.0, 2.0, 3.0]).is_err());
        writer.put("a", &[1.0]).unwrap();
        assert!(writer.put("a", &[2.0, 3.0]).is_err());
        assert!(writer.finish().is_err());
    }
}
