//! Checkpoints as they come: safetensors, PyTorch's `.bin`, Paddle's `.pdparams` and its folders of variables.
//!
//! [`Weights::open`] finds out what a file or a folder is and lists its tensors; the files are mapped into memory, and
//! a tensor's numbers are read when they are asked for. Nothing here knows a tensor library: shapes and numbers are
//! those of the file, and so are the names, but for the variables of Paddle's static graphs (`paddle_static_names`).

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use memmap2::{Mmap, MmapMut};

use crate::error::{Error, Problem, Result};

mod draws;
mod entry;
mod find;
mod hdf5;
mod module;
mod paddle;
mod paddle_static_elmo;
mod paddle_static_names;
mod paddle_static_numbers;
mod paddle_variables;
mod parameter;
mod partial_table;
mod pdparams;
mod pickle;
mod pickle_globals;
mod pickle_vm;
mod pytorch;
mod safetensors;
mod save;
mod tensor_names;
#[cfg(test)]
mod test_damage;
#[cfg(test)]
mod test_formats;
#[cfg(test)]
mod test_paddle_static;
#[cfg(test)]
mod test_paddle_static_numbers;

pub use crate::nn::Spread;
pub use draws::Initialisation;
pub use entry::{Dtype, Entry};
pub(crate) use find::KNOWN;
pub use hdf5::{Hdf5, write_hdf5};
pub use module::{
    LoadReport, Missing, Saved, each_parameter, export_module, fill, fill_with_rows, initialise, save_module, transpose,
};
pub use paddle_variables::write_variable;
pub use parameter::{Leaf, Parameter, Style};
pub use partial_table::PartialTable;
pub use pdparams::PdparamsWriter;
pub use save::{Format, NamedTensor, WRITTEN, Writer, save};
pub use tensor_names::{ModulePath, Name, TensorNames};

/// What is wrong with a file that the caller will name; boxed, for it is large.
type Fault = Box<Problem>;

/// A tensor and its name.
type Named = (String, Entry);

/// How the weight of a linear layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// PyTorch and Hugging Face: [out, in].
    Torch,
    /// Paddle: [in, out].
    Paddle,
}

/// The tensors of one checkpoint.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    layout: Layout,
    files: Vec<Mapped>,
    /// In the order of the files.
    entries: IndexMap<String, Entry>,
}

impl Weights {
    /// Opens a checkpoint: a file of any known format, told by its content, or a folder that holds one. In a folder it
    /// takes the first there is of `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin`,
    /// `pytorch_model.bin.index.json`, `model_state.pdparams`, and else the only `*.safetensors`, `*.bin` or
    /// `*.pdparams`, and else the variables of a static graph of Paddle's, a file each, in it or in its folder
    /// `static_vars` or `params`.
    ///
    /// The variables of a static graph of ERNIE 1.0 get the names that PaddleNLP's dynamic models have; what belongs to
    /// their training is left out.
    ///
    /// # Errors
    /// An input error names the file and says what is wrong with it: it is missing, cut short, damaged, a Git LFS
    /// pointer, of an unknown format, empty of tensors, a pickle that asks to run code, or several variables without
    /// names.
    pub fn open(path: &Path) -> Result<Self> {
        let (path_buf, entries) = (path.to_path_buf(), IndexMap::new());
        let mut weights = Self { path: path_buf, layout: Layout::Torch, files: Vec::new(), entries };
        for shard in find::shards(path)? {
            weights.read_file(&shard)?;
        }
        if weights.layout == Layout::Paddle {
            weights.name_static_variables()?;
        }
        match weights.entries.is_empty() {
            true => Err(Problem::new("holds no tensors").in_file(path).into()),
            false => Ok(weights),
        }
    }

    /// Tensors that were made from the file at `path`, whose layout is another than their own.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn in_memory(path: &Path, layout: Layout, tensors: &BTreeMap<String, NamedTensor>) -> Result<Self> {
        let failed = |cause| Error::reading(path, &cause);
        let size = 4 * tensors.values().map(|tensor| tensor.values.len()).sum::<usize>();
        let mut map = MmapMut::map_anon(size.max(1)).map_err(failed)?;
        let mut entries = IndexMap::new();
        let mut at = 0;
        for (name, tensor) in tensors {
            let start = at;
            for value in &tensor.values {
                map[at..at + 4].copy_from_slice(&value.to_le_bytes());
                at += 4;
            }
            let place = entry::Place::dense(0, entry::Piece::Bytes(start..at));
            let entry = Entry::new(tensor.shape.clone(), Dtype::F32, place, &map)
                .map_err(|why| Problem::new(format!("the tensor `{name}`: {why}")).in_file(path))?;
            entries.insert(name.clone(), entry);
        }
        let map = map.make_read_only().map_err(failed)?;
        let files = vec![Mapped { path: path.to_path_buf(), map }];
        Ok(Self { path: path.to_path_buf(), layout, files, entries })
    }

    /// How the weights of linear layers are stored.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The file or folder it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the tensors, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Shape and element type of a tensor.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The numbers of a floating point tensor (F64, F32, F16 or BF16), row after row.
    ///
    /// # Errors
    /// There is no such tensor, or it holds something else.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.read(name, Entry::read_f32)
    }

    /// [`Self::read_f32`] of some rows of a matrix.
    ///
    /// # Errors
    /// As [`Self::read_f32`].
    pub fn read_rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        self.read(name, |entry, file| entry.rows(rows.clone()).read_f32(file))
    }

    /// Like [`Self::read_f32`], without rounding F64.
    ///
    /// # Errors
    /// As [`Self::read_f32`].
    pub fn read_f64(&self, name: &str) -> Result<Vec<f64>> {
        self.read(name, Entry::read_f64)
    }

    /// The numbers of an integer or truth value tensor, row after row.
    ///
    /// # Errors
    /// There is no such tensor, it holds something else, or a number of it does not fit.
    pub fn read_i64(&self, name: &str) -> Result<Vec<i64>> {
        self.read(name, Entry::read_i64)
    }

    fn read<T>(&self, name: &str, from: impl Fn(&Entry, &[u8]) -> Result<T, String>) -> Result<T> {
        let Some(entry) = self.get(name) else {
            return Err(Problem::new(format!("has no tensor `{name}`")).in_file(&self.path).into());
        };
        let file = &self.files[entry.file()];
        from(entry, &file.map)
            .map_err(|why| Problem::new(format!("the tensor `{name}` {why}")).in_file(&file.path).into())
    }

    /// Adds the tensors of one file.
    fn read_file(&mut self, shard: &find::Shard) -> Result<()> {
        let file = Mapped::open(&shard.path)?;
        let (layout, entries) =
            entries(&shard.path, &file.map, self.files.len()).map_err(|problem| problem.in_file(&shard.path))?;
        self.layout = layout;
        self.files.push(file);
        // A dictionary's later value counts.
        self.entries.extend(entries);
        match shard.names.iter().find(|name| !self.entries.contains_key(*name)) {
            Some(name) => {
                let what = format!("has no tensor `{name}`, which the index says is in it");
                Err(Problem::new(what).in_file(&shard.path).into())
            }
            None => Ok(()),
        }
    }

    /// Gives the variables of a static graph their dynamic names, and leaves out what belongs to their training.
    fn name_static_variables(&mut self) -> Result<()> {
        let held = self.entries.len();
        if self.entries.keys().any(|name| paddle_static_names::is_dynamic(name)) {
            return Ok(());
        }
        self.entries.retain(|name, _| !paddle_static_names::is_training_state(name));
        if self.entries.is_empty() && held > 0 {
            return Err(Problem::new("holds the state of an optimizer, and no weights")
                .in_file(&self.path)
                .help("the weights are in the .pdparams beside it")
                .into());
        }
        let variables: Vec<_> = self.entries.iter().map(|(name, entry)| (name.as_str(), &entry.shape[..])).collect();
        let mut renamed = match paddle_static_elmo::names(&variables) {
            Some(renamed) => renamed.map_err(|why| Problem::new(why).in_file(&self.path))?,
            None => {
                let dynamic = paddle_static_names::dynamic_names(&variables).unwrap_or_else(|why| {
                    tracing::warn!("{}: its variables keep their names: {why}", self.path.display());
                    HashMap::new()
                });
                dynamic.into_iter().map(|(name, dynamic)| (name, (dynamic, None))).collect()
            }
        };
        let named = std::mem::take(&mut self.entries).into_iter().map(|(name, mut entry)| {
            let (name, shape) = renamed.remove(&name).unwrap_or((name, None));
            entry.shape = shape.unwrap_or(entry.shape);
            (name, entry)
        });
        self.entries = named.collect();
        Ok(())
    }
}

/// A file in memory.
#[derive(Debug)]
struct Mapped {
    path: PathBuf,
    map: Mmap,
}

impl Mapped {
    fn open(path: &Path) -> Result<Self> {
        let reading = |error| Error::reading(path, &error);
        let file = std::fs::File::open(path).map_err(reading)?;
        let facts = file.metadata().map_err(reading)?;
        if !facts.is_file() {
            return Err(Problem::new("is not a file").in_file(path).into());
        }
        if facts.len() == 0 {
            return Err(Problem::new("is empty").in_file(path).into());
        }
        // SAFETY: the map is only read. As with every mapped file, no other program may change it meanwhile; a
        // checkpoint that is written while it is loaded could not be read in any sensible way either.
        let map = unsafe { Mmap::map(&file) }.map_err(reading)?;
        Ok(Self { path: path.to_path_buf(), map })
    }
}

/// A safetensors file begins with the length of its header, in eight bytes, and the header with a brace.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else { return false };
    // A real header is far below 2^40 bytes, and other formats have text or opcodes where the length's high bytes are.
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) < 1 << 40
}

/// The tensors of a file of any known format; `file` is the index that the entries will carry.
fn entries(path: &Path, bytes: &[u8], file: usize) -> Result<(Layout, Vec<Named>), Fault> {
    if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Err(Problem::new("is a Git LFS pointer, not the weights")
            .help("run `git lfs pull` where it came from")
            .into());
    }
    // Before pickles, whose first byte may just as well be the low byte of a safetensors header's length.
    if is_safetensors(bytes) || path.extension().is_some_and(|ending| ending == "safetensors") {
        return safetensors::entries(bytes, file);
    }
    if bytes.starts_with(&hdf5::SIGNATURE) {
        return Err(Problem::new("is an HDF5 file, of which Kiln reads AllenAI's ELMo only")
            .help("name the folder that holds it together with its options.json")
            .into());
    }
    if bytes.starts_with(&paddle_variables::VERSION) {
        return Ok((Layout::Paddle, paddle_variables::entries(path, bytes, file)?));
    }
    if bytes.starts_with(b"PK") {
        return Ok((Layout::Torch, pytorch::zip_entries(bytes, file)?));
    }
    if bytes.first() == Some(&0x80) {
        let pickle = pickle_vm::read(bytes, 0)?;
        if pytorch::is_legacy(&pickle) {
            return Ok((Layout::Torch, pytorch::legacy_entries(bytes, pickle.end, file)?));
        }
        if paddle::is_state(&pickle) {
            return Ok((Layout::Paddle, paddle::entries(&pickle, bytes, file)?));
        }
        return Err(Problem::new("is a pickle, but not a dictionary of tensors").into());
    }
    Err(Problem::new("is not a checkpoint that Kiln knows")
        .help(
            "it reads safetensors files, PyTorch's .bin (torch.save), Paddle's .pdparams (paddle.save) and its \
             variables (paddle.static.save_vars)",
        )
        .into())
}
