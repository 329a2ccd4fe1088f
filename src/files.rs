//! Files and folders that appear whole or not at all.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Problem, Result};

/// Writes a file under a temporary name beside `path` and renames it.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = temporary(folder_of(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|cause| Error::writing(path, &cause))
}

/// A file without a name, gone when it is closed, for what is to become `output`: on the disk that must hold that anyway, if
/// `output` is not a pipe or a device.
pub fn scratch(output: &Path) -> std::io::Result<File> {
    match output.exists() && !output.is_file() {
        true => tempfile::tempfile(),
        false => tempfile::tempfile_in(folder_of(output)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file in the making, which others may read as the user's umask allows.
pub fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// The files that a name stands for, sorted: a file itself, what is below a folder (hidden files and linked folders in it
/// are passed over), or what matches a pattern with * and ?. None where there is nothing of the name.
///
/// # Errors
/// A folder cannot be read, or a pattern is none.
pub fn expand(name: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let path = Path::new(name);
    if path.exists() {
        collect(path, &mut files)?;
    } else {
        for found in matches(name)? {
            collect(&found, &mut files)?;
        }
    }
    files.sort();
    Ok(files)
}

fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    let wrong = |cause: String| Error::from(Problem::new(format!("the pattern `{pattern}`: {cause}")));
    let found = glob::glob(pattern).map_err(|cause| wrong(cause.to_string()))?;
    found.map(|path| path.map_err(|cause| Error::reading(cause.path(), cause.error()))).collect()
}

/// Appends a file, or all files below a folder.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let reading = |cause| Error::reading(path, &cause);
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let linked_folder = entry.file_type().map_err(reading)?.is_symlink() && entry.path().is_dir();
        if !linked_folder {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

/// A folder in the making. It becomes `target` by [`Self::publish`]; dropped before, it leaves nothing.
pub struct NewFolder {
    target: PathBuf,
    partial: PathBuf,
    published: bool,
}

impl NewFolder {
    /// Begins a folder that is to stand at `target`, whose parent must exist.
    pub fn begin(target: &Path) -> Result<Self> {
        let partial = beside(target, "partial");
        remove(&partial)?;
        std::fs::create_dir(&partial).map_err(|cause| Error::writing(&partial, &cause))?;
        Ok(Self { target: target.to_path_buf(), partial, published: false })
    }

    /// Where its files are written meanwhile.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Makes the folder appear at its place; one that stood there before is replaced.
    pub fn publish(mut self) -> Result<()> {
        let failed = |cause: std::io::Error| Error::writing(&self.target, &cause);
        for entry in std::fs::read_dir(&self.partial).map_err(failed)? {
            File::open(entry.map_err(failed)?.path()).and_then(|file| file.sync_all()).map_err(failed)?;
        }
        // Before the rename, so that no crash leaves a folder at its place without its files.
        sync_folder(&self.partial);
        let replaced = beside(&self.target, "replaced");
        remove(&replaced)?;
        if self.target.exists() {
            std::fs::rename(&self.target, &replaced).map_err(failed)?;
        }
        std::fs::rename(&self.partial, &self.target).map_err(failed)?;
        if let Some(parent) = self.target.parent() {
            sync_folder(parent);
        }
        self.published = true;
        remove(&replaced)
    }
}

/// Syncs the names in a folder, where the file system can; not all can.
pub(crate) fn sync_folder(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is removed when the next run begins.
            let _ = std::fs::remove_dir_all(&self.partial);
        }
    }
}

/// Removes a folder so that no half of it is ever taken for the whole: it is renamed first.
pub fn remove_folder(path: &Path) -> Result<()> {
    let doomed = beside(path, "removed");
    remove(&doomed)?;
    std::fs::rename(path, &doomed).map_err(|cause| Error::writing(path, &cause))?;
    remove(&doomed)
}

/// Removes what crashes left in `folder`: partial and doomed folders. A folder that was replaced when the crash came is put
/// back if the new one had not yet appeared.
pub fn clean_up(folder: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((target, word)) = name.strip_prefix('.').and_then(|name| name.rsplit_once('.')) else { continue };
        let target = folder.join(target);
        match word {
            "replaced" if !target.exists() => {
                std::fs::rename(entry.path(), &target).map_err(|cause| Error::writing(&target, &cause))?;
            }
            "partial" | "replaced" | "removed" => remove(&entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

/// `.NAME.word` beside `NAME`.
fn beside(path: &Path, word: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{word}"))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::writing(path, &cause)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_replaces_the_old_one_whole_and_leaves_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("best");
        for text in ["old", "new"] {
            let folder = NewFolder::begin(&target).unwrap();
            std::fs::write(folder.path().join("a"), text).unwrap();
            folder.publish().unwrap();
        }
        assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), "new");
        assert_eq!(names(root.path()), ["best"]);
    }

    #[test]
    fn a_failure_half_way_leaves_the_old_folder() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("best");
        let folder = NewFolder::begin(&target).unwrap();
        std::fs::write(folder.path().join("a"), "old").unwrap();
        folder.publish().unwrap();
        drop(NewFolder::begin(&target).unwrap());
        assert_eq!(names(root.path()), ["best"]);
    }

    /// Killed between the two renames of `publish`: neither the old nor the new folder stands at its place.
    #[test]
    fn a_crash_between_the_renames_is_mended() {
        let root = tempfile::tempdir().unwrap();
        for name in [".best.replaced", ".last.replaced", "last", ".step-1.partial", ".step-0.removed", ".keep"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        clean_up(root.path()).unwrap();
        assert_eq!(names(root.path()), [".keep", "best", "last"]);
    }
}
