//! The files a corpus is made from: what the recipe's names stand for, and which content they have.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::progress::Progress;
use crate::error::{Error, Problem, Result};
use crate::files::expand;
use crate::hash::hex;
use crate::ranks::Ranks;

/// A file as it was when it was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Nanoseconds from 1970 to its last change, as far as the file system knows.
    modified: u64,
    /// SHA-256 of its content as it lies there, in hexadecimal.
    pub(super) sha256: String,
}

/// The files that `names` stand for, in their order, those of one name sorted; each file once. Those that `is_own` knows
/// are passed over.
///
/// # Errors
/// A name stands for nothing, or a folder cannot be read.
pub(super) fn find(names: &[String], is_own: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in names {
        let found = expand(name)?;
        if found.is_empty() {
            let help =
                "an input is a file, a folder, or a pattern with * and ?; it is relative to where Kiln is started";
            return Err(Problem::new("there is no text here").in_file(Path::new(name)).help(help).into());
        }
        files.extend(found);
    }
    let mut seen = HashSet::new();
    files.retain(|file| !is_own(file) && seen.insert(file.clone()));
    if files.is_empty() {
        return Err(Error::input("the inputs hold no files but the corpus itself"));
    }
    Ok(files)
}

/// Hashes files, all threads at once; those that `known` has with the same size and time of change are not read again.
///
/// # Errors
/// A file cannot be read; [`Error::Interrupted`] after a stop.
pub(super) fn identify(paths: Vec<PathBuf>, known: &[Input], stop: &AtomicBool) -> Result<Vec<Input>> {
    let known: HashMap<&Path, &Input> = known.iter().map(|input| (input.path.as_path(), input)).collect();
    let mut inputs: Vec<Input> = paths.into_iter().map(look_at).collect::<Result<_>>()?;
    for input in &mut inputs {
        if let Some(same) = known.get(input.path.as_path()).filter(|same| same.is_like(input)) {
            input.sha256.clone_from(&same.sha256);
        }
    }
    let unread = |input: &&mut Input| input.sha256.is_empty();
    let total = inputs.iter_mut().filter(unread).map(|input| input.bytes).sum();
    let progress = Progress::start("hashing", total);
    let hashed = inputs.par_iter_mut().filter(unread).try_for_each(|input| {
        input.sha256 = hash(&input.path, &progress, stop)?;
        Ok(())
    });
    hashed.map(|()| inputs)
}

/// Checks that nobody has changed the files since they were hashed.
///
/// # Errors
/// Somebody has.
pub(super) fn check_unchanged(inputs: &[Input]) -> Result<()> {
    for input in inputs {
        if !look_at(input.path.clone())?.is_like(input) {
            let problem = Problem::new("this file was changed while it was read").in_file(&input.path);
            return Err(problem.help("give the same command again when it is complete").into());
        }
    }
    Ok(())
}

/// Checks that a rank sees the files that the first has hashed, and would give its work the same `key`.
///
/// # Errors
/// It sees others, or has other options, another dictionary or another tokenizer.
pub(super) fn check_same(inputs: &[Input], key: &str, ranks: &Ranks, own: impl FnOnce() -> String) -> Result<()> {
    if ranks.is_first() {
        return Ok(());
    }
    for input in inputs {
        if !look_at(input.path.clone())?.is_like(input) {
            let problem = Problem::new("is not the file that the first rank sees");
            return Err(problem.in_file(&input.path).help("the texts have to be the same files for all ranks").into());
        }
    }
    match own() == key {
        true => Ok(()),
        false => {
            let problem = Problem::new("the recipe or the tokenizer is another one than the first rank's");
            Err(problem.help("all ranks are started with the same command").into())
        }
    }
}

impl Input {
    fn is_like(&self, other: &Self) -> bool {
        (self.bytes, self.modified) == (other.bytes, other.modified)
    }
}

fn look_at(path: PathBuf) -> Result<Input> {
    let metadata = std::fs::metadata(&path).map_err(|cause| Error::reading(&path, &cause))?;
    if !metadata.is_file() {
        return Err(Problem::new("not a regular file").in_file(&path).into());
    }
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
    Ok(Input { bytes: metadata.len(), modified, sha256: String::new(), path })
}

fn hash(path: &Path, progress: &Progress, stop: &AtomicBool) -> Result<String> {
    let reading = |cause| Error::reading(path, &cause);
    let mut file = File::open(path).map_err(reading)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(reading)?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        hash.update(&buffer[..count]);
        progress.add(count as u64);
    }
}
