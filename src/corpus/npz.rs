//! The index of the classic layout, `P_idx.npz` beside `P_ids.npy`: a zip file of the arrays `lens` and `docs`, as
//! `numpy.savez` writes it, or `numpy.savez_compressed`.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use zip::result::{ZipError, ZipResult};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::ints::{Dtype, Ints, map};
use super::npy::{self, Header};
use crate::error::{Error, Problem, Result};

/// An opened `.npz` file.
pub(super) struct Npz<'a> {
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
    /// No array is unpacked that needs more memory than this (bytes); mapped ones may be of any size.
    limit: u64,
}

impl<'a> Npz<'a> {
    /// # Errors
    /// The file cannot be read or is no zip file.
    pub(super) fn open(path: &'a Path, limit: u64) -> Result<Self> {
        let file = File::open(path).map_err(|cause| Error::reading(path, &cause))?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|cause| damaged(path, &cause))?;
        Ok(Self { path, archive, limit })
    }

    /// An array by its name: mapped if it is stored as it is, unpacked if it is compressed.
    ///
    /// # Errors
    /// It is missing, damaged, cut short, or not a row of whole numbers.
    pub(super) fn array(&mut self, name: &str) -> Result<Ints> {
        let path = self.path;
        let wrong = |what: String| Error::from(Problem::new(format!("the array `{name}`: {what}")).in_file(path));
        let names: Vec<String> = self.archive.file_names().flatten().map(String::from).collect();
        let mut member = match self.archive.by_name(&format!("{name}.npy")) {
            Ok(member) => member,
            Err(ZipError::FileNotFound) => {
                let help = format!("a corpus index holds `lens` and `docs`; this file holds: {}", names.join(", "));
                return Err(Problem::new(format!("there is no array `{name}`")).in_file(path).help(help).into());
            }
            Err(cause) => return Err(damaged(path, &cause)),
        };
        let mut head = Vec::new();
        let unpacked = member.size();
        member.by_ref().take(npy::HEAD as u64).read_to_end(&mut head).map_err(|cause| wrong(cause.to_string()))?;
        let header = Header::parse(&head).map_err(wrong)?;
        let length = header.count.checked_mul(header.dtype.size() as u64);
        let whole = length.and_then(|length| length.checked_add(header.data as u64));
        if whole != Some(unpacked) {
            return Err(wrong(format!("{} numbers are announced, but it is {unpacked} bytes long", header.count)));
        }
        if member.compression() == CompressionMethod::Stored {
            let start = member.data_start().and_then(|start| start.checked_add(header.data as u64));
            let start = start.ok_or_else(|| wrong("its place in the file is unknown".to_string()))?;
            let numbers = Ints::mapped(&map(path)?, start, header.count, header.dtype);
            return numbers.ok_or_else(|| wrong("the file is cut short".to_string()));
        }
        if unpacked > self.limit {
            return Err(wrong(format!("{unpacked} bytes unpacked are more than the ids of the corpus need")));
        }
        let mut bytes = head.split_off(header.data);
        // One byte more than announced shows a member that is longer than it says.
        let rest = unpacked - (header.data + bytes.len()) as u64;
        member.take(rest + 1).read_to_end(&mut bytes).map_err(|cause| wrong(cause.to_string()))?;
        if Some(bytes.len() as u64) != length {
            return Err(wrong("it has another length than it says".to_string()));
        }
        Ok(Ints::held(bytes, header.dtype))
    }
}

fn damaged(path: &Path, cause: &ZipError) -> Error {
    let problem = Problem::new(format!("not a whole .npz file: {cause}")).in_file(path);
    problem.help("copy or prepare the corpus again").into()
}

/// Writes arrays one after the other, uncompressed, as `numpy.savez` does.
pub(super) struct NpzWriter {
    zip: ZipWriter<File>,
}

impl NpzWriter {
    pub(super) fn new(file: File) -> Self {
        Self { zip: ZipWriter::new(file) }
    }

    /// Copies `count` numbers from `numbers`, which lie there as they are stored.
    pub(super) fn array(&mut self, name: &str, dtype: Dtype, count: u64, numbers: &mut impl Read) -> ZipResult<()> {
        // NumPy gives every member the large form as well.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .large_file(true);
        self.zip.start_file(format!("{name}.npy"), options)?;
        self.zip.write_all(&npy::header(dtype, count))?;
        std::io::copy(numbers, &mut self.zip)?;
        Ok(())
    }

    pub(super) fn finish(self) -> ZipResult<File> {
        self.zip.finish()
    }
}
