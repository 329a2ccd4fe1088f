//! Checks a merged document against the JSON Schema of recipes and finds everything that is wrong with it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::document::{Node, Table, Value};
use super::source::{Place, shortened};
use super::suggest;
use crate::error::Problem;

/// What a check found.
pub struct Checked<'a> {
    /// Named where a problem has no other place.
    file: &'a Path,
    keys: Vec<String>,
    /// With what they are sorted by.
    problems: Vec<((usize, usize), Problem)>,
    /// Paths that have a problem of their own or were probably meant by a misspelt key: not to be reported twice.
    pub flagged: BTreeSet<String>,
    /// Required keys that are not there, each with what would be right.
    missing: Vec<(String, String)>,
}

/// Checks `document` against `schema`; `file` is named where something is missing. Returns the document without what is wrong, and
/// with stand-ins for what is missing: it always has the recipe's form, so that rules across keys can be checked even where single keys
/// are wrong.
pub fn check<'a>(document: &Table, schema: &Json, file: &'a Path) -> (Json, Checked<'a>) {
    let keys = suggest::all_keys(schema);
    let mut checked = Checked { file, keys, problems: Vec::new(), flagged: BTreeSet::new(), missing: Vec::new() };
    let json = checked.table("", schema, document);
    // Known only at the end: a misspelt or misplaced key anywhere, or a whole section, may be the one that is missing.
    for (path, help) in std::mem::take(&mut checked.missing) {
        let mut sections = path.match_indices('.').map(|(end, _)| &path[..end]).chain([path.as_str()]);
        if !sections.any(|path| checked.flagged.contains(path)) {
            checked.push(None, &format!("`{path}` is missing"), &help);
            checked.flagged.insert(path.clone());
        }
    }
    (json, checked)
}

impl Checked<'_> {
    /// Adds a problem at a place, or after all others where there is none.
    pub fn push(&mut self, place: Option<&Place>, what: &str, help: &str) {
        let problem = place.map_or_else(|| Problem::new(what).in_file(self.file), |place| place.problem(what));
        self.problems.push((place.map_or((usize::MAX, 0), Place::order), problem.help(help)));
    }

    /// The problems in the order of the text.
    pub fn sorted(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|(order, _)| *order);
        self.problems.into_iter().map(|(_, problem)| problem).collect()
    }

    fn report(&mut self, path: &str, place: &Place, what: &str, help: &str) {
        self.flagged.insert(path.to_string());
        self.push(Some(place), what, help);
    }

    fn table(&mut self, path: &str, schema: &Json, table: &Table) -> Json {
        let Some(properties) = schema["properties"].as_object() else { return Json::Null };
        for (key, node) in table.iter().filter(|(key, _)| !properties.contains_key(*key)) {
            self.unknown(path, key, node, properties);
        }
        let mut good = Map::new();
        for (key, inner_schema) in properties {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let given = table.get(key).and_then(|node| self.value(&inner, &format!("`{inner}`"), inner_schema, node));
            let required = schema["required"].as_array().is_some_and(|all| all.iter().any(|name| name == key));
            match given {
                Some(value) => good.insert(key.clone(), value),
                None if required => good.insert(key.clone(), self.missing(&inner, inner_schema)),
                None => None,
            };
        }
        Json::Object(good)
    }

    /// Notes that a required key is not there, or not usable; returns a stand-in.
    fn missing(&mut self, path: &str, schema: &Json) -> Json {
        if schema["properties"].is_object() {
            return self.table(path, schema, &Table::new());
        }
        let (section, key) = suggest::split(path);
        let example = schema["examples"][0].as_str().or_else(|| words(schema).first().copied()).unwrap_or("...");
        let help = match words(schema).as_slice() {
            [_, _, ..] => format!("give `{key}` in [{section}]: {}", one_of(schema)),
            _ => format!("give it in [{section}], for example `{key} = \"{example}\"`"),
        };
        self.missing.push((path.to_string(), help));
        json!(example)
    }

    fn unknown(&mut self, section: &str, key: &str, node: &Node, properties: &Map<String, Json>) {
        let shown = shortened(key);
        let what = match (section, &node.value) {
            ("", Value::Table(_)) => format!("unknown section [{shown}]"),
            ("", _) => format!("unknown key `{shown}` outside of any section"),
            _ => format!("unknown key `{shown}` in [{section}]"),
        };
        let meant = suggest::meant(section, key, &self.keys);
        let known = properties.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let help = match meant.as_slice() {
            [] if section.is_empty() => format!("the sections are {known}"),
            [] => format!("[{section}] has {known}"),
            [first, ..] if suggest::split(first).1 == key && !node.key.is_argument() => {
                let sections: Vec<_> = meant.iter().map(|path| format!("[{}]", suggest::split(path).0)).collect();
                match suggest::split(first).0 {
                    "" => format!("[{shown}] is a section of its own"),
                    _ => format!("`{shown}` belongs in {}", sections.join(" or ")),
                }
            }
            paths => {
                let paths: Vec<_> = paths.iter().map(|path| self.spelt(section, path, node)).collect();
                format!("did you mean {}?", paths.join(" or "))
            }
        };
        self.flagged.extend(meant.into_iter().map(str::to_string).collect::<Vec<_>>());
        self.push(Some(&node.key), &what, &help);
    }

    /// A path as it would be written where `node` stands.
    fn spelt(&self, section: &str, path: &str, node: &Node) -> String {
        match suggest::split(path) {
            _ if node.key.is_argument() => format!("`{path}`"),
            ("", key) => format!("[{key}]"),
            (place, key) if place == section => format!("`{key}`"),
            (place, key) => format!("`{key}` in [{place}]"),
        }
    }

    /// The value as JSON, or nothing where it is wrong. `label` is how messages name it.
    fn value(&mut self, path: &str, label: &str, schema: &Json, node: &Node) -> Option<Json> {
        let fits = match (kind(schema), &node.value) {
            ("object", Value::Table(table)) => return Some(self.table(path, schema, table)),
            ("array", Value::List(items)) => return self.list(path, label, schema, node, items),
            ("words", Value::String(word)) => {
                if words(schema).contains(&word.as_str()) {
                    return Some(json!(word));
                }
                let help = match (crate::suggest::nearest(word, words(schema)), words(schema).as_slice()) {
                    (_, [only]) => format!("the only choice is \"{only}\""),
                    (Some(near), _) => format!("did you mean \"{near}\"? It is {}", one_of(schema)),
                    (None, _) => format!("it is {}", one_of(schema)),
                };
                self.report(path, &node.place, &format!("{label} cannot be \"{}\"", shortened(word)), &help);
                return None;
            }
            ("string", Value::String(text)) if text.is_empty() && !schema["minLength"].is_null() => {
                Err("must not be empty".to_string())
            }
            ("string", Value::String(text)) => Ok(json!(text)),
            ("boolean", Value::Boolean(value)) => Ok(json!(value)),
            ("integer", Value::Integer(number)) => in_range(schema, *number as f64).map(|()| json!(number)),
            ("number", Value::Integer(number)) => in_range(schema, *number as f64).map(|()| json!(*number as f64)),
            ("number", Value::Float(number)) => in_range(schema, *number).map(|()| json!(number)),
            (expected, found) => {
                let what = format!("{label} must be {}, but is {}", in_words(schema), found.describe());
                let help = mend(expected, node).unwrap_or_else(|| describe(schema));
                self.report(path, &node.place, &what, &help);
                return None;
            }
        };
        fits.map_err(|wrong| {
            let what = format!("{label} is {}, but {wrong}", node.value.describe());
            self.report(path, &node.place, &what, &describe(schema));
        })
        .ok()
    }

    fn list(&mut self, path: &str, label: &str, schema: &Json, node: &Node, items: &[Node]) -> Option<Json> {
        let (least, most) = (schema["minItems"].as_u64().unwrap_or(0), schema["maxItems"].as_u64().unwrap_or(u64::MAX));
        if !(least..=most).contains(&(items.len() as u64)) {
            let wanted = match items.len() as u64 {
                _ if least == most => format!("exactly {least}"),
                count if count < least => format!("at least {least}"),
                _ => format!("at most {most}"),
            };
            let what = format!("{label} has {} items, but must have {wanted}", items.len());
            self.report(path, &node.place, &what, &describe(schema));
            return None;
        }
        let values: Vec<_> = (1..)
            .zip(items)
            .map(|(number, item)| self.value(path, &format!("item {number} of {label}"), &schema["items"], item))
            .collect();
        values.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
    }
}

/// The kind of value a schema asks for: a JSON type, or "words".
fn kind(schema: &Json) -> &str {
    if schema["oneOf"].is_array() { "words" } else { schema["type"].as_str().unwrap_or_default() }
}

fn words(schema: &Json) -> Vec<&str> {
    schema["oneOf"].as_array().into_iter().flatten().filter_map(|word| word["const"].as_str()).collect()
}

fn one_of(schema: &Json) -> String {
    let words: Vec<_> = words(schema).into_iter().map(|word| format!("\"{word}\"")).collect();
    match words.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", words.join(", ")),
    }
}

fn describe(schema: &Json) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

fn in_words(schema: &Json) -> String {
    match kind(schema) {
        "object" => "a table".to_string(),
        "array" => format!("a list, each item {}", in_words(&schema["items"])),
        "words" => one_of(schema),
        "string" => "a text".to_string(),
        "boolean" => "true or false".to_string(),
        "integer" => "a whole number".to_string(),
        _ => "a number".to_string(),
    }
}

fn in_range(schema: &Json, number: f64) -> Result<(), String> {
    let bound = |name: &str| schema[name].as_f64();
    if !number.is_finite() {
        return Err("must be a finite number".to_string());
    }
    match (bound("minimum"), bound("exclusiveMinimum"), bound("maximum"), bound("exclusiveMaximum")) {
        (Some(least), ..) if number < least => Err(format!("must be at least {least}")),
        (_, Some(limit), ..) if number <= limit => Err(format!("must be above {limit}")),
        (_, _, Some(most), _) if number > most => Err(format!("must be at most {most}")),
        (.., Some(limit)) if number >= limit => Err(format!("must be below {limit}")),
        _ => Ok(()),
    }
}

/// How a value of the wrong type could be written rightly.
fn mend(expected: &str, node: &Node) -> Option<String> {
    match (expected, &node.value) {
        ("integer" | "number", Value::String(text)) if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            Some(format!("write it without quotes: {}", shortened(text.trim())))
        }
        ("boolean", Value::String(text)) if text == "true" || text == "false" => {
            Some(format!("write it without quotes: {text}"))
        }
        // Up to 2^53 a float is exactly the whole number it shows.
        ("integer", Value::Float(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(format!("write {number:.0}"))
        }
        ("string" | "words", Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => {
            Some(match node.place.source.text.split_once('=').filter(|_| node.place.is_argument()) {
                Some((key, text)) if !text.trim_start().starts_with(['[', '{']) => {
                    format!("write it in quotes that the shell leaves alone: '{}=\"{}\"'", key.trim(), text.trim())
                }
                _ => "write it in quotes, as a text".to_string(),
            })
        }
        ("array", Value::String(_) | Value::Integer(_) | Value::Float(_)) => {
            Some("write it in brackets: [...]".to_string())
        }
        _ => None,
    }
}
