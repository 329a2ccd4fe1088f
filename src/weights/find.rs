//! Which files make up a checkpoint.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{paddle_static_names, paddle_variables};
use crate::error::{Error, Problem, Result};

/// One file of a checkpoint.
#[derive(Debug)]
pub(super) struct Shard {
    pub path: PathBuf,
    /// The tensors that an index says are in it; none without an index.
    pub names: Vec<String>,
}

/// What is looked for in a folder, best first.
pub const KNOWN: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model_state.pdparams",
];
const ENDINGS: [&str; 3] = ["safetensors", "bin", "pdparams"];
/// Folders of a folder in which PaddleNLP's static pre-training and Baidu's archives of 2019 have their variables.
const VARIABLES: [&str; 2] = ["static_vars", "params"];

/// The files of the checkpoint at `path`: a file, an index of several, or a folder with either or with variables.
pub(super) fn shards(path: &Path) -> Result<Vec<Shard>> {
    if path.is_dir() { in_folder(path) } else { of_file(path) }
}

fn of_file(file: &Path) -> Result<Vec<Shard>> {
    match file.extension() {
        Some(ending) if ending == "json" => listed(file),
        _ => Ok(vec![whole(file.to_path_buf())]),
    }
}

fn whole(path: PathBuf) -> Shard {
    Shard { path, names: Vec::new() }
}

fn in_folder(folder: &Path) -> Result<Vec<Shard>> {
    if let Some(found) = KNOWN.iter().map(|name| folder.join(name)).find(|file| file.exists()) {
        return of_file(&found);
    }
    let files = files(folder)?;
    let known = |file: &&PathBuf| file.extension().and_then(OsStr::to_str).is_some_and(|e| ENDINGS.contains(&e));
    let found: Vec<&PathBuf> = files.iter().filter(known).collect();
    match &found[..] {
        [only] => of_file(only),
        [] => variables_of(folder, files),
        several => {
            let names: Vec<_> = several.iter().filter_map(|file| file.file_name()?.to_str()).collect();
            Err(Problem::new(format!("holds several files that may be the weights: {}", names.join(", ")))
                .in_file(folder)
                .help("name one of them instead of the folder")
                .into())
        }
    }
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = |error| Error::reading(folder, &error);
    let items = std::fs::read_dir(folder).map_err(reading)?.map(|item| Ok(item?.path()));
    let mut files: Vec<PathBuf> = items.collect::<std::io::Result<_>>().map_err(reading)?;
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}

/// The variables of a static graph among the files of a folder, or in a folder of it.
fn variables_of(folder: &Path, files: Vec<PathBuf>) -> Result<Vec<Shard>> {
    let found = only_variables(files)?;
    if !found.is_empty() {
        return Ok(found);
    }
    for inner in VARIABLES.map(|name| folder.join(name)).iter().filter(|inner| inner.is_dir()) {
        let found = only_variables(self::files(inner)?)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(Problem::new("holds no weights")
        .in_file(folder)
        .help(format!(
            "looked for {}, for a single *.{}, and for Paddle's variables, a file each, here and in {}",
            KNOWN.join(", "),
            ENDINGS.join(", *."),
            VARIABLES.join(" and ")
        ))
        .into())
}

/// The files that hold a variable of the model: those that are called like one of ERNIE's, even if they should turn out
/// to be damaged, and those of other names that begin like one.
fn only_variables(files: Vec<PathBuf>) -> Result<Vec<Shard>> {
    let mut found = Vec::new();
    for file in files {
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let wanted = !paddle_static_names::is_training_state(name)
            && (paddle_static_names::is_known(name) || begins_like_one(&file)?);
        if wanted {
            found.push(whole(file));
        }
    }
    Ok(found)
}

fn begins_like_one(file: &Path) -> Result<bool> {
    let reading = |error| Error::reading(file, &error);
    let mut start = Vec::new();
    let length = paddle_variables::VERSION.len() as u64;
    File::open(file).map_err(reading)?.take(length).read_to_end(&mut start).map_err(reading)?;
    Ok(start == paddle_variables::VERSION)
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
