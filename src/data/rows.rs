//! Rows as the readers give them: a text or two with a label, or tokens with a tag for each.

use std::path::Path;

use super::labels::{Label, Labels, ReadLabel, shorten};
use crate::error::Problem;
use crate::lines::RowError;

/// An example of a sentence-level dataset: one text or two, and a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<L = u32> {
    /// The (first) text, exactly as in the file.
    pub text: String,
    /// The second text, where the dataset has pairs.
    pub text_pair: Option<String>,
    /// What its label stands for, such as the label's number in the card's order; `None` where the source has no labels.
    pub label: Option<L>,
    /// The line of the file, from 1.
    pub line: u32,
}

impl<L> Row<L> {
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

impl Cells {
    /// The row, or `None` if its label is a mark for "none".
    pub(super) fn row<L>(
        self,
        labels: &Labels,
        read_label: ReadLabel<L>,
        file: &Path,
    ) -> Result<Option<Row<L>>, RowError> {
        let label = self.label.map(|cell| read_label(labels, &cell)).transpose();
        let label = label.map_err(|problem| RowError::Row(Box::new(problem.at(file, self.line, None))))?;
        if let Some(None) = label {
            return Ok(None);
        }
        let line = u32::try_from(self.line).unwrap_or(u32::MAX);
        Ok(Some(Row { text: self.text, text_pair: self.text_pair, label: label.flatten(), line }))
    }
}

/// An example of a token-level dataset.
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
    pub(super) fn new(cells: Cells, separator: &str) -> Self {
        let tags = cells.label.map_or(Vec::new(), |tags| split(&tags, separator));
        let tokens = split(&cells.text, separator);
        Self { line: cells.line, tokens, tags, language: cells.language, spread: false }
    }

    /// The row, or `None` if one of its tags is a mark for "no label".
    pub(super) fn row(self, labels: &Labels, file: &Path) -> Result<Option<TaggedRow>, RowError> {
        if let Some((token, problem)) = self.fault(labels) {
            let line = if self.spread { self.line + token } else { self.line };
            return Err(RowError::Row(Box::new(problem.at(file, line, None))));
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
