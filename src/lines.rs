//! Text files line by line, exactly: plain, gzip or Zstandard, with the hash of what was read.
//!
//! A line ends at "\n" or "\r\n" and nowhere else: U+0085, U+2028, a lone "\r", form feeds are characters of the text (Python's
//! `splitlines` breaks there, and sample counts then differ from the original scripts').

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::error::{Error, Problem};
use crate::hash::hex;

/// No honest row is longer (bytes); a binary file without line ends must not fill the memory.
pub(crate) const LONGEST_LINE: u64 = 16 << 20;

pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A packed file may unpack to so many times its size: text packs to a tenth, and hardly ever to a fiftieth.
const LARGEST_RATIO: u64 = 250;
/// What a file may unpack to whatever its size (bytes).
const ALWAYS_ALLOWED: u64 = 1 << 20;

/// Any source of bytes.
pub type Bytes = Box<dyn Read + Send>;

/// Why no row came.
#[derive(Debug)]
pub enum RowError {
    /// This row is wrong; reading goes on with the next one.
    Row(Box<Problem>),
    /// The file is wrong; nothing more comes.
    File(Box<Problem>),
}

impl RowError {
    /// The finding, whichever it is.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Row(problem) | Self::File(problem) => *problem,
        }
    }

    pub(crate) fn reading(file: &Path, line: Option<usize>, cause: &io::Error) -> Self {
        let problem = match cause.kind() {
            io::ErrorKind::UnexpectedEof => Problem::new("the compressed file ends too early")
                .help("it was cut short, by an unfinished download perhaps: fetch it again"),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Problem::new(format!("the compressed file is damaged: {cause}")).help("fetch it again")
            }
            _ => Problem::new(format!("cannot be read: {cause}")),
        };
        Self::File(Box::new(match line {
            Some(line) => problem.at(file, line, None),
            None => problem.in_file(file),
        }))
    }
}

impl From<RowError> for Error {
    fn from(error: RowError) -> Self {
        error.into_problem().into()
    }
}

/// Opens a file, unpacking it when it is compressed by its first bytes (whatever its name says).
pub fn open(path: &Path) -> io::Result<Bytes> {
    unpack(Box::new(File::open(path)?))
}

/// Unpacks gzip and Zstandard, of one or several members, and passes anything else through. A packed file that unpacks to more than
/// [`LARGEST_RATIO`] times its size ends in an error there.
pub fn unpack(mut packed: Bytes) -> io::Result<Bytes> {
    let mut start = Vec::with_capacity(4);
    packed.by_ref().take(4).read_to_end(&mut start)?;
    let kind = Packing::of(&start);
    let whole = Cursor::new(start).chain(packed);
    let packed = Arc::new(AtomicU64::new(0));
    let counted = |whole| BufReader::new(Counted { inner: whole, count: Arc::clone(&packed) });
    let unpacked: Bytes = match kind {
        Packing::None => return Ok(Box::new(whole)),
        Packing::Gzip => Box::new(MultiGzDecoder::new(counted(whole))),
        Packing::Zstandard => Box::new(Zstandard(zstd::Decoder::with_buffer(counted(whole))?)),
    };
    Ok(Box::new(Bounded { inner: unpacked, packed, unpacked: 0 }))
}

/// Counts the bytes that pass through.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Ends where a packed file has unpacked to more than it may: a few kilobytes could else fill the memory.
struct Bounded {
    inner: Bytes,
    /// Bytes that were unpacked, and that they came from.
    unpacked: u64,
    packed: Arc<AtomicU64>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.unpacked += count as u64;
        let most = self.packed.load(Ordering::Relaxed).saturating_mul(LARGEST_RATIO).saturating_add(ALWAYS_ALLOWED);
        if self.unpacked > most {
            let what =
                format!("it unpacks to more than {LARGEST_RATIO} times its size; unpack it first, if it is meant so");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(count)
    }
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstandard,
}

impl Packing {
    /// By the first four bytes.
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            _ if start.starts_with(&GZIP) => Self::Gzip,
            _ if start.starts_with(&ZSTANDARD) => Self::Zstandard,
            _ => Self::None,
        }
    }
}

/// Gives damage the same kind of error as gzip's reader does.
struct Zstandard<R: BufRead>(zstd::Decoder<'static, R>);

impl<R: BufRead> Read for Zstandard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|cause| match cause.kind() {
            io::ErrorKind::Other => io::Error::new(io::ErrorKind::InvalidData, cause),
            _ => cause,
        })
    }
}

/// A reader that hashes what passes through it. Its clones are the same reader.
#[derive(Clone)]
pub(crate) struct Hashed(Arc<Mutex<(Bytes, Sha256)>>);

impl Hashed {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(Arc::new(Mutex::new((bytes, Sha256::new()))))
    }

    /// Reads what is left and returns the SHA-256 of everything, in hexadecimal.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        Ok(hex(&hash.finalize()))
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, hash) = &mut *held;
        let count = bytes.read(buffer)?;
        hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// The text of a file without the byte order mark at its start, if there is one; `file` is for messages.
pub(crate) fn text(mut bytes: Bytes, file: &Path) -> Result<impl Read + Send + use<>, RowError> {
    let mut start = Vec::with_capacity(BOM.len());
    let read = bytes.by_ref().take(BOM.len() as u64).read_to_end(&mut start);
    read.map_err(|cause| RowError::reading(file, Some(1), &cause))?;
    if start == BOM {
        start.clear();
    }
    Ok(Cursor::new(start).chain(bytes))
}

/// The lines of a text file, numbered from 1. After a [`RowError::File`] nothing more comes.
pub(crate) struct Lines {
    reader: BufReader<Bytes>,
    /// What messages call the file.
    pub(crate) file: PathBuf,
    /// The number of the line last returned.
    pub(crate) number: usize,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// The lines of a file.
    pub(crate) fn open(file: &Path) -> Result<Self, Error> {
        let bytes = open(file).map_err(|cause| Error::reading(file, &cause))?;
        Ok(Self::new(bytes, file)?)
    }

    /// `file` is only what messages call it.
    pub(crate) fn new(reader: Bytes, file: &Path) -> Result<Self, RowError> {
        let reader = BufReader::with_capacity(1 << 16, Box::new(text(reader, file)?) as Bytes);
        Ok(Self { reader, file: file.to_path_buf(), number: 0, buffer: Vec::new(), ended: false })
    }

    /// The next line without its end; `None` after the last.
    pub(crate) fn next_line(&mut self) -> Result<Option<&str>, RowError> {
        if self.ended {
            return Ok(None);
        }
        self.number += 1;
        self.buffer.clear();
        let count = read_line(&mut self.reader, &mut self.buffer);
        self.ended = count.as_ref().map_or(true, |count| *count == 0 || *count as u64 >= LONGEST_LINE);
        if count.map_err(|cause| RowError::reading(&self.file, Some(self.number), &cause))? == 0 {
            return Ok(None);
        }
        text_of(&self.buffer, &self.file, self.number).map(Some)
    }
}

/// Appends the next line with its end; at most [`LONGEST_LINE`] bytes of it. Returns their count, 0 at the end.
pub(crate) fn read_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<usize> {
    reader.take(LONGEST_LINE).read_until(b'\n', buffer)
}

/// What stands in a line read by [`read_line`], without its end; `file` and `number` are for messages.
pub(crate) fn text_of<'a>(line: &'a [u8], file: &Path, number: usize) -> Result<&'a str, RowError> {
    if line.len() as u64 >= LONGEST_LINE {
        let problem = Problem::new(format!("a line of more than {} MiB", LONGEST_LINE >> 20));
        let problem = problem.at(file, number, None).help("is this a text file with one row a line?");
        return Err(RowError::File(Box::new(problem)));
    }
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).map_err(|cause| {
        let valid = String::from_utf8_lossy(&line[..cause.valid_up_to()]);
        let column = valid.chars().count() + 1;
        RowError::Row(Box::new(not_utf8().at(file, number, Some(column))))
    })
}

pub(crate) fn not_utf8() -> Problem {
    Problem::new("not UTF-8 text").help("save the file as UTF-8, or convert it with iconv")
}

/// The start of a cell, short enough for a message.
pub(crate) fn shorten(cell: &str) -> String {
    const LONGEST: usize = 40;
    match cell.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &cell[..end]),
        None => cell.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(unpack(Box::new(Cursor::new(bytes.to_vec()))).unwrap(), Path::new("f")).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(line.to_string());
        }
        all
    }

    #[test]
    fn only_newlines_end_lines() {
        let text = "\u{feff}a\u{2028}b\u{85}c\rd\r\n\u{feff}e\n\nlast";
        assert_eq!(lines_of(text.as_bytes()), ["a\u{2028}b\u{85}c\rd", "\u{feff}e", "", "last"]);
        assert!(lines_of(b"").is_empty());
        assert_eq!(lines_of(b"x"), ["x"]);
    }

    #[test]
    fn zstandard_is_told_by_its_content_and_cut_files_are_refused() {
        let packed = [zstd::encode_all(&b"a\nb"[..], 0).unwrap(), zstd::encode_all(&b"c\n"[..], 0).unwrap()].concat();
        assert_eq!(lines_of(&packed), ["a", "bc"]);
        let read = |bytes: &[u8]| {
            let mut lines = Lines::new(unpack(Box::new(Cursor::new(bytes.to_vec()))).unwrap(), Path::new("f"))?;
            while lines.next_line()?.is_some() {}
            Ok(())
        };
        let of = |bytes: &[u8]| read(bytes).map_err(RowError::into_problem).unwrap_err().to_string();
        assert!(of(&packed[..packed.len() - 2]).ends_with("the compressed file ends too early"));
        let mut damaged = packed.clone();
        damaged[5] ^= 0xff;
        assert!(of(&damaged).contains("the compressed file is damaged"), "{}", of(&damaged));
    }

    #[test]
    fn a_bomb_is_refused_and_much_repetition_is_not() {
        let read = |bytes: Vec<u8>| io::copy(&mut unpack(Box::new(Cursor::new(bytes))).unwrap(), &mut io::sink());
        let gzip = |bytes: &[u8]| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            io::Write::write_all(&mut packed, bytes).unwrap();
            packed.finish().unwrap()
        };
        // Both pack zeros to less than a thousandth.
        for pack in [&gzip as &dyn Fn(&[u8]) -> Vec<u8>, &|bytes| zstd::encode_all(bytes, 0).unwrap()] {
            let message = read(pack(&[0; 8 << 20])).unwrap_err().to_string();
            assert!(message.starts_with("it unpacks to more than 250 times its size"), "{message}");
            assert_eq!(read(pack(&[0; 1 << 20])).unwrap(), 1 << 20);
            // Numbers, a line each, pack to a fifth.
            let lines: String = (0..400_000).map(|number| format!("{number}\n")).collect();
            assert_eq!(read(pack(lines.as_bytes())).unwrap(), lines.len() as u64);
        }
    }

    #[test]
    fn the_hash_is_of_the_whole_file_however_little_was_read() {
        let hashed = Hashed::new(Box::new(Cursor::new(b"abc\ndef\n".to_vec())));
        Lines::new(Box::new(hashed.clone()), Path::new("f")).unwrap().next_line().unwrap();
        // printf 'abc\ndef\n' | sha256sum
        let expected = "924d391c158a46409fdff363063d718ea0bc00b14556f129984942af91233bbe";
        assert_eq!(hashed.finish().unwrap(), expected);
    }

    #[test]
    fn a_file_without_line_ends_does_not_fill_the_memory() {
        let endless: Bytes = Box::new(io::repeat(b'a'));
        let error = Lines::new(endless, Path::new("f")).unwrap().next_line().unwrap_err();
        assert!(matches!(error, RowError::File(_)));
    }
}
