//! A recipe with every value written out: as TOML that runs again, with where each value came from, as a fingerprint,
//! and against another recipe.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::applicability;
use super::json_schema::recipe_schema;
use super::schema::Recipe;
use crate::hash::hex;

/// A value of a recipe.
struct Leaf {
    /// Dotted path.
    path: String,
    /// As TOML; nothing where the key is optional and left out.
    value: Option<String>,
}

impl Leaf {
    fn split(&self) -> (&str, &str) {
        super::suggest::split(&self.path)
    }
}

/// All values of a recipe that have an effect, in the order of the schema; a section's own keys stand before those of sections
/// inside it.
fn leaves(recipe: &Recipe) -> Vec<Leaf> {
    fn walk(path: &str, json: &Json, leaves: &mut Vec<Leaf>) {
        let Json::Object(table) = json else { return };
        let (tables, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_object());
        let path = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        leaves.extend(values.into_iter().map(|(key, value)| Leaf { path: path(key), value: toml_value(value) }));
        tables.into_iter().for_each(|(key, table)| walk(&path(key), table, leaves));
    }
    let mut leaves = Vec::new();
    // Only a map with keys that are no strings, or a path that is not UTF-8, cannot become JSON; a recipe has neither,
    // because its paths come from TOML text.
    walk("", &serde_json::to_value(recipe).unwrap_or_default(), &mut leaves);
    let idle = applicability::idle(recipe);
    leaves.retain(|leaf| idle.iter().all(|idle| idle.key != leaf.path));
    leaves
}

/// A JSON value as TOML on one line.
fn toml_value(json: &Json) -> Option<String> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(value) => value.to_string(),
        // Rust's debug form of a float is the shortest that reads back the same, and valid TOML: 5e-5, 0.1, 1.0.
        Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => format!("{float:?}"),
            None => number.to_string(),
        },
        Json::String(text) => toml::Value::String(text.clone()).to_string(),
        Json::Array(items) => format!("[{}]", items.iter().filter_map(toml_value).collect::<Vec<_>>().join(", ")),
        // A table in a list; other tables are sections.
        Json::Object(table) => {
            let entries = table.iter().filter_map(|(key, value)| Some(format!("{key} = {}", toml_value(value)?)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    })
}

/// The recipe as TOML with every default written out, in the order of the schema. It stands by itself (no `extends`)
/// and reads back as the same recipe.
pub fn to_toml(recipe: &Recipe) -> String {
    let mut text = String::new();
    let mut current = String::new();
    for leaf in leaves(recipe) {
        let (section, key) = leaf.split();
        let Some(value) = &leaf.value else { continue };
        start_section(&mut text, &mut current, section);
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

fn start_section(text: &mut String, current: &mut String, section: &str) {
    if current != section {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}[{section}]\n"));
        *current = section.to_string();
    }
}

/// The recipe as TOML with a comment behind each value that says where it came from (`origins`: path to place; what is
/// not in it is a default), and above each key its documentation where `docs` is set. Optional keys that are left out
/// stand there as comments, except those of `[model.config]`.
pub fn show(recipe: &Recipe, origins: &BTreeMap<String, String>, docs: bool) -> String {
    let schema = recipe_schema();
    let lines: Vec<_> = leaves(recipe)
        .into_iter()
        .filter(|leaf| leaf.value.is_some() || leaf.split().0.matches('.').count() == 0)
        .map(|leaf| {
            let key = leaf.split().1;
            let line = match &leaf.value {
                Some(value) => format!("{key} = {value}"),
                None => format!("# {key} ="),
            };
            (leaf, line)
        })
        .collect();
    // Long values (paths, lists of languages) do not push every comment to the right.
    let width = lines.iter().map(|(_, line)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    let mut text = String::new();
    let mut current = String::new();
    for (leaf, line) in &lines {
        start_section(&mut text, &mut current, leaf.split().0);
        if docs {
            let pointer = format!("/properties/{}/description", leaf.path.replace('.', "/properties/"));
            let documentation = schema.pointer(&pointer).and_then(Json::as_str).unwrap_or_default();
            documentation.lines().for_each(|line| text.push_str(&format!("# {line}\n")));
        }
        let origin = match (&leaf.value, origins.get(&leaf.path)) {
            (_, Some(origin)) => origin,
            (Some(_), None) => "default",
            (None, None) => "not set",
        };
        text.push_str(&format!("{line:width$}  # {origin}\n"));
    }
    text
}

/// Whether a value may change between a run and its continuation without making it another run.
fn may_change(path: &str) -> bool {
    let keys = ["output.dir", "data.root", "data.cache", "training.logging_steps"];
    // What [corpus] makes is compared by its content.
    let sections = ["device.", "checkpoint.", "corpus."];
    sections.iter().any(|section| path.starts_with(section)) || keys.contains(&path)
}

/// SHA-256 (hexadecimal) over all values that make a run what it is. Left out is what may change when a run is
/// continued: the output folder, `[device]`, `[checkpoint]`, `[corpus]`, `data.root`, `data.cache` and `training.logging_steps`.
pub fn fingerprint(recipe: &Recipe) -> String {
    let mut hash = Sha256::new();
    for Leaf { path, value } in leaves(recipe).into_iter().filter(|leaf| !may_change(&leaf.path)) {
        if let Some(value) = value {
            hash.update(format!("{path} = {value}\n"));
        }
    }
    hex(&hash.finalize())
}

/// A value that two recipes do not agree on; nothing where a recipe leaves the key out.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub key: String,
    pub left: Option<String>,
    pub right: Option<String>,
}

/// The values that keep two recipes from being the same run: what [`fingerprint`] covers.
pub fn differences(left: &Recipe, right: &Recipe) -> Vec<Difference> {
    let [left, mut right] = [left, right].map(|recipe| {
        let kept = leaves(recipe).into_iter().filter(|leaf| !may_change(&leaf.path));
        kept.map(|leaf| (leaf.path, leaf.value)).collect::<Vec<_>>()
    });
    let mut pairs = Vec::new();
    for (key, value) in left {
        let found = right.iter().position(|(other, _)| *other == key);
        let other = found.and_then(|found| right.remove(found).1);
        pairs.push(Difference { key, left: value, right: other });
    }
    // Sections that only the right one has.
    pairs.extend(right.into_iter().map(|(key, value)| Difference { key, left: None, right: value }));
    pairs.retain(|pair| pair.left != pair.right);
    pairs
}

/// How many values a recipe has.
pub fn count(recipe: &Recipe) -> usize {
    leaves(recipe).iter().filter(|leaf| leaf.value.is_some()).count()
}
