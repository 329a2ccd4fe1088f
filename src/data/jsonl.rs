//! JSON lines: one object a line.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::labels::LIST_SEPARATOR;
use super::layout::{Column, Columns, Layout};
use super::rows::{Cells, TaggedCells};
use crate::error::Problem;
use crate::lines::{Bytes, Lines, RowError};
use crate::suggest;

const ONE_OBJECT: &str = "JSON lines hold one object, such as {\"text\": \"...\"}, a line";

/// The rows of a file of JSON lines: the layout's columns are keys of the objects.
pub(super) fn texts(
    reader: Bytes,
    file: &Path,
    layout: &Layout,
) -> Result<impl Iterator<Item = Result<Cells, RowError>> + use<>, RowError> {
    let columns = keys(layout, file)?;
    Ok(each(Lines::new(reader, file)?, ONE_OBJECT, move |mut object: Map<String, Value>, line| {
        let label = columns.label.as_deref().map(|key| labels(&mut object, key)).transpose()?;
        let language = columns.language.as_deref().map(|key| word(&mut object, key)).transpose()?;
        let text_pair = columns.text_pair.as_deref().map(|key| text(&mut object, key)).transpose()?;
        Ok(Cells { line, text: text(&mut object, &columns.text)?, text_pair, label, language })
    }))
}

/// [`texts`] for rows of tokens and tags: those of the columns `text` and `label`, which are lists.
pub(super) fn tagged(
    reader: Bytes,
    file: &Path,
    layout: &Layout,
) -> Result<impl Iterator<Item = Result<TaggedCells, RowError>> + use<>, RowError> {
    let columns = keys(layout, file)?;
    Ok(each(Lines::new(reader, file)?, ONE_OBJECT, move |mut object: Map<String, Value>, line| {
        let tags = columns.label.as_deref().map(|key| words(&mut object, key)).transpose()?.unwrap_or_default();
        let language = columns.language.as_deref().map(|key| word(&mut object, key)).transpose()?;
        Ok(TaggedCells { line, tokens: words(&mut object, &columns.text)?, tags, language, spread: false })
    }))
}

fn keys(layout: &Layout, file: &Path) -> Result<Columns<String>, RowError> {
    layout.columns.try_map(|column| match column {
        Column::Name(key) => Ok(key.clone()),
        Column::Number(_) => {
            let problem = Problem::new("columns of JSON lines have names, not numbers").in_file(file);
            Err(RowError::File(Box::new(problem)))
        }
    })
}

/// What `read` makes of each object and its line; blank lines are passed over. `help` says what objects would be right.
pub(super) fn each<T: DeserializeOwned, R>(
    mut lines: Lines,
    help: &'static str,
    mut read: impl FnMut(T, usize) -> Result<R, Fault>,
) -> impl Iterator<Item = Result<R, RowError>> {
    std::iter::from_fn(move || {
        let parsed = loop {
            match lines.next_line() {
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => break parse_as(line, help),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        };
        let row = parsed.and_then(|object| read(object, lines.number));
        Some(row.map_err(|fault| RowError::Row(fault.at(&lines.file, lines.number))))
    })
}

/// What is wrong with a line, and at which column; the file and the line's number are added by [`Fault::at`].
pub(crate) struct Fault {
    problem: Box<Problem>,
    column: Option<usize>,
}

impl Fault {
    pub(crate) fn new(problem: Problem) -> Self {
        Self { problem: Box::new(problem), column: None }
    }

    pub(crate) fn at(self, file: &Path, line: usize) -> Box<Problem> {
        Box::new(self.problem.at(file, line, self.column))
    }
}

/// One line as an object.
pub(super) fn parse(line: &str) -> Result<Map<String, Value>, Fault> {
    parse_as(line, ONE_OBJECT)
}

/// One line as an object of a kind; `help` says what would be right.
fn parse_as<T: DeserializeOwned>(line: &str, help: &str) -> Result<T, Fault> {
    serde_json::from_str(line).map_err(|cause| {
        // serde_json counts bytes and adds the place to its message, both of which mislead in a line of a larger file.
        let bytes = cause.column().min(line.len());
        let column = String::from_utf8_lossy(&line.as_bytes()[..bytes]).chars().count().max(1);
        let text = cause.to_string();
        let text = text.rsplit_once(" at line").map_or(text.as_str(), |(text, _)| text);
        let problem = Problem::new(format!("not a JSON object: {text}")).help(help);
        Fault { problem: Box::new(problem), column: Some(column) }
    })
}

/// The texts that one line, an object, has under two keys.
pub(crate) fn texts_of(line: &str, keys: [&str; 2]) -> Result<[String; 2], Fault> {
    let mut object = parse(line)?;
    Ok([text(&mut object, keys[0])?, text(&mut object, keys[1])?])
}

/// The texts that the object under "translation" has under two languages, as Hugging Face's data sets have it.
pub(crate) fn translation_of(line: &str, languages: [&str; 2]) -> Result<[String; 2], Fault> {
    let mut object = parse(line)?;
    match object.get_mut("translation") {
        Some(Value::Object(texts)) => Ok([text(texts, languages[0])?, text(texts, languages[1])?]),
        Some(other) => Err(Fault::new(Problem::new(format!("`translation` is not an object but {}", kind(other))))),
        None => Err(missing(&object, "translation")),
    }
}

/// The text that one line, an object, has under `key`.
pub(crate) fn text_of(line: &str, key: &str) -> Result<String, Fault> {
    text(&mut parse(line)?, key)
}

fn text(object: &mut Map<String, Value>, key: &str) -> Result<String, Fault> {
    match object.get_mut(key) {
        Some(Value::String(text)) => Ok(std::mem::take(text)),
        Some(other) => Err(Fault::new(Problem::new(format!("`{key}` is not a string but {}", kind(other))))),
        None => Err(missing(object, key)),
    }
}

/// Labels may be numbers too.
fn word(object: &mut Map<String, Value>, key: &str) -> Result<String, Fault> {
    match object.get_mut(key) {
        Some(Value::String(word)) => Ok(std::mem::take(word)),
        Some(number @ (Value::Number(_) | Value::Bool(_))) => Ok(number.to_string()),
        Some(other) => Err(Fault::new(Problem::new(format!("`{key}` is {}", kind(other))))),
        None => Err(missing(object, key)),
    }
}

/// A label, or several in a list.
fn labels(object: &mut Map<String, Value>, key: &str) -> Result<String, Fault> {
    match object.get(key) {
        Some(Value::Array(_)) => Ok(words(object, key)?.join(&LIST_SEPARATOR.to_string())),
        _ => word(object, key),
    }
}

/// A list of what [`word`] takes.
fn words(object: &mut Map<String, Value>, key: &str) -> Result<Vec<String>, Fault> {
    let of = |(index, value): (usize, &mut Value)| match value {
        Value::String(word) => Ok(std::mem::take(word)),
        number @ (Value::Number(_) | Value::Bool(_)) => Ok(number.to_string()),
        other => Err(Fault::new(Problem::new(format!("`{key}` has {} at place {}", kind(other), index + 1)))),
    };
    match object.get_mut(key) {
        Some(Value::Array(values)) => values.iter_mut().enumerate().map(of).collect(),
        Some(other) => Err(Fault::new(Problem::new(format!("`{key}` is not a list but {}", kind(other))))),
        None => Err(missing(object, key)),
    }
}

fn missing(object: &Map<String, Value>, key: &str) -> Fault {
    let problem = Problem::new(format!("the object has no `{key}`"));
    Fault::new(problem.help(suggest::known(key, "its keys", object.keys().map(String::as_str))))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
