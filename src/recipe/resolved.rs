//! A recipe with every value written out: as TOML that runs again, with where each value came from, as a fingerprint,
//! and against another recipe.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::json_schema::recipe_schema;
use super::schema::Recipe;
use super::{Loaded, applicability};
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
    leaves.retain(|leaf| idle.iter().all(|idle| !idle.keys.contains(&leaf.path.as_str())));
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

impl Loaded {
    /// The recipe as TOML with every default written out, in the order of the schema, to be saved with the run. It stands by itself (no
    /// `extends`) and reads back as the same recipe.
    pub fn resolved_toml(&self) -> String {
        let mut text = String::new();
        let mut current = String::new();
        for leaf in leaves(&self.written) {
            let (section, key) = leaf.split();
            let Some(value) = &leaf.value else { continue };
            start_section(&mut text, &mut current, section);
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }

    /// The recipe as TOML with a comment behind each value that says where it came from, and above each key its documentation where
    /// `docs` is set. Optional keys that are left out stand there as comments, except those of `[model.config]`.
    pub fn show(&self, docs: bool) -> String {
        let schema = recipe_schema();
        let mut lines = Vec::new();
        for leaf in leaves(&self.recipe) {
            match (&leaf.value, leaf.split()) {
                (Some(value), (_, key)) => lines.push((format!("{key} = {value}"), leaf)),
                (None, (section, key)) if !section.contains('.') => lines.push((format!("# {key} ="), leaf)),
                _ => {}
            }
        }
        // Long values (paths, lists of languages) do not push every comment to the right.
        let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
        let mut text = String::new();
        let mut current = String::new();
        for (line, leaf) in &lines {
            start_section(&mut text, &mut current, leaf.split().0);
            if docs {
                let pointer = format!("/properties/{}/description", leaf.path.replace('.', "/properties/"));
                let documentation = schema.pointer(&pointer).and_then(Json::as_str).unwrap_or_default();
                documentation.lines().for_each(|line| text.push_str(&format!("# {line}\n")));
            }
            let origin = match (&leaf.value, self.origins.get(&leaf.path)) {
                (_, Some(origin)) => origin,
                (Some(_), None) => "default",
                (None, None) => "not set",
            };
            text.push_str(&format!("{line:width$}  # {origin}\n"));
        }
        text
    }

    /// How many values the recipe has, defaults included.
    pub fn count(&self) -> usize {
        leaves(&self.recipe).iter().filter(|leaf| leaf.value.is_some()).count()
    }
}

fn start_section(text: &mut String, current: &mut String, section: &str) {
    if current != section {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}[{section}]\n"));
        *current = section.to_string();
    }
}

/// The values that make a run what it is; the others may change when it is continued.
fn lasting(recipe: &Recipe) -> impl Iterator<Item = Leaf> {
    let keys = ["output.dir", "data.root", "data.cache", "training.logging_steps"];
    // What [corpus] makes is compared by its content.
    let sections = ["device.", "checkpoint.", "export.", "corpus."];
    leaves(recipe).into_iter().filter(move |Leaf { path, .. }| {
        !keys.contains(&path.as_str()) && !sections.iter().any(|section| path.starts_with(section))
    })
}

/// SHA-256 (hexadecimal) over all values that make a run what it is. Left out is what may change when a run is
/// continued: the output folder, `[device]`, `[checkpoint]`, `[export]`, `[corpus]`, `data.root`, `data.cache` and `training.logging_steps`.
pub fn fingerprint(recipe: &Recipe) -> String {
    let mut hash = Sha256::new();
    for Leaf { path, value } in lasting(recipe) {
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
    let mut right: Vec<Leaf> = lasting(right).collect();
    let mut pairs = Vec::new();
    for Leaf { path: key, value: left } in lasting(left) {
        let found = right.iter().position(|other| other.path == key);
        pairs.push(Difference { key, left, right: found.and_then(|found| right.remove(found).value) });
    }
    // Sections that only the right one has.
    pairs.extend(right.into_iter().map(|Leaf { path: key, value: right }| Difference { key, left: None, right }));
    pairs.retain(|pair| pair.left != pair.right);
    pairs
}
