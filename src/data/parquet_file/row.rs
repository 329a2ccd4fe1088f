//! The cells of a row as texts, words and lists, or what is wrong with them.

use super::columns::Cell;
use super::schema::Leaf;
use crate::data::jsonl::Fault;
use crate::data::labels::LIST_SEPARATOR;
use crate::data::squad::{RawAnswer, RawAnswers};
use crate::error::Problem;
use crate::lines::not_utf8;

/// A row, whose cells are taken out of it; a column is its place among those that are read.
pub(super) struct ParquetRow<'a> {
    pub(super) cells: Vec<Cell>,
    pub(super) leaves: &'a [Leaf],
}

impl ParquetRow<'_> {
    fn take(&mut self, column: usize) -> Cell {
        std::mem::replace(&mut self.cells[column], Cell::Null)
    }

    fn fault(&self, column: usize, what: &str) -> Fault {
        Fault::new(Problem::new(format!("`{}` {what}", self.leaves[column].name)))
    }

    /// A text or a word.
    pub(super) fn one(&mut self, column: usize) -> Result<String, Fault> {
        match self.take(column) {
            Cell::One(text) => Ok(text),
            Cell::Null => Err(self.fault(column, "is null")),
            Cell::Many(_) => Err(self.fault(column, "is a list")),
            Cell::NotText => Err(Fault::new(not_utf8())),
        }
    }

    /// A list of words.
    pub(super) fn list(&mut self, column: usize) -> Result<Vec<String>, Fault> {
        let words = match self.take(column) {
            Cell::Many(words) => words,
            Cell::Null => return Err(self.fault(column, "is null")),
            Cell::One(_) => return Err(self.fault(column, "is no list")),
            Cell::NotText => return Err(Fault::new(not_utf8())),
        };
        let null = |place: usize| self.fault(column, &format!("has null at place {place}"));
        (1..).zip(words).map(|(place, word)| word.ok_or_else(|| null(place))).collect()
    }

    /// A word, or several in one cell.
    pub(super) fn joined(&mut self, column: usize) -> Result<String, Fault> {
        match self.cells[column] {
            Cell::Many(_) => Ok(self.list(column)?.join(&LIST_SEPARATOR.to_string())),
            _ => self.one(column),
        }
    }

    /// The answers to a question; null is none.
    pub(super) fn answers(&mut self, texts: usize, starts: Option<usize>) -> Result<RawAnswers, Fault> {
        if self.cells[texts] == Cell::Null {
            return Ok(RawAnswers::default());
        }
        let text = self.list(texts)?;
        let Some(starts) = starts else {
            return Ok(RawAnswers::List(text.into_iter().map(RawAnswer::Text).collect()));
        };
        // Whole numbers were written out: a number that is none here is larger than any text is long.
        let number = |start: String| start.parse().unwrap_or(i64::MAX);
        let answer_start: Vec<i64> = self.list(starts)?.into_iter().map(number).collect();
        if text.len() != answer_start.len() {
            return Err(self.fault(starts, &format!("has {} numbers for {} answers", answer_start.len(), text.len())));
        }
        Ok(RawAnswers::Columns { text, answer_start })
    }
}
