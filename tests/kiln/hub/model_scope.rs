//! ModelScope's lists and its cache.

use super::*;

const NAMED: &str = "modelscope://damo/tiny.x";

fn hub(files: &[(&str, &[u8])]) -> Server {
    let files: Vec<(String, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
    Server::start(move |request, _| {
        if request.path == "/api/v1/models/damo/tiny.x/repo/files?Revision=master&Recursive=True" {
            let list: Vec<_> = files
                .iter()
                .map(|(name, bytes)| {
                    serde_json::json!({"Path": name, "Type": "blob", "Size": bytes.len(), "Sha256": sha256(bytes)})
                })
                .chain([serde_json::json!({"Path": "onnx", "Type": "tree", "Size": 0})])
                .collect();
            return Reply::new(
                200,
                serde_json::json!({"Code": 200, "Success": true, "Data": {"Files": list}}).to_string(),
            );
        }
        let name = request.path.strip_prefix("/api/v1/models/damo/tiny.x/repo?Revision=master&FilePath=");
        let found = name.and_then(|name| files.iter().find(|(file, _)| file == name));
        match found {
            Some((_, bytes)) => server::part(bytes, request),
            None => Reply::new(404, r#"{"Code": 10010205001, "Message": "not found", "Success": false}"#),
        }
    })
}

#[test]
fn a_model_is_fetched_and_changed_files_are_fetched_again() {
    let files: [(&str, &[u8]); 4] =
        [("config.json", b"{}"), ("pytorch_model.bin", b"weights"), ("vocab.txt", b"[PAD]"), ("onnx/m.onnx", b"x")];
    let first = hub(&files);
    let cache = TempDir::new().unwrap();
    let fetched = fetch(NAMED, &settings(cache.path(), &first.url())).unwrap();
    assert_eq!(fetched.folder, cache.path().join("modelscope/models/damo--tiny.x/snapshots/master"));
    assert_eq!((names(&fetched.folder).len(), fetched.commit), (3, None));
    assert!(first.log().iter().all(|request| request.header("cookie") == Some("m_session_id=hf_secret")));
    let before = first.log().len();
    fetch(NAMED, &settings(cache.path(), &first.url())).unwrap();
    assert_eq!(first.log().len(), before + 1);
    // The branch has moved: what has changed is fetched, and nothing else.
    let second = hub(&[files[0], ("pytorch_model.bin", b"better!"), files[2]]);
    fetch(NAMED, &settings(cache.path(), &second.url())).unwrap();
    assert_eq!(std::fs::read(fetched.folder.join("pytorch_model.bin")).unwrap(), b"better!");
    assert_eq!(second.log().len(), 2);
    let offline = Settings { offline: true, ..settings(cache.path(), &second.url()) };
    assert_eq!(fetch(NAMED, &offline).unwrap().folder, fetched.folder);
    assert_eq!(second.log().len(), 2);
}

#[test]
fn the_folder_of_an_older_version_of_pythons_library_is_gone_on_with() {
    let cache = TempDir::new().unwrap();
    let older = cache.path().join("modelscope/hub/models/damo/tiny___x");
    std::fs::create_dir_all(&older).unwrap();
    std::fs::write(older.join("pytorch_model.bin"), "weights").unwrap();
    let hub = hub(&[("config.json", b"{}"), ("pytorch_model.bin", b"weights")]);
    let fetched = fetch(NAMED, &settings(cache.path(), &hub.url())).unwrap();
    assert_eq!(
        (fetched.folder, names(&older)),
        (older.clone(), vec!["config.json".into(), "pytorch_model.bin".into()])
    );
    assert!(hub.log().iter().all(|request| !request.path.ends_with("pytorch_model.bin")));
}

#[test]
fn a_repository_that_is_not_there() {
    let hub = hub(&[]);
    let cache = TempDir::new().unwrap();
    let mut settings = settings(cache.path(), &hub.url());
    settings.model_scope.token = None;
    let error = fetch("modelscope://damo/none", &settings).unwrap_err();
    says(&error, 2, &["there is no damo/none", "MODELSCOPE_API_TOKEN"]);
}
