//! The modules stand in the order that `lib.rs` declares, and no file uses one behind it; inside a module there are no circles either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of each layer, as the numbered list of `lib.rs` names them in front of its colon or in single brackets.
fn declared() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("//! "));
    let layers = lines.filter(|line| line.split('.').next().is_some_and(|number| number.parse::<u32>().is_ok()));
    let layers = layers.map(|line| {
        let words =
            line.split('`').skip(1).step_by(2).filter(|word| word.chars().all(|c| c.is_lowercase() || c == '_'));
        words.map(String::from).collect()
    });
    layers.collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.extension().is_some_and(|ending| ending == "rs") => found.push(path),
            false => {}
        }
    }
}

/// `src/models/elmo/state.rs` as `models::elmo::state`, `src/models/mod.rs` as `models`.
fn module(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(source()).unwrap().with_extension("");
    let parts = relative.iter().map(|part| part.to_str().unwrap().to_string());
    parts.filter(|part| part != "mod").collect()
}

/// The paths that a file uses from `crate::` or `super::`, tests and doc comments left out, each from the root.
fn used(file: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    let own = module(file);
    let mut found = Vec::new();
    for (marker, up) in [("crate::", None), ("super::super::", Some(2)), ("super::", Some(1))] {
        for (at, _) in code.match_indices(marker) {
            if up == Some(1) && (code[..at].ends_with("super::") || code[at..].starts_with("super::super::")) {
                continue;
            }
            let base = match up {
                None => Vec::new(),
                // `super` of a file is the folder's module; of a module's root, the module above.
                Some(up) => own[..own.len().saturating_sub(up)].to_vec(),
            };
            for path in paths(&code[at + marker.len()..]) {
                found.push(base.iter().cloned().chain(path).collect());
            }
        }
    }
    found
}

/// The paths of `a::{b, c::d}` or `a::b`, up to the first name that is no module.
fn paths(text: &str) -> Vec<Vec<String>> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = &text[name.len()..];
    if name.is_empty() {
        let Some(inner) = text.strip_prefix('{') else { return vec![Vec::new()] };
        let (mut depth, mut start, mut found) = (0, 0, Vec::new());
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    found.extend(paths(inner[start..at].trim()));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.extend(paths(inner[start..at].trim()));
                    start = at + 1;
                }
                _ => {}
            }
        }
        return found;
    }
    let further = rest.strip_prefix("::").map_or(vec![Vec::new()], paths);
    further.into_iter().map(|path| std::iter::once(name.clone()).chain(path).collect()).collect()
}

#[test]
fn no_module_uses_one_behind_it() {
    let layers = declared();
    let layer_of = |name: &str| layers.iter().position(|layer| layer.iter().any(|module| module == name));
    let mut all = Vec::new();
    files(&source(), &mut all);
    let mut wrong = BTreeSet::new();
    for file in &all {
        let own = module(file);
        if own == ["lib"] || own == ["main"] {
            continue;
        }
        let layer = layer_of(&own[0]).unwrap_or_else(|| panic!("lib.rs declares no layer for `{}`", own[0]));
        let names = used(file).into_iter().filter_map(|path| path.into_iter().next());
        for name in names.filter(|name| *name != own[0]) {
            match layer_of(&name) {
                Some(other) if other < layer => {}
                Some(other)
                    if other == layer && position(&layers[layer], &name) < position(&layers[layer], &own[0]) => {}
                Some(_) => drop(wrong.insert(format!("{} uses {name}", own.join("::")))),
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

fn position(layer: &[String], name: &str) -> Option<usize> {
    layer.iter().position(|module| module == name)
}

/// Of files, not of items: each file can be read after those that it uses. A module's root, which collects its files, may be used by them.
#[test]
fn no_files_go_round_in_circles() {
    let mut all = Vec::new();
    files(&source(), &mut all);
    let modules: BTreeMap<Vec<String>, PathBuf> = all.iter().map(|file| (module(file), file.clone())).collect();
    let mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (own, file) in &modules {
        for path in used(file) {
            // The longest beginning that is a file; a root collects its files, which may use it.
            let target =
                (1..=path.len()).rev().map(|length| path[..length].to_vec()).find(|path| modules.contains_key(path));
            if let Some(target) = target.filter(|target| target != own && !own.starts_with(target)) {
                edges.entry(own.clone()).or_default().insert(target);
            }
        }
    }
    let mut done = BTreeSet::new();
    let mut circles = BTreeSet::new();
    for start in modules.keys() {
        follow(start, &edges, &mut Vec::new(), &mut done, &mut circles);
    }
    assert!(circles.is_empty(), "{}", circles.into_iter().collect::<Vec<_>>().join("\n"));
}

fn follow(
    at: &Vec<String>,
    edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
    path: &mut Vec<Vec<String>>,
    done: &mut BTreeSet<Vec<String>>,
    circles: &mut BTreeSet<String>,
) {
    if let Some(first) = path.iter().position(|seen| seen == at) {
        let names: Vec<String> = path[first..].iter().chain([at]).map(|module| module.join("::")).collect();
        circles.insert(names.join(" -> "));
        return;
    }
    if !done.insert(at.clone()) {
        return;
    }
    path.push(at.clone());
    for next in edges.get(at).into_iter().flatten() {
        follow(next, edges, path, done, circles);
    }
    path.pop();
}

/// The reader of `use` lines sees what it is to see.
#[test]
fn nested_uses_are_read() {
    let text = "models::{EncoderInput, elmo::{self, state::ElmoState}, words};";
    let found: Vec<String> = paths(text).into_iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        ["models::EncoderInput", "models::elmo::self", "models::elmo::state::ElmoState", "models::words"]
    );
    assert!(declared().len() > 10, "{:?}", declared());
}
