//! Rows of files in any format: tables, JSON lines, a token a line, parquet.

use std::path::Path;

use super::conll;
use super::jsonl;
use super::labels::{Labels, ReadLabel};
use super::layout::{Format, Layout, TaggedLayout};
use super::parquet_file;
use super::rows::{Cells, Row, TaggedCells, TaggedRow};
use super::table::TableReader;
use crate::lines::{Bytes, RowError};

/// Rows as they come; a bad row does not end the reading, a bad file does.
pub type RowReader<R> = Box<dyn Iterator<Item = Result<R, RowError>>>;

/// Rows of `reader`, which messages call `file`; `None` in place of one whose label is a mark for "none". Of a file that
/// holds several languages only those of `language` come. Where the layout names a label column, `read_label` reads it by
/// `labels`. A parquet file is opened anew, because its end is read first. The error is a header that does not match.
pub(super) fn texts<L: 'static>(
    reader: Bytes,
    file: &Path,
    layout: &Layout,
    labels: &Labels,
    read_label: ReadLabel<L>,
    language: Option<&str>,
) -> Result<RowReader<Option<Row<L>>>, RowError> {
    let cells: RowReader<Cells> = match layout.format {
        Format::Jsonl => Box::new(jsonl::texts(reader, file, layout)?),
        Format::Parquet => Box::new(parquet_file::texts(file, layout)?),
        Format::Tsv | Format::Csv => Box::new(TableReader::new(reader, file, layout)?),
    };
    let (file, labels) = (file.to_path_buf(), labels.clone());
    let cells = of_language(cells, language, |cells| cells.language.as_ref());
    Ok(Box::new(cells.map(move |cells| cells?.row(&labels, read_label, &file))))
}

/// Rows of tokens of `reader`, as [`texts`]; `labels` reads the tags.
pub(super) fn tagged(
    reader: Bytes,
    file: &Path,
    layout: &TaggedLayout,
    labels: &Labels,
    language: Option<&str>,
) -> Result<RowReader<Option<TaggedRow>>, RowError> {
    let cells: RowReader<TaggedCells> = match layout {
        TaggedLayout::Cells { layout, separator } => {
            let separator = separator.clone();
            let cells = TableReader::new(reader, file, layout)?;
            Box::new(cells.map(move |cells| cells.map(|cells| TaggedCells::new(cells, &separator))))
        }
        TaggedLayout::Lists(layout) if layout.format == Format::Parquet => {
            Box::new(parquet_file::tagged(file, layout)?)
        }
        TaggedLayout::Lists(layout) => Box::new(jsonl::tagged(reader, file, layout)?),
        TaggedLayout::Conll(layout) => Box::new(conll::rows(reader, file, *layout)?),
    };
    let (file, labels) = (file.to_path_buf(), labels.clone());
    let cells = of_language(cells, language, |cells| cells.language.as_ref());
    Ok(Box::new(cells.map(move |cells| cells?.row(&labels, &file))))
}

/// Leaves out the rows that say they are of another language.
fn of_language<C>(
    cells: RowReader<C>,
    language: Option<&str>,
    of: fn(&C) -> Option<&String>,
) -> impl Iterator<Item = Result<C, RowError>> + use<C> {
    let language = language.map(String::from);
    cells.filter(move |cells| match (cells, &language) {
        (Ok(cells), Some(language)) => of(cells).is_none_or(|found| found == language),
        _ => true,
    })
}
