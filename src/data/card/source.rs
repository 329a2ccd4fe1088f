//! A card's `[[train]]`, `[[dev]]` and `[[test]]` tables: what they may say, and what does not go together.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::{Check, Source};
use crate::data::layout::{
    Column, Columns, ConllLayout, Format, Layout, LineSeparator, QuestionColumns, QuestionLayout, Quoting, RowLayout,
    TaggedLayout,
};
use crate::data::shards;

/// What stands between two tokens of a cell if the card does not say.
const TOKEN_SEPARATOR: &str = " ";

/// The keys of tables with cells, and those of tokens.
const TABLE_KEYS: [&str; 3] = ["header", "quoting", "width"];
const SEPARATORS: [&str; 2] = ["separator", "token_separator"];

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    files: Spanned<String>,
    language: Option<Spanned<String>>,
    format: RawFormat,
    header: Option<Spanned<bool>>,
    quoting: Option<Spanned<Quoting>>,
    width: Option<Spanned<usize>>,
    separator: Option<Spanned<LineSeparator>>,
    token_separator: Option<Spanned<String>>,
    columns: Option<Spanned<RawColumns>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawFormat {
    Tsv,
    Csv,
    Jsonl,
    Conll,
    Squad,
    DuReader,
    Parquet,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumns {
    text: Option<Column>,
    text_pair: Option<Column>,
    label: Option<Column>,
    score: Option<Column>,
    tokens: Option<Column>,
    tags: Option<Column>,
    language: Option<Column>,
    id: Option<Column>,
    question: Option<Column>,
    context: Option<Column>,
    answers: Option<Column>,
    answer_start: Option<Column>,
}

/// What the rows of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Texts,
    Scores,
    Tokens,
    Questions,
}

impl RawColumns {
    fn iter(&self) -> impl Iterator<Item = &Column> {
        let Self { text, text_pair, label, score, tokens, tags, language, .. } = self;
        [text, text_pair, label, score, tokens, tags, language].into_iter().chain(self.of_questions()).flatten()
    }

    fn of_questions(&self) -> [&Option<Column>; 5] {
        [&self.id, &self.question, &self.context, &self.answers, &self.answer_start]
    }

    fn has_questions(&self) -> bool {
        self.of_questions().into_iter().any(Option::is_some)
    }

    /// The highest number.
    fn last(&self) -> Option<usize> {
        self.iter().filter_map(|c| if let Column::Number(n) = c { Some(*n) } else { None }).max()
    }

    fn are_named(&self) -> bool {
        self.iter().any(|column| matches!(column, Column::Name(_)))
    }
}

impl RawSource {
    /// What its rows are.
    pub(super) fn kind(&self) -> Kind {
        let columns = self.columns();
        match self.format {
            RawFormat::Squad | RawFormat::DuReader => Kind::Questions,
            _ if columns.has_questions() => Kind::Questions,
            _ if columns.tokens.is_some() || columns.tags.is_some() => Kind::Tokens,
            _ if columns.score.is_some() => Kind::Scores,
            _ => Kind::Texts,
        }
    }

    fn columns(&self) -> RawColumns {
        self.columns.as_ref().map_or_else(RawColumns::default, |columns| columns.get_ref().clone())
    }

    /// Where its columns stand in the card; its path, if it has none.
    pub(super) fn span(&self) -> Range<usize> {
        self.columns.as_ref().map_or(self.files.span(), Spanned::span)
    }

    pub(super) fn check(self, languages: &[String], has_labels: bool, check: &mut Check<'_>) -> Source {
        self.check_language(languages, check);
        if shards::is_pattern(shards::split(self.files.get_ref()).0) {
            let help = "`*` and `?` stand in the last part of a path, {lang} for the language anywhere";
            check.wrong(self.files.span(), "a pattern in the name of a folder", help);
        }
        let layout = match self.format {
            RawFormat::Squad => self.check_questions(QuestionLayout::Squad, check),
            RawFormat::DuReader => self.check_questions(QuestionLayout::DuReader, check),
            _ if self.columns().has_questions() => self.check_question_columns(check),
            _ => self.check_columns(has_labels, check),
        };
        Source { files: self.files.into_inner(), language: self.language.map(Spanned::into_inner), layout }
    }

    /// Refuses those of these keys that the table has.
    fn refuse(&self, keys: &[&str], what: &str, help: &str, check: &mut Check<'_>) {
        let spans = [
            ("header", self.header.as_ref().map(Spanned::span)),
            ("quoting", self.quoting.as_ref().map(Spanned::span)),
            ("width", self.width.as_ref().map(Spanned::span)),
            ("separator", self.separator.as_ref().map(Spanned::span)),
            ("token_separator", self.token_separator.as_ref().map(Spanned::span)),
        ];
        for (_, span) in spans.into_iter().filter(|(key, _)| keys.contains(key)) {
            span.into_iter().for_each(|span| check.wrong(span, what, help));
        }
    }

    /// Files of questions have a layout of their own.
    fn check_questions(&self, layout: QuestionLayout, check: &mut Check<'_>) -> RowLayout {
        if let Some(columns) = &self.columns {
            check.wrong(columns.span(), "files of questions have no columns", "leave them out: the format tells all");
        }
        self.refuse(&TABLE_KEYS, "files of questions have no header, quoting or width", "leave it out", check);
        self.refuse(&SEPARATORS, "files of questions have no separator", "leave it out", check);
        RowLayout::Questions(layout)
    }

    /// Questions that have columns: no row can do without those of the question, of its context and of the answers.
    fn check_question_columns(&self, check: &mut Check<'_>) -> RowLayout {
        let (columns, span) = (self.columns(), self.span());
        if self.format == RawFormat::Parquet {
            self.check_names("parquet files", check);
        } else {
            let help = "the formats for questions are squad, dureader and parquet";
            check.wrong(span.clone(), "only parquet files have columns of questions", help);
        }
        let RawColumns { text, text_pair, label, score, tokens, tags, language, .. } = &columns;
        if [text, text_pair, label, score, tokens, tags, language].into_iter().any(Option::is_some) {
            let help = "questions have `id`, `question`, `context`, `answers` and `answer_start`";
            check.wrong(span.clone(), "a source has questions, or texts, or tokens", help);
        }
        let name = |column: Option<Column>| {
            column.map(|column| match column {
                Column::Name(name) => name,
                Column::Number(number) => number.to_string(),
            })
        };
        let mut needed = |column, key: &str| {
            name(column).unwrap_or_else(|| {
                let help = "such as columns = { id = \"id\", question = \"question\", context = \"context\", \
                answers = \"answers.text\", answer_start = \"answers.answer_start\" }";
                check.wrong(span.clone(), format!("questions without a column `{key}`"), help);
                String::new()
            })
        };
        RowLayout::Questions(QuestionLayout::Parquet(QuestionColumns {
            question: needed(columns.question, "question"),
            context: needed(columns.context, "context"),
            answers: needed(columns.answers, "answers"),
            id: name(columns.id),
            answer_start: name(columns.answer_start),
        }))
    }

    fn check_columns(&self, has_labels: bool, check: &mut Check<'_>) -> RowLayout {
        let (columns, span) = (self.columns(), self.span());
        let label = if columns.tags.is_some() { "tags" } else { "label" };
        if (columns.label.is_some() || columns.tags.is_some()) && !has_labels {
            let help = "add labels = [...], or labels_file = \"...\", a tag dictionary";
            check.wrong(span.clone(), format!("a column `{label}`, but the card has no labels"), help);
        }
        let roles = roles(&columns, span.clone(), check);
        let is_tagged = self.kind() == Kind::Tokens;
        let format = match self.format {
            RawFormat::Conll if is_tagged => return RowLayout::Tagged(TaggedLayout::Conll(self.check_conll(check))),
            RawFormat::Conll => {
                check.wrong(span, "conll files hold tokens", "columns = { tokens = 1, tags = 2 }");
                return RowLayout::Texts(self.check_cells(Format::Tsv, roles, check));
            }
            RawFormat::Jsonl if is_tagged => {
                self.refuse(&SEPARATORS, "JSON lines have lists of tokens and tags", "leave it out", check);
                self.check_names("JSON lines", check);
                return RowLayout::Tagged(TaggedLayout::Lists(Layout::json(roles)));
            }
            RawFormat::Jsonl => {
                self.refuse(&SEPARATORS, "only tokens have a separator", "leave it out", check);
                self.check_names("JSON lines", check);
                return RowLayout::Texts(Layout::json(roles));
            }
            RawFormat::Parquet => {
                self.check_names("parquet files", check);
                let layout = Layout::named(Format::Parquet, roles);
                return match is_tagged {
                    true => RowLayout::Tagged(TaggedLayout::Lists(layout)),
                    false => RowLayout::Texts(layout),
                };
            }
            RawFormat::Csv => Format::Csv,
            _ => Format::Tsv,
        };
        let help = "tsv has tabs and csv commas between cells; `token_separator` is between tokens";
        self.refuse(&["separator"], "only conll files have a `separator`", help, check);
        if is_tagged {
            let separator = self.check_separator(format, check);
            return RowLayout::Tagged(TaggedLayout::Cells {
                layout: self.check_cells(format, roles, check),
                separator,
            });
        }
        self.refuse(&["token_separator"], "only tokens have a separator", "leave it out", check);
        RowLayout::Texts(self.check_cells(format, roles, check))
    }

    fn check_language(&self, languages: &[String], check: &mut Check<'_>) {
        let has_column = self.columns().language.is_some();
        let tells = [self.files.get_ref().contains("{lang}"), has_column, self.language.is_some()];
        if !tells.contains(&true) && languages.len() > 1 {
            let help = "put {lang} into the path, name the column `language`, or give the file's `language`";
            check.wrong(self.files.span(), "one file for several languages, and nothing tells them apart", help);
        }
        if let Some(language) = self.language.as_ref().filter(|_| tells[0] || tells[1]) {
            let help = "a file's own `language` is for one without {lang} and without such a column";
            check.wrong(language.span(), "the language is told twice", help);
        }
    }

    fn check_separator(&self, format: Format, check: &mut Check<'_>) -> String {
        let Some(raw) = &self.token_separator else { return TOKEN_SEPARATOR.to_string() };
        let separator = raw.get_ref();
        let is_quoted = self.quoting.as_ref().map_or(format == Format::Csv, |q| *q.get_ref() == Quoting::Csv);
        if separator.is_empty() {
            check.wrong(
                raw.span(),
                "an empty separator",
                "what stands between two tokens, such as \" \" or \"\\u0002\"",
            );
        } else if separator.contains(['\r', '\n']) || (!is_quoted && separator.contains(char::from(format.separator())))
        {
            check.wrong(raw.span(), "no cell can hold this", "it separates the cells, or ends the line");
        }
        separator.clone()
    }

    /// In files that name every value nothing else is to be said of the columns.
    fn check_names(&self, files: &str, check: &mut Check<'_>) {
        self.refuse(&TABLE_KEYS, &format!("{files} have no header, quoting or width"), "leave it out", check);
        if self.columns().last().is_some() {
            let help =
                if self.format == RawFormat::Jsonl { "name the objects' keys" } else { "name the file's columns" };
            check.wrong(self.span(), format!("columns of {files} have names, not numbers"), help);
        }
        if self.format == RawFormat::Parquet {
            self.refuse(
                &SEPARATORS,
                "parquet files have no separators: tokens and tags are lists",
                "leave it out",
                check,
            );
        }
    }

    fn check_cells(&self, format: Format, columns: Columns, check: &mut Check<'_>) -> Layout {
        let header = self.header.as_ref().is_some_and(|header| *header.get_ref());
        if !header && self.columns().are_named() {
            let help = "header = true, or numbers from 1";
            check.wrong(self.span(), "columns have names, but the file has no header", help);
        }
        if let Some(raw) = self.width.as_ref().filter(|_| header) {
            check.wrong(raw.span(), "the header tells the width", "leave `width` out");
        } else {
            self.check_width(check);
        }
        let default = if format == Format::Csv { Quoting::Csv } else { Quoting::None };
        let quoting = self.quoting.as_ref().map_or(default, |quoting| *quoting.get_ref());
        Layout { format, header, quoting, width: self.width.as_ref().map(|width| *width.get_ref()), columns }
    }

    fn check_conll(&self, check: &mut Check<'_>) -> ConllLayout {
        self.refuse(&["header", "quoting"], "conll files have no header and no quoting", "leave it out", check);
        let help = "`separator` is what stands between a token and its tag";
        self.refuse(&["token_separator"], "conll files have one token a line", help, check);
        let columns = self.columns();
        if columns.are_named() {
            check.wrong(self.span(), "columns of conll files have numbers, not names", "count them from 1");
        }
        if columns.language.is_some() {
            let help = "put {lang} into the path, or give the file's `language`";
            check.wrong(self.span(), "conll files have no column of languages", help);
        }
        self.check_width(check);
        let number = |column: &Option<Column>| if let Some(Column::Number(n)) = column { *n } else { 1 };
        let separator = self.separator.as_ref().map_or(LineSeparator::default(), |separator| *separator.get_ref());
        let width = self.width.as_ref().map_or(columns.last().unwrap_or(1), |width| *width.get_ref());
        ConllLayout { tokens: number(&columns.tokens), tags: number(&columns.tags), width, separator }
    }

    fn check_width(&self, check: &mut Check<'_>) {
        if let Some(raw) = &self.width
            && self.columns().last().is_some_and(|last| last > *raw.get_ref())
        {
            check.wrong(raw.span(), "`width` is less than a column's number", "count all columns of the file");
        }
    }
}

/// The columns by what the readers call them: tokens are a text, and tags a label. A column that is missing is one the
/// readers never see, because the card is refused.
fn roles(raw: &RawColumns, span: Range<usize>, check: &mut Check<'_>) -> Columns {
    let RawColumns { text, text_pair, label, score, tokens, tags, language, .. } = raw.clone();
    let is_of_texts = text.is_some() || text_pair.is_some() || label.is_some() || score.is_some();
    if label.is_some() && score.is_some() {
        check.wrong(span.clone(), "a row has a label or a score, not both", "make it two cards");
    }
    match (&text, &tokens, &tags) {
        (_, Some(_), _) | (_, _, Some(_)) if is_of_texts => {
            let help = "`text`, `text_pair` and `label`, or `tokens` and `tags`";
            check.wrong(span, "a source has texts or tokens, not both", help);
        }
        (_, Some(_), None) => check.wrong(span, "a column `tokens` without `tags`", "name the column of the tags"),
        (_, None, Some(_)) => check.wrong(span, "a column `tags` without `tokens`", "name the column of the tokens"),
        (None, None, None) => check.wrong(span, "no column `text`, and no `tokens`", "name the column of the texts"),
        _ => {}
    }
    let text = tokens.or(text).unwrap_or(Column::Number(1));
    Columns { text, text_pair, label: tags.or(label).or(score), language }
}
