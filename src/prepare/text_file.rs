//! One text file, plain or packed: its lines, or its documents, from any place on.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::data::jsonl::Fault;
use crate::error::{Error, Problem, Result};
use crate::lines::{self, BOM, Bytes, LONGEST_LINE, Packing, RowError};
use crate::recipe::{BadRows, CorpusOptions, TextFormat};

/// How many unreadable lines are named; the others are only counted.
const NAMED: u64 = 10;

const ENDLESS: &str = "an empty line, or the line that document_delimiter names, ends a document; this puts one \
                       behind every thousand lines: awk '{ print } NR % 1000 == 0 { print \"\" }'";

/// A place between two documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The file or bucket, from 0.
    pub(super) part: usize,
    /// Bytes of the unpacked file, or documents of the bucket, in front of it.
    pub(super) offset: u64,
    /// Lines of the file in front of it.
    pub(super) lines: usize,
    /// Of two files that are read side by side: bytes of the second one, unpacked.
    #[serde(default)]
    pub(super) second: u64,
}

impl Place {
    /// Whether it is behind another place.
    pub(super) fn is_behind(self, other: Self) -> bool {
        (self.part, self.offset) > (other.part, other.offset)
    }
}

/// What was left out so far, from the first file on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOut {
    pub(super) rows: u64,
    pub(super) short: u64,
}

/// How far documents have been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Behind the last of them.
    pub(super) place: Place,
    /// In front of that place.
    pub(super) left_out: LeftOut,
}

/// Where documents come from, one after the other.
pub(super) trait Source: Send {
    /// The text of the next document with its line ends, or the two sentences of the next pair, each on a line; `None` after the
    /// last.
    ///
    /// # Errors
    /// A file cannot be read or is damaged, or a line is, unless the options say that such lines are left out.
    fn next(&mut self) -> Result<Option<String>>;

    /// How far it has come.
    fn position(&self) -> Position;
}

/// Whether a file holds JSON lines.
pub(super) fn is_jsonl(format: TextFormat, path: &Path) -> bool {
    match format {
        TextFormat::Text | TextFormat::Tsv | TextFormat::Moses => false,
        TextFormat::Jsonl => true,
        TextFormat::Auto => ["jsonl", "ndjson", "json"].iter().any(|ending| has_ending(path, ending)),
    }
}

/// Whether a file's name ends in a dot and `ending`, before .gz or .zst.
pub(super) fn has_ending(path: &Path, ending: &str) -> bool {
    let name = without_packing(path).to_lowercase();
    name.strip_suffix(&ending.to_lowercase()).is_some_and(|stem| stem.ends_with('.'))
}

/// A file's name without .gz or .zst.
pub(super) fn without_packing(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let packing = [".gz", ".zst"].into_iter().find(|ending| name.to_lowercase().ends_with(ending));
    name[..name.len() - packing.map_or(0, str::len)].to_string()
}

/// One file that is being read.
pub(super) struct TextFile {
    path: PathBuf,
    reader: BufReader<Bytes>,
    /// Bytes and lines read, of the unpacked file.
    offset: u64,
    lines: usize,
    buffer: Vec<u8>,
}

impl TextFile {
    pub(super) fn open(path: &Path, place: Place, read: &ProgressBar) -> Result<Self> {
        let bytes =
            open_at(path, place.offset, read).map_err(|cause| Error::from(RowError::reading(path, None, &cause)))?;
        let reader = BufReader::with_capacity(1 << 18, bytes);
        Ok(Self { path: path.to_path_buf(), reader, offset: place.offset, lines: place.lines, buffer: Vec::new() })
    }

    /// The next line without its end, or what is wrong with it; `None` after the last.
    pub(super) fn next_line(&mut self) -> Result<Option<&str>, RowError> {
        self.buffer.clear();
        self.lines += 1;
        let count = lines::read_line(&mut self.reader, &mut self.buffer)
            .map_err(|cause| RowError::reading(&self.path, Some(self.lines), &cause))?;
        let first = self.offset == 0;
        self.offset += count as u64;
        if count == 0 {
            self.lines -= 1;
            return Ok(None);
        }
        let line = self.buffer.strip_prefix(BOM).filter(|_| first).unwrap_or(&self.buffer);
        lines::text_of(line, &self.path, self.lines).map(Some)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Behind the line last read.
    pub(super) fn place(&self, part: usize) -> Place {
        Place { part, offset: self.offset, lines: self.lines, second: 0 }
    }

    /// Reads to the end, and says how many lines there are.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn count_rest(&mut self) -> Result<usize, RowError> {
        loop {
            match self.next_line() {
                Ok(None) => return Ok(self.lines),
                Ok(Some(_)) | Err(RowError::Row(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next line that is not to be left out.
    fn next_good_line(&mut self, bad_rows: BadRows, left_out: &mut LeftOut) -> Result<Option<String>> {
        loop {
            match self.next_line() {
                Ok(line) => return Ok(line.map(str::to_string)),
                Err(RowError::Row(problem)) => leave_out(*problem, bad_rows, left_out)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The lines up to the delimiter or the end of the file, each with an end; a document has at least one.
    pub(super) fn next_text(&mut self, options: &CorpusOptions, left_out: &mut LeftOut) -> Result<Option<String>> {
        let (mut text, mut first) = (String::new(), 0);
        while let Some(line) = self.next_good_line(options.bad_rows, left_out)? {
            if line.trim() != options.document_delimiter.trim() {
                text.push_str(&line);
                text.push('\n');
            } else if !text.is_empty() {
                break;
            }
            if first == 0 && !text.is_empty() {
                first = self.lines;
            }
            if text.len() as u64 > LONGEST_LINE {
                let problem = Problem::new(format!("a document of more than {} MiB begins here", LONGEST_LINE >> 20));
                return Err(problem.at(&self.path, first, None).help(ENDLESS).into());
            }
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// What `make` makes of the next line that is not blank.
    pub(super) fn next_row(
        &mut self,
        options: &CorpusOptions,
        left_out: &mut LeftOut,
        make: impl Fn(&str) -> Result<String, Fault>,
    ) -> Result<Option<String>> {
        while let Some(line) = self.next_good_line(options.bad_rows, left_out)? {
            if line.trim().is_empty() {
                continue;
            }
            match make(&line) {
                Ok(text) => return Ok(Some(text)),
                Err(fault) => leave_out(*fault.at(&self.path, self.lines), options.bad_rows, left_out)?,
            }
        }
        Ok(None)
    }
}

pub(super) fn leave_out(problem: Problem, bad_rows: BadRows, left_out: &mut LeftOut) -> Result<()> {
    match bad_rows {
        BadRows::Error => {
            Err(Error::from(problem).with_help("bad_rows = \"skip\" leaves such lines out and counts them"))
        }
        BadRows::Skip => {
            left_out.rows += 1;
            if left_out.rows <= NAMED {
                tracing::warn!("left out: {problem}");
            }
            Ok(())
        }
    }
}

/// Opens a file at a byte of its unpacked content.
fn open_at(path: &Path, offset: u64, read: &ProgressBar) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let mut start = Vec::with_capacity(4);
    file.by_ref().take(4).read_to_end(&mut start)?;
    let plain = Packing::of(&start) == Packing::None;
    let begin = if plain { offset } else { 0 };
    file.seek(SeekFrom::Start(begin))?;
    read.inc(begin);
    let counted = Box::new(read.wrap_read(file));
    if plain {
        return Ok(counted);
    }
    let mut unpacked = lines::unpack(counted)?;
    let skipped = io::copy(&mut unpacked.by_ref().take(offset), &mut io::sink())?;
    if skipped < offset { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(unpacked) }
}
