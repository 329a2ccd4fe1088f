//! HDF5 files, as h5py writes them; read by the `hdf5-reader` crate, which has no C in it, follows no link out of the file and
//! bounds every length by the file's.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use hdf5_reader::{Hdf5File, OpenOptions};

use hdf5_writer::{DatasetBuilder, Hdf5Builder, Hdf5Writer, WriteOptions};

use super::{Mapped, NamedTensor, entry};
use crate::error::{Error, Problem, Result, caught};

const LIBRARY: &str = "hdf5-reader";
/// What every HDF5 file begins with.
pub(super) const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// An open file.
pub struct Hdf5 {
    path: PathBuf,
    /// Bytes of the whole file.
    size: usize,
    /// Numbers that may still be read of it.
    left: Cell<usize>,
    file: Hdf5File,
}

/// All numbers together may be so many times the file: weights hardly pack at all, even where a dataset of zeros is among them.
const LARGEST_RATIO: usize = 16;
/// Bytes that may be read whatever the size of the file.
const ALWAYS_ALLOWED: usize = 1 << 20;

impl Hdf5 {
    /// # Errors
    /// The file is missing, empty, cut short, or no HDF5 file.
    pub fn open(path: &Path) -> Result<Self> {
        let mapped = Mapped::open(path)?;
        let problem = |what: String| Problem::new(what).in_file(path).help("fetch or copy the file again");
        if !mapped.map.starts_with(&SIGNATURE) {
            return Err(problem("is not an HDF5 file".into()).into());
        }
        let size = mapped.map.len();
        let bytes = size.saturating_mul(LARGEST_RATIO).saturating_add(ALWAYS_ALLOWED);
        let options = OpenOptions::default().with_max_chunk_bytes(bytes).with_max_read_bytes(bytes);
        let opened = caught(LIBRARY, || Hdf5File::from_mmap_with_options(mapped.map, options));
        let opened = opened.and_then(|opened| opened.map_err(|cause| cause.to_string()));
        let file = opened.map_err(|cause| problem(format!("is damaged: {cause}")))?;
        Ok(Self { path: path.to_path_buf(), size, left: Cell::new(bytes / size_of::<f32>()), file })
    }

    /// The numbers of the dataset at `name` (`group/inner/dataset`), row after row. Float64 is rounded.
    ///
    /// # Errors
    /// There is no such dataset, it cannot be read, holds no floating point numbers, or has another shape.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let cannot = |cause: String| Problem::new(format!("`{name}` cannot be read: {cause}")).in_file(&self.path);
        caught(LIBRARY, || self.read_unguarded(name, shape)).map_err(cannot)?
    }

    /// [`Self::read`], where the library may panic.
    fn read_unguarded(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let problem = |what: String| Problem::new(what).in_file(&self.path);
        let dataset = self.file.dataset(name).map_err(|cause| problem(format!("has no dataset `{name}`: {cause}")))?;
        let wanted: Vec<u64> = shape.iter().map(|length| *length as u64).collect();
        if dataset.shape() != wanted {
            let found = dataset.shape();
            let help = "the weights are of another size than the options beside them say";
            return Err(problem(format!("`{name}` has the shape {found:?}, not {shape:?}")).help(help).into());
        }
        // A shape is only a claim: a dataset without numbers may have any.
        let left = entry::count(shape).and_then(|count| Some((count, self.left.get().checked_sub(count)?)));
        let (count, left) = left.ok_or_else(|| {
            problem(format!("`{name}` has the shape {shape:?}: so many numbers are not in {} bytes", self.size))
        })?;
        self.left.set(left);
        let mut values = vec![0f32; count];
        let read = dataset.read_into(&mut values).or_else(|cause| {
            if dataset.raw_element_size()? != size_of::<f64>() {
                return Err(cause);
            }
            let mut wide = vec![0f64; count];
            dataset.read_into(&mut wide)?;
            values.iter_mut().zip(wide).for_each(|(value, wide)| *value = wide as f32);
            Ok(())
        });
        read.map_err(|cause| problem(format!("`{name}` cannot be read: {cause}")))?;
        Ok(values)
    }
}

/// Writes datasets of f32 by their names (`group/inner/dataset`), in the forms that libhdf5 of all versions reads.
///
/// # Errors
/// The file cannot be written.
pub fn write_hdf5(path: &Path, tensors: &BTreeMap<String, NamedTensor>) -> Result<()> {
    let writing = |cause| Error::writing(path, &cause);
    let failed =
        |cause: hdf5_writer::Error| Error::run(Problem::new(format!("cannot be written: {cause}")).in_file(path));
    let mut builder = Hdf5Builder::new();
    for (name, NamedTensor { shape, values }) in tensors {
        let shape: Vec<u64> = shape.iter().map(|length| *length as u64).collect();
        builder = builder.dataset(DatasetBuilder::typed_data(name.as_str(), shape, values).map_err(failed)?);
    }
    let file = BufWriter::new(File::create(path).map_err(writing)?);
    let file = Hdf5Writer::new(file, WriteOptions::default()).finish(builder.into_plan().map_err(failed)?);
    file.map_err(failed)?.into_inner().map_err(|error| writing(error.into_error())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_that_only_claim_their_numbers_do_not_fill_the_memory() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/damaged/claims.hdf5");
        let open = Hdf5::open(&file).unwrap();
        let message = open.read("x", &[1 << 20, 64]).unwrap_err().to_string();
        assert!(message.ends_with("so many numbers are not in 1672 bytes"), "{message}");
        // Half a megabyte of ones, once and twice, and then no more.
        for _ in 0..2 {
            assert_eq!(open.read("y", &[1 << 15, 4]).unwrap(), [1.0; 1 << 17]);
        }
        assert!(open.read("y", &[1 << 15, 4]).unwrap_err().to_string().contains("so many numbers"));
    }
}
