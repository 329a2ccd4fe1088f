//! Writing tensors as safetensors.
//!
//! (The `safetensors` crate writes to a temporary file that only its owner may read, puts it in the place of whatever is at the
//! path, be it a device, and wants all numbers in memory at once.)

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use crate::error::{Error, Problem, Result};

/// The weights of a model folder in one file, and what says which tensor is in which of several.
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A tensor in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The element types that tensors are written in.
pub const WRITTEN: [Dtype; 3] = [Dtype::F32, Dtype::BF16, Dtype::F16];

/// How the weights of a model folder are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// One of [`WRITTEN`].
    pub dtype: Dtype,
    /// Bytes of numbers that a file may have; weights of more are cut into several files. A tensor is never cut.
    pub max_shard_size: u64,
}

impl Default for Format {
    fn default() -> Self {
        Self { dtype: Dtype::F32, max_shard_size: 5_000_000_000 }
    }
}

/// Writes f32 tensors, in the order of their names: the same tensors give the same bytes.
pub fn save(path: &Path, tensors: &BTreeMap<String, NamedTensor>) -> Result<()> {
    let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    let mut writer = Writer::create(path, &shapes)?;
    tensors.iter().try_for_each(|(name, tensor)| writer.put(name, &tensor.values))?;
    writer.finish()
}

/// Files in the making, whose tensors come one after the other, each at once or in parts. In the order of their names they need no
/// seeking, so that a single file may go into a pipe; the bytes are the same in any order.
pub struct Writer {
    files: Vec<OpenFile>,
    /// Where each tensor has the bytes that are still to come.
    missing: BTreeMap<String, Place>,
}

struct OpenFile {
    path: PathBuf,
    file: BufWriter<File>,
    position: u64,
}

/// What a tensor has in a file.
struct Place {
    file: usize,
    dtype: Dtype,
    bytes: Range<u64>,
}

/// The tensors of one file: their names, element types and shapes.
type Listed<'a> = Vec<(&'a String, Dtype, &'a [usize])>;

impl Writer {
    /// Begins a file of f32 tensors of these names and shapes.
    pub fn create(path: &Path, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Self> {
        let mut writer = Self { files: Vec::new(), missing: BTreeMap::new() };
        writer.begin(path, shapes.iter().map(|(name, shape)| (name, Dtype::F32, shape.as_slice())).collect())?;
        Ok(writer)
    }

    /// Begins the weights of a model folder: `model.safetensors`, or, where they have more than `max_shard_size` bytes,
    /// `model-00001-of-00002.safetensors` and so on with `model.safetensors.index.json`. The element types are of [`WRITTEN`].
    pub fn create_in(
        folder: &Path,
        tensors: &BTreeMap<String, (Dtype, Vec<usize>)>,
        max_shard_size: u64,
    ) -> Result<Self> {
        let mut shards: Vec<Listed> = vec![Vec::new()];
        let (mut size, mut total) = (0, 0);
        for (name, (dtype, shape)) in tensors {
            let bytes = bytes(*dtype, shape);
            if size > 0 && size + bytes > max_shard_size {
                shards.push(Vec::new());
                size = 0;
            }
            size += bytes;
            total += bytes;
            shards[..].last_mut().into_iter().for_each(|shard| shard.push((name, *dtype, shape)));
        }
        let mut writer = Self { files: Vec::new(), missing: BTreeMap::new() };
        let count = shards.len();
        let mut weight_map = Map::new();
        for (number, shard) in shards.into_iter().enumerate() {
            let file = match count {
                1 => SINGLE.to_string(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
            };
            weight_map.extend(shard.iter().map(|(name, ..)| (name.to_string(), file.as_str().into())));
            writer.begin(&folder.join(&file), shard)?;
        }
        if count > 1 {
            let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
            let path = folder.join(INDEX);
            std::fs::write(&path, format!("{index:#}\n")).map_err(|cause| Error::writing(&path, &cause))?;
        }
        Ok(writer)
    }

    fn begin(&mut self, path: &Path, tensors: Listed) -> Result<()> {
        let (header, places) = header(&tensors);
        let writing = |cause| Error::writing(path, &cause);
        let mut file = BufWriter::new(File::create(path).map_err(writing)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(writing)?;
        file.write_all(header.as_bytes()).map_err(writing)?;
        let position = 8 + header.len() as u64;
        for ((name, dtype, _), place) in tensors.into_iter().zip(places) {
            let bytes = place.start + position..place.end + position;
            self.missing.insert(name.clone(), Place { file: self.files.len(), dtype, bytes });
        }
        self.files.push(OpenFile { path: path.to_path_buf(), file, position });
        Ok(())
    }

    /// Writes the numbers of one of the tensors, row after row, or the next of them, rounded to the tensor's element type.
    pub fn put(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let wrong = |file: &OpenFile, what: String| Error::run(Problem::new(what).in_file(&file.path));
        let Some(place) = self.missing.get_mut(name) else {
            return Err(wrong(&self.files[0], format!("has no place for a tensor `{name}`")));
        };
        let file = &mut self.files[place.file];
        let (start, left) = (place.bytes.start, place.bytes.end - place.bytes.start);
        let bytes = bytes(place.dtype, &[values.len()]);
        if bytes > left {
            return Err(wrong(file, format!("has {left} bytes for `{name}`, not {bytes}")));
        }
        let largest = f16::MAX.to_f32();
        if let (Dtype::F16, Some(value)) = (place.dtype, values.iter().find(|v| v.is_finite() && v.abs() > largest)) {
            let problem = Problem::new(format!("`{name}` has {value}, f16 goes to {largest}")).in_file(&file.path);
            return Err(problem.help("write bf16 or f32").into());
        }
        place.bytes.start += bytes;
        let dtype = place.dtype;
        if bytes == left {
            self.missing.remove(name);
        }
        file.write(start, dtype, values).map_err(|cause| Error::writing(&file.path, &cause))?;
        file.position = start + bytes;
        Ok(())
    }

    /// Ends the files, which must have all their tensors by now.
    pub fn finish(mut self) -> Result<()> {
        if let Some((name, place)) = self.missing.iter().next() {
            let problem = Problem::new(format!("lacks numbers of the tensor `{name}`"));
            return Err(Error::run(problem.in_file(&self.files[place.file].path)));
        }
        let flush = |file: &mut OpenFile| file.file.flush().map_err(|cause| Error::writing(&file.path, &cause));
        self.files.iter_mut().try_for_each(flush)
    }
}

impl OpenFile {
    fn write(&mut self, start: u64, dtype: Dtype, values: &[f32]) -> std::io::Result<()> {
        if self.position != start {
            self.file.seek(SeekFrom::Start(start))?;
        }
        let file = &mut self.file;
        match dtype {
            Dtype::BF16 => values.iter().try_for_each(|value| file.write_all(&bf16::from_f32(*value).to_le_bytes())),
            Dtype::F16 => values.iter().try_for_each(|value| file.write_all(&f16::from_f32(*value).to_le_bytes())),
            _ => values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes())),
        }
    }
}

fn bytes(dtype: Dtype, shape: &[usize]) -> u64 {
    (dtype.bitsize() / 8 * shape.iter().product::<usize>()) as u64
}

/// The header: names, types, shapes and places, filled up with spaces so that the numbers begin at a multiple of eight bytes; and the
/// places again.
fn header(tensors: &Listed) -> (String, Vec<Range<u64>>) {
    // transformers refuses files that do not say which library's layout they hold.
    let mut entries = Map::from_iter([("__metadata__".to_string(), json!({ "format": "pt" }))]);
    let mut places = Vec::new();
    let mut start = 0;
    for (name, dtype, shape) in tensors {
        let end = start + bytes(*dtype, shape);
        let dtype = dtype.to_string();
        entries.insert(name.to_string(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
        places.push(start..end);
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

    fn tensors() -> BTreeMap<String, (Dtype, Vec<usize>)> {
        let shape = |name: &str, dtype, shape: &[usize]| (name.to_string(), (dtype, shape.to_vec()));
        [shape("a", Dtype::F32, &[2]), shape("b", Dtype::BF16, &[2, 2]), shape("c", Dtype::F16, &[3])].into()
    }

    /// transformers and Kiln find the tensors of all files by the index.
    #[test]
    fn weights_above_the_largest_size_are_cut_between_tensors() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create_in(folder.path(), &tensors(), 8).unwrap();
        writer.put("c", &[1.0, -2.0, 0.1]).unwrap();
        writer.put("a", &[1.5, 0.1]).unwrap();
        writer.put("b", &[1.0, 2.0, 3.0, 0.1]).unwrap();
        writer.finish().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        names.sort();
        let files = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"];
        assert_eq!(names, [files[0], files[1], "model-00003-of-00003.safetensors", INDEX]);
        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.read_f32("a").unwrap(), [1.5, 0.1]);
        assert_eq!(weights.read_f32("b").unwrap(), [1.0, 2.0, 3.0, bf16::from_f32(0.1).to_f32()]);
        assert_eq!(weights.read_f32("c").unwrap(), [1.0, -2.0, f16::from_f32(0.1).to_f32()]);
        let index = std::fs::read_to_string(folder.path().join(INDEX)).unwrap();
        let index: Value = serde_json::from_str(&index).unwrap();
        assert_eq!(index["metadata"]["total_size"], 8 + 8 + 6);
        assert_eq!(index["weight_map"]["b"], files[1]);
    }

    #[test]
    fn weights_up_to_the_largest_size_are_one_file() {
        let folder = tempfile::tempdir().unwrap();
        drop(Writer::create_in(folder.path(), &tensors(), 22).unwrap());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(names, [SINGLE]);
    }

    /// It would be read as infinity.
    #[test]
    fn a_number_that_f16_has_not_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create_in(folder.path(), &tensors(), 22).unwrap();
        let error = writer.put("c", &[1.0, 70_000.0, 0.0]).unwrap_err().to_string();
        assert!(error.ends_with("`c` has 70000, f16 goes to 65504"), "{error}");
    }
}
