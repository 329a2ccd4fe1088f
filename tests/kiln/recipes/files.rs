//! Files: `extends`, encodings, where values come from, the resolved recipe, what makes two runs the same.

use std::path::Path;

use kiln::recipe::{Backend, Protocol, Recipe, differences, fingerprint, load};

use super::{Folder, GOOD, in_repository};

fn recipe(arguments: &[&str]) -> Recipe {
    Folder::new(&[("r.toml", GOOD)]).load("r.toml", arguments).unwrap().recipe
}

#[test]
fn a_chain_of_recipes_with_origins() {
    let folder = Folder::new(&[
        ("base.toml", GOOD),
        ("mid/mid.toml", "extends = \"../base.toml\"\n[optimizer]\nlearning_rate = 1e-4\nbetas = [0.8, 0.9]\n"),
        ("top.toml", "extends = \"mid/mid.toml\"\n\n[optimizer]\nbetas = [0.7, 0.95]\n"),
    ]);
    let loaded = folder.load("top.toml", &["training.seed=7", "data.root=some/path", "device.backend=wgpu"]).unwrap();
    assert_eq!(loaded.recipe.optimizer.betas, [0.7, 0.95], "lists are replaced whole");
    assert_eq!(loaded.recipe.optimizer.learning_rate, 1e-4, "tables are merged key by key");
    assert_eq!(loaded.recipe.data.root, Path::new("some/path"), "paths stay as they were written");
    assert_eq!((loaded.recipe.training.seed, loaded.recipe.device.backend), (7, Backend::Wgpu));
    let origin = |key: &str| loaded.origins.get(key).map(|place| place.rsplit('/').next().unwrap().to_string());
    assert_eq!(origin("optimizer.betas").unwrap(), "top.toml:4");
    assert_eq!(origin("optimizer.learning_rate").unwrap(), "mid.toml:3");
    assert_eq!(origin("data.dataset").unwrap(), "base.toml:9");
    assert_eq!(origin("training.seed").unwrap(), "argument 1");
    assert_eq!(origin("optimizer.epsilon"), None);
    let shown = loaded.show(true);
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_string();
    assert!(line("betas = [0.7, 0.95] ").ends_with("top.toml:4"), "{shown}");
    assert!(line("epsilon = 1e-8 ").ends_with("  # default"), "{shown}");
    assert!(line("# max_steps = ").ends_with("  # not set"), "{shown}");
    assert!(shown.contains("\n# AdamW: decoupled weight decay, of weight matrices"), "{shown}");
    assert_eq!(toml::from_str::<Recipe>(&shown).unwrap(), loaded.recipe, "what is shown is TOML");
}

#[test]
fn counting_in_steps_takes_the_place_of_inherited_epochs() {
    assert_eq!(recipe(&["training.max_steps=9"]).training.max_steps, Some(9));
    assert_eq!(recipe(&["training.max_steps=9"]).training.epochs, None);
    let folder = Folder::new(&[("r.toml", GOOD)]);
    let both = folder.problems("r.toml", &["training.max_steps=9", "training.epochs=2"]);
    assert!(both[0].starts_with("argument 2: `training.epochs=2`: both"), "{both:?}");
}

#[test]
fn a_recipe_extends_a_shipped_one_by_name() {
    let folder =
        Folder::new(&[("mine.toml", "extends = \"ernie-m/xnli-translate-train-all\"\n[training]\nseed = 1\n")]);
    let recipe = folder.load("mine.toml", &[]).unwrap().recipe;
    assert_eq!((recipe.data.protocol, recipe.training.seed), (Protocol::TranslateTrainAll, 1));
    assert_eq!(recipe.optimizer.layerwise_decay, 0.8, "and what that one extends");
}

#[test]
fn what_extends_cannot_reach() {
    let folder = Folder::new(&[
        ("a.toml", "extends = \"b.toml\"\n"),
        ("b.toml", "# b\nextends = \"./a.toml\"\n"),
        ("gone.toml", "extends = \"nowhere.toml\"\n"),
        ("near.toml", "extends = \"quikstart\"\n"),
        ("list.toml", "extends = [\"a.toml\"]\n"),
        ("itself.toml", "extends = \"itself.toml\"\n"),
        ("broken.toml", "[x\nextends = \"alsobroken.toml\"\n"),
    ]);
    let circle = folder.problems("a.toml", &[]);
    assert_eq!(circle, ["b.toml:2:11: `extends` goes round in a circle: a.toml -> b.toml -> ./a.toml"]);
    assert!(folder.problems("itself.toml", &[])[0].contains("in a circle: itself.toml -> itself.toml"));
    assert_eq!(
        folder.problems("gone.toml", &[]),
        ["gone.toml:1:11: there is no recipe `nowhere.toml`, neither as a file nor among the shipped ones \
          (`kiln recipe list` names the shipped recipes)"]
    );
    assert!(folder.problems("near.toml", &[])[0].ends_with("(did you mean `quickstart`?)"));
    assert_eq!(folder.problems("list.toml", &[]), ["list.toml:1:11: `extends` must be a text, but is a list"]);
    assert!(folder.problems("broken.toml", &[])[0].starts_with("broken.toml:1:3: not valid TOML"));
}

#[test]
fn problems_of_a_base_name_the_base() {
    let base = GOOD.replace("epochs = 3", "epochs = 0");
    let folder = Folder::new(&[("base.toml", &base), ("top.toml", "extends = \"base.toml\"\n[data]\nrot = \"x\"\n")]);
    let problems = folder.problems("top.toml", &[]);
    assert!(problems[0].starts_with("top.toml:3:1: unknown key `rot`"), "{problems:?}");
    assert!(problems[1].starts_with("base.toml:12:10: `training.epochs` is the whole number 0"), "{problems:?}");
}

#[test]
fn encodings() {
    let folder = Folder::new(&[("crlf.toml", &GOOD.replace('\n', "\r\n")), ("bom.toml", &format!("\u{feff}{GOOD}"))]);
    assert_eq!(folder.load("crlf.toml", &[]).unwrap().recipe, recipe(&[]));
    assert_eq!(folder.load("bom.toml", &[]).unwrap().recipe, recipe(&[]));
    std::fs::write(folder.path("latin1.toml"), b"\xEF\xBB\xBF# ok\r\n# \xC3\xA4 \xE4\r\n").unwrap();
    assert_eq!(folder.problems("latin1.toml", &[]), ["latin1.toml:2:5: is not UTF-8 text (save the file as UTF-8)"]);
    let windows = Folder::new(&[("r.toml", &GOOD.replace('\n', "\r\n").replace("epochs", "epoch"))]);
    assert!(windows.problems("r.toml", &[])[0].starts_with("r.toml:12:1: unknown key `epoch`"));
}

#[test]
fn a_folder_is_not_a_recipe() {
    let folder = Folder::new(&[("runs/x/recipe.toml", GOOD)]);
    assert_eq!(
        folder.problems("runs/x", &[]),
        ["runs/x: is a folder, not a recipe file (did you mean `runs/x/recipe.toml`?)"]
    );
}

#[test]
fn the_resolved_recipe_stands_by_itself() {
    let folder = Folder::new(&[("base.toml", GOOD), ("sub/top.toml", "extends = \"../base.toml\"\n")]);
    let arguments = [
        "data.root=a \"quoted\" päth\\",
        "schedule.warmup_steps=3",
        "data.eval_languages=['en', 'sw']",
        "optimizer.weight_decay=1",
    ];
    let loaded = folder.load("sub/top.toml", &arguments).unwrap();
    let resolved = loaded.resolved_toml();
    let again = Folder::new(&[("recipe.toml", &resolved)]).load("recipe.toml", &[]).unwrap();
    assert_eq!(again.recipe, loaded.recipe);
    assert_eq!(again.resolved_toml(), resolved);
    assert_eq!(again.origins.len(), again.count(), "every value is written out");
}

#[test]
fn a_card_given_as_a_path_is_relative_to_its_recipe() {
    let folder = Folder::new(&[
        ("sub/base.toml", &GOOD.replace("\"xnli\"", "\"cards/mine.toml\"")),
        ("top.toml", "extends = \"sub/base.toml\"\n"),
    ]);
    let loaded = folder.load("top.toml", &[]).unwrap();
    assert_eq!(Path::new(loaded.recipe.data.dataset.as_deref().unwrap()), folder.path("sub/cards/mine.toml"));
    let saved = Folder::new(&[("runs/x/recipe.toml", &loaded.resolved_toml())]);
    assert_eq!(saved.load("runs/x/recipe.toml", &[]).unwrap().recipe, loaded.recipe, "saved, it is the same card");
    let argument = folder.load("top.toml", &["data.dataset=other.toml"]).unwrap();
    assert_eq!(
        Path::new(argument.recipe.data.dataset.as_deref().unwrap()),
        in_repository("other.toml"),
        "an argument's is relative to here"
    );
}

#[test]
fn what_makes_two_runs_the_same() {
    let here = recipe(&[]);
    let moved = recipe(&[
        "output.dir=b",
        "data.root=c",
        "device.backend=flex",
        "training.logging_steps=1",
        "checkpoint.keep_last=9",
    ]);
    assert_eq!(fingerprint(&here), fingerprint(&moved));
    assert_eq!(differences(&here, &moved), []);
    let other = recipe(&["training.seed=1", "data.max_train_rows=5"]);
    assert_ne!(fingerprint(&here), fingerprint(&other));
    let found = differences(&here, &other);
    let found: Vec<_> = found.iter().map(|one| (one.key.as_str(), one.left.as_deref(), one.right.as_deref())).collect();
    assert_eq!(
        found,
        [("training.seed", Some("42"), Some("1")), ("data.max_train_rows", None, Some("5"))]
            .iter()
            .rev()
            .copied()
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_name_that_is_nothing() {
    let error = load(Path::new("xnli-cross-lingual"), &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no recipe `xnli-cross-lingual`, neither as a file nor among the shipped ones"
    );
}
