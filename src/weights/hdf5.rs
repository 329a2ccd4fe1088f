//! HDF5 files, as h5py writes them; read by the `hdf5-reader` crate, which has no C in it, follows no link out of the file and
//! bounds every length by the file's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use hdf5_reader::{Hdf5File, OpenOptions};

use hdf5_writer::{DatasetBuilder, Hdf5Builder, Hdf5Writer, WriteOptions};

use super::{Mapped, NamedTensor, entry};
use crate::error::{Error, Problem, Result};

/// What every HDF5 file begins with.
pub(super) const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// An open file.
pub struct Hdf5 {
    path: PathBuf,
    /// Bytes of the whole file.
    size: usize,
    file: Hdf5File,
}

/// Deflate makes at most as many bytes of one.
const LARGEST_RATIO: usize = 1032;

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
        let opened = Hdf5File::from_mmap_with_options(mapped.map, OpenOptions::default());
        let file = opened.map_err(|cause| problem(format!("is damaged: {cause}")))?;
        Ok(Self { path: path.to_path_buf(), size, file })
    }

    /// The numbers of the dataset at `name` (`group/inner/dataset`), row after row. Float64 is rounded.
    ///
    /// # Errors
    /// There is no such dataset, it cannot be read, holds no floating point numbers, or has another shape.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let problem = |what: String| Problem::new(what).in_file(&self.path);
        let dataset = self.file.dataset(name).map_err(|cause| problem(format!("has no dataset `{name}`: {cause}")))?;
        let wanted: Vec<u64> = shape.iter().map(|length| *length as u64).collect();
        if dataset.shape() != wanted {
            let found = dataset.shape();
            let help = "the weights are of another size than the options beside them say";
            return Err(problem(format!("`{name}` has the shape {found:?}, not {shape:?}")).help(help).into());
        }
        // A shape is only a claim: a dataset without numbers may have any.
        let most = self.size.saturating_mul(LARGEST_RATIO) / size_of::<f32>();
        let count = entry::count(shape).filter(|count| *count <= most).ok_or_else(|| {
            problem(format!("`{name}` has the shape {shape:?}: so many numbers are not in {} bytes", self.size))
        })?;
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
