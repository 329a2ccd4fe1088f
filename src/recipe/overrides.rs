//! `key=value` arguments: a recipe path and a TOML value.

use std::sync::Arc;

use toml::de::DeValue;

use super::document::{self, Node, Table, Value};
use super::source::{Origin, Place, Source};
use crate::error::Problem;

const EXAMPLE: &str = "for example `optimizer.learning_rate=2e-5`";

/// Reads the arguments into one layer that lies over the recipe; of two arguments for one key the later counts.
pub fn parse(arguments: &[String], problems: &mut Vec<Problem>) -> Table {
    let mut layer = Table::new();
    for (index, argument) in arguments.iter().enumerate() {
        let number = index + 1;
        // Arguments are reported after the files: there are never that many files.
        let rank = usize::MAX / 2 + number;
        let source = Arc::new(Source { rank, origin: Origin::Argument(number), text: argument.clone() });
        if let Some(table) = parse_one(&source, problems) {
            document::merge(&mut layer, table);
        }
    }
    layer
}

fn parse_one(source: &Arc<Source>, problems: &mut Vec<Problem>) -> Option<Table> {
    let whole = Place { source: source.clone(), span: 0..source.text.len() };
    let Some((path, value)) = source.text.split_once('=') else {
        problems.push(whole.problem("is not of the form key=value").help(EXAMPLE));
        return None;
    };
    let (path, value) = (path.trim(), value.trim());
    let keys: Vec<&str> = path.split('.').collect();
    let is_key = |key: &&str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    // No path in a recipe is longer than three keys: more would only nest tables without end.
    if !keys.iter().all(is_key) || keys.len() > 8 {
        problems.push(whole.problem("what stands before `=` is not a recipe path").help(EXAMPLE));
        return None;
    }
    if path == "extends" {
        problems.push(whole.problem("`extends` can only stand in a recipe file"));
        return None;
    }
    let value = parse_value(value, &whole, problems)?;
    let (first, inner) = keys.split_first()?;
    let table =
        |key: &str, value| Table::from([(key.to_string(), Node { key: whole.clone(), place: whole.clone(), value })]);
    Some(table(first, inner.iter().rev().fold(value, |value, key| Value::Table(table(key, value)))))
}

/// A TOML value; a bare word (a path, a name) is taken as a string, so that no quotes have to get past the shell.
fn parse_value(text: &str, whole: &Place, problems: &mut Vec<Problem>) -> Option<Value> {
    if text.is_empty() {
        problems.push(whole.problem("there is no value after `=`"));
        return None;
    }
    let known = problems.len();
    match DeValue::parse(text) {
        // No key holds a date: what looks like one is a name.
        Ok(value) if matches!(value.get_ref(), DeValue::Datetime(_)) => Some(Value::String(text.to_string())),
        Ok(value) => {
            // Its places are counted from the start of the value; messages name the whole argument.
            let node = document::convert(&whole.source, &value, problems);
            (problems.len() == known).then_some(node.value)
        }
        Err(error) if text.starts_with(['"', '\'', '[', '{']) => {
            problems.push(whole.problem(format!("the value is not valid TOML: {}", error.message())));
            None
        }
        Err(_) => Some(Value::String(text.to_string())),
    }
}
