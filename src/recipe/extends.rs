//! Finds recipe files and follows `extends` from one to the next.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::document::{self, Node, Table, Value};
use super::shipped::{self, Shipped};
use super::source::{Origin, Source, read_text};
use crate::error::{Error, Problem, Result};

/// Where a recipe is: on disk, or among the shipped ones.
#[derive(Debug, Clone)]
struct Location {
    /// As messages name it.
    name: PathBuf,
    shipped: Option<&'static Shipped>,
}

impl Location {
    fn shipped(shipped: &'static Shipped) -> Self {
        Self { name: shipped.path().into(), shipped: Some(shipped) }
    }

    /// Whether both are names of one file.
    fn is(&self, other: &Self) -> bool {
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        self.shipped == other.shipped && (self.shipped.is_some() || canonical(&self.name) == canonical(&other.name))
    }

    fn text(&self) -> Result<String> {
        self.shipped.map_or_else(|| read_text(&self.name), |shipped| Ok(shipped.text.to_string()))
    }
}

/// Reads a recipe and everything it extends: the recipe itself first, the innermost base last. `extends` is taken out,
/// and a dataset card's path is made absolute. What is wrong goes into `problems`; only a recipe that cannot be read at
/// all is an error at once.
pub fn read_chain(recipe: &Path, problems: &mut Vec<Problem>) -> Result<(PathBuf, Vec<Table>)> {
    let mut location = find(recipe, None).ok_or_else(|| not_found(recipe, Problem::new(missing(recipe))))?;
    let name = location.name.clone();
    let mut text = location.text()?;
    let mut layers = Vec::new();
    let mut seen = vec![location.clone()];
    loop {
        let origin = Origin::File(location.name.clone());
        let source = Arc::new(Source { rank: layers.len(), origin, text });
        let mut table = document::parse(&source, problems);
        if location.shipped.is_none() {
            anchor_dataset(&mut table, folder(&location.name));
        }
        let extends = table.remove("extends");
        layers.push(table);
        let Some(node) = extends else { break };
        match follow(&node, &location, &seen) {
            Ok((next, next_text)) => {
                seen.push(next.clone());
                (location, text) = (next, next_text);
            }
            Err(more) => {
                problems.extend(more);
                break;
            }
        }
    }
    Ok((name, layers))
}

/// The recipe that an `extends` means, and its text.
fn follow(node: &Node, from: &Location, seen: &[Location]) -> Result<(Location, String), Vec<Problem>> {
    let Value::String(wanted) = &node.value else {
        let what = format!("`extends` must be a text, but is {}", node.value.describe());
        return Err(vec![node.place.problem(what)]);
    };
    let wanted = Path::new(wanted);
    let Some(next) = find(wanted, Some(from)) else {
        return Err(not_found(wanted, node.place.problem(missing(wanted))).problems().to_vec());
    };
    if seen.iter().any(|earlier| earlier.is(&next)) {
        let round: Vec<_> = seen.iter().chain([&next]).map(|one| one.name.display().to_string()).collect();
        return Err(vec![node.place.problem(format!("`extends` goes round in a circle: {}", round.join(" -> ")))]);
    }
    match next.text() {
        Ok(text) => Ok((next, text)),
        // Two problems: the place that names the file, and what is the matter with the file.
        Err(error) => Err(std::iter::once(node.place.problem("what this extends cannot be read"))
            .chain(error.problems().to_vec())
            .collect()),
    }
}

/// A file on disk, relative to the folder of `from`, or else a shipped recipe.
fn find(wanted: &Path, from: Option<&Location>) -> Option<Location> {
    let beside = from.map_or(wanted.to_path_buf(), |from| folder(&from.name).join(wanted));
    if from.is_some_and(|from| from.shipped.is_some()) {
        return shipped::find(&flatten(&beside)).or_else(|| shipped::find(wanted)).map(Location::shipped);
    }
    if !wanted.as_os_str().is_empty() && beside.exists() {
        return Some(Location { name: beside, shipped: None });
    }
    shipped::find(wanted).map(Location::shipped)
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Resolves `.` and `..` by their names alone: shipped recipes are in no file system.
fn flatten(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                flat.pop();
            }
            Component::Normal(name) => flat.push(name),
            _ => {}
        }
    }
    flat
}

fn missing(wanted: &Path) -> String {
    format!("there is no recipe `{}`, neither as a file nor among the shipped ones", wanted.display())
}

fn not_found(wanted: &Path, problem: Problem) -> Error {
    let similar: Vec<_> = shipped::similar(wanted).into_iter().map(|name| format!("`{name}`")).collect();
    let help = match similar.as_slice() {
        [] => "`kiln recipe list` names the shipped recipes".to_string(),
        _ => format!("did you mean {}?", similar.join(" or ")),
    };
    problem.help(help).into()
}

/// A dataset card given as a path is relative to the recipe that names it (to `folder`); made absolute, it means the
/// same file in the recipe that is saved with a run.
pub fn anchor_dataset(table: &mut Table, folder: &Path) {
    let Some(Value::Table(data)) = table.get_mut("data").map(|node| &mut node.value) else { return };
    let Some(Value::String(path)) = data.get_mut("dataset").map(|node| &mut node.value) else { return };
    if !path.ends_with(".toml") {
        return;
    }
    if let Ok(Some(absolute)) = std::path::absolute(folder.join(&path)).map(|path| path.to_str().map(str::to_string)) {
        *path = absolute;
    }
}
