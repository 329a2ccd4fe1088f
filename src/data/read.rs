//! Reads one language of one split into memory, for each kind of rows.

use std::path::{Path, PathBuf};

use super::card::{Card, RowKind, Split};
use super::dureader;
use super::find::{self, Found, FoundFile};
use super::labels::{Labels, ReadLabel};
use super::layout::{QuestionLayout, RowLayout};
use super::parquet_file;
use super::questions::{QuestionOptions, QuestionRow};
use super::readers::{self, RowReader};
use super::rows::{Row, TaggedRow};
use super::source_index::Stamp;
use super::squad;
use crate::error::{Error, Problem, Result};
use crate::hash;
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
    /// Where they came from: a file, or the pattern that its shards fit.
    pub file: PathBuf,
    /// The files, in their order.
    pub files: Vec<ReadFile>,
    /// SHA-256 of the whole file, unpacked, in hexadecimal: the same for `x.tsv` and `x.tsv.gz`; of several as [`sha256_of`] has it.
    pub sha256: String,
    /// Set when the card knows a file's hash and this one differs: a warning, not an error.
    pub unexpected: Option<Problem>,
}

/// A file that was read.
#[derive(Debug)]
pub struct ReadFile {
    pub path: PathBuf,
    /// Of its content, unpacked, in hexadecimal.
    pub sha256: String,
    /// What the file system said of the file before and after it was read; `None` if that tells it not for certain from a changed one.
    pub stamp: Option<Stamp>,
    /// What is added to the numbers of its lines, so that they go on from file to file.
    pub lines_before: u32,
}

/// A SHA-256 for all of a split's files: that of the only one, or one of theirs.
pub fn sha256_of(files: &[String]) -> String {
    match files {
        [only] => only.clone(),
        files => hash::of_parts(files.iter().map(|sha256| sha256.as_bytes())),
    }
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
    let kind = Kind { is_empty: Row::has_empty_text, line: |row| &mut row.line };
    read(card, &found, language, options, kind, |bytes, file, _| match &found.source.layout {
        RowLayout::Texts(layout) => Ok(readers::texts(bytes, file, layout, &card.labels, read_label, Some(language))?),
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
    let kind = Kind { is_empty: |_| false, line: |row: &mut TaggedRow| &mut row.line };
    read(card, &found, language, options, kind, |bytes, file, _| match &found.source.layout {
        RowLayout::Tagged(layout) => Ok(readers::tagged(bytes, file, layout, &card.labels, Some(language))?),
        _ => Err(card.has_other_rows(RowKind::Tagged).into()),
    })
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
    let kind = Kind { is_empty: QuestionRow::has_empty_text, line: |row| &mut row.line };
    read(card, &found, language, options, kind, |bytes, file, max_rows| match &found.source.layout {
        RowLayout::Questions(QuestionLayout::Squad) => {
            let rows = squad::read(bytes, file, questions, max_rows)?;
            Ok(Box::new(rows.into_iter().map(|row| row.map(Some))))
        }
        RowLayout::Questions(QuestionLayout::DuReader) => Ok(Box::new(dureader::rows(bytes, file, questions.purpose)?)),
        RowLayout::Questions(QuestionLayout::Parquet(columns)) => {
            Ok(Box::new(parquet_file::questions(file, columns, questions)?.map(|row| row.map(Some))))
        }
        _ => Err(card.has_other_rows(RowKind::Questions).into()),
    })
}

/// What [`read`] has to know of a kind of rows.
struct Kind<R> {
    /// Whether a text of it is empty.
    is_empty: fn(&R) -> bool,
    /// Its line.
    line: fn(&mut R) -> &mut u32,
}

/// The rows of all files that were found, from where `open` makes them of a file's bytes, its path and how many are wanted: as many as
/// `options` ask for.
fn read<R>(
    card: &Card,
    found: &Found<'_>,
    language: &str,
    options: ReadOptions,
    kind: Kind<R>,
    open: impl Fn(Bytes, &Path, Option<usize>) -> Result<RowReader<Option<R>>>,
) -> Result<Rows<R>> {
    let mut sifted = Sifted { rows: Vec::new(), bad: BadRowList::default(), empty: 0, dropped: 0, last_line: 0 };
    let (mut files, mut unexpected) = (Vec::new(), None);
    for file in &found.files {
        let read = sifted.add(file, options, &kind, &open)?;
        unexpected = unexpected.or_else(|| file.check_hash(card, &read.sha256));
        files.push(read);
    }
    let Sifted { rows, mut bad, empty, dropped, .. } = sifted;
    bad.check(options.bad_rows, rows.len(), &found.path)?;
    if rows.is_empty() && options.max_rows != Some(0) {
        let what = match bad.count + empty + dropped {
            0 if found.source.layout.is_mixed() => format!("no rows of language `{language}`"),
            0 => "no rows".to_string(),
            _ => format!(
                "no rows left: {} cannot be read, {empty} have an empty text, {dropped} have no label",
                bad.count
            ),
        };
        return Err(Problem::new(what).in_file(&found.path).into());
    }
    let sha256 = sha256_of(&files.iter().map(|file| file.sha256.clone()).collect::<Vec<_>>());
    let (skipped, skipped_count) = (bad.first, bad.count);
    Ok(Rows { rows, skipped, skipped_count, empty, dropped, file: found.path.clone(), files, sha256, unexpected })
}

/// Rows that have been read, and what was left out.
struct Sifted<R> {
    rows: Vec<R>,
    bad: BadRowList,
    empty: usize,
    dropped: usize,
    /// The highest number of a line.
    last_line: u32,
}

impl<R> Sifted<R> {
    /// Adds the rows of a file. Of one from which nothing more is wanted only the hash is read.
    fn add(
        &mut self,
        file: &FoundFile,
        options: ReadOptions,
        kind: &Kind<R>,
        open: impl Fn(Bytes, &Path, Option<usize>) -> Result<RowReader<Option<R>>>,
    ) -> Result<ReadFile> {
        let path = &file.path;
        let before = Stamp::of(path);
        let hashed = Hashed::new(lines::open(path).map_err(|cause| Error::reading(path, &cause))?);
        let limit = options.max_rows.unwrap_or(usize::MAX);
        let lines_before = self.last_line;
        let wanted = options.max_rows.map(|most| most - self.rows.len());
        let mut reader = open(Box::new(hashed.clone()), path, wanted)?;
        while self.rows.len() < limit
            && let Some(row) = reader.next()
        {
            match self.bad.sift(row)? {
                Some(Some(mut row)) => {
                    let is_empty = (kind.is_empty)(&row);
                    self.empty += usize::from(is_empty);
                    if !(is_empty && options.empty_text == EmptyText::Skip) {
                        let line = (kind.line)(&mut row);
                        *line = line.saturating_add(lines_before);
                        self.last_line = self.last_line.max(*line);
                        self.rows.push(row);
                    }
                }
                Some(None) => self.dropped += 1,
                None => {}
            }
        }
        drop(reader);
        let sha256 = hashed.finish().map_err(|cause| RowError::reading(path, None, &cause))?;
        let stamp = before.filter(|_| Stamp::of(path) == before);
        Ok(ReadFile { path: path.clone(), sha256, stamp, lines_before })
    }
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
