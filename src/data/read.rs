//! Reads one language of one split into memory, for each kind of rows.

use std::path::{Path, PathBuf};

use super::card::{Card, RowKind, Split};
use super::dureader;
use super::find::{self, Found};
use super::labels::{Labels, ReadLabel};
use super::layout::{QuestionLayout, RowLayout};
use super::questions::{QuestionOptions, QuestionRow};
use super::readers::{self, RowReader};
use super::rows::{Row, TaggedRow};
use super::source_index::Stamp;
use super::squad;
use crate::error::{Error, Problem, Result};
use crate::lines::{self, Bytes, Hashed, RowError};
use crate::recipe::{BadRows, EmptyText};

/// How many bad rows are shown before the rest is only counted.
const SHOWN: usize = 10;

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
    /// What the file system said of the file before and after it was read; `None` if that tells it not for certain from a changed one.
    pub stamp: Option<Stamp>,
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
pub fn read_split_as<L: 'static>(
    card: &Card,
    root: &Path,
    split: Split,
    language: &str,
    options: ReadOptions,
    read_label: ReadLabel<L>,
) -> Result<Rows<Row<L>>> {
    let found = find::find(card, root, split, language)?;
    read(card, &found, language, options, Row::has_empty_text, |bytes| match &found.source.layout {
        RowLayout::Texts(layout) => {
            Ok(readers::texts(bytes, &found.path, layout, &card.labels, read_label, Some(language))?)
        }
        _ => Err(card.has_other_rows(RowKind::Texts).into()),
    })
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
    read(
        card,
        &found,
        language,
        options,
        |_| false,
        |bytes| match &found.source.layout {
            RowLayout::Tagged(layout) => Ok(readers::tagged(bytes, &found.path, layout, &card.labels, Some(language))?),
            _ => Err(card.has_other_rows(RowKind::Tagged).into()),
        },
    )
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
    read(card, &found, language, options, QuestionRow::has_empty_text, |bytes| match found.source.layout {
        RowLayout::Questions(QuestionLayout::Squad) => {
            let rows = squad::read(bytes, &found.path, questions, options.max_rows)?;
            Ok(Box::new(rows.into_iter().map(|row| row.map(Some))))
        }
        RowLayout::Questions(QuestionLayout::DuReader) => {
            Ok(Box::new(dureader::rows(bytes, &found.path, questions.purpose)?))
        }
        _ => Err(card.has_other_rows(RowKind::Questions).into()),
    })
}

/// The rows of a file, from where `open` makes them of its bytes: as many as `options` ask for. `is_empty` tells those with an
/// empty text.
fn read<R>(
    card: &Card,
    found: &Found<'_>,
    language: &str,
    options: ReadOptions,
    is_empty: fn(&R) -> bool,
    open: impl FnOnce(Bytes) -> Result<RowReader<Option<R>>>,
) -> Result<Rows<R>> {
    let file = &found.path;
    let before = Stamp::of(file);
    let hashed = Hashed::new(lines::open(file).map_err(|cause| Error::reading(file, &cause))?);
    let mut reader = open(Box::new(hashed.clone()))?;
    let limit = options.max_rows.unwrap_or(usize::MAX);
    let (mut rows, mut bad, mut empty, mut dropped) = (Vec::new(), BadRowList::default(), 0, 0);
    while rows.len() < limit
        && let Some(row) = reader.next()
    {
        match bad.sift(row)? {
            Some(Some(row)) => {
                let is_empty = is_empty(&row);
                empty += usize::from(is_empty);
                if !(is_empty && options.empty_text == EmptyText::Skip) {
                    rows.push(row);
                }
            }
            Some(None) => dropped += 1,
            None => {}
        }
    }
    bad.check(options.bad_rows, rows.len(), file)?;
    let sha256 = hashed.finish().map_err(|cause| RowError::reading(file, None, &cause))?;
    if rows.is_empty() && limit > 0 {
        let what = match bad.count + empty + dropped {
            0 if found.source.layout.is_mixed() => format!("no rows of language `{language}`"),
            0 => "no rows".to_string(),
            _ => format!(
                "no rows left: {} cannot be read, {empty} have an empty text, {dropped} have no label",
                bad.count
            ),
        };
        return Err(Problem::new(what).in_file(file).into());
    }
    let stamp = before.filter(|_| Stamp::of(file) == before);
    let unexpected = found.check_hash(card, &sha256);
    let (skipped, skipped_count) = (bad.first, bad.count);
    Ok(Rows { rows, skipped, skipped_count, empty, dropped, file: file.clone(), sha256, stamp, unexpected })
}

/// The rows of a file that cannot be read.
#[derive(Default)]
pub(crate) struct BadRowList {
    /// The first of them.
    first: Vec<Problem>,
    pub(crate) count: usize,
}

impl BadRowList {
    /// The row, unless it is a bad one. A bad file is an error.
    pub(crate) fn sift<R>(&mut self, row: Result<R, RowError>) -> Result<Option<R>> {
        match row {
            Ok(row) => return Ok(Some(row)),
            Err(RowError::Row(problem)) if self.count < SHOWN => self.first.push(*problem),
            Err(RowError::Row(_)) => {}
            Err(RowError::File(problem)) => return Err((*problem).into()),
        }
        self.count += 1;
        Ok(None)
    }

    /// Refuses a file of so many `good` rows if there are bad ones, unless these are left out.
    pub(crate) fn check(&mut self, rule: BadRows, good: usize, file: &Path) -> Result<()> {
        if self.count == 0 || rule != BadRows::Error {
            return Ok(());
        }
        let (bad, mut problems) = (self.count, std::mem::take(&mut self.first));
        let shown = if bad > SHOWN { format!("; the first {SHOWN} are shown") } else { String::new() };
        let summary = Problem::new(format!("{bad} of {} rows cannot be read{shown}", bad + good)).in_file(file);
        problems.push(summary.help("mend the file, or leave such rows out, counted: data.bad_rows=\"skip\""));
        Err(Error::Input(problems))
    }
}
