//! How the rows of a file are laid out.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};

/// The kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Cells separated by tabs.
    Tsv,
    /// Cells separated by commas.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Columns that are stored one by one.
    Parquet,
}

impl Format {
    /// What stands between two cells.
    pub(super) fn separator(self) -> u8 {
        if self == Self::Csv { b',' } else { b'\t' }
    }
}

/// Whether cells may stand in quotation marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quoting {
    /// Quotation marks are text.
    None,
    /// As in CSV: `"a ""quoted"" cell"`, which may hold separators and line ends.
    Csv,
}

/// A column: its name in the header (or key in the object), or its number from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// By name.
    Name(String),
    /// By number, from 1 (as `cut -f` counts).
    Number(usize),
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrNumber;
        impl Visitor<'_> for NameOrNumber {
            type Value = Column;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column's name or its number from 1")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Column, E> {
                Ok(Column::Name(name.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Column, E> {
                // A table of more columns than this is a mistake, and the bound keeps the arithmetic safe.
                match usize::try_from(number) {
                    Ok(number @ 1..=10_000) => Ok(Column::Number(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(NameOrNumber)
    }
}

/// The columns that matter; all others are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns<T = Column> {
    /// The (first) text.
    pub text: T,
    /// The second text of a pair.
    pub text_pair: Option<T>,
    /// The label.
    pub label: Option<T>,
    /// The language, in files that hold several.
    pub language: Option<T>,
}

impl<T> Columns<T> {
    /// Those of a text, or a pair.
    pub(super) fn texts(text: T, text_pair: Option<T>) -> Self {
        Self { text, text_pair, label: None, language: None }
    }

    /// The columns that are there.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let others = [&self.text_pair, &self.label, &self.language];
        std::iter::once(&self.text).chain(others.into_iter().flatten())
    }

    /// Turns each column into something else, or fails with the first that cannot be.
    pub(super) fn try_map<U, E>(&self, map: impl Fn(&T) -> Result<U, E>) -> Result<Columns<U>, E> {
        Ok(Columns {
            text: map(&self.text)?,
            text_pair: self.text_pair.as_ref().map(&map).transpose()?,
            label: self.label.as_ref().map(&map).transpose()?,
            language: self.language.as_ref().map(&map).transpose()?,
        })
    }
}

/// Everything a reader needs to know of a file before opening it.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The kind of file.
    pub format: Format,
    /// Whether the first line names the columns.
    pub header: bool,
    /// Whether cells may be quoted.
    pub quoting: Quoting,
    /// How many cells a row has, where there is no header to tell and the last ones are not read.
    pub width: Option<usize>,
    /// Where the texts and labels are.
    pub columns: Columns,
}

impl Layout {
    /// That of JSON lines.
    pub(super) fn json(columns: Columns) -> Self {
        Self::named(Format::Jsonl, columns)
    }

    /// That of a format in which every value has a name.
    pub(super) fn named(format: Format, columns: Columns) -> Self {
        Self { format, header: false, quoting: Quoting::None, width: None, columns }
    }
}

/// What a row of a source is, and where it stands.
#[derive(Debug, Clone)]
pub enum RowLayout {
    /// A text or two, and a label.
    Texts(Layout),
    /// Tokens, and a tag for each.
    Tagged(TaggedLayout),
    /// A question, texts, and answers from them.
    Questions(QuestionLayout),
}

impl RowLayout {
    /// Whether the files are parquet.
    pub(super) fn is_parquet(&self) -> bool {
        match self {
            Self::Texts(layout)
            | Self::Tagged(TaggedLayout::Cells { layout, .. })
            | Self::Tagged(TaggedLayout::Lists(layout)) => layout.format == Format::Parquet,
            Self::Tagged(TaggedLayout::Conll(_)) => false,
            Self::Questions(layout) => matches!(layout, QuestionLayout::Parquet(_)),
        }
    }

    /// Whether a file holds several languages, told apart by a column.
    pub(super) fn is_mixed(&self) -> bool {
        match self {
            Self::Texts(layout)
            | Self::Tagged(TaggedLayout::Cells { layout, .. })
            | Self::Tagged(TaggedLayout::Lists(layout)) => layout.columns.language.is_some(),
            Self::Tagged(TaggedLayout::Conll(_)) | Self::Questions(_) => false,
        }
    }
}

/// How tokens and their tags are laid out. In a [`Layout`] of theirs `columns.text` is where the tokens are and
/// `columns.label` where the tags are.
#[derive(Debug, Clone)]
pub enum TaggedLayout {
    /// TSV and CSV: a cell has all tokens of a row, another all its tags.
    Cells {
        /// Where the two cells are.
        layout: Layout,
        /// What stands between two tokens, and between two tags.
        separator: String,
    },
    /// JSON lines and parquet: the tokens and the tags are lists.
    Lists(Layout),
    /// A line has one token and its tag, and a blank line ends the row.
    Conll(ConllLayout),
}

/// The columns of a file with one token a line.
#[derive(Debug, Clone, Copy)]
pub struct ConllLayout {
    /// Number of the tokens' column, from 1.
    pub tokens: usize,
    /// Number of the tags' column, from 1.
    pub tags: usize,
    /// How many cells every line has.
    pub width: usize,
    /// What stands between two cells.
    pub separator: LineSeparator,
}

/// What stands between two cells of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineSeparator {
    /// One space or more.
    #[default]
    Space,
    /// One tab, so that a token may hold spaces.
    Tab,
}

/// How questions and answers are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionLayout {
    /// SQuAD's JSON (also CMRC2018's).
    Squad,
    /// DuReader's preprocessed JSON lines.
    DuReader,
    /// Parquet: a question a row.
    Parquet(QuestionColumns),
}

/// The columns of questions, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionColumns {
    /// What the question is called in predictions; its row's number if there is none.
    pub id: Option<String>,
    /// The question.
    pub question: String,
    /// The text that it asks of.
    pub context: String,
    /// What people answered: a list of texts.
    pub answers: String,
    /// The character of the context that each of them begins at.
    pub answer_start: Option<String>,
}
