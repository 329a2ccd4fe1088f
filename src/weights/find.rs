//! Which files make up a checkpoint.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Problem, Result};

/// One file of a checkpoint.
#[derive(Debug)]
pub(super) struct Shard {
    pub path: PathBuf,
    /// The tensors that an index says are in it; none without an index.
    pub names: Vec<String>,
}

/// What is looked for in a folder, best first.
const KNOWN: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model_state.pdparams",
];
const ENDINGS: [&str; 3] = ["safetensors", "bin", "pdparams"];

/// The files of the checkpoint at `path`: a file, an index of several, or a folder with either.
pub(super) fn shards(path: &Path) -> Result<Vec<Shard>> {
    let file = if path.is_dir() { in_folder(path)? } else { path.to_path_buf() };
    match file.extension() {
        Some(ending) if ending == "json" => listed(&file),
        _ => Ok(vec![Shard { path: file, names: Vec::new() }]),
    }
}

fn in_folder(folder: &Path) -> Result<PathBuf> {
    if let Some(found) = KNOWN.iter().map(|name| folder.join(name)).find(|file| file.exists()) {
        return Ok(found);
    }
    let reading = |error| Error::reading(folder, &error);
    let mut found = Vec::new();
    for item in std::fs::read_dir(folder).map_err(reading)? {
        let file = item.map_err(reading)?.path();
        if file.extension().and_then(OsStr::to_str).is_some_and(|ending| ENDINGS.contains(&ending)) && file.is_file() {
            found.push(file);
        }
    }
    found.sort();
    match &found[..] {
        [only] => Ok(only.clone()),
        [] => Err(Problem::new("holds no weights")
            .in_file(folder)
            .help(format!("looked for {}, and for a single *.{}", KNOWN.join(", "), ENDINGS.join(", *.")))
            .into()),
        several => {
            let names: Vec<_> = several.iter().filter_map(|file| file.file_name()?.to_str()).collect();
            Err(Problem::new(format!("holds several files that may be the weights: {}", names.join(", ")))
                .in_file(folder)
                .help("name one of them instead of the folder")
                .into())
        }
    }
}

/// Hugging Face's index of a checkpoint in several files.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that an index names, in the order of their names.
fn listed(index: &Path) -> Result<Vec<Shard>> {
    let text = std::fs::read_to_string(index).map_err(|error| Error::reading(index, &error))?;
    let read: Index = serde_json::from_str(&text).map_err(|error| {
        let problem = Problem::new(format!("is not an index of weights: {error}"));
        problem.at(index, error.line(), Some(error.column()))
    })?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in read.weight_map {
        shards.entry(file).or_default().push(tensor);
    }
    let folder = index.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (file, names) in shards {
        // The index may come from anywhere: it must not lead out of its folder.
        if Path::new(&file).file_name() != Some(OsStr::new(&file)) {
            let what = format!("names the file `{}`, which is not a plain file name", file.escape_default());
            return Err(Problem::new(what).in_file(index).into());
        }
        let path = folder.join(&file);
        if !path.exists() {
            return Err(Problem::new(format!("names the file `{file}`, which is not there")).in_file(index).into());
        }
        found.push(Shard { path, names });
    }
    Ok(found)
}
