//! One file: under a lock, into a partial file that later runs go on with, checked, and only then given its name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::client::{Answer, Ask, Client};
use super::failure::Failure;
use super::progress::{Progress, mib};
use super::settings::Site;
use crate::error::{Error, Problem};
use crate::files::sync_folder;
use crate::hash::hex;

/// The largest file whose length no server tells.
const LARGEST_UNTOLD: u64 = 64 << 20;
/// So many bytes more, and a broken connection is none that was broken in vain.
const WORTH: u64 = 1 << 20;

/// What the bytes of a file have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// Of this SHA-256, in hexadecimal.
    Sha256(String),
    /// Git's name for them: SHA-1 over `blob`, their length and them.
    GitBlob(String),
    /// Nothing is known of them but their length.
    Length,
}

/// A file that is wanted.
pub(super) struct Download<'a> {
    pub(super) site: &'a Site,
    pub(super) url: String,
    /// What messages call it.
    pub(super) shown: String,
    pub(super) target: PathBuf,
    /// What holds the bytes meanwhile, beside the target.
    pub(super) partial: PathBuf,
    pub(super) lock: PathBuf,
    pub(super) size: Option<u64>,
    pub(super) check: Check,
}

impl Download<'_> {
    /// Sees that the target is there. Another process that fetches it is waited for.
    pub(super) fn run(&self, client: &Client) -> Result<(), Failure> {
        for folder in [self.target.parent(), self.lock.parent()].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(|cause| Error::writing(folder, &cause))?;
        }
        let _lock = self.lock()?;
        if self.target.exists() {
            return Ok(()); // the other process has it
        }
        let mut patience = client.patience();
        let mut has_begun_anew = false;
        let mut most = length(&self.partial);
        loop {
            let result = self.fetch(client);
            // More than ever before, so that servers that begin again and again are not asked for ever.
            let gained = length(&self.partial).saturating_sub(most);
            let failure = match result.map(|()| self.wrong_bytes()) {
                Ok(Ok(None)) => return Ok(self.publish()?),
                // What was there from an earlier run may have been the fault.
                Ok(Ok(Some(why))) => {
                    self.forget()?;
                    if has_begun_anew {
                        return Err(Failure::Refused(why));
                    }
                    has_begun_anew = true;
                    tracing::warn!("{}: {why}; it is fetched anew", self.shown);
                    continue;
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(failure) => failure,
            };
            if gained >= WORTH {
                most += gained;
                patience.renew();
            }
            patience.wait(failure, &self.shown)?;
        }
    }

    /// The lock on the file, which the system gives back when the process ends.
    fn lock(&self) -> Result<Option<File>, Error> {
        let writing = |cause: std::io::Error| Error::writing(&self.lock, &cause);
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.lock).map_err(writing)?;
            let locked = match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    tracing::info!("{}: another process is fetching it, which is waited for", self.shown);
                    file.lock()
                }
                Err(TryLockError::Error(cause)) => Err(cause),
                Ok(()) => Ok(()),
            };
            match locked {
                // Python's library may have removed it meanwhile: then others lock another file.
                Ok(()) if is_at(&file, &self.lock) => return Ok(Some(file)),
                Ok(()) => {}
                Err(cause) => {
                    tracing::warn!(
                        "{}: cannot be locked ({cause}): let no other process fetch it",
                        self.lock.display()
                    );
                    return Ok(None);
                }
            }
        }
    }

    /// Gets what is missing of the partial file, in one request.
    fn fetch(&self, client: &Client) -> Result<(), Failure> {
        let mut there = length(&self.partial);
        if self.size == Some(there) && self.partial.exists() {
            return Ok(());
        }
        if self.size.is_some_and(|size| there > size) {
            there = 0;
        }
        self.has_room(self.size, there)?;
        let answer = client.once(self.site, &self.url, Ask::Bytes(there));
        let answer = match answer {
            // The server has no such part: what is there is of something else.
            Err(Failure::Status { status: 416, .. }) if there > 0 => {
                there = 0;
                client.once(self.site, &self.url, Ask::Bytes(0))?
            }
            other => other?,
        };
        if there > 0 && !goes_on(&answer, there, self.size)? {
            there = 0;
        }
        let size = match (self.size, answer.length()) {
            (Some(size), Some(length)) if there.saturating_add(length) > size => {
                return Err(self.too_long(size));
            }
            (Some(size), _) => Some(size),
            (None, length) => length.map(|length| there.saturating_add(length)),
        };
        self.has_room(size, there)?;
        let writing = |cause: std::io::Error| self.not_written(&cause);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&self.partial);
        let mut file = open.map_err(writing)?;
        file.set_len(there).map_err(writing)?;
        file.seek(SeekFrom::Start(there)).map_err(writing)?;
        self.copy(answer, &mut file, there, size)
    }

    fn copy(&self, answer: Answer, file: &mut File, mut there: u64, size: Option<u64>) -> Result<(), Failure> {
        let progress = Progress::start(&self.shown, size, there);
        let most = size.unwrap_or(LARGEST_UNTOLD);
        let mut body = answer.body.into_reader();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(cause) => {
                    return Err(Failure::Network(format!("the connection broke after {there} bytes: {cause}")));
                }
            };
            if there + read as u64 > most {
                return Err(self.too_long(most));
            }
            file.write_all(&buffer[..read]).map_err(|cause| self.not_written(&cause))?;
            there += read as u64;
            progress.at(there);
        }
        match size {
            Some(size) if there < size => {
                Err(Failure::Network(format!("the connection ended after {there} of {size} bytes")))
            }
            _ => {
                file.sync_all().map_err(|cause| self.not_written(&cause))?;
                progress.done(there);
                Ok(())
            }
        }
    }

    fn too_long(&self, size: u64) -> Failure {
        // A partial file that may hold anything is of no use.
        let _ = std::fs::remove_file(&self.partial);
        Failure::Refused(format!("the server sends more than the {size} bytes that it has announced"))
    }

    /// What the whole partial file has instead of the bytes it should have.
    fn wrong_bytes(&self) -> Result<Option<String>, Error> {
        let reading = |cause: std::io::Error| Error::reading(&self.partial, &cause);
        let mut file = File::open(&self.partial).map_err(reading)?;
        let length = file.metadata().map_err(reading)?.len();
        let (found, wanted, what) = match &self.check {
            Check::Length => return Ok(None),
            Check::Sha256(wanted) => (sha256(&mut file).map_err(reading)?, wanted, "SHA-256"),
            Check::GitBlob(wanted) => (git_blob(&mut file, length).map_err(reading)?, wanted, "name in Git"),
        };
        Ok((!found.eq_ignore_ascii_case(wanted))
            .then(|| format!("what came is not the file that the hub announced: its {what} is {found}, not {wanted}")))
    }

    fn publish(&self) -> Result<(), Error> {
        std::fs::rename(&self.partial, &self.target).map_err(|cause| Error::writing(&self.target, &cause))?;
        self.target.parent().into_iter().for_each(sync_folder);
        Ok(())
    }

    fn forget(&self) -> Result<(), Error> {
        std::fs::remove_file(&self.partial).map_err(|cause| Error::writing(&self.partial, &cause))
    }

    /// Whether the disk holds what is still to come.
    fn has_room(&self, size: Option<u64>, there: u64) -> Result<(), Error> {
        let folder = self.partial.parent().unwrap_or(Path::new("."));
        match (size, free_space(folder)) {
            (Some(size), Some(free)) if free < size.saturating_sub(there) => {
                let what = format!(
                    "no room for {}: {} are to come, and {} are free",
                    self.shown,
                    mib(size - there),
                    mib(free)
                );
                Err(Error::run(Problem::new(what).in_file(folder).help(ROOM)))
            }
            _ => Ok(()),
        }
    }

    fn not_written(&self, cause: &std::io::Error) -> Error {
        match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                let what = format!("the disk is full while {} is fetched", self.shown);
                Error::run(Problem::new(what).in_file(&self.partial).help(ROOM))
            }
            _ => Error::writing(&self.partial, cause),
        }
    }
}

const ROOM: &str = "free some space and give the same command again: it goes on from what is there; or keep what hubs give \
                    on another disk, with HF_HUB_CACHE=FOLDER or MODELSCOPE_CACHE=FOLDER";

/// Whether an answer goes on where the partial file ends; a server may send all from the beginning instead.
fn goes_on(answer: &Answer, there: u64, size: Option<u64>) -> Result<bool, Failure> {
    if answer.status != 206 {
        return Ok(false);
    }
    let range = answer.own("content-range").unwrap_or_default();
    let parts = range.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
    let start = parts.and_then(|(range, _)| range.split_once('-')?.0.trim().parse::<u64>().ok());
    let total = parts.and_then(|(_, total)| total.trim().parse::<u64>().ok());
    if start != Some(there) || total.zip(size).is_some_and(|(total, size)| total != size) {
        return Err(Failure::Refused(format!(
            "the server sends `{range}` where it was asked for all from byte {there} on"
        )));
    }
    Ok(true)
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |facts| facts.len())
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn sha256(file: &mut File) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    each_piece(file, |piece| hash.update(piece))?;
    Ok(hex(&hash.finalize()))
}

fn git_blob(file: &mut File, length: u64) -> std::io::Result<String> {
    let mut hash = sha1_smol::Sha1::from(format!("blob {length}\0"));
    each_piece(file, |piece| hash.update(piece))?;
    Ok(hash.digest().to_string())
}

fn each_piece(file: &mut File, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => take(&buffer[..read]),
        }
    }
}

/// Bytes that are free where a folder is; nothing where the system does not tell.
fn free_space(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let facts = rustix::fs::statvfs(folder).ok()?;
        Some(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Whether an open file is still the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |facts: &std::fs::Metadata| (facts.dev(), facts.ino());
        matches!((file.metadata(), std::fs::metadata(path)), (Ok(own), Ok(named)) if id(&own) == id(&named))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}
