//! Reads one language of one split into memory, for each kind of rows.

use std::path::{Path, PathBuf};

use super::card::{Card, RowKind, Split};
use super::dureader::{self, DuReaderReader};
use super::find::{self, Found};
use super::labels::Labels;
use super::layout::{QuestionLayout, RowLayout};
use super::questions::{QuestionOptions, QuestionRow};
use super::readers::{ReadLabel, RowReader, TaggedReader};
use super::rows::{Row, TaggedRow};
use super::squad;
use crate::error::{Error, Problem, Result};
use crate::lines::{self, RowError};
use crate::recipe::{BadRows, EmptyText};

/// How many bad rows are shown before the rest is only counted.
pub(crate) const SHOWN: usize = 10;

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
    read_split_as(card, root, split, language, options, Labels::class)
}

/// [`read_split`] of rows whose labels are read otherwise.
///
/// # Errors
/// As [`read_split`].
pub fn read_split_as<L>(
    card: &Card,
    root: &Path,
    split: Split,
    language: &str,
    options: ReadOptions,
    read_label: ReadLabel<L>,
) -> Result<Rows<Row<L>>> {
    let found = find::find(card, root, split, language)?;
    let RowLayout::Texts(layout) = &found.source.layout else {
        return Err(card.has_other_rows(RowKind::Texts).into());
    };
    let bytes = lines::open(&found.path).map_err(|cause| Error::reading(&found.path, &cause))?;
    let mut reader = RowReader::new(bytes, &found.path, layout, &card.labels, read_label, Some(language))?;
    let kept = Kept::read(&mut reader, &found.path, options, Row::has_empty_text)?;
    let dropped = reader.dropped();
    kept.into_rows(card, found, language, dropped, reader.finish()?)
}

/// Reads one language of one split into memory. A row without tokens is a bad row, so that `options.empty_text` has no
/// say. `card` has its labels: see [`Card::with_labels`].
///
/// # Errors
/// No file at any of the card's places; a file that cannot be read or does not match its card; bad rows, unless they are
/// skipped; no row at all; a card of texts.
pub fn read_tagged_split(
    card: &Card,
    root: &Path,
    split: Split,
    language: &str,
    options: ReadOptions,
) -> Result<Rows<TaggedRow>> {
    let found = find::find(card, root, split, language)?;
    let RowLayout::Tagged(layout) = &found.source.layout else {
        return Err(card.has_other_rows(RowKind::Tagged).into());
    };
    let bytes = lines::open(&found.path).map_err(|cause| Error::reading(&found.path, &cause))?;
    let mut reader = TaggedReader::new(bytes, &found.path, layout, &card.labels, Some(language))?;
    let kept = Kept::read(&mut reader, &found.path, options, |_| false)?;
    let dropped = reader.dropped();
    kept.into_rows(card, found, language, dropped, reader.finish()?)
}

/// Reads one language of one split into memory; each row's `placing` tells whether its answer had to be moved.
///
/// # Errors
/// No file at any of the card's places; a file that cannot be read or is laid out otherwise; questions that do not fit
/// their purpose, unless bad rows are skipped; no row at all; a card without questions.
pub fn read_question_split(
    card: &Card,
    root: &Path,
    split: Split,
    language: &str,
    options: ReadOptions,
    questions: QuestionOptions,
) -> Result<Rows<QuestionRow>> {
    let found = find::find(card, root, split, language)?;
    let RowLayout::Questions(layout) = found.source.layout else {
        return Err(card.has_other_rows(RowKind::Questions).into());
    };
    let bytes = lines::open(&found.path).map_err(|cause| Error::reading(&found.path, &cause))?;
    let empty = QuestionRow::has_empty_text;
    match layout {
        QuestionLayout::Squad => {
            let read = squad::read(bytes, &found.path, questions, options.max_rows)?;
            let kept = Kept::read(&mut read.rows.into_iter(), &found.path, options, empty)?;
            kept.into_rows(card, found, language, 0, read.sha256)
        }
        QuestionLayout::DuReader => {
            let mut reader = DuReaderReader::new(bytes, &found.path, questions.purpose)?;
            let mut rows = reader.by_ref().map(|row| row.map(|row| dureader::question(row, questions.purpose)));
            let kept = Kept::read(&mut rows, &found.path, options, empty)?;
            let dropped = reader.dropped();
            let sha256 = reader.finish().map_err(|cause| RowError::reading(&found.path, None, &cause))?;
            kept.into_rows(card, found, language, dropped, sha256)
        }
    }
}

/// What is wrong with a file of `bad` rows that cannot be read, the `first` of which are known, and `good` ones.
pub(crate) fn unreadable(mut first: Vec<Problem>, bad: usize, good: usize, file: &Path) -> Vec<Problem> {
    let shown = if bad > first.len() { format!("; the first {} are shown", first.len()) } else { String::new() };
    let summary = Problem::new(format!("{bad} of {} rows cannot be read{shown}", bad + good)).in_file(file);
    first.push(summary.help("mend the file, or leave such rows out, counted: data.bad_rows=\"skip\""));
    first
}

/// What was read of a file so far.
struct Kept<R> {
    rows: Vec<R>,
    bad: Vec<Problem>,
    bad_count: usize,
    empty: usize,
    limit: usize,
}

impl<R> Kept<R> {
    /// As many rows as `options` ask for. `is_empty` tells the rows with an empty text.
    fn read(
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
    fn into_rows(
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
