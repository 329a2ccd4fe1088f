//! Repositories of data.

use kiln::hub::fetch_files;

use super::*;

#[test]
fn some_files_of_a_dataset_are_fetched() {
    let files: [(&str, &[u8]); 3] = [("README.md", b"x"), ("zh/train.tsv", b"a\tb\n"), ("de/train.tsv", b"c\td\n")];
    let own = Repository::new("datasets/facebook/xnli", &files);
    let commit = own.commit.clone();
    let hub = Server::start(move |request, _| own.answer(request));
    let cache = TempDir::new().unwrap();
    let settings = settings(cache.path(), &hub.url());
    let address = Address::parse("hf://facebook/xnli", Kind::Dataset).unwrap().unwrap();
    let choose = |files: &[String]| {
        assert!(files.contains(&"de/train.tsv".to_string()));
        Ok(vec!["zh/train.tsv".to_string()])
    };
    let fetched = fetch_files(&address, &settings, choose).unwrap();
    let expected = cache.path().join("hub/datasets--facebook--xnli/snapshots").join(commit);
    assert_eq!((&fetched.folder, names(&fetched.folder)), (&expected, vec!["zh".into()]));
    assert_eq!(std::fs::read(fetched.folder.join("zh/train.tsv")).unwrap(), b"a\tb\n");
    #[cfg(unix)]
    {
        let link = std::fs::read_link(fetched.folder.join("zh/train.tsv")).unwrap();
        assert_eq!(link, Path::new("../../../blobs").join(git_blob(b"a\tb\n")));
    }
}
