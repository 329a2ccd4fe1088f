//! TSV and CSV files.
//!
//! Without quoting a cell is whatever stands between two separators: quotation marks are text, as in XNLI, whose rows hold
//! thousands of unpaired ones (reading them as CSV silently joins rows). With quoting the `csv` crate reads the file.

use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, StringRecord, Terminator};

use super::labels::shorten;
use super::layout::{Column, Columns, Layout, Quoting};
use super::rows::Cells;
use crate::error::Problem;
use crate::lines::{self, Bytes, Lines, RowError, not_utf8};
use crate::suggest;

/// The rows of one delimited file.
pub(super) struct TableReader {
    records: Records,
    file: PathBuf,
    columns: Columns<usize>,
    /// How many cells every row has.
    width: usize,
    record: StringRecord,
}

impl TableReader {
    /// Reads the header, if the layout has one, and finds the columns in it.
    pub(super) fn new(reader: Bytes, file: &Path, layout: &Layout) -> Result<Self, RowError> {
        let separator = layout.format.separator();
        let mut records = match layout.quoting {
            Quoting::None => Records::Plain { lines: Box::new(Lines::new(reader, file)?), separator },
            Quoting::Csv => Records::quoted(reader, file, separator)?,
        };
        let mut record = StringRecord::new();
        let header = match layout.header {
            true => Some(records.read(file, &mut record)?.ok_or_else(|| empty(file))?),
            false => None,
        };
        let find = |column: &Column| match column {
            Column::Number(number) => Ok(number - 1),
            Column::Name(name) => in_header(name, &record, file, header.unwrap_or(1)),
        };
        let columns = layout.columns.try_map(find)?;
        let width = match layout.header {
            true => record.len(),
            false => layout.width.unwrap_or(columns.iter().max().map_or(1, |last| last + 1)),
        };
        if let Some(beyond) = columns.iter().find(|column| **column >= width) {
            let problem = Problem::new(format!("there is no column {}: the header has {width}", beyond + 1));
            return Err(RowError::File(Box::new(problem.at(file, 1, None))));
        }
        Ok(Self { records, file: file.to_path_buf(), columns, width, record })
    }

    /// The next row; `None` after the last.
    fn next_row(&mut self) -> Result<Option<Cells>, RowError> {
        let line = loop {
            let Some(line) = self.records.read(&self.file, &mut self.record)? else { return Ok(None) };
            // A blank line cannot be a row of several cells. In a file of one column it is a row with an empty text.
            if self.width == 1 || self.record.len() != 1 || !self.record[0].is_empty() {
                break line;
            }
        };
        if self.record.len() != self.width {
            return Err(RowError::Row(Box::new(self.wrong_width(line))));
        }
        let cell = |column: usize| self.record[column].to_string();
        Ok(Some(Cells {
            line,
            text: cell(self.columns.text),
            text_pair: self.columns.text_pair.map(cell),
            label: self.columns.label.map(cell),
            language: self.columns.language.map(cell),
        }))
    }

    fn wrong_width(&self, line: usize) -> Problem {
        let (found, width) = (self.record.len(), self.width);
        let start = shorten(self.record.get(0).unwrap_or_default());
        let problem = Problem::new(format!("{found} columns where {width} are expected, in the row \"{start}\""));
        let help = match (&self.records, found < width) {
            (Records::Plain { .. }, true) => "a separator is missing, or a text holds a line break",
            (Records::Plain { .. }, false) => {
                "a text holds the separator, or the file has a column its card does not tell of"
            }
            (Records::Quoted(_), _) => {
                "is a quotation mark not closed? files without quoting need `quoting = \"none\"`"
            }
        };
        problem.at(&self.file, line, None).help(help)
    }
}

impl Iterator for TableReader {
    type Item = Result<Cells, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

/// Where the cells come from.
enum Records {
    Plain {
        lines: Box<Lines>,
        separator: u8,
    },
    /// With a line end of ours after the last line, so that every row has one (see [`line_of`]).
    Quoted(Box<csv::Reader<Bytes>>),
}

impl Records {
    fn quoted(reader: Bytes, file: &Path, separator: u8) -> Result<Self, RowError> {
        let ended: Bytes = Box::new(lines::text(reader, file)?.chain(b"\n".as_slice()));
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(separator).has_headers(false).flexible(true).terminator(Terminator::Any(b'\n'));
        Ok(Self::Quoted(Box::new(builder.from_reader(ended))))
    }

    /// Fills `record` with the next row and returns its line.
    fn read(&mut self, file: &Path, record: &mut StringRecord) -> Result<Option<usize>, RowError> {
        match self {
            Self::Plain { lines, separator } => {
                let separator = char::from(*separator);
                let Some(line) = lines.next_line()? else { return Ok(None) };
                record.clear();
                line.split(separator).for_each(|cell| record.push_field(cell));
                Ok(Some(lines.number))
            }
            Self::Quoted(reader) => {
                let mut cells = ByteRecord::new();
                let start = reader.position().line() as usize;
                match reader.read_byte_record(&mut cells).map_err(|cause| csv_error(cause, file, start))? {
                    true => {}
                    false => return Ok(None),
                }
                let line = line_of(&cells, start, reader.position().line() as usize);
                trim_carriage_return(&mut cells);
                *record = StringRecord::from_byte_record(cells)
                    .map_err(|_| RowError::Row(Box::new(not_utf8().at(file, line, None))))?;
                Ok(Some(line))
            }
        }
    }
}

/// The line a quoted row starts at. The `csv` crate starts it at the blank lines that it passes over before; counted back from
/// its end it is exact, except that a quotation mark never closed leaves no line end, and there `start` is the better guess.
fn line_of(cells: &ByteRecord, start: usize, next: usize) -> usize {
    let inside = cells.iter().flatten().filter(|byte| **byte == b'\n').count();
    next.saturating_sub(1 + inside).max(start)
}

/// Rows end at "\n" only; of "\r\n" the first half is still on the last cell.
fn trim_carriage_return(cells: &mut ByteRecord) {
    let Some(last) = cells.len().checked_sub(1) else { return };
    if let Some(cell) = cells[last].strip_suffix(b"\r").map(<[u8]>::to_vec) {
        cells.truncate(last);
        cells.push_field(&cell);
    }
}

fn csv_error(cause: csv::Error, file: &Path, line: usize) -> RowError {
    match cause.into_kind() {
        csv::ErrorKind::Io(cause) => RowError::reading(file, Some(line), &cause),
        kind => RowError::File(Box::new(Problem::new(format!("not a table: {kind:?}")).at(file, line, None))),
    }
}

fn in_header(name: &str, header: &StringRecord, file: &Path, line: usize) -> Result<usize, RowError> {
    header.iter().position(|cell| cell == name).ok_or_else(|| {
        let problem = Problem::new(format!("the header has no column `{name}`")).at(file, line, None);
        RowError::File(Box::new(problem.help(suggest::known(name, "its columns", header.iter()))))
    })
}

fn empty(file: &Path) -> RowError {
    RowError::File(Box::new(Problem::new("the file is empty").in_file(file).help("a header line is expected")))
}
