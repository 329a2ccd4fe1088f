//! Repositories by name: what is fetched from a hub on this machine, how it lies in the cache, and what bad servers get.

mod addresses;
mod bad_servers;
mod data;
mod model_scope;
mod offline;
mod runs;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln::error::{Error, Problem};
use kiln::hub::{Address, Fetched, Hub, Kind, Proxies, Settings, Site, Wanted, fetch_model};
use miette::Diagnostic;
use server::{Reply, Repository, Request, Server, git_blob, sha256};
use tempfile::TempDir;

const ID: &str = "google/tiny";
const ADDRESS: &str = "hf://google/tiny";

/// Bytes that are no repetition of a few.
fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn weights() -> Vec<u8> {
    noise(3_000_000)
}

/// A repository with what a model folder needs, and with what it does not.
fn repository() -> Repository {
    let weights = weights();
    let files: [(&str, &[u8]); 8] = [
        (".gitattributes", b"x"),
        ("README.md", b"# Tiny"),
        ("config.json", b"{\"model_type\": \"rembert\"}"),
        ("model.safetensors", &weights),
        ("onnx/model.onnx", b"x"),
        ("pytorch_model.bin", b"x"),
        ("sentencepiece.model", b"pieces"),
        ("tf_model.h5", b"x"),
    ];
    Repository::new(ID, &files)
}

/// Settings of a test: its own cache, this server, pauses too short to be noticed.
fn settings(cache: &Path, endpoint: &str) -> Settings {
    let site = |hub, folder: &str| Site {
        hub,
        endpoint: endpoint.to_string(),
        cache: cache.join(folder),
        token: Some("hf_secret".into()),
    };
    Settings {
        hugging_face: site(Hub::HuggingFace, "hub"),
        model_scope: site(Hub::ModelScope, "modelscope"),
        offline: false,
        timeout: Duration::from_secs(5),
        pause: Duration::from_millis(2),
        proxies: Proxies::default(),
        certificates: None,
    }
}

fn address(text: &str) -> Address {
    Address::parse(text, Kind::Model).unwrap().unwrap()
}

fn fetch(text: &str, settings: &Settings) -> Result<Fetched, Error> {
    fetch_model(&address(text), Wanted::Model, settings)
}

/// A cache, a hub whose large files are at a second server, and what is asked of both.
struct Setting {
    cache: TempDir,
    hub: Server,
    store: Server,
    settings: Settings,
    repository: Repository,
}

impl Setting {
    fn new() -> Self {
        Self::with(|_, _, reply| reply, |_, _, reply| reply)
    }

    /// A hub and a store whose answers are changed on the way.
    fn with(
        hub: impl Fn(&Request, usize, Reply) -> Reply + Send + Sync + 'static,
        store: impl Fn(&Request, usize, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let kept = repository();
        let store = Server::start(move |request, before| store(request, before, kept.stored(request)));
        let repository = repository().stored_at(&store.other_url());
        let own = repository.clone();
        let hub = Server::start(move |request, before| hub(request, before, own.answer(request)));
        let cache = TempDir::new().unwrap();
        let settings = settings(cache.path(), &hub.url());
        Self { cache, hub, store, settings, repository }
    }

    fn fetch(&self) -> Result<Fetched, Error> {
        fetch(ADDRESS, &self.settings)
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join("hub/models--google--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.folder().join("snapshots").join(&self.repository.commit)
    }

    /// What lies among the blobs.
    fn blobs(&self) -> Vec<String> {
        names(&self.folder().join("blobs"))
    }

    fn incomplete(&self) -> PathBuf {
        self.folder().join("blobs").join(format!("{}.incomplete", sha256(&weights())))
    }

    /// The weights are there, whole, and nothing is left of their fetching.
    #[track_caller]
    fn is_whole(&self) {
        assert!(std::fs::read(self.snapshot().join("model.safetensors")).unwrap() == weights());
        assert!(self.blobs().iter().all(|name| !name.ends_with(".incomplete")), "{:?}", self.blobs());
    }

    /// Nothing is there that could be taken for the weights.
    #[track_caller]
    fn has_no_weights(&self) {
        assert!(!self.snapshot().join("model.safetensors").exists());
        assert!(!self.folder().join("blobs").join(sha256(&weights())).exists());
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An error of one problem, with this exit code, that says these words.
#[track_caller]
fn says(error: &Error, code: u8, words: &[&str]) {
    let said = |problem: &Problem| {
        let help = Diagnostic::help(problem).map(|help| help.to_string());
        format!("{problem}\nhelp: {}", help.unwrap_or_default())
    };
    let text: String = error.problems().iter().map(said).collect();
    assert_eq!((error.exit_code(), error.problems().len()), (code, 1), "{text}");
    for word in words {
        assert!(text.contains(word), "does not say `{word}`:\n{text}");
    }
    assert!(!text.contains("hf_secret"), "{text}");
}

#[test]
fn a_model_is_fetched_into_the_cache_that_python_has() {
    let setting = Setting::new();
    let fetched = setting.fetch().unwrap();
    assert_eq!(fetched, Fetched { folder: setting.snapshot(), commit: Some(setting.repository.commit.clone()) });
    assert_eq!(names(&fetched.folder), ["config.json", "model.safetensors", "sentencepiece.model"]);
    setting.is_whole();
    let mut blobs = vec![sha256(&weights()), git_blob(b"{\"model_type\": \"rembert\"}"), git_blob(b"pieces")];
    blobs.sort();
    assert_eq!(setting.blobs(), blobs);
    assert_eq!(std::fs::read_to_string(setting.folder().join("refs/main")).unwrap(), setting.repository.commit);
    #[cfg(unix)]
    {
        let link = std::fs::read_link(fetched.folder.join("model.safetensors")).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(sha256(&weights())));
    }
    assert_eq!(names(&setting.cache.path().join("hub/.locks/models--google--tiny")).len(), 3);
    assert!(setting.cache.path().join("hub/CACHEDIR.TAG").exists());
    // The weights come last, so that a snapshot that has them is whole.
    let heads: Vec<String> = setting.hub.of("HEAD", "").into_iter().map(|request| request.path).collect();
    assert!(heads.last().unwrap().ends_with("model.safetensors"), "{heads:?}");
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let setting = Setting::new();
    setting.fetch().unwrap();
    let before = setting.hub.log().len();
    setting.fetch().unwrap();
    // A branch may have moved: the list is asked for, and nothing else.
    assert_eq!(setting.hub.log().len(), before + 1);
    // A commit cannot.
    let pinned = format!("{ADDRESS}@{}", setting.repository.commit);
    assert_eq!(fetch(&pinned, &setting.settings).unwrap().folder, setting.snapshot());
    assert_eq!(setting.hub.log().len(), before + 1);
    assert_eq!(setting.store.log().len(), 1);
}

#[test]
fn the_tokenizer_comes_without_the_weights() {
    let setting = Setting::new();
    let fetched = fetch_model(&address(ADDRESS), Wanted::Tokenizer, &setting.settings).unwrap();
    assert_eq!(names(&fetched.folder), ["config.json", "sentencepiece.model"]);
    assert!(setting.store.log().is_empty());
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let setting = Setting::new();
    setting.fetch().unwrap();
    assert!(setting.hub.log().iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")));
    let stored = setting.store.log();
    assert!(stored.len() == 1 && stored[0].header("authorization").is_none(), "{stored:?}");
    assert!(stored[0].header("host").unwrap().starts_with("localhost:"));
    // The same host at another port is another server.
    let kept = repository();
    let store = Server::start(move |request, _| kept.stored(request));
    let own = repository().stored_at(&store.url());
    let hub = Server::start(move |request, _| own.answer(request));
    let cache = TempDir::new().unwrap();
    fetch(ADDRESS, &settings(cache.path(), &hub.url())).unwrap();
    assert!(store.log().len() == 1 && store.log()[0].header("authorization").is_none());
}

#[test]
fn shards_are_those_of_the_index() {
    let index = br#"{"weight_map": {"a": "w-1.safetensors", "b": "w-2.safetensors", "c": "w-1.safetensors"}}"#;
    let files: [(&str, &[u8]); 6] = [
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("other.safetensors", b"0"),
        ("pytorch_model.bin", b"0"),
        ("w-1.safetensors", b"1"),
        ("w-2.safetensors", b"2"),
    ];
    let own = Repository::new(ID, &files);
    let hub = Server::start(move |request, _| own.answer(request));
    let cache = TempDir::new().unwrap();
    let fetched = fetch(ADDRESS, &settings(cache.path(), &hub.url())).unwrap();
    let expected = ["config.json", "model.safetensors.index.json", "w-1.safetensors", "w-2.safetensors"];
    assert_eq!(names(&fetched.folder), expected);
}

#[test]
fn two_at_once_fetch_once() {
    let setting =
        Setting::with(|_, _, reply| reply, |_, _, reply| Reply { pause: Duration::from_millis(300), ..reply });
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| setting.fetch())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(results.into_iter().all(|result| result.unwrap().folder == setting.snapshot()));
    setting.is_whole();
    assert_eq!(setting.store.log().len(), 1);
    assert_eq!(setting.hub.of("GET", "config.json").len(), 1);
}

/// What a process leaves that is killed while it fetches.
#[test]
fn another_run_goes_on_with_what_is_there() {
    let setting = Setting::new();
    std::fs::create_dir_all(setting.folder().join("blobs")).unwrap();
    std::fs::write(setting.incomplete(), &weights()[..1_234_567]).unwrap();
    setting.fetch().unwrap();
    setting.is_whole();
    let ranges: Vec<_> = setting.store.log().iter().map(|r| r.header("range").map(String::from)).collect();
    assert_eq!(ranges, [Some("bytes=1234567-".to_string())]);
}

#[test]
fn what_is_there_of_something_else_is_thrown_away() {
    for left in [vec![7; 1_000_000], vec![7; 3_000_000], vec![7; 4_000_000]] {
        let setting = Setting::new();
        std::fs::create_dir_all(setting.folder().join("blobs")).unwrap();
        std::fs::write(setting.incomplete(), left).unwrap();
        setting.fetch().unwrap();
        setting.is_whole();
    }
    // A blob of another length is not whole, whoever left it.
    let setting = Setting::new();
    std::fs::create_dir_all(setting.folder().join("blobs")).unwrap();
    std::fs::write(setting.folder().join("blobs").join(sha256(&weights())), "short").unwrap();
    setting.fetch().unwrap();
    setting.is_whole();
}
