//! CoNLL files, with one token a line: blank lines end the rows, and so do the
//! lines that begin documents there.

use std::path::Path;

use super::labels::shorten;
use super::layout::{ConllLayout, LineSeparator};
use super::rows::TaggedCells;
use crate::error::Problem;
use crate::lines::{Bytes, Lines, RowError};

/// No honest row is longer (bytes); a file without blank lines must not fill the memory.
const LONGEST_ROW: usize = 16 << 20;

/// The first cell of a line that stands for no token but begins a document.
const DOCUMENT: &str = "-DOCSTART-";

/// The rows of a file.
pub(super) fn rows(
    reader: Bytes,
    file: &Path,
    layout: ConllLayout,
) -> Result<impl Iterator<Item = Result<TaggedCells, RowError>> + use<>, RowError> {
    let mut lines = Lines::new(reader, file)?;
    Ok(std::iter::from_fn(move || layout.next_row(&mut lines).transpose()))
}

fn is_between(line: &str) -> bool {
    line.trim().is_empty() || line.split([' ', '\t']).next() == Some(DOCUMENT)
}

impl ConllLayout {
    /// The next row. A line that cannot be read spoils its whole row, which is passed over.
    fn next_row(&self, lines: &mut Lines) -> Result<Option<TaggedCells>, RowError> {
        let (mut tokens, mut tags) = (Vec::new(), Vec::new());
        let (mut start, mut bytes, mut fault) = (None, 0, None);
        loop {
            let cells = match lines.next_line() {
                Ok(Some(line)) if is_between(line) => match start {
                    Some(_) => break,
                    None => continue,
                },
                Ok(Some(line)) => {
                    bytes += line.len();
                    Ok(self.cells(line))
                }
                Ok(None) => break,
                Err(RowError::Row(problem)) => Err(problem),
                Err(error) => return Err(error),
            };
            let number = lines.number;
            start.get_or_insert(number);
            match cells {
                // The rest of a spoilt row is only passed over.
                _ if fault.is_some() => {}
                Ok(Ok((token, tag))) => {
                    tokens.push(token);
                    tags.push(tag);
                }
                Ok(Err(problem)) => fault = Some(Box::new(problem.at(&lines.file, number, None))),
                Err(problem) => fault = Some(problem),
            }
            if bytes > LONGEST_ROW {
                let problem = Problem::new(format!("a row of more than {} MiB", LONGEST_ROW >> 20));
                let problem = problem.at(&lines.file, start.unwrap_or(number), None);
                return Err(RowError::File(Box::new(problem.help("a blank line stands between two rows"))));
            }
        }
        match (start, fault) {
            (_, Some(fault)) => Err(RowError::Row(fault)),
            (Some(line), None) => Ok(Some(TaggedCells { line, tokens, tags, language: None, spread: true })),
            (None, None) => Ok(None),
        }
    }

    /// The token and the tag of a line. The error has no place yet.
    fn cells(&self, line: &str) -> Result<(String, String), Box<Problem>> {
        let cells: Vec<&str> = match self.separator {
            LineSeparator::Space => line.split(' ').filter(|cell| !cell.is_empty()).take(self.width + 1).collect(),
            LineSeparator::Tab => line.split('\t').take(self.width + 1).collect(),
        };
        let cell = |number: usize| cells.get(number.checked_sub(1)?).map(ToString::to_string);
        match (cell(self.tokens), cell(self.tags)) {
            (Some(token), Some(tag)) if cells.len() == self.width => Ok((token, tag)),
            _ => Err(Box::new(self.wrong_width(cells.len(), line))),
        }
    }

    fn wrong_width(&self, found: usize, line: &str) -> Problem {
        let (width, start) = (self.width, shorten(line));
        let found = if found > width { format!("more than {width}") } else { found.to_string() };
        let problem = Problem::new(format!("{found} columns where {width} are expected, in the line \"{start}\""));
        problem.help(match self.separator {
            LineSeparator::Space => "the columns are separated by spaces; files with tabs need `separator = \"tab\"`",
            LineSeparator::Tab => "the columns are separated by tabs; files with spaces need `separator = \"space\"`",
        })
    }
}
