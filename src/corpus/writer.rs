//! Writing a corpus bit by bit: sentences are appended to files in a work folder, and the whole is renamed into place
//! at the end, the index last, so that a corpus which can be opened is always whole.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zip::ZipWriter;

use super::layout::{BIN, IDS, IDX, INDEX, with_ending};
use super::mmidx;
use super::npy;
use super::npz::write_array;
use crate::data::ints::Dtype;
use crate::error::{Error, Problem, Result};
use crate::files::sync_folder;
use crate::recipe::CorpusLayout;

impl CorpusLayout {
    /// The endings of the file with the ids and of the index.
    fn endings(self) -> (&'static str, &'static str) {
        match self {
            Self::Npy => (IDS, IDX),
            Self::Mmap => (BIN, INDEX),
        }
    }

    /// What stands before the first id (bytes).
    fn header_length(self) -> u64 {
        match self {
            Self::Npy => npy::HEADER_LENGTH as u64,
            Self::Mmap => 0,
        }
    }
}

/// How much of a corpus has been written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub tokens: u64,
    pub sentences: u64,
    pub documents: u64,
}

/// The work folder's file with the ids, laid out as it will stand in the end.
const WORK_IDS: &str = "ids";
/// Tokens of each sentence (i32), and the number of sentences up to the end of each document (i64).
const WORK_LENS: &str = "lens";
const WORK_DOCS: &str = "docs";
/// The finished index: it is there only when everything has been written.
const WORK_INDEX: &str = "index";

/// A corpus in the making.
#[derive(Debug)]
pub struct CorpusWriter {
    folder: PathBuf,
    layout: CorpusLayout,
    dtype: Dtype,
    ids: Output,
    lens: Output,
    docs: Output,
    written: Written,
}

impl CorpusWriter {
    /// Begins a corpus of ids below `id_count` in a folder that exists, or goes on with one of which `written` is
    /// certain to be there; what stands behind that is cut off.
    ///
    /// # Errors
    /// A file cannot be written, or is shorter than `written` says ([`Error::Input`]).
    pub fn open(folder: &Path, layout: CorpusLayout, id_count: usize, written: Written) -> Result<Self> {
        let dtype = Dtype::for_ids(id_count);
        let ids = layout.header_length() + written.tokens.saturating_mul(dtype.size() as u64);
        let mut writer = Self {
            ids: Output::open(folder.join(WORK_IDS), if written == Written::default() { 0 } else { ids })?,
            lens: Output::open(folder.join(WORK_LENS), written.sentences.saturating_mul(4))?,
            docs: Output::open(folder.join(WORK_DOCS), written.documents.saturating_mul(8))?,
            folder: folder.to_path_buf(),
            layout,
            dtype,
            written,
        };
        if written == Written::default() && layout == CorpusLayout::Npy {
            writer.ids.write(&npy::header(dtype, 0))?;
        }
        Ok(writer)
    }

    /// Appends a document: its sentences' ids one after the other, and how many each has. One without sentences is left
    /// out.
    ///
    /// # Errors
    /// A file cannot be written, or an id does not fit the vocabulary that the corpus is for.
    pub fn push(&mut self, ids: &[u32], lens: &[u32]) -> Result<()> {
        if lens.is_empty() {
            return Ok(());
        }
        self.push_ids(ids)?;
        for length in lens {
            // A sentence comes from a line of bounded length.
            self.lens.write(&i32::try_from(*length).unwrap_or(i32::MAX).to_le_bytes())?;
        }
        self.written.tokens += ids.len() as u64;
        self.written.sentences += lens.len() as u64;
        self.written.documents += 1;
        self.docs.write(&(self.written.sentences as i64).to_le_bytes())
    }

    fn push_ids(&mut self, ids: &[u32]) -> Result<()> {
        let most = if self.dtype == Dtype::U16 { u32::from(u16::MAX) } else { i32::MAX as u32 };
        if let Some(id) = ids.iter().find(|id| **id > most) {
            return Err(Error::run(Problem::new(format!("the tokenizer gave the id {id}, which it does not have"))));
        }
        match self.dtype {
            Dtype::U16 => ids.iter().try_for_each(|id| self.ids.write(&(*id as u16).to_le_bytes())),
            _ => ids.iter().try_for_each(|id| self.ids.write(&id.to_le_bytes())),
        }
    }

    /// Makes sure that everything pushed is on the disk, and says how much that is.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn sync(&mut self) -> Result<Written> {
        for file in [&mut self.ids, &mut self.lens, &mut self.docs] {
            file.sync()?;
        }
        Ok(self.written)
    }

    /// Completes the files in the work folder; [`publish`] then puts them in their place.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(mut self) -> Result<()> {
        if self.layout == CorpusLayout::Npy {
            let header = npy::header(self.dtype, self.written.tokens);
            self.ids.rewrite_start(&header)?;
        }
        self.sync()?;
        let partial = self.folder.join("index.partial");
        let write = || -> io::Result<()> {
            let index = match self.layout {
                CorpusLayout::Npy => self.npz(&partial)?,
                CorpusLayout::Mmap => self.mmidx(&partial)?,
            };
            index.sync_all()?;
            std::fs::rename(&partial, self.folder.join(WORK_INDEX))
        };
        write().map_err(|cause| Error::writing(&partial, &cause))
    }

    fn npz(&self, path: &Path) -> io::Result<File> {
        let mut npz = ZipWriter::new(File::create(path)?);
        write_array(&mut npz, "lens", Dtype::I32, self.written.sentences, &mut self.lens.reader()?)?;
        let mut docs = io::Read::chain(&[0; 8][..], self.docs.reader()?);
        write_array(&mut npz, "docs", Dtype::I64, self.written.documents + 1, &mut docs)?;
        Ok(npz.finish()?)
    }

    fn mmidx(&self, path: &Path) -> io::Result<File> {
        let mut out = BufWriter::new(File::create(path)?);
        mmidx::write_header(&mut out, self.dtype, self.written.sentences, self.written.documents)?;
        io::copy(&mut self.lens.reader()?, &mut out)?;
        let (mut lens, mut pointer, mut length) = (self.lens.reader()?, 0u64, [0; 4]);
        for _ in 0..self.written.sentences {
            out.write_all(&pointer.to_le_bytes())?;
            io::Read::read_exact(&mut lens, &mut length)?;
            pointer += u64::from(u32::from_le_bytes(length)) * self.dtype.size() as u64;
        }
        out.write_all(&[0; 8])?;
        io::copy(&mut self.docs.reader()?, &mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Whether the work folder holds a corpus that only has to be published.
pub fn is_finished(folder: &Path) -> bool {
    folder.join(WORK_INDEX).is_file()
}

/// Takes back the corpus that stands at `prefix`, if any, in either layout: the indices go, so that it can no longer be
/// opened, and the ids of the layout that is not `layout`; those of `layout` stay until [`publish`] replaces them.
///
/// # Errors
/// A file cannot be removed.
pub fn withdraw(layout: CorpusLayout, prefix: &Path) -> Result<()> {
    let (ids, _) = layout.endings();
    let endings = [IDX, INDEX, IDS, BIN].into_iter().filter(|ending| *ending != ids);
    endings.map(|ending| with_ending(prefix, ending)).try_for_each(|file| remove(&file))
}

/// Moves the finished files of the work folder to `prefix`, which must be on the same file system and
/// [withdrawn](withdraw). The index goes last: once it stands, the corpus can be opened. Killed in between, it is
/// called again and goes on.
///
/// # Errors
/// A file cannot be renamed.
pub fn publish(folder: &Path, layout: CorpusLayout, prefix: &Path) -> Result<()> {
    let (ids, index) = layout.endings();
    let rename = |from: &str, to: &str| {
        let to = with_ending(prefix, to);
        std::fs::rename(folder.join(from), &to).map_err(|cause| Error::writing(&to, &cause))
    };
    if folder.join(WORK_IDS).exists() {
        rename(WORK_IDS, ids)?;
    }
    rename(WORK_INDEX, index)?;
    if let Some(parent) = prefix.parent() {
        sync_folder(parent);
    }
    Ok(())
}

/// Removes a file, if it is there.
pub(crate) fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::writing(file, &cause)),
        _ => Ok(()),
    }
}

/// A file that is appended to.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    /// Opens a file of which the first `length` bytes are kept.
    pub(crate) fn open(path: PathBuf, length: u64) -> Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let found = file.metadata()?.len();
            file.set_len(length.min(found))?;
            file.seek(SeekFrom::End(0))?;
            Ok((file, found))
        };
        let (file, found) = open().map_err(|cause| Error::writing(&path, &cause))?;
        if found < length {
            return Err(Problem::new(format!("{found} bytes where {length} were written")).in_file(&path).into());
        }
        Ok(Self { path, file: BufWriter::with_capacity(1 << 16, file) })
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error + '_ {
        |cause| Error::writing(&self.path, &cause)
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|cause| Error::writing(&self.path, &cause))
    }

    pub(crate) fn sync(&mut self) -> Result<()> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_data());
        synced.map_err(self.failed())
    }

    /// Writes the first bytes anew.
    fn rewrite_start(&mut self, bytes: &[u8]) -> Result<()> {
        let rewritten = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(bytes));
        rewritten.and_then(|()| self.file.seek(SeekFrom::End(0))).map(drop).map_err(self.failed())
    }

    /// Reads what has been synced, from the beginning.
    fn reader(&self) -> io::Result<BufReader<File>> {
        Ok(BufReader::with_capacity(1 << 18, File::open(&self.path)?))
    }
}
