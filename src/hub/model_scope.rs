//! ModelScope: its lists, and the cache that Python's `modelscope` has too: `CACHE/models/OWNER--NAME/snapshots/REVISION/FILE`, or
//! where older versions have begun one, `CACHE/models/OWNER/NAME/FILE`.

use std::fs::File;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::address::{Address, Kind};
use super::client::Client;
use super::download::{Check, Download, sha256};
use super::failure::Failure;
use super::revision::{Listed, listed};
use super::settings::Site;
use super::url::encoded;
use crate::error::Error;
use crate::hash::hex;

/// Files of a page of a dataset's list, and pages that are read.
const PAGE: usize = 200;
const MOST_PAGES: usize = 500;

/// The folder of a revision.
pub(super) fn folder(site: &Site, address: &Address) -> PathBuf {
    let (kind, Address { owner, name, .. }) = (address.kind.plural(), address);
    let older = [PathBuf::from(kind), PathBuf::from("hub").join(kind)]
        .map(|folder| site.cache.join(folder).join(owner).join(name.replace('.', "___")));
    let is_begun = |folder: &PathBuf| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    older.into_iter().find(is_begun).unwrap_or_else(|| {
        let repository = site.cache.join(kind).join(format!("{owner}--{name}"));
        repository.join("snapshots").join(address.revision_or_branch())
    })
}

/// The files of a revision.
pub(super) fn list(client: &Client, site: &Site, address: &Address, waits: bool) -> Result<Vec<Listed>, Failure> {
    let revision = encoded(address.revision_or_branch(), "");
    let base = format!("{}/api/v1/{}/{}/repo", site.endpoint, address.kind.plural(), address.id());
    match address.kind {
        Kind::Model => page(client, site, &format!("{base}/files?Revision={revision}&Recursive=True"), waits),
        Kind::Dataset => {
            let mut all = Vec::new();
            for number in 1..=MOST_PAGES {
                let query = format!("Revision={revision}&Recursive=True&Root=%2F&PageNumber={number}&PageSize={PAGE}");
                let entries = entries(client, site, &format!("{base}/tree?{query}"), waits)?;
                all.extend(entries.iter().filter_map(file));
                if entries.len() < PAGE {
                    break;
                }
            }
            Ok(all)
        }
    }
}

fn page(client: &Client, site: &Site, url: &str, waits: bool) -> Result<Vec<Listed>, Failure> {
    Ok(entries(client, site, url, waits)?.iter().filter_map(file).collect())
}

fn entries(client: &Client, site: &Site, url: &str, waits: bool) -> Result<Vec<Value>, Failure> {
    let mut found = client.json(site, url, waits)?;
    if found.get("Success").and_then(Value::as_bool) == Some(false) {
        let message = found.get("Message").and_then(Value::as_str).unwrap_or_default().chars();
        let message = message.filter(|c| !c.is_control()).take(200).collect();
        return Err(Failure::Status { status: 404, code: String::new(), message, retry_after: None });
    }
    match found.pointer_mut("/Data/Files").map(Value::take) {
        Some(Value::Array(files)) => Ok(files),
        _ => Err(Failure::Refused(format!("the answer of {} lists no files", site.endpoint))),
    }
}

fn file(entry: &Value) -> Option<Listed> {
    let text = |key: &str| entry.get(key)?.as_str();
    if text("Type") == Some("tree") {
        return None;
    }
    let is_hash = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = text("Sha256").filter(is_hash).map(str::to_string);
    listed(text("Path")?, entry.get("Size")?.as_u64(), hash)
}

/// Sees that a file of a revision is in its folder, with the bytes that the list tells: branches change, and folders are theirs.
pub(super) fn fetch(client: &Client, site: &Site, address: &Address, file: &Listed) -> Result<PathBuf, Failure> {
    let target = folder(site, address).join(&file.path);
    if target.exists() {
        if is_as_listed(&target, file)? {
            return Ok(target);
        }
        std::fs::remove_file(&target).map_err(|cause| Error::writing(&target, &cause))?;
    }
    let mut partial = target.clone().into_os_string();
    partial.push(".incomplete");
    let (revision, name) = (encoded(address.revision_or_branch(), ""), encoded(&file.path, ""));
    let base = format!("{}/api/v1/{}/{}/repo", site.endpoint, address.kind.plural(), address.id());
    let download = Download {
        site,
        url: format!("{base}?Revision={revision}&FilePath={name}"),
        shown: format!("{}/{}", address.id(), file.path),
        partial: partial.into(),
        lock: lock(site, address, &file.path),
        target: target.clone(),
        size: file.size,
        check: file.sha256.clone().map_or(Check::Length, Check::Sha256),
    };
    download.run(client)?;
    Ok(target)
}

/// Where Python's library has its lock on a file.
fn lock(site: &Site, address: &Address, file: &str) -> PathBuf {
    let kind = address.kind.plural().trim_end_matches('s');
    let key = format!("modelscope-hub-download-lock-v2\0file\0{kind}\0{}\0{file}", address.id());
    site.cache.join(".lock").join(format!("file_{}.lock", hex(&Sha256::digest(key))))
}

fn is_as_listed(target: &PathBuf, file: &Listed) -> Result<bool, Error> {
    let reading = |cause: std::io::Error| Error::reading(target, &cause);
    let mut opened = File::open(target).map_err(reading)?;
    let length = opened.metadata().map_err(reading)?.len();
    if file.size.is_some_and(|size| size != length) {
        return Ok(false);
    }
    match &file.sha256 {
        Some(wanted) => Ok(sha256(&mut opened).map_err(reading)?.eq_ignore_ascii_case(wanted)),
        None => Ok(true),
    }
}
