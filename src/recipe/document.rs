//! A TOML document in which every key and value knows its place, and the merging of several.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Place, Source, shortened};
use crate::error::Problem;

/// A table: its keys with their values.
pub type Table = BTreeMap<String, Node>;

/// A value and the places of it and of its key. In a list, the key is the value itself.
#[derive(Debug, Clone)]
pub struct Node {
    pub key: Place,
    pub place: Place,
    pub value: Value,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// The value in words, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::String(text) => format!("the text \"{}\"", shortened(text)),
            Self::Integer(number) => format!("the whole number {number}"),
            Self::Float(number) => format!("the number {number:?}"),
            Self::Boolean(value) => value.to_string(),
            Self::Datetime(date) => format!("the date {date}"),
            Self::List(_) => "a list".to_string(),
            Self::Table(_) => "a table".to_string(),
        }
    }
}

/// Parses a TOML document. Every syntax error goes into `problems`; the table is only whole if there was none.
pub fn parse(source: &Arc<Source>, problems: &mut Vec<Problem>) -> Table {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        problems.push(Place { source: source.clone(), span }.problem(format!("not valid TOML: {}", error.message())));
    }
    convert_table(source, table.get_ref(), problems)
}

fn convert_table(source: &Arc<Source>, table: &DeTable<'_>, problems: &mut Vec<Problem>) -> Table {
    let pairs = table.iter().map(|(key, value)| {
        let place = Place { source: source.clone(), span: key.span() };
        (key.get_ref().to_string(), Node { key: place, ..convert(source, value, problems) })
    });
    pairs.collect()
}

/// A value that the TOML parser read, with its places in `source`.
pub fn convert(source: &Arc<Source>, value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Node {
    let place = Place { source: source.clone(), span: value.span() };
    let mut in_range = |number: Option<Value>| {
        number.unwrap_or_else(|| {
            problems.push(place.problem("the number is too large"));
            Value::Integer(0)
        })
    };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            in_range(i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Integer))
        }
        DeValue::Float(number) => in_range(number.as_str().parse().ok().map(Value::Float)),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(date) => Value::Datetime(date.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| convert(source, item, problems)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(source, table, problems)),
    };
    Node { key: place.clone(), place, value }
}

/// Lays `layer` over `base`: tables are merged key by key, anything else is replaced.
pub fn merge(base: &mut Table, layer: Table) {
    for (key, node) in layer {
        match (base.get_mut(&key).map(|old| &mut old.value), node.value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                base.insert(key, Node { value, ..node });
            }
        }
    }
}

/// The node at a dotted path.
pub fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Node> {
    match path.split_once('.') {
        None => table.get(path),
        Some((first, rest)) => match &table.get(first)?.value {
            Value::Table(inner) => get(inner, rest),
            _ => None,
        },
    }
}
