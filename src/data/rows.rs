//! Rows of sentence-level datasets: one text or two, and a label.

use std::path::{Path, PathBuf};

use super::card::{Card, RowKind, Split};
use super::find::{self, Found};
use super::jsonl::JsonReader;
use super::labels::{Label, Labels};
use super::layout::{Format, Layout, RowLayout};
use super::table::TableReader;
use crate::error::{Error, Problem, Result};
use crate::lines::{self, Bytes, RowError};
use crate::recipe::{BadRows, EmptyText};

/// How many bad rows are shown before the rest is only counted.
pub(crate) const SHOWN: usize = 10;

/// One example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The (first) text, exactly as in the file.
    pub text: String,
    /// The second text, where the dataset has pairs.
    pub text_pair: Option<String>,
    /// The label's number in the card's order; `None` where the source has no labels.
    pub label: Option<u32>,
    /// The line of the file, from 1.
    pub line: u32,
}

impl Row {
    /// Whether a text is empty or all blanks.
    pub fn has_empty_text(&self) -> bool {
        self.text.trim().is_empty() || self.text_pair.as_ref().is_some_and(|text| text.trim().is_empty())
    }
}

/// A row before its label and language are looked at.
pub(super) struct Cells {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) text_pair: Option<String>,
    pub(super) label: Option<String>,
    pub(super) language: Option<String>,
}

/// Reads rows one by one; a bad row does not end the reading, a bad file does.
pub struct RowReader {
    format: FormatReader,
    file: PathBuf,
    labels: Labels,
    language: Option<String>,
    dropped: usize,
    failed: bool,
}

enum FormatReader {
    Table(TableReader),
    Json(JsonReader),
}

impl RowReader {
    /// Rows of `reader`, which messages call `file`. Of a file that holds several languages only those of `language` come.
    /// Where the layout names a label column, `labels` reads it. The error is a header that does not match.
    pub fn new(
        reader: Bytes,
        file: &Path,
        layout: &Layout,
        labels: &Labels,
        language: Option<&str>,
    ) -> Result<Self, RowError> {
        let format = match layout.format {
            Format::Jsonl => FormatReader::Json(JsonReader::new(reader, file, layout)?),
            Format::Tsv | Format::Csv => FormatReader::Table(TableReader::new(reader, file, layout)?),
        };
        let (file, labels, language) = (file.to_path_buf(), labels.clone(), language.map(String::from));
        Ok(Self { format, file, labels, language, dropped: 0, failed: false })
    }

    /// How many rows were left out so far because their label is a mark for "none".
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Reads what is left and returns the SHA-256 of the whole file, unpacked, in hexadecimal.
    pub fn finish(self) -> Result<String, RowError> {
        let hash = match self.format {
            FormatReader::Table(reader) => reader.finish(),
            FormatReader::Json(reader) => reader.finish(),
        };
        hash.map_err(|cause| RowError::reading(&self.file, None, &cause))
    }

    fn read(&mut self) -> Result<Option<Row>, RowError> {
        loop {
            let cells = match &mut self.format {
                FormatReader::Table(reader) => reader.next_row()?,
                FormatReader::Json(reader) => reader.next_row()?,
            };
            let Some(cells) = cells else { return Ok(None) };
            if self.language.is_some() && cells.language.is_some() && cells.language != self.language {
                continue;
            }
            let label = match cells.label.as_deref().map(|word| self.labels.find(word)).transpose() {
                Ok(Some(Label::Dropped)) => {
                    self.dropped += 1;
                    continue;
                }
                Ok(Some(Label::Is(label))) => Some(label),
                Ok(None) => None,
                Err(problem) => return Err(RowError::Row(Box::new(problem.at(&self.file, cells.line, None)))),
            };
            let line = u32::try_from(cells.line).unwrap_or(u32::MAX);
            return Ok(Some(Row { text: cells.text, text_pair: cells.text_pair, label, line }));
        }
    }
}

impl Iterator for RowReader {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.read().transpose();
        self.failed = matches!(row, Some(Err(RowError::File(_))));
        row
    }
}

/// How to read a split.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// Rows that cannot be read.
    pub bad_rows: BadRows,
    /// Rows with an empty text.
    pub empty_text: EmptyText,
    /// Stop after this many good rows.
    pub max_rows: Option<usize>,
}

/// One language of one split.
#[derive(Debug)]
pub struct Rows<R = Row> {
    /// The good rows, in the file's order.
    pub rows: Vec<R>,
    /// The first ten bad rows (none unless they are skipped).
    pub skipped: Vec<Problem>,
    /// All bad rows.
    pub skipped_count: usize,
    /// Rows with an empty text, left out or not.
    pub empty: usize,
    /// Rows left out because their label is a mark for "none".
    pub dropped: usize,
    /// Where they came from.
    pub file: PathBuf,
    /// SHA-256 of the whole file, unpacked, in hexadecimal: the same for `x.tsv` and `x.tsv.gz`.
    pub sha256: String,
    /// Set when the card knows the file's hash and this one differs: a warning, not an error.
    pub unexpected: Option<Problem>,
}

/// Reads one language of one split into memory.
///
/// # Errors
/// No file at any of the card's places; a file that cannot be read or does not match its card; bad rows, unless they are
/// skipped; no row at all; a card of tokens with tags.
pub fn read_split(card: &Card, root: &Path, split: Split, language: &str, options: ReadOptions) -> Result<Rows> {
    let found = find::find(card, root, split, language)?;
    let RowLayout::Texts(layout) = &found.source.layout else {
        return Err(card.has_other_rows(RowKind::Texts).into());
    };
    let bytes = lines::open(&found.path).map_err(|cause| Error::reading(&found.path, &cause))?;
    let mut reader = RowReader::new(bytes, &found.path, layout, &card.labels, Some(language))?;
    let kept = Kept::read(&mut reader, &found.path, options, Row::has_empty_text)?;
    let dropped = reader.dropped();
    kept.into_rows(card, found, language, dropped, reader.finish()?)
}

/// What is wrong with a file of `bad` rows that cannot be read, the `first` of which are known, and `good` ones.
pub(crate) fn unreadable(mut first: Vec<Problem>, bad: usize, good: usize, file: &Path) -> Vec<Problem> {
    let shown = if bad > first.len() { format!("; the first {} are shown", first.len()) } else { String::new() };
    let summary = Problem::new(format!("{bad} of {} rows cannot be read{shown}", bad + good)).in_file(file);
    first.push(summary.help("mend the file, or leave such rows out, counted: data.bad_rows=\"skip\""));
    first
}

/// What was read of a file so far.
pub(super) struct Kept<R> {
    rows: Vec<R>,
    bad: Vec<Problem>,
    bad_count: usize,
    empty: usize,
    limit: usize,
}

impl<R> Kept<R> {
    /// As many rows as `options` ask for. `is_empty` tells the rows with an empty text.
    pub(super) fn read(
        reader: &mut impl Iterator<Item = Result<R, RowError>>,
        file: &Path,
        options: ReadOptions,
        is_empty: impl Fn(&R) -> bool,
    ) -> Result<Self> {
        let limit = options.max_rows.unwrap_or(usize::MAX);
        let mut kept = Self { rows: Vec::new(), bad: Vec::new(), bad_count: 0, empty: 0, limit };
        while kept.rows.len() < limit
            && let Some(row) = reader.next()
        {
            kept.take(row, options.empty_text, &is_empty)?;
        }
        if options.bad_rows == BadRows::Error && kept.bad_count > 0 {
            return Err(Error::Input(kept.into_problems(file)));
        }
        Ok(kept)
    }

    fn take(&mut self, row: Result<R, RowError>, empty_text: EmptyText, is_empty: impl Fn(&R) -> bool) -> Result<()> {
        match row {
            Ok(row) => {
                let empty = is_empty(&row);
                self.empty += usize::from(empty);
                if !(empty && empty_text == EmptyText::Skip) {
                    self.rows.push(row);
                }
            }
            Err(RowError::Row(problem)) => {
                self.bad_count += 1;
                if self.bad.len() < SHOWN {
                    self.bad.push(*problem);
                }
            }
            Err(RowError::File(problem)) => return Err((*problem).into()),
        }
        Ok(())
    }

    fn into_problems(self, file: &Path) -> Vec<Problem> {
        unreadable(self.bad, self.bad_count, self.rows.len(), file)
    }

    /// The rows with where they came from. The error is that there are none.
    pub(super) fn into_rows(
        self,
        card: &Card,
        found: Found<'_>,
        language: &str,
        dropped: usize,
        sha256: String,
    ) -> Result<Rows<R>> {
        if self.rows.is_empty() && self.limit > 0 {
            return Err(self.nothing(dropped, &found, language));
        }
        Ok(Rows {
            unexpected: card.check_hash(&found.relative, &found.path, &sha256),
            rows: self.rows,
            skipped: self.bad,
            skipped_count: self.bad_count,
            empty: self.empty,
            dropped,
            file: found.path,
            sha256,
        })
    }

    /// Why a file that could be read gave no rows.
    fn nothing(&self, dropped: usize, found: &Found<'_>, language: &str) -> Error {
        let (bad, empty) = (self.bad_count, self.empty);
        let what = match bad + empty + dropped {
            0 if found.source.layout.is_mixed() => format!("no rows of language `{language}`"),
            0 => "no rows".to_string(),
            _ => format!("no rows left: {bad} cannot be read, {empty} have an empty text, {dropped} have no label"),
        };
        Problem::new(what).in_file(&found.path).into()
    }
}
