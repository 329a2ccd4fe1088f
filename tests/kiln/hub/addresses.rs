//! Addresses in recipes, checked without asking anybody.

use std::path::Path;

use kiln::hub;

#[test]
fn a_recipe_may_name_repositories() {
    let keys = [
        "model.weights=hf://google/rembert@main",
        "model.tokenizer=modelscope://damo/tiny",
        "data.root=hf://facebook/xnli",
    ];
    let loaded = kiln::recipe::load(Path::new("rembert/xnli"), &keys.map(String::from)).unwrap();
    let text = loaded.resolved_toml();
    for line in [
        "weights = \"hf://google/rembert@main\"",
        "tokenizer = \"modelscope://damo/tiny\"",
        "root = \"hf://facebook/xnli\"",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn everything_wrong_with_addresses_is_said_at_once_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    let text = "extends = \"elmo/lac\"\n[model]\nweights = \"hf://google\"\ntokenizer = \"hf://google/rem bert\"\n\
                [features]\nelmo = \"hf://datasets/a/b\"\n[data]\nroot = \"hf://models/a/b\"\ndataset = \"hf://a/b\"\n";
    std::fs::write(&file, text).unwrap();
    let error = kiln::recipe::load(&file, &[]).unwrap_err();
    let said: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    let expected = [
        (":3:11: `model.weights`: `hf://google` names no owner"),
        (":4:13: `model.tokenizer`: `hf://google/rem bert` has the name `rem bert`"),
        (":6:8: `features.elmo`: `hf://datasets/a/b` is a repository of data"),
        (":8:8: `data.root`: `hf://models/a/b` is a repository of a model"),
        (":9:11: `data.dataset` is `hf://a/b`, but it names a dataset card"),
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(error.exit_code(), 2);
}

/// What exists is a path, whatever it is called; what is no address is one, too.
#[test]
fn local_paths_go_before() {
    for path in ["models/rembert", "hf:/google/rembert", "/nowhere"] {
        assert_eq!(hub::local(Path::new(path)).unwrap(), Path::new(path));
    }
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("hf:").join("google").join("tiny");
    std::fs::create_dir_all(&odd).unwrap();
    let path = format!("{}/hf://google/tiny", folder.path().display());
    assert_eq!(hub::local(Path::new(&path)).unwrap(), Path::new(&path));
    assert_eq!(hub::local(Path::new("hf://google")).unwrap_err().exit_code(), 2);
}
