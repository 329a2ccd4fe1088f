//! The folder of a run: whose it is, what stands where, and that only one process writes it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::checkpoint;
use crate::error::{Error, Problem, Result};
use crate::files::{clean_up, write_file};
use crate::recipe::{self, Loaded};

/// An opened run folder. The lock goes with it; the operating system releases it when the process ends, however it ends.
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Opens the output folder of a recipe, makes it if need be, and takes its lock.
    ///
    /// # Errors
    /// Another process has it; it holds another recipe's run; `fresh` is asked for and it is not empty.
    pub fn open(loaded: &Loaded, fresh: bool) -> Result<Self> {
        let path = loaded.recipe.output.dir.clone();
        if fresh && std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            let problem = Problem::new("is not empty, and --fresh never deletes a run").in_file(&path);
            return Err(problem
                .help("choose another folder with output.dir=FOLDER, or remove this one yourself")
                .into());
        }
        if path.exists() && !path.is_dir() {
            return Err(Problem::new("is a file; output.dir is a folder").in_file(&path).into());
        }
        std::fs::create_dir_all(&path).map_err(|cause| Error::writing(&path, &cause))?;
        let lock = lock(&path)?;
        let folder = Self { path, _lock: lock };
        folder.take_for(loaded)?;
        clean_up(&folder.path)?;
        clean_up(&folder.checkpoints())?;
        Ok(folder)
    }

    /// Writes the recipe into a new folder, or checks that the folder's recipe is this one.
    fn take_for(&self, loaded: &Loaded) -> Result<()> {
        let file = self.recipe();
        if !checkpoint::any(&self.checkpoints()) {
            // Nothing was learnt by whatever recipe was here.
            return write_file(&file, loaded.resolved_toml().as_bytes());
        }
        if !file.exists() {
            let problem = Problem::new("holds checkpoints but no recipe.toml").in_file(&self.path);
            return Err(problem.help("choose another folder with output.dir=FOLDER").into());
        }
        let held = recipe::load(&file, &[])?;
        let differences = recipe::differences(&held.recipe, &loaded.written);
        if differences.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = differences
            .iter()
            .map(|found| {
                let say = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
                format!("{}: {} there, {} now", found.key, say(&found.left), say(&found.right))
            })
            .collect();
        let problem =
            Problem::new(format!("holds the run of another recipe ({})", list.join("; "))).in_file(&self.path);
        Err(problem.help("choose another folder with output.dir=FOLDER, or give the recipe it was begun with").into())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The model folder of the best evaluation.
    pub fn best(&self) -> PathBuf {
        self.path.join("best")
    }

    /// The model folder of the last step.
    pub fn last(&self) -> PathBuf {
        self.path.join("last")
    }

    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("train.log")
    }

    pub fn evaluation(&self) -> PathBuf {
        self.path.join("eval.json")
    }
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|cause| Error::writing(&path, &cause))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let problem = Problem::new("another process is working on this run").in_file(folder);
            Err(problem.help("wait for it, or choose another folder with output.dir=FOLDER").into())
        }
        Err(TryLockError::Error(cause)) => Err(Error::writing(&path, &cause)),
    }
}
