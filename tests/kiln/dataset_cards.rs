//! Dataset cards: the shipped ones are sound, every kind of mistake in a user's own is named, and no file goes missing silently.

use std::fs;
use std::path::Path;

use kiln::data::card::{Card, Split};
use kiln::data::find;
use kiln::error::{Error, Problem};
use kiln::recipe::Data;
use miette::Diagnostic;

const SMALL: &str = r#"
title = "Small"
languages = ["en", "fr", "zh"]
labels = ["no", "yes"]
[protocols]
translate-train-all = "all"
[[train]]
files = "{lang}.tsv"
format = "tsv"
columns = { text = 1, label = 2 }
"#;

fn parse(text: &str) -> Result<Card, Error> {
    Card::parse(Path::new("cards/small.toml"), text)
}

fn problems(text: &str) -> Vec<String> {
    parse(text).expect_err("the card must be refused").problems().iter().map(Problem::to_string).collect()
}

fn help(error: &Error) -> String {
    Diagnostic::help(&error.problems()[0]).expect("every message says what would be right").to_string()
}

#[test]
fn shipped_cards_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let cards = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let mut names: Vec<String> = cards.map(|path| path.file_stem().unwrap().to_str().unwrap().to_string()).collect();
    names.sort();
    assert_eq!(Card::names(), names, "the list in the program and the folder are the same");
    for name in &names {
        let card = Card::load(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&card.name, name);
        assert!(!card.licence.is_empty() && !card.homepage.is_empty(), "{name} does not say its licence or homepage");
        assert!(!card.sources(Split::Train).is_empty() && !card.sources(Split::Dev).is_empty());
    }
    let order = "ar bg de el en es fr hi ru sw th tr ur vi zh";
    assert_eq!(Card::load("xnli").unwrap().languages.join(" "), order);
}

#[test]
fn an_unknown_name_gets_a_suggestion_and_a_path_is_an_own_card() {
    let error = Card::load("xnil").unwrap_err();
    assert_eq!(error.to_string(), "unknown dataset `xnil`");
    assert!(help(&error).contains("did you mean `xnli`?"), "{}", help(&error));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    assert!(Card::load(path.to_str().unwrap()).unwrap_err().to_string().contains("mine.toml: cannot be read"));
    fs::write(&path, SMALL).unwrap();
    assert_eq!(Card::load(path.to_str().unwrap()).unwrap().name, "mine");
}

#[test]
fn a_misspelt_key_is_named_with_its_place() {
    let error = parse(&SMALL.replace("languages", "langauges")).unwrap_err();
    assert!(error.to_string().starts_with("cards/small.toml:3:1: unknown field `langauges`"), "{error}");
    assert_eq!(help(&error), "did you mean `languages`?");
    let error = parse(&SMALL.replace("label = 2", "lable = 2")).unwrap_err();
    assert!(error.to_string().starts_with("cards/small.toml:10:23: unknown field `lable`"), "{error}");
}

#[test]
fn columns_are_numbered_from_one() {
    let error = parse(&SMALL.replace("text = 1", "text = 0")).unwrap_err().to_string();
    assert!(error.contains("expected a column's name or its number from 1"), "{error}");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = r#"
title = "Bad"
languages = ["en", "en", "fr"]
labels = ["no", "yes"]
drop_labels = ["no"]
label_aliases = { "1" = "yess" }
[protocols]
some = ["de"]
none = []
[[train]]
files = "all.tsv"
format = "tsv"
width = 1
columns = { text = 1, label = "label" }
[[dev]]
files = "{lang}.jsonl"
language = "en"
format = "jsonl"
header = true
columns = { text = 1 }
[[test]]
files = "{lang}.tsv"
format = "tsv"
header = true
width = 2
columns = { text = 1, text_pair = 3 }
[sha256]
"all.tsv" = "abc"
"#;
    let found = problems(text);
    for expected in [
        "small.toml:3:20: the language `en` stands here twice",
        "small.toml:5:16: `no` is a label",
        "small.toml:6:25: `1` stands for the unknown label `yess`",
        "small.toml:8:8: `de` is not among the card's languages",
        "small.toml:9:8: no language to train on",
        "small.toml:11:9: one file for several languages, and nothing tells them apart",
        "small.toml:17:12: the language is told twice",
        "small.toml:14:11: columns have names, but the file has no header",
        "small.toml:19:10: JSON lines have no header, quoting or width",
        "small.toml:20:11: columns of JSON lines have names, not numbers",
        "small.toml:25:9: the header tells the width",
        "small.toml:28:13: not a SHA-256",
    ] {
        assert!(
            found.iter().any(|problem| problem.ends_with(expected)),
            "{expected}\nis not among\n{}",
            found.join("\n")
        );
    }
    assert_eq!(found.len(), 12, "{}", found.join("\n"));
}

#[test]
fn a_card_without_labels_or_sources_is_refused() {
    let found = problems(&SMALL.replace("labels = [\"no\", \"yes\"]", ""));
    assert!(found[0].contains("a column `label`, but the card has no labels"), "{found:?}");
    let found = problems("title = \"T\"\nlanguages = []\n");
    assert!(found[0].contains("`languages` is empty") && found[1].contains("no split has a source"), "{found:?}");
}

#[test]
fn a_missing_file_names_every_path_tried_and_the_root() {
    let (card, root) = (Card::load("xnli").unwrap(), tempfile::tempdir().unwrap());
    let error = find::find(&card, root.path(), Split::Dev, "sw").unwrap_err();
    let expected = format!("no dev file of `xnli` for the language `sw` below {}", root.path().display());
    assert_eq!(error.to_string(), expected);
    for path in ["XNLI-1.0/xnli.dev.tsv[.gz]", "xnli/dev-sw.tsv[.gz]", "xnli/dev.sw.jsonl[.gz]", "data.root"] {
        assert!(help(&error).contains(path), "{path}: {}", help(&error));
    }
    let error = find::find(&card, Path::new("/no/such/folder"), Split::Dev, "sw").unwrap_err();
    assert!(error.to_string().ends_with("(there is no such folder)"), "{error}");
    let error = find::find(&parse(SMALL).unwrap(), root.path(), Split::Test, "en").unwrap_err();
    assert_eq!(error.to_string(), "the dataset `small` has no test split");
}

#[test]
fn the_first_source_with_a_file_wins_and_plain_comes_before_gz() {
    let (card, root) = (Card::load("xnli").unwrap(), tempfile::tempdir().unwrap());
    let found = || find::find(&card, root.path(), Split::Dev, "en").unwrap().path;
    let put = |path: &str| {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        fs::write(root.path().join(path), "").unwrap();
        root.path().join(path)
    };
    for path in ["xnli/dev.en.jsonl", "xnli/dev-en.tsv.gz", "xnli/dev-en.tsv", "XNLI-1.0/xnli.dev.tsv"] {
        let path = put(path);
        assert_eq!(found(), path);
    }
}

/// PaddleNLP's RemBERT example has its users put all languages' rows into one file. They are then one set, told by no language, and
/// only where no language has a file of its own.
#[test]
fn a_merged_file_counts_as_a_language_of_its_own() {
    let (card, root) = (Card::load("paws-x").unwrap(), tempfile::tempdir().unwrap());
    let put = |path: &str| {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        fs::write(root.path().join(path), "id\tsentence1\tsentence2\tlabel\n1\ta\tb\t1\n").unwrap();
    };
    let data = |eval_languages| Data { root: root.path().into(), eval_languages, ..data_section() };
    let languages = |chosen| find::eval_languages(&card, &data(chosen), Split::Dev);
    assert!(languages(None).is_err());
    put("dev_2k.tsv");
    assert_eq!(languages(None).unwrap(), ["mul"]);
    put("train.tsv");
    assert_eq!(find::train_languages(&card, root.path(), "cross-lingual-transfer", None).unwrap(), ["en"]);
    assert!(find::train_languages(&card, root.path(), "translate-train-all", None).is_err());

    put("x-final/de/dev_2k.tsv");
    let error = languages(None).unwrap_err();
    assert!(help(&error).contains(r#"data.eval_languages='["de"]'"#), "{}", help(&error));
    let chosen = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(languages(chosen(&["de", "mul"])).unwrap(), ["de", "mul"]);
    assert!(languages(chosen(&["mull"])).is_err());
}

/// `[data]` with nothing but what every recipe has to say.
fn data_section() -> Data {
    toml::from_str("dataset = \"paws-x\"").unwrap()
}

#[test]
fn a_protocol_never_shrinks_to_the_files_that_are_there() {
    let (card, root) = (parse(SMALL).unwrap(), tempfile::tempdir().unwrap());
    let train = |protocol, chosen: Option<&[String]>| find::train_languages(&card, root.path(), protocol, chosen);
    fs::write(root.path().join("en.tsv"), "a\tno\n").unwrap();
    fs::write(root.path().join("zh.tsv"), "a\tno\n").unwrap();
    let error = train("translate-train-all", None).unwrap_err();
    assert!(error.to_string().contains("for 1 of 3 languages") && error.to_string().ends_with(": fr"), "{error}");
    assert!(help(&error).contains(r#"data.train_languages='["en", "zh"]'"#), "{}", help(&error));
    let chosen = ["zh", "en"].map(String::from);
    assert_eq!(train("translate-train-all", Some(&chosen)).unwrap(), chosen, "the recipe's order is kept");
    fs::write(root.path().join("fr.tsv"), "a\tno\n").unwrap();
    assert_eq!(train("translate-train-all", None).unwrap(), ["en", "fr", "zh"]);
}

#[test]
fn wrong_protocols_and_languages_are_named() {
    let (card, root) = (parse(SMALL).unwrap(), tempfile::tempdir().unwrap());
    let fails = |protocol, chosen: &[&str]| {
        let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        let chosen = (!chosen.is_empty()).then_some(chosen.as_slice());
        find::train_languages(&card, root.path(), protocol, chosen).unwrap_err()
    };
    let error = fails("translate-train", &[]);
    assert_eq!(error.to_string(), "the dataset `small` has no protocol `translate-train`");
    assert!(help(&error).contains("did you mean `translate-train-all`?"));
    assert_eq!(fails("translate-train-all", &["de"]).to_string(), "the dataset `small` has no language `de`");
    assert_eq!(fails("translate-train-all", &["en", "en"]).to_string(), "data.train_languages names `en` twice");
}
