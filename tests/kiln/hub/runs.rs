//! Whole commands on repositories.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::cli::{Place, command, trained};

/// The repositories of a tiny model and of the quickstart's data, at one server; the branch of the model's can be moved.
struct Hubs {
    server: Server,
    moved: Arc<AtomicBool>,
    commits: [String; 2],
}

fn files_of(folder: &Path, before: &str) -> Vec<(String, Vec<u8>)> {
    let all = names(folder).into_iter().filter(|name| folder.join(name).is_file());
    all.map(|name| (format!("{before}{name}"), std::fs::read(folder.join(&name)).unwrap())).collect()
}

fn hubs() -> Hubs {
    let mut model = Repository::new("kiln/tiny", &[]);
    model.files = files_of(&trained().join("best"), "").into_iter().collect();
    let mut newer = model.clone();
    newer.commit = "f".repeat(40);
    let mut data = Repository::new("datasets/kiln/quickstart", &[]);
    let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/samples/quickstart-nli");
    data.files = files_of(&rows, "quickstart-nli/").into_iter().collect();
    let commits = [model.commit.clone(), newer.commit.clone()];
    let moved = Arc::new(AtomicBool::new(false));
    let is_moved = moved.clone();
    let server = Server::start(move |request, _| {
        if request.path.contains("/datasets/") {
            return data.answer(request);
        }
        let by_commit = [&model, &newer].into_iter().find(|one| request.path.contains(&one.commit));
        by_commit.unwrap_or(if is_moved.load(Ordering::SeqCst) { &newer } else { &model }).answer(request)
    });
    Hubs { server, moved, commits }
}

impl Hubs {
    fn run(&self, place: &Place, arguments: Vec<String>) -> (Option<i32>, String) {
        let mut command = command(arguments);
        command.env("HF_ENDPOINT", self.server.url()).env("HF_HUB_CACHE", place.path("hub"));
        command.env("HF_TOKEN_PATH", place.path("none")).env("NO_PROXY", "127.0.0.1,localhost");
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn a_run_keeps_the_commit_that_it_was_begun_with() {
    let (hubs, place) = (hubs(), Place::new());
    let begin = |weights: &str, steps: &str| {
        let more = [weights, "model.tokenizer=hf://kiln/tiny", "data.root=hf://kiln/quickstart", steps];
        hubs.run(&place, place.training(&more))
    };
    let (code, said) = begin("model.weights=hf://kiln/tiny", "checkpoint.every_steps=12");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("fetched kiln/tiny/model.safetensors"), "{said}");
    let written = std::fs::read_to_string(place.path("run/recipe.toml")).unwrap();
    let [first, second] = &hubs.commits;
    for line in [
        format!("weights = \"hf://kiln/tiny@{first}\""),
        format!("tokenizer = \"hf://kiln/tiny@{first}\""),
        format!("root = \"hf://kiln/quickstart@{first}\""),
    ] {
        assert!(written.contains(&line), "{written}");
    }
    // The model's card has the recipe too.
    let card = std::fs::read_to_string(place.path("run/best/README.md")).unwrap();
    assert!(card.contains(&format!("hf://kiln/tiny@{first}")) && !card.contains("snapshots"), "{card}");

    hubs.moved.store(true, Ordering::SeqCst);
    let (code, said) = begin("model.weights=hf://kiln/tiny", "checkpoint.every_steps=6");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("model.weights is hf://kiln/tiny@{first}, which this run was begun with")),
        "{said}"
    );
    assert!(said.contains("this run is finished"), "{said}");
    // A branch that is asked for by its name is not what the run was begun with any more.
    let (code, said) = begin("model.weights=hf://kiln/tiny@main", "checkpoint.every_steps=6");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("holds the run of another recipe") && said.contains(second.as_str()), "{said}");
    // The folder stands by itself; its data comes from the cache.
    let run = place.path("run").display().to_string();
    let (code, said) =
        hubs.run(&place, vec!["eval".into(), run, format!("data.cache={}", place.path("cache").display())]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_model_folder_may_be_a_repository() {
    let (hubs, place) = (hubs(), Place::new());
    let input = place.write("in.tsv", "premise\thypothesis\nAnna has a cat.\tAnna has a cat.\n");
    let predict =
        |dir: &str| hubs.run(&place, vec!["predict".into(), dir.into(), "--input".into(), input.display().to_string()]);
    let (code, said) = predict("hf://kiln/tiny");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = predict("hf://kiln/none");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no kiln/none"), "{said}");
    let (code, said) = predict("hf://kiln");
    assert_eq!((code, hubs.server.of("GET", "hf").len()), (Some(2), 0), "{said}");
    // Neither is a file of the cache's that was not there before.
    let (code, said) = hubs.run(&place, vec!["eval".into(), "hf://kiln/tiny".into(), "recipes/quickstart.toml".into()]);
    assert_eq!(code, Some(0), "{said}");
    let snapshot = place.path("hub/models--kiln--tiny/snapshots").join(&hubs.commits[0]);
    assert!(!snapshot.join("eval.json").exists());
}

#[test]
fn a_card_that_asks_for_other_files_says_what_there_is() {
    let (hubs, place) = (hubs(), Place::new());
    let (code, said) = hubs.run(&place, place.training(&["data.root=hf://kiln/quickstart", "data.dataset=ocnli"]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no dev file of the card `ocnli` is in the repository"), "{said}");
    assert!(said.contains("data.root=hf://kiln/quickstart"), "{said}");
}
