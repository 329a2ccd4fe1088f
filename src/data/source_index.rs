//! The SHA-256 of data files that were read before, so that rows made of them are found without reading them again. A file is the one that
//! was read as long as all that the file system says of it is the same. What is not sure is read again.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::tokens::write_whole;
use crate::hash;

/// After a change, another one may have the same time for so long: clocks of file systems are coarse, by up to two seconds (FAT).
const COARSEST: Duration = Duration::from_secs(2);

/// What the file system says of a file. Unlike the time of its content, that of its last change cannot be set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    size: u64,
    inode: u64,
    /// Nanoseconds since 1970: of the content, and of anything.
    modified: i64,
    changed: i64,
}

impl Stamp {
    /// That of a file which has not been changed lately; `None` also where the file system keeps no time of changes.
    pub(super) fn of(file: &Path) -> Option<Self> {
        Self::at(file, SystemTime::now())
    }

    fn at(file: &Path, now: SystemTime) -> Option<Self> {
        let stamp = Self::read(file)?;
        let trusted = now.duration_since(UNIX_EPOCH).ok()?.checked_sub(COARSEST)?.as_nanos();
        (i128::from(stamp.modified.max(stamp.changed)) < trusted as i128).then_some(stamp)
    }

    #[cfg(unix)]
    fn read(file: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = file.metadata().ok()?;
        let time = |seconds: i64, nanoseconds| seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds);
        Some(Self {
            size: found.size(),
            inode: found.ino(),
            modified: time(found.mtime(), found.mtime_nsec())?,
            changed: time(found.ctime(), found.ctime_nsec())?,
        })
    }

    #[cfg(not(unix))]
    fn read(_: &Path) -> Option<Self> {
        None
    }
}

/// A file that was read.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Where it is, for people.
    file: String,
    stamp: Stamp,
    /// Of its content, unpacked, in hexadecimal.
    sha256: String,
}

/// The SHA-256 of a file's content, if `folder` has it and the file is the one that was read; a damaged entry counts as none.
pub fn sha256_of(folder: &Path, file: &Path) -> Option<String> {
    sha256_at(folder, file, SystemTime::now())
}

fn sha256_at(folder: &Path, file: &Path, now: SystemTime) -> Option<String> {
    let held: Entry = serde_json::from_slice(&std::fs::read(place(folder, file)?).ok()?).ok()?;
    (Stamp::at(file, now)? == held.stamp).then_some(held.sha256)
}

/// Keeps the SHA-256 of a file that had this stamp before and after it was read. Each file has an entry of its own, written whole or not at
/// all, so that processes do not disturb each other.
pub fn keep(folder: &Path, file: &Path, stamp: Stamp, sha256: &str) {
    let entry = Entry { file: file.display().to_string(), stamp, sha256: sha256.to_string() };
    if let (Some(place), Ok(bytes)) = (place(folder, file), serde_json::to_vec(&entry)) {
        // Where nothing can be written, the next start reads the file again.
        let _ = write_whole(&place, &bytes);
    }
}

/// Where the entry of a file is.
fn place(folder: &Path, file: &Path) -> Option<PathBuf> {
    let file = std::path::absolute(file).ok()?;
    let mut name = hash::of_parts([file.as_os_str().as_encoded_bytes()]);
    name.truncate(32);
    Some(folder.join(format!("{name}.source")))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, File};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A file that is in the index, as a minute later tells.
    struct Kept {
        folder: tempfile::TempDir,
        file: PathBuf,
    }

    impl Kept {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("train.tsv");
            fs::write(&file, "old").unwrap();
            let stamp = Stamp::at(&file, SystemTime::now() + MINUTE).unwrap();
            keep(folder.path(), &file, stamp, "abc");
            let kept = Self { folder, file };
            assert_eq!(kept.sha256().as_deref(), Some("abc"));
            kept
        }

        fn sha256(&self) -> Option<String> {
            sha256_at(self.folder.path(), &self.file, SystemTime::now() + MINUTE)
        }

        fn entry(&self) -> PathBuf {
            place(self.folder.path(), &self.file).unwrap()
        }
    }

    /// Waits until the file system's clock goes on.
    fn tick() {
        std::thread::sleep(Duration::from_millis(50));
    }

    #[test]
    fn a_file_that_was_changed_lately_is_not_trusted() {
        let kept = Kept::new();
        assert_eq!(Stamp::of(&kept.file), None);
        assert_eq!(sha256_of(kept.folder.path(), &kept.file), None);
        // Nor is one whose times are still to come.
        let file = File::options().append(true).open(&kept.file).unwrap();
        file.set_modified(SystemTime::now() + 2 * MINUTE).unwrap();
        assert_eq!(Stamp::at(&kept.file, SystemTime::now() + MINUTE), None);
    }

    #[test]
    fn another_content_of_the_same_size_and_time_is_another_file() {
        let kept = Kept::new();
        let time = kept.file.metadata().unwrap().modified().unwrap();
        tick();
        fs::write(&kept.file, "new").unwrap();
        File::options().append(true).open(&kept.file).unwrap().set_modified(time).unwrap();
        assert_eq!(kept.file.metadata().unwrap().modified().unwrap(), time);
        assert_eq!(kept.sha256(), None);
    }

    #[test]
    fn another_file_at_the_same_place_is_another_file() {
        let kept = Kept::new();
        let other = kept.folder.path().join("other.tsv");
        fs::write(&other, "old").unwrap();
        fs::rename(&other, &kept.file).unwrap();
        assert_eq!(kept.sha256(), None);
        fs::remove_file(&kept.file).unwrap();
        assert_eq!(kept.sha256(), None);
    }

    #[test]
    fn a_damaged_entry_counts_as_none() {
        let kept = Kept::new();
        let whole = fs::read(kept.entry()).unwrap();
        for length in 0..whole.len() {
            fs::write(kept.entry(), &whole[..length]).unwrap();
            assert_eq!(kept.sha256(), None, "cut to {length} bytes");
        }
        fs::write(kept.entry(), &whole).unwrap();
        assert_eq!(kept.sha256().as_deref(), Some("abc"));
    }

    /// Several processes that write the same entry leave one of theirs, never a mixture.
    #[test]
    fn an_entry_is_whole_whoever_writes_it() {
        let kept = Kept::new();
        let stamp = Stamp::at(&kept.file, SystemTime::now() + MINUTE).unwrap();
        let hashes = ["a".repeat(64), "b".repeat(6400)];
        std::thread::scope(|scope| {
            for hash in &hashes {
                scope.spawn(|| (0..200).for_each(|_| keep(kept.folder.path(), &kept.file, stamp, hash)));
            }
            for _ in 0..200 {
                let found = kept.sha256().unwrap();
                assert!(found == "abc" || hashes.contains(&found));
            }
        });
    }
}
