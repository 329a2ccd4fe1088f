//! Rows of token-level datasets: tokens, and a tag for each.

use std::path::{Path, PathBuf};

use super::card::{Card, RowKind, Split};
use super::conll::ConllReader;
use super::find;
use super::jsonl::JsonReader;
use super::labels::{Label, Labels, shorten};
use super::layout::{RowLayout, TaggedLayout};
use super::rows::{Cells, Kept, ReadOptions, Rows};
use super::table::TableReader;
use crate::error::{Error, Problem, Result};
use crate::lines::{self, Bytes, RowError};

/// One example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedRow {
    /// The tokens, exactly as in the file: at least one, and none of them empty.
    pub tokens: Vec<String>,
    /// The number of each token's tag, in the order of the card's labels: as many as there are tokens.
    pub tags: Vec<u32>,
    /// The line of the file, from 1: where it starts, if it takes several.
    pub line: u32,
}

/// A row before its tags and language are looked at.
pub(super) struct TaggedCells {
    pub(super) line: usize,
    pub(super) tokens: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) language: Option<String>,
    /// Whether each token has a line of its own.
    pub(super) spread: bool,
}

impl TaggedCells {
    fn of(cells: Cells, separator: &str) -> Self {
        let tags = cells.label.map_or(Vec::new(), |tags| split(&tags, separator));
        let tokens = split(&cells.text, separator);
        Self { line: cells.line, tokens, tags, language: cells.language, spread: false }
    }

    /// The line of a token.
    fn line_of(&self, token: usize) -> usize {
        if self.spread { self.line + token } else { self.line }
    }

    /// The row, or `None` if one of its tags is a mark for "no label".
    fn row(self, labels: &Labels, file: &Path) -> Result<Option<TaggedRow>, Box<Problem>> {
        if let Some((token, problem)) = self.fault(labels) {
            return Err(Box::new(problem.at(file, self.line_of(token), None)));
        }
        // Unknown words are faults, so that only the marks are missing here.
        let known = self.tags.iter().filter_map(|word| match labels.get(word) {
            Some(Label::Is(tag)) => Some(tag),
            Some(Label::Dropped) | None => None,
        });
        let tags: Vec<u32> = known.collect();
        let line = u32::try_from(self.line).unwrap_or(u32::MAX);
        Ok((tags.len() == self.tags.len()).then_some(TaggedRow { tokens: self.tokens, tags, line }))
    }

    /// The first thing that is wrong, and with which token.
    fn fault(&self, labels: &Labels) -> Option<(usize, Problem)> {
        let (tokens, tags) = (self.tokens.len(), self.tags.len());
        if tokens == 0 && tags == 0 {
            return Some((0, Problem::new("a row without tokens").help("a row has a token and its tag at least")));
        }
        if tokens != tags {
            let start = shorten(&self.tokens.join(" "));
            let problem = Problem::new(format!("{tokens} tokens but {tags} tags, in the row \"{start}\""));
            return Some((
                0,
                problem.help("every token has one tag; in a cell `token_separator` stands between two of them"),
            ));
        }
        if let Some(empty) = self.tokens.iter().position(String::is_empty) {
            let problem = Problem::new(format!("token {} of {tokens} is empty", empty + 1));
            return Some((empty, problem.help("is there a separator too many?")));
        }
        let unknown = self.tags.iter().position(|word| labels.get(word).is_none())?;
        let (word, token) = (&self.tags[unknown], &self.tokens[unknown]);
        let what = format!("unknown tag `{}` of token {}, `{}`", shorten(word.trim()), unknown + 1, shorten(token));
        Some((unknown, Problem::new(what).help(labels.known(word))))
    }
}

/// Spaces round a cell of words do not count; where another separator is, a space may be a token.
fn split(cell: &str, separator: &str) -> Vec<String> {
    let cell = if separator == " " { cell.trim_matches(' ') } else { cell };
    if cell.is_empty() { Vec::new() } else { cell.split(separator).map(String::from).collect() }
}

/// Reads rows one by one; a bad row does not end the reading, a bad file does.
pub struct TaggedReader {
    format: FormatReader,
    file: PathBuf,
    labels: Labels,
    language: Option<String>,
    dropped: usize,
    failed: bool,
}

enum FormatReader {
    Table { reader: Box<TableReader>, separator: String },
    Json(JsonReader),
    Conll(ConllReader),
}

impl TaggedReader {
    /// Rows of `reader`, which messages call `file`; `labels` reads the tags. Of a file that holds several languages
    /// only those of `language` come. The error is a header that does not match.
    pub fn new(
        reader: Bytes,
        file: &Path,
        layout: &TaggedLayout,
        labels: &Labels,
        language: Option<&str>,
    ) -> Result<Self, RowError> {
        let format = match layout {
            TaggedLayout::Cells { layout, separator } => FormatReader::Table {
                reader: Box::new(TableReader::new(reader, file, layout)?),
                separator: separator.clone(),
            },
            TaggedLayout::Lists(layout) => FormatReader::Json(JsonReader::new(reader, file, layout)?),
            TaggedLayout::Conll(layout) => FormatReader::Conll(ConllReader::new(reader, file, *layout)?),
        };
        let (file, labels, language) = (file.to_path_buf(), labels.clone(), language.map(String::from));
        Ok(Self { format, file, labels, language, dropped: 0, failed: false })
    }

    /// How many rows were left out so far because one of their tags is a mark for "none".
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Reads what is left and returns the SHA-256 of the whole file, unpacked, in hexadecimal.
    pub fn finish(self) -> Result<String, RowError> {
        let hash = match self.format {
            FormatReader::Table { reader, .. } => reader.finish(),
            FormatReader::Json(reader) => reader.finish(),
            FormatReader::Conll(reader) => reader.finish(),
        };
        hash.map_err(|cause| RowError::reading(&self.file, None, &cause))
    }

    fn read(&mut self) -> Result<Option<TaggedRow>, RowError> {
        loop {
            let cells = match &mut self.format {
                FormatReader::Table { reader, separator } => {
                    reader.next_row()?.map(|cells| TaggedCells::of(cells, separator))
                }
                FormatReader::Json(reader) => reader.next_tagged()?,
                FormatReader::Conll(reader) => reader.next_row()?,
            };
            let Some(cells) = cells else { return Ok(None) };
            if self.language.is_some() && cells.language.is_some() && cells.language != self.language {
                continue;
            }
            match cells.row(&self.labels, &self.file).map_err(RowError::Row)? {
                Some(row) => return Ok(Some(row)),
                None => self.dropped += 1,
            }
        }
    }
}

impl Iterator for TaggedReader {
    type Item = Result<TaggedRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.read().transpose();
        self.failed = matches!(row, Some(Err(RowError::File(_))));
        row
    }
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
