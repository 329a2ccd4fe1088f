//! Hugging Face's hub: its lists, its facts about files, and the cache that Python's `huggingface_hub` has too.
//!
//! ```text
//! CACHE/models--OWNER--NAME/refs/main                   the commit that the branch was
//!                           blobs/ETAG                  the bytes of a file, by the hub's name for them
//!                           snapshots/COMMIT/FILE       a link to them
//! CACHE/.locks/models--OWNER--NAME/ETAG.lock
//! ```

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::address::{Address, is_commit};
use super::client::{Answer, Client};
use super::download::{Check, Download};
use super::failure::Failure;
use super::revision::{Listed, listed};
use super::settings::Site;
use super::url::encoded;
use crate::error::{Error, Result};
use crate::files::write_file;

/// What tells programs that make copies of disks that a folder can be made again.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of files of Hugging Face's hub.\n";

/// The folder of a repository in the cache.
pub(super) fn repository(site: &Site, address: &Address) -> PathBuf {
    site.cache.join(name(address))
}

fn name(address: &Address) -> String {
    format!("{}--{}--{}", address.kind.plural(), address.owner, address.name)
}

/// The commit and the folder of a revision that is in the cache, at least in part.
pub(super) fn held(site: &Site, address: &Address) -> Option<(String, PathBuf)> {
    let repository = repository(site, address);
    let commit = match address.commit() {
        Some(commit) => commit.to_string(),
        None => std::fs::read_to_string(repository.join("refs").join(address.revision_or_branch())).ok()?,
    };
    let commit = Some(commit.trim().to_string()).filter(|commit| is_commit(commit))?;
    let folder = repository.join("snapshots").join(&commit);
    folder.is_dir().then_some((commit, folder))
}

/// The commit of a revision, and its files.
pub(super) fn list(
    client: &Client,
    site: &Site,
    address: &Address,
    waits: bool,
) -> Result<(String, Vec<Listed>), Failure> {
    let revision = encoded(address.revision_or_branch(), "");
    let url = format!("{}/api/{}/{}/revision/{revision}", site.endpoint, address.kind.plural(), address.id());
    let found = client.json(site, &url, waits)?;
    let no_list = |what: &str| Failure::Refused(format!("the answer of {} {what}", site.endpoint));
    let commit = found.get("sha").and_then(Value::as_str).filter(|commit| is_commit(commit));
    let commit = commit.ok_or_else(|| no_list("names no commit"))?;
    if address.commit().is_some_and(|asked| asked != commit) {
        return Err(no_list("is of another commit"));
    }
    let siblings = found.get("siblings").and_then(Value::as_array).ok_or_else(|| no_list("lists no files"))?;
    let files = siblings.iter().filter_map(|file| listed(file.get("rfilename")?.as_str()?, None, None));
    Ok((commit.to_string(), files.collect()))
}

/// Notes what a branch or a tag is, for when the hub cannot be asked.
pub(super) fn note(site: &Site, address: &Address, commit: &str) -> Result<()> {
    let refs = repository(site, address).join("refs");
    let file = refs.join(address.revision_or_branch());
    if address.commit().is_some() || std::fs::read_to_string(&file).is_ok_and(|held| held == commit) {
        return Ok(());
    }
    create(file.parent().unwrap_or(&refs))?;
    let tag = site.cache.join("CACHEDIR.TAG");
    if !tag.exists() {
        write_file(&tag, TAG.as_bytes())?;
    }
    write_file(&file, commit.as_bytes())
}

/// Sees that a file of a commit is in its snapshot.
pub(super) fn fetch(
    client: &Client,
    site: &Site,
    address: &Address,
    commit: &str,
    file: &str,
) -> Result<PathBuf, Failure> {
    let repository = repository(site, address);
    let pointer = repository.join("snapshots").join(commit).join(file);
    if pointer.exists() {
        return Ok(pointer);
    }
    let datasets = if address.kind.plural() == "datasets" { "datasets/" } else { "" };
    let url = format!("{}/{datasets}{}/resolve/{commit}/{}", site.endpoint, address.id(), encoded(file, "/"));
    let facts = Facts::of(&client.facts(site, &url)?, commit)?;
    let blob = repository.join("blobs").join(&facts.etag);
    // One of another length was not left by who downloads whole files.
    if let (Ok(held), Some(size)) = (blob.metadata(), facts.size)
        && held.len() != size
    {
        tracing::warn!("{}: has {} bytes instead of {size}; it is fetched anew", blob.display(), held.len());
        std::fs::remove_file(&blob).map_err(|cause| Error::writing(&blob, &cause))?;
    }
    let is_new = !blob.exists();
    if is_new {
        let locks = site.cache.join(".locks").join(name(address));
        let download = Download {
            site,
            url,
            shown: format!("{}/{file}", address.id()),
            partial: repository.join("blobs").join(format!("{}.incomplete", facts.etag)),
            lock: locks.join(format!("{}.lock", facts.etag)),
            target: blob.clone(),
            size: facts.size,
            check: facts.check(),
        };
        download.run(client)?;
    }
    link(&blob, &pointer, file, is_new)?;
    Ok(pointer)
}

/// What the hub knows of a file.
struct Facts {
    /// The name of its bytes.
    etag: String,
    size: Option<u64>,
}

impl Facts {
    fn of(answer: &Answer, commit: &str) -> Result<Self, Failure> {
        if answer.header("x-repo-commit").is_some_and(|other| other != commit) {
            return Err(Failure::Refused("the server answers with another commit than it was asked for".into()));
        }
        let given = answer.header("x-linked-etag").or_else(|| answer.own("etag")).unwrap_or_default();
        let etag = given.trim_start_matches("W/").trim_matches('"');
        // It becomes the name of a file.
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if etag.is_empty() || etag.len() > 200 || etag.starts_with('.') || !etag.chars().all(known) {
            let shown: String = given.escape_default().take(60).collect();
            return Err(Failure::Refused(format!("the server names the bytes of a file `{shown}`, which is no ETag")));
        }
        let linked = answer.header("x-linked-size").map(|size| size.trim().parse());
        let size = match linked {
            Some(size) => {
                Some(size.map_err(|_| Failure::Refused("the server tells a length that is no number".into()))?)
            }
            None => answer.length().filter(|_| answer.status < 300),
        };
        Ok(Self { etag: etag.to_string(), size })
    }

    /// Large files are known by their SHA-256, others by what Git calls them.
    fn check(&self) -> Check {
        let is_hex = self.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match self.etag.len() {
            64 if is_hex => Check::Sha256(self.etag.clone()),
            40 if is_hex => Check::GitBlob(self.etag.clone()),
            _ => Check::Length,
        }
    }
}

/// Puts a blob into its snapshot: as a link relative to it, so that the cache can be moved; where there are no links, as a file.
fn link(blob: &Path, pointer: &Path, file: &str, is_new: bool) -> Result<()> {
    let writing = |cause: std::io::Error| Error::writing(pointer, &cause);
    create(pointer.parent().unwrap_or(pointer))?;
    // Out of the file's folders, the commit's and `snapshots`.
    let up = "../".repeat(file.matches('/').count() + 2);
    let relative = PathBuf::from(up).join("blobs").join(blob.file_name().unwrap_or_default());
    // One that leads nowhere is in the way.
    if pointer.symlink_metadata().is_ok() && !pointer.exists() {
        std::fs::remove_file(pointer).map_err(writing)?;
    }
    match symlink(&relative, pointer) {
        Ok(()) => Ok(()),
        Err(_) if pointer.exists() => Ok(()), // another process was faster
        Err(_) if is_new => std::fs::rename(blob, pointer).map_err(writing),
        Err(_) => std::fs::copy(blob, pointer).map(drop).map_err(writing),
    }
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(windows)]
fn symlink(to: &Path, at: &Path) -> std::io::Result<()> {
    // Windows wants its own separators in links.
    std::os::windows::fs::symlink_file(to.to_string_lossy().replace('/', "\\"), at)
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|cause| Error::writing(folder, &cause))
}
