//! Readers of rows in any format: tables, JSON lines, a token a line.

use std::path::{Path, PathBuf};

use super::conll::ConllReader;
use super::jsonl::JsonReader;
use super::labels::Labels;
use super::layout::{Format, Layout, TaggedLayout};
use super::rows::{Row, TaggedCells, TaggedRow};
use super::table::TableReader;
use crate::error::Problem;
use crate::lines::{Bytes, RowError};

/// Reads rows one by one; a bad row does not end the reading, a bad file does.
pub struct RowReader<L = u32> {
    format: FormatReader,
    file: PathBuf,
    labels: Labels,
    read_label: ReadLabel<L>,
    language: Option<String>,
    dropped: usize,
    failed: bool,
}

enum FormatReader {
    Table(TableReader),
    Json(JsonReader),
}

/// What a cell of the label column stands for; `None` for a mark of "no label".
pub type ReadLabel<L> = fn(&Labels, &str) -> Result<Option<L>, Box<Problem>>;

impl<L> RowReader<L> {
    /// Rows of `reader`, which messages call `file`. Of a file that holds several languages only those of `language` come.
    /// Where the layout names a label column, `read_label` reads it by `labels`. The error is a header that does not match.
    pub fn new(
        reader: Bytes,
        file: &Path,
        layout: &Layout,
        labels: &Labels,
        read_label: ReadLabel<L>,
        language: Option<&str>,
    ) -> Result<Self, RowError> {
        let format = match layout.format {
            Format::Jsonl => FormatReader::Json(JsonReader::new(reader, file, layout)?),
            Format::Tsv | Format::Csv => FormatReader::Table(TableReader::new(reader, file, layout)?),
        };
        let (file, labels, language) = (file.to_path_buf(), labels.clone(), language.map(String::from));
        Ok(Self { format, file, labels, read_label, language, dropped: 0, failed: false })
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

    fn read(&mut self) -> Result<Option<Row<L>>, RowError> {
        loop {
            let cells = match &mut self.format {
                FormatReader::Table(reader) => reader.next_row()?,
                FormatReader::Json(reader) => reader.next_row()?,
            };
            let Some(cells) = cells else { return Ok(None) };
            if self.language.is_some() && cells.language.is_some() && cells.language != self.language {
                continue;
            }
            let label = match cells.label.as_deref().map(|cell| (self.read_label)(&self.labels, cell)).transpose() {
                Ok(Some(None)) => {
                    self.dropped += 1;
                    continue;
                }
                Ok(label) => label.flatten(),
                Err(problem) => return Err(RowError::Row(Box::new(problem.at(&self.file, cells.line, None)))),
            };
            let line = u32::try_from(cells.line).unwrap_or(u32::MAX);
            return Ok(Some(Row { text: cells.text, text_pair: cells.text_pair, label, line }));
        }
    }
}

impl<L> Iterator for RowReader<L> {
    type Item = Result<Row<L>, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.read().transpose();
        self.failed = matches!(row, Some(Err(RowError::File(_))));
        row
    }
}

/// Reads rows one by one; a bad row does not end the reading, a bad file does.
pub struct TaggedReader {
    format: TaggedFormat,
    file: PathBuf,
    labels: Labels,
    language: Option<String>,
    dropped: usize,
    failed: bool,
}

enum TaggedFormat {
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
            TaggedLayout::Cells { layout, separator } => TaggedFormat::Table {
                reader: Box::new(TableReader::new(reader, file, layout)?),
                separator: separator.clone(),
            },
            TaggedLayout::Lists(layout) => TaggedFormat::Json(JsonReader::new(reader, file, layout)?),
            TaggedLayout::Conll(layout) => TaggedFormat::Conll(ConllReader::new(reader, file, *layout)?),
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
            TaggedFormat::Table { reader, .. } => reader.finish(),
            TaggedFormat::Json(reader) => reader.finish(),
            TaggedFormat::Conll(reader) => reader.finish(),
        };
        hash.map_err(|cause| RowError::reading(&self.file, None, &cause))
    }

    fn read(&mut self) -> Result<Option<TaggedRow>, RowError> {
        loop {
            let cells = match &mut self.format {
                TaggedFormat::Table { reader, separator } => {
                    reader.next_row()?.map(|cells| TaggedCells::new(cells, separator))
                }
                TaggedFormat::Json(reader) => reader.next_tagged()?,
                TaggedFormat::Conll(reader) => reader.next_row()?,
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
