//! The index of the classic layout, `P_idx.npz` beside `P_ids.npy`: a zip file of the arrays `lens` and `docs`, as
//! `numpy.savez` writes it, or `numpy.savez_compressed`.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use zip::result::{ZipError, ZipResult};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{self, Header};
use crate::data::ints::{Dtype, Ints, hold, map};
use crate::error::{Error, Problem, Result, caught};

/// The arrays of these names: mapped if they are stored as they are, unpacked if they are compressed. None is unpacked that needs
/// more memory than `limit` (bytes); mapped ones may be of any size.
///
/// # Errors
/// The file cannot be read or is no zip file; an array is missing, damaged, cut short, or not a row of whole numbers.
pub(super) fn arrays(path: &Path, limit: u64, [one, other]: [&str; 2]) -> Result<[Ints; 2]> {
    let read = || {
        let file = File::open(path).map_err(|cause| Error::reading(path, &cause))?;
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|cause| damaged(path, &cause))?;
        let mut array = |name| array(path, &mut archive, limit, name);
        Ok([array(one)?, array(other)?])
    };
    caught("zip", read).map_err(|what| Problem::new(format!("not a whole .npz file: {what}")).in_file(path))?
}

fn array(path: &Path, archive: &mut ZipArchive<BufReader<File>>, limit: u64, name: &str) -> Result<Ints> {
    let wrong = |what: String| Error::from(Problem::new(format!("the array `{name}`: {what}")).in_file(path));
    let names: Vec<String> = archive.file_names().flatten().map(String::from).collect();
    let mut member = match archive.by_name(&format!("{name}.npy")) {
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
        let numbers = Ints::new(&map(path)?, start, header.count, header.dtype);
        return numbers.ok_or_else(|| wrong("the file is cut short".to_string()));
    }
    if unpacked > limit {
        return Err(wrong(format!("{unpacked} bytes unpacked are more than the ids of the corpus need")));
    }
    let mut bytes = head.split_off(header.data);
    // One byte more than announced shows a member that is longer than it says.
    let rest = unpacked.saturating_sub((header.data + bytes.len()) as u64);
    member.take(rest + 1).read_to_end(&mut bytes).map_err(|cause| wrong(cause.to_string()))?;
    let numbers = Ints::new(&hold(&bytes)?, 0, header.count, header.dtype);
    let whole = numbers.filter(|_| Some(bytes.len() as u64) == length);
    whole.ok_or_else(|| wrong("it has another length than it says".to_string()))
}

fn damaged(path: &Path, cause: &ZipError) -> Error {
    let problem = Problem::new(format!("not a whole .npz file: {cause}")).in_file(path);
    problem.help("copy or prepare the corpus again").into()
}

/// Copies `count` numbers, which lie in `numbers` as they are stored, into an array of a zip file, uncompressed, as
/// `numpy.savez` does.
pub(super) fn write_array(
    zip: &mut ZipWriter<File>,
    name: &str,
    dtype: Dtype,
    count: u64,
    numbers: &mut impl Read,
) -> ZipResult<()> {
    // NumPy gives every member the large form as well.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .large_file(true);
    zip.start_file(format!("{name}.npy"), options)?;
    zip.write_all(&npy::header(dtype, count))?;
    std::io::copy(numbers, zip)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two arrays of `count` numbers, of which the zip file says that they are `said` numbers long.
    fn packed(path: &Path, count: usize, said: usize) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        for name in ["lens", "docs"] {
            zip.start_file(format!("{name}.npy"), options).unwrap();
            zip.write_all(&[npy::header(Dtype::I32, said as u64), vec![0; 4 * count]].concat()).unwrap();
        }
        zip.finish().unwrap();
        let length = |count: usize| ((npy::HEADER_LENGTH + 4 * count) as u32).to_le_bytes();
        let mut bytes = std::fs::read(path).unwrap();
        while let Some(at) = bytes.windows(4).position(|window| count != said && window == length(count)) {
            bytes[at..at + 4].copy_from_slice(&length(said));
        }
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn an_array_that_unpacks_to_more_than_it_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x_idx.npz");
        packed(&path, 5, 5);
        assert_eq!(arrays(&path, 1 << 16, ["lens", "docs"]).unwrap().map(|array| array.len()), [5, 5]);
        for count in [9, 100_000] {
            packed(&path, count, 5);
            let message = arrays(&path, 1 << 16, ["lens", "docs"]).unwrap_err().to_string();
            assert!(message.contains("the array `lens`: "), "{message}");
        }
        packed(&path, 100_000, 100_000);
        let message = arrays(&path, 1 << 16, ["lens", "docs"]).unwrap_err().to_string();
        assert!(message.contains("400128 bytes unpacked are more than the ids of the corpus need"), "{message}");
    }
}
