//! Without a network.

use super::*;

fn closed() -> String {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("http://127.0.0.1:{port}")
}

#[test]
fn what_is_missing_is_named_with_what_to_put_where() {
    let setting = Setting::new();
    let settings = Settings { offline: true, ..setting.settings.clone() };
    let error = fetch("hf://google/tiny@v1", &settings).unwrap_err();
    let cache = setting.folder().display().to_string();
    let words = ["config.json, the weights", "/google/tiny (revision v1)", "into a folder", "HF_HUB_OFFLINE", &cache];
    says(&error, 2, &words);
    // A snapshot without weights is not taken for one with them.
    fetch_model(&address(ADDRESS), Wanted::Tokenizer, &setting.settings).unwrap();
    let before = setting.hub.log().len();
    says(&fetch(ADDRESS, &settings).unwrap_err(), 2, &["is not, or not whole, in the cache"]);
    assert_eq!(setting.hub.log().len(), before);
}

#[test]
fn what_is_there_is_found_without_a_request() {
    let setting = Setting::new();
    setting.fetch().unwrap();
    let before = setting.hub.log().len();
    let offline = Settings { offline: true, ..setting.settings.clone() };
    for text in [ADDRESS.to_string(), format!("{ADDRESS}@main"), format!("{ADDRESS}@{}", setting.repository.commit)] {
        assert_eq!(fetch(&text, &offline).unwrap().folder, setting.snapshot(), "{text}");
    }
    assert_eq!(setting.hub.log().len(), before);
    // A hub that cannot be reached does as little harm.
    let gone = settings(setting.cache.path(), &closed());
    assert_eq!(fetch(ADDRESS, &gone).unwrap().folder, setting.snapshot());
}

#[test]
fn a_hub_that_cannot_be_reached_is_a_failed_run() {
    let cache = TempDir::new().unwrap();
    let error = fetch(ADDRESS, &settings(cache.path(), &closed())).unwrap_err();
    says(&error, 1, &["127.0.0.1 cannot be reached", "HTTPS_PROXY", "a folder with the files of"]);
}

/// The layout as Python's library leaves it, links and all.
#[cfg(unix)]
#[test]
fn a_snapshot_of_another_program_is_found() {
    let cache = TempDir::new().unwrap();
    let root = cache.path().join("hub/models--google--tiny");
    let commit = "89abcdef0123456789abcdef0123456789abcdef";
    let snapshot = root.join("snapshots").join(commit);
    for folder in [root.join("refs"), root.join("blobs"), snapshot.clone()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(root.join("refs/main"), commit).unwrap();
    for (name, etag) in [("config.json", "aa"), ("model.safetensors", "bb"), ("vocab.txt", "cc")] {
        std::fs::write(root.join("blobs").join(etag), name).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{etag}"), snapshot.join(name)).unwrap();
    }
    let offline = Settings { offline: true, ..settings(cache.path(), &closed()) };
    assert_eq!(fetch(ADDRESS, &offline).unwrap(), Fetched { folder: snapshot.clone(), commit: Some(commit.into()) });
    // With a commit nothing is asked for either: nobody is there to answer.
    let pinned = fetch(&format!("{ADDRESS}@{commit}"), &settings(cache.path(), &closed())).unwrap();
    assert_eq!(pinned.folder, snapshot);
    // A link that leads nowhere is no file.
    std::fs::remove_file(root.join("blobs/bb")).unwrap();
    says(&fetch(ADDRESS, &offline).unwrap_err(), 2, &["is not, or not whole, in the cache"]);
}
