//! The values of one column, row by row.

use std::fs::File;
use std::sync::Arc;

use ::parquet::basic::Type as Physical;
use ::parquet::column::page::PageReader;
use ::parquet::column::reader::ColumnReaderImpl;
use ::parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::serialized_reader::SerializedPageReader;

use super::pages::{Allowance, Packing, Pages};
use super::schema::{Leaf, List, Values};

/// What a row has in a column. Numbers are written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    One(String),
    Many(Vec<Option<String>>),
    /// Bytes that are no UTF-8.
    NotText,
}

/// Reads one column of one row group.
pub(super) struct ColumnValues {
    typed: Typed,
    leaf: Leaf,
    allowance: Arc<Allowance>,
}

/// A reader for each type that is read.
enum Typed {
    Truth(ColumnReaderImpl<BoolType>),
    Whole32(ColumnReaderImpl<Int32Type>),
    Whole64(ColumnReaderImpl<Int64Type>),
    Real32(ColumnReaderImpl<FloatType>),
    Real64(ColumnReaderImpl<DoubleType>),
    Text(ColumnReaderImpl<ByteArrayType>),
}

impl ColumnValues {
    /// The column `leaf` of `group`, a row group of `file`, which has `size` bytes.
    pub(super) fn new(
        file: &Arc<File>,
        size: u64,
        group: &RowGroupMetaData,
        leaf: &Leaf,
        allowance: &Arc<Allowance>,
    ) -> Result<Self> {
        let chunk = group.columns().get(leaf.index).ok_or_else(|| damaged("a row group has too few columns"))?;
        let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        let end = u64::try_from(start).ok().zip(u64::try_from(chunk.compressed_size()).ok());
        if end.and_then(|(start, length)| start.checked_add(length)).is_none_or(|end| end > size) {
            return Err(damaged("a column is said to lie behind the end of the file"));
        }
        let packing = Packing::of(chunk.compression())?;
        // Pages are unpacked by `Pages`.
        let plain =
            chunk.clone().into_builder().set_compression(::parquet::basic::Compression::UNCOMPRESSED).build()?;
        let rows = usize::try_from(group.num_rows())?;
        let stored = SerializedPageReader::new(file.clone(), &plain, rows, None)?;
        let column = leaf.column.clone();
        let pages: Box<dyn PageReader> =
            Box::new(Pages { stored, packing, column: column.clone(), allowance: allowance.clone() });
        let typed = match column.physical_type() {
            Physical::BOOLEAN => Typed::Truth(ColumnReaderImpl::new(column, pages)),
            Physical::INT32 => Typed::Whole32(ColumnReaderImpl::new(column, pages)),
            Physical::INT64 => Typed::Whole64(ColumnReaderImpl::new(column, pages)),
            Physical::FLOAT => Typed::Real32(ColumnReaderImpl::new(column, pages)),
            Physical::DOUBLE => Typed::Real64(ColumnReaderImpl::new(column, pages)),
            Physical::BYTE_ARRAY => Typed::Text(ColumnReaderImpl::new(column, pages)),
            other => return Err(damaged(&format!("a column of the type {other}"))),
        };
        Ok(Self { typed, leaf: leaf.clone(), allowance: allowance.clone() })
    }

    /// The next rows, so many unless fewer are left.
    pub(super) fn next(&mut self, rows: usize) -> Result<Vec<Cell>> {
        let Self { typed, leaf, allowance } = self;
        let signed = leaf.values != Values::Whole { signed: false };
        let written = |number: String| Ok(Some(number));
        match typed {
            Typed::Truth(reader) => read(reader, leaf, rows, |truth| written(truth.to_string())),
            Typed::Real32(reader) => read(reader, leaf, rows, |number| written(number.to_string())),
            Typed::Real64(reader) => read(reader, leaf, rows, |number| written(number.to_string())),
            Typed::Whole32(reader) if signed => read(reader, leaf, rows, |number| written(number.to_string())),
            Typed::Whole32(reader) => read(reader, leaf, rows, |number| written((*number as u32).to_string())),
            Typed::Whole64(reader) if signed => read(reader, leaf, rows, |number| written(number.to_string())),
            Typed::Whole64(reader) => read(reader, leaf, rows, |number| written((*number as u64).to_string())),
            Typed::Text(reader) => read(reader, leaf, rows, |text| {
                allowance.take(text.len() as u64)?;
                Ok(std::str::from_utf8(text.data()).ok().map(String::from))
            }),
        }
    }
}

/// Puts the values of the next rows into cells; `write` makes text of a value, or none if it cannot be.
///
/// A value, or a null in its place, comes with two levels: the repetition level is 0 where a row begins, and the definition level tells how
/// much of the column's path is there.
fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    leaf: &Leaf,
    rows: usize,
    write: impl Fn(&T::T) -> Result<Option<String>>,
) -> Result<Vec<Cell>> {
    let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    let highest = leaf.column.max_def_level();
    let (read, _, levels) = reader.read_records(rows, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
    let count = if highest == 0 { values.len() } else { levels };
    let mut values = values.iter();
    let mut cells: Vec<Cell> = Vec::with_capacity(read);
    for at in 0..count {
        let definition = if highest == 0 { 0 } else { *definitions.get(at).ok_or_else(out_of_step)? };
        let begins = leaf.column.max_rep_level() == 0 || *repetitions.get(at).ok_or_else(out_of_step)? == 0;
        let value = match definition == highest {
            true => Some(write(values.next().ok_or_else(out_of_step)?)?),
            false => None,
        };
        let element = match leaf.list {
            List::Of { level } if definition >= level => Element::Of(value),
            List::Of { level } if definition + 1 == level => Element::None,
            List::Of { .. } => Element::Null,
            List::No | List::Deep => {
                cells.push(match value {
                    None => Cell::Null,
                    Some(None) => Cell::NotText,
                    Some(Some(text)) => Cell::One(text),
                });
                continue;
            }
        };
        if begins {
            cells.push(if matches!(element, Element::Null) { Cell::Null } else { Cell::Many(Vec::new()) });
        }
        let cell = cells.last_mut().ok_or_else(out_of_step)?;
        match (cell, element) {
            (cell, Element::Of(Some(None))) => *cell = Cell::NotText,
            (Cell::Many(list), Element::Of(value)) => list.push(value.flatten()),
            _ => {}
        }
    }
    Ok(cells)
}

/// What a level tells of a list.
enum Element {
    /// There is no list.
    Null,
    /// The list is empty.
    None,
    /// An element, which may be null.
    Of(Option<Option<String>>),
}

fn out_of_step() -> ParquetError {
    damaged("a column has other values than its levels tell")
}

fn damaged(what: &str) -> ParquetError {
    ParquetError::General(what.to_string())
}
