//! The folder of a run: whose it is, what stands where, and that only one process writes it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::checkpoint;
use crate::error::{Error, Problem, Result};
use crate::files::{clean_up, write_file};
use crate::ranks::Ranks;
use crate::recipe::{self, Loaded};

/// An opened run folder. The lock goes with it; the operating system releases it when the process ends, however it ends.
pub struct RunFolder {
    path: PathBuf,
    /// Of the first rank.
    _lock: Option<File>,
}

impl RunFolder {
    /// Opens the output folder of a recipe, makes it if need be, and takes its lock, on the first rank; the others join it.
    ///
    /// # Errors
    /// Another process has it; it holds another recipe's run; `fresh` is asked for and it is not empty; another rank does not see it.
    pub fn open(loaded: &Loaded, fresh: bool, ranks: &Ranks) -> Result<Self> {
        let path = loaded.recipe.output.dir.clone();
        let folder = match ranks.first(|| Self::take(loaded, fresh))? {
            Some(folder) => folder,
            None => Self { path, _lock: None },
        };
        folder.is_shared(ranks)?;
        Ok(folder)
    }

    fn take(loaded: &Loaded, fresh: bool) -> Result<Self> {
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
        let folder = Self { path, _lock: Some(lock) };
        folder.take_for(loaded)?;
        clean_up(&folder.path)?;
        clean_up(&folder.checkpoints())?;
        Ok(folder)
    }

    /// Sees that all ranks see the first one's folder: it leaves a number of its own there.
    fn is_shared(&self, ranks: &Ranks) -> Result<()> {
        /// A network's file system may show a new file late.
        const LATE: Duration = Duration::from_secs(5);
        if ranks.is_alone() {
            return Ok(());
        }
        let file = self.path.join(".ranks");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let number = format!("{} {now}", std::process::id());
        ranks.first(|| write_file(&file, number.as_bytes()))?;
        let written = ranks.gather(number)?.swap_remove(0);
        let started = Instant::now();
        let sees = || std::fs::read_to_string(&file).is_ok_and(|found| found == written);
        while !sees() && started.elapsed() < LATE {
            std::thread::sleep(Duration::from_millis(50));
        }
        let others = ranks.others_than_first(sees())?;
        if ranks.is_first() {
            let _ = std::fs::remove_file(&file);
        }
        let Some(other) = others.first() else { return Ok(()) };
        let problem = Problem::new(format!("rank {other} sees another folder of this name than rank 0"));
        Err(ranks.error(problem.in_file(&self.path).help("output.dir has to be on a file system that all ranks share")))
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
