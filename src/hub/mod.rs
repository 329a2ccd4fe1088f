//! Models and datasets by their names on a hub: `hf://OWNER/NAME[@REVISION]`, `modelscope://OWNER/NAME[@REVISION]`.
//!
//! Nothing goes out unless such an address stands where a folder is named, and what exists under that name here goes before.
//! What is fetched lies in the caches that Python's `huggingface_hub` and `modelscope` have, and is found by them, as what they have
//! fetched is found here: [`hugging_face`], [`model_scope`]. One file after the other is fetched, under a lock, by its length and its
//! hash: [`download`].

mod address;
mod choose;
mod client;
mod download;
mod failure;
mod hugging_face;
mod model_scope;
mod progress;
mod proxy;
mod revision;
mod settings;
mod url;

use std::path::{Path, PathBuf};

pub use address::{Address, Hub, Kind, Wrong};
pub use choose::Wanted;
pub use proxy::Proxies;
pub use settings::{Settings, Site};

use client::Client;
use failure::Failure;
use revision::{Listed, files_in};

use crate::error::{Error, Problem, Result};

/// The longest index of weights that is read.
const LONGEST_INDEX: u64 = 64 << 20;

/// A revision in the cache, with what was wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub folder: PathBuf,
    /// The commit that the revision was, by the whole of which the same files are had again. ModelScope does not tell it.
    pub commit: Option<String>,
}

/// The folder of a model: a path as it is; of an address, what a model folder needs, in the cache.
///
/// # Errors
/// The address is wrong, the hub refuses or is not reached, the disk is full.
pub fn local(path: &Path) -> Result<PathBuf> {
    match Address::of(path, Kind::Model)? {
        None => Ok(path.to_path_buf()),
        Some(address) => Ok(fetch_model(&address, Wanted::Model, &Settings::from_environment()?)?.folder),
    }
}

impl From<Wrong> for Error {
    fn from(Wrong { what, help }: Wrong) -> Self {
        Problem::new(what).help(help).into()
    }
}

/// Sees that what is wanted of a model is in the cache.
///
/// # Errors
/// As [`local`].
pub fn fetch_model(address: &Address, wanted: Wanted, settings: &Settings) -> Result<Fetched> {
    let in_repository = |why: String| Error::from(Problem::new(format!("{address}: {why}")));
    let choose = |files: &[String], get: &dyn Fn(&str) -> Result<PathBuf>| {
        let mut names = choose::small(files);
        if wanted == Wanted::Model {
            names.extend(match choose::weights(files).map_err(in_repository)? {
                choose::Weights::Files(names) => names,
                choose::Weights::Listed(index) => {
                    let text = read_index(&get(&index)?)?;
                    let shards = choose::shards(&text, files)
                        .map_err(|why| Error::from(Problem::new(format!("{address} `{index}`: {why}"))))?;
                    std::iter::once(index).chain(shards).collect()
                }
            });
        }
        match names.is_empty() {
            true => Err(in_repository("holds neither a configuration nor a tokenizer".into())),
            false => Ok(names),
        }
    };
    fetch(address, settings, &choose, &|files| choose::is_surely_whole(files, wanted))
}

/// Sees that some files of a repository are in the cache: those that `choose` names, which is given all that there are.
///
/// # Errors
/// As [`local`]; and what `choose` says.
pub fn fetch_files(
    address: &Address,
    settings: &Settings,
    choose: impl Fn(&[String]) -> Result<Vec<String>>,
) -> Result<Fetched> {
    fetch(address, settings, &|files, _| choose(files), &|_| false)
}

/// Names what is wanted of some files; may have one fetched to know.
type Choose<'a> = dyn Fn(&[String], &dyn Fn(&str) -> Result<PathBuf>) -> Result<Vec<String>> + 'a;

fn fetch(
    address: &Address,
    settings: &Settings,
    choose: &Choose,
    is_whole: &dyn Fn(&[String]) -> bool,
) -> Result<Fetched> {
    let site = settings.site(address.hub);
    let held = match address.hub {
        Hub::HuggingFace => hugging_face::held(site, address).map(|(commit, folder)| (Some(commit), folder)),
        Hub::ModelScope => Some((None, model_scope::folder(site, address))).filter(|(_, folder)| folder.is_dir()),
    };
    let held = held.map(|(commit, folder)| (files_in(&folder), Fetched { folder, commit }));
    if let Some((files, held)) = &held
        && address.commit().is_some()
        && is_whole(files)
    {
        return Ok(held.clone());
    }
    // What is there is enough if the hub cannot be asked.
    let held = held.filter(|(files, held)| choose(files, &|file| Ok(held.folder.join(file))).is_ok());
    let held = held.map(|(_, held)| held);
    if settings.offline {
        return held.ok_or_else(|| missing(address, site));
    }
    let client = Client::new(settings);
    let failed = |failure: Failure| failure.into_error(address, site, None);
    match list(&client, site, address, held.is_none()) {
        Ok((commit, files)) => {
            let names: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
            let get = |name: &str| {
                let file = files.iter().find(|file| file.path == name);
                let file = file.ok_or_else(|| Error::input(format!("{address} has no file `{name}`")))?;
                let got = match &commit {
                    Some(commit) => hugging_face::fetch(&client, site, address, commit, name),
                    None => model_scope::fetch(&client, site, address, file),
                };
                got.map_err(|failure| failure.into_error(address, site, Some(name)))
            };
            for name in choose(&names, &get)? {
                get(&name)?;
            }
            let folder = match &commit {
                Some(commit) => {
                    hugging_face::note(site, address, commit)?;
                    hugging_face::repository(site, address).join("snapshots").join(commit)
                }
                None => model_scope::folder(site, address),
            };
            Ok(Fetched { folder, commit })
        }
        Err(failure) => match held {
            Some(held) if failure.is_transient() => {
                tracing::warn!("{address}: {}; what is in the cache is taken", failure.said());
                Ok(held)
            }
            _ => Err(failed(failure)),
        },
    }
}

/// The commit, where the hub tells it, and the files of a revision.
fn list(
    client: &Client,
    site: &Site,
    address: &Address,
    waits: bool,
) -> Result<(Option<String>, Vec<Listed>), Failure> {
    match address.hub {
        Hub::HuggingFace => {
            hugging_face::list(client, site, address, waits).map(|(commit, files)| (Some(commit), files))
        }
        Hub::ModelScope => model_scope::list(client, site, address, waits).map(|files| (None, files)),
    }
}

fn read_index(file: &Path) -> Result<Vec<u8>> {
    let reading = |cause: std::io::Error| Error::reading(file, &cause);
    if std::fs::metadata(file).map_err(reading)?.len() > LONGEST_INDEX {
        return Err(Problem::new("is too long for an index of weights").in_file(file).into());
    }
    std::fs::read(file).map_err(reading)
}

/// The page of a repository.
fn page(site: &Site, address: &Address) -> String {
    let kind = match (address.hub, address.kind) {
        (Hub::HuggingFace, Kind::Model) => "",
        (_, kind) => &format!("{}/", kind.plural()),
    };
    format!("{}/{kind}{}", site.endpoint, address.id())
}

/// What to do without a network.
fn missing(address: &Address, site: &Site) -> Error {
    let (revision, page) = (address.revision_or_branch(), page(site, address));
    let files = match address.kind {
        Kind::Model => "config.json, the weights (such as model.safetensors) and the tokenizer's files",
        Kind::Dataset => "the files of data",
    };
    let cached = match address.hub {
        Hub::HuggingFace => hugging_face::repository(site, address),
        Hub::ModelScope => model_scope::folder(site, address),
    };
    let what =
        format!("{address}: is not, or not whole, in the cache, and HF_HUB_OFFLINE says that nothing may be fetched");
    let help = format!(
        "put {files} of {page} (revision {revision}) into a folder, and name that folder instead; or copy {} from a \
         machine that has fetched it to the same place here; or unset HF_HUB_OFFLINE",
        cached.display()
    );
    Problem::new(what).help(help).into()
}
