//! Parquet files, as the Hugging Face hub holds data sets: rows of texts, of tokens, of questions.
//!
//! Values are read [`BATCH`] rows at a time, row group after row group, so that memory holds a page of each column that a card names, and
//! nothing of the others. The crate `parquet` reads the footer and decodes the pages; what it would believe of a hostile file is checked
//! before (`footer`, `pages`), and where it panics on a damaged one, that is an error like any other.

mod columns;
mod footer;
mod pages;
mod row;
mod schema;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, ParquetStatisticsPolicy};
use ::parquet::file::reader::FileReader;
use ::parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};

use self::columns::{Cell, ColumnValues};
use self::pages::{Allowance, Refused};
use self::row::ParquetRow;
use self::schema::{Leaf, Role};
use super::jsonl::Fault;
use super::layout::{Column, Columns, Layout, QuestionColumns};
use super::questions::{Context, QuestionOptions, QuestionRow};
use super::rows::{Cells, TaggedCells};
use super::squad::{Id, RawQuestion};
use crate::error::Problem;
use crate::lines::RowError;

/// Rows that are read at once: few, because a value may be as long as its page.
const BATCH: usize = 64;

const FETCH: &str = "is it whole? fetch it again, or write it anew";

/// The rows of a file, with a text or two.
pub(super) fn texts(
    file: &Path,
    layout: &Layout,
) -> Result<impl Iterator<Item = Result<Cells, RowError>> + use<>, RowError> {
    let mut wanted = Wanted::default();
    let columns = Columns {
        text: wanted.add(&layout.columns.text, Role::Text),
        text_pair: layout.columns.text_pair.as_ref().map(|column| wanted.add(column, Role::Text)),
        label: layout.columns.label.as_ref().map(|column| wanted.add(column, Role::Words)),
        language: layout.columns.language.as_ref().map(|column| wanted.add(column, Role::Word)),
    };
    Ok(ParquetRows::open(file, wanted)?.each(move |row, line| {
        Ok(Cells {
            line,
            text: row.one(columns.text)?,
            text_pair: columns.text_pair.map(|column| row.one(column)).transpose()?,
            label: columns.label.map(|column| row.joined(column)).transpose()?,
            language: columns.language.map(|column| row.one(column)).transpose()?,
        })
    }))
}

/// [`texts`] for rows of tokens and tags: those of the columns `text` and `label`, which are lists.
pub(super) fn tagged(
    file: &Path,
    layout: &Layout,
) -> Result<impl Iterator<Item = Result<TaggedCells, RowError>> + use<>, RowError> {
    let mut wanted = Wanted::default();
    let tokens = wanted.add(&layout.columns.text, Role::List);
    let tags = layout.columns.label.as_ref().map(|column| wanted.add(column, Role::List));
    let language = layout.columns.language.as_ref().map(|column| wanted.add(column, Role::Word));
    Ok(ParquetRows::open(file, wanted)?.each(move |row, line| {
        Ok(TaggedCells {
            line,
            tokens: row.list(tokens)?,
            tags: tags.map(|column| row.list(column)).transpose()?.unwrap_or_default(),
            language: language.map(|column| row.one(column)).transpose()?,
            spread: false,
        })
    }))
}

/// [`texts`] for questions. Rows that follow one another on the same context share it.
pub(super) fn questions(
    file: &Path,
    columns: &QuestionColumns,
    options: QuestionOptions,
) -> Result<impl Iterator<Item = Result<QuestionRow, RowError>> + use<>, RowError> {
    let mut wanted = Wanted::default();
    let id = columns.id.as_ref().map(|name| wanted.named(name, Role::Word));
    let question = wanted.named(&columns.question, Role::Text);
    let context = wanted.named(&columns.context, Role::Text);
    let answers = wanted.named(&columns.answers, Role::List);
    let starts = columns.answer_start.as_ref().map(|name| wanted.named(name, Role::Numbers));
    let mut held: Option<Context> = None;
    Ok(ParquetRows::open(file, wanted)?.each(move |row, line| {
        let question = RawQuestion {
            id: id.map(|column| row.one(column)).transpose()?.map(Id::Word),
            question: row.one(question)?,
            answers: row.answers(answers, starts)?,
            is_impossible: false,
        };
        let text = row.one(context)?;
        let context = match held.take() {
            Some(context) if *context.text == *text => context,
            _ => Context::new(&text),
        };
        let question = question.row(held.insert(context), line, line);
        options.fault(&question).map_or(Ok(question), |problem| Err(Fault::new(problem)))
    }))
}

/// The columns that a layout names, by their place in a [`ParquetRow`].
#[derive(Default)]
struct Wanted(Vec<(String, Role)>);

impl Wanted {
    /// Columns of parquet files have names: a card that numbers them is refused.
    fn add(&mut self, column: &Column, role: Role) -> usize {
        match column {
            Column::Name(name) => self.named(name, role),
            Column::Number(number) => self.named(&number.to_string(), role),
        }
    }

    fn named(&mut self, name: &str, role: Role) -> usize {
        self.0.push((name.to_string(), role));
        self.0.len() - 1
    }
}

/// The rows of a file, in the columns that are wanted.
struct ParquetRows {
    file: PathBuf,
    bytes: Arc<File>,
    size: u64,
    metadata: Arc<ParquetMetaData>,
    leaves: Vec<Leaf>,
    allowance: Arc<Allowance>,
    /// How many row groups were begun.
    groups: usize,
    /// Readers of the row group at hand, one a column.
    columns: Vec<ColumnValues>,
    /// Rows of it that are still to come.
    left: u64,
    /// What has been read and not been given yet: rows, the last first.
    held: Vec<Vec<Cell>>,
    /// The row last given, from 1.
    row: usize,
    ended: bool,
}

impl ParquetRows {
    fn open(path: &Path, wanted: Wanted) -> Result<Self, RowError> {
        let bad = |problem: Problem| RowError::File(Box::new(problem.in_file(path)));
        let reading = |cause: &std::io::Error| RowError::reading(path, None, cause);
        let mut file = File::open(path).map_err(|cause| reading(&cause))?;
        if let Some(problem) = footer::fault(&mut file).map_err(|cause| reading(&cause))? {
            return Err(bad(problem));
        }
        let size = file.metadata().map_err(|cause| reading(&cause))?.len();
        let bytes = Arc::new(file);
        let metadata = guarded(|| {
            let skip = || ParquetStatisticsPolicy::SkipAll;
            let options = ReadOptionsBuilder::new()
                .with_column_stats_policy(skip())
                .with_size_stats_policy(skip())
                .with_encoding_stats_policy(skip())
                .build();
            let reader = SerializedFileReader::new_with_options(bytes.try_clone()?, options)?;
            Ok(Arc::new(reader.metadata().clone()))
        });
        let metadata = metadata.map_err(|problem| bad(*problem))?;
        let all = guarded(|| Ok(schema::leaves(metadata.file_metadata().schema_descr())));
        let all = all.map_err(|problem| bad(*problem))?;
        let leaves = wanted.0.iter().map(|(name, role)| schema::find(&all, name, *role).cloned());
        let leaves = leaves.collect::<Result<Vec<_>, _>>().map_err(|problem| bad(*problem))?;
        Ok(Self {
            file: path.to_path_buf(),
            bytes,
            size,
            metadata,
            leaves,
            allowance: Arc::new(Allowance::of(size)),
            groups: 0,
            columns: Vec::new(),
            left: 0,
            held: Vec::new(),
            row: 0,
            ended: false,
        })
    }

    /// What `read` makes of each row and its number.
    fn each<R>(
        mut self,
        mut read: impl FnMut(&mut ParquetRow<'_>, usize) -> Result<R, Fault>,
    ) -> impl Iterator<Item = Result<R, RowError>> {
        std::iter::from_fn(move || {
            let cells = match self.next_row()? {
                Ok(cells) => cells,
                Err(problem) => return Some(Err(RowError::File(problem))),
            };
            let row = read(&mut ParquetRow { cells, leaves: &self.leaves }, self.row);
            Some(row.map_err(|fault| RowError::Row(fault.at(&self.file, self.row))))
        })
    }

    /// The cells of the next row; `None` after the last, and after an error.
    fn next_row(&mut self) -> Option<Result<Vec<Cell>, Box<Problem>>> {
        if self.held.is_empty() && !self.ended {
            let read = guarded(|| self.read());
            match read {
                Ok(rows) => {
                    self.ended = rows.is_empty();
                    self.held = rows;
                }
                Err(problem) => {
                    self.ended = true;
                    return Some(Err(Box::new(problem.at(&self.file, self.row + 1, None))));
                }
            }
        }
        let cells = self.held.pop()?;
        self.row += 1;
        Some(Ok(cells))
    }

    /// Reads the next rows, of which the last comes first; none at the end.
    fn read(&mut self) -> Result<Vec<Vec<Cell>>, ParquetError> {
        while self.left == 0 {
            if self.groups == self.metadata.num_row_groups() {
                return Ok(Vec::new());
            }
            let group = self.metadata.row_group(self.groups);
            self.groups += 1;
            self.left = u64::try_from(group.num_rows())?;
            let column = |leaf| ColumnValues::new(&self.bytes, self.size, group, leaf, &self.allowance);
            self.columns = self.leaves.iter().map(column).collect::<Result<_, _>>()?;
        }
        let count = self.left.min(BATCH as u64) as usize;
        let columns = self.columns.iter_mut().map(|column| column.next(count)).collect::<Result<Vec<_>, _>>()?;
        if let Some((column, leaf)) = columns.iter().zip(&self.leaves).find(|(column, _)| column.len() != count) {
            let (name, group) = (&leaf.name, self.groups);
            let what =
                format!("the column `{name}` lacks {} rows of row group {group}", count - column.len().min(count));
            return Err(ParquetError::General(what));
        }
        self.left -= count as u64;
        let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
        let row = |_| columns.iter_mut().filter_map(Iterator::next).collect();
        let mut rows: Vec<Vec<Cell>> = (0..count).map(row).collect();
        rows.reverse();
        Ok(rows)
    }
}

/// What `read` returns; its error, or its panic, as a problem without a place.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Box<Problem>> {
    // What a panic leaves half done is not used again.
    let cause = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(cause)) => cause,
        Err(_) => {
            let problem = Problem::new("the parquet file is damaged: a page holds what cannot be");
            return Err(Box::new(problem.help(FETCH)));
        }
    };
    Err(Box::new(match cause {
        ParquetError::External(cause) => match cause.downcast_ref::<Refused>() {
            Some(refused) => Problem::new(&refused.what).help(refused.help),
            None => Problem::new(format!("the parquet file cannot be read: {cause}")).help(FETCH),
        },
        ParquetError::General(what) | ParquetError::EOF(what) => {
            Problem::new(format!("the parquet file is damaged: {what}")).help(FETCH)
        }
        ParquetError::NYI(what) => Problem::new(format!("the parquet file cannot be read: {what}"))
            .help("write it anew, with pyarrow for instance"),
        other => Problem::new(format!("the parquet file is damaged: {other}")).help(FETCH),
    }))
}
