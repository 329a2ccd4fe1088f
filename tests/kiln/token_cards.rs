//! Dataset cards of tokens with tags: what they may say, where their labels come from, and every mistake with its
//! place.

use std::fs;
use std::path::Path;

use kiln::data::card::{Card, RowKind, Split};
use kiln::data::labels::Label;
use kiln::data::layout::{LineSeparator, RowLayout, TaggedLayout};
use kiln::error::{Error, Problem};
use miette::Diagnostic;

const SMALL: &str = r#"
title = "Small"
languages = ["en"]
labels = ["B-X", "I-X", "O"]
[[train]]
files = "train.tsv"
format = "tsv"
columns = { tokens = 1, tags = 2 }
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

fn tagged(card: &Card) -> &TaggedLayout {
    match &card.sources(Split::Train)[0].layout {
        RowLayout::Tagged(layout) => layout,
        RowLayout::Texts(_) | RowLayout::Questions(_) => panic!("the source has tokens"),
    }
}

#[test]
fn keys_of_token_sources_have_their_defaults() {
    let card = parse(SMALL).unwrap();
    assert_eq!((card.rows(), Card::load("xnli").unwrap().rows()), (RowKind::Tagged, RowKind::Texts));
    assert!(matches!(tagged(&card), TaggedLayout::Cells { separator, .. } if separator == " "));
    let card = parse(&SMALL.replace("\"tsv\"", "\"conll\"")).unwrap();
    let TaggedLayout::Conll(layout) = tagged(&card) else { panic!("the source is of lines") };
    assert_eq!((layout.tokens, layout.tags, layout.width, layout.separator), (1, 2, 2, LineSeparator::Space));
    let card = SMALL.replace("\"tsv\"", "\"conll\"\nseparator = \"tab\"\nwidth = 5").replace("tags = 2", "tags = 4");
    let card = parse(&card).unwrap();
    let TaggedLayout::Conll(layout) = tagged(&card) else { panic!("the source is of lines") };
    assert_eq!((layout.tokens, layout.tags, layout.width, layout.separator), (1, 4, 5, LineSeparator::Tab));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = r#"
title = "Bad"
languages = ["en"]
labels = ["B-X", "O"]
labels_file = []
label_aliases = { "0" = "O" }
[[train]]
files = "a.tsv"
format = "tsv"
separator = "tab"
token_separator = ""
columns = { tokens = 1 }
[[train]]
files = "b.tsv"
format = "tsv"
token_separator = "\t"
columns = { text = 1, tags = 2 }
[[train]]
files = "c.conll"
format = "conll"
header = true
token_separator = " "
width = 2
columns = { tokens = "token", tags = 4, language = 3 }
[[train]]
files = "d.jsonl"
format = "jsonl"
token_separator = " "
columns = { tokens = "tokens", tags = 2 }
[[dev]]
files = "e.tsv"
format = "conll"
columns = { text = 1, label = 2 }
[[test]]
files = "f.tsv"
format = "tsv"
token_separator = " "
columns = { text = 1 }
[[test]]
files = "g.tsv"
format = "tsv"
columns = { tags = 1 }
[[test]]
files = "h.tsv"
format = "tsv"
columns = { }
"#;
    let found = problems(text);
    let expected = [
        "small.toml:5:15: no path of a tag dictionary",
        "small.toml:5:15: the labels are told twice",
        "small.toml:5:15: `label_aliases` are for labels that the card lists",
        "small.toml:10:13: only conll files have a `separator`",
        "small.toml:11:19: an empty separator",
        "small.toml:12:11: a column `tokens` without `tags`",
        "small.toml:16:19: no cell can hold this",
        "small.toml:17:11: a source has texts or tokens, not both",
        "small.toml:21:10: conll files have no header and no quoting",
        "small.toml:22:19: conll files have one token a line",
        "small.toml:23:9: `width` is less than a column's number",
        "small.toml:24:11: columns of conll files have numbers, not names",
        "small.toml:24:11: conll files have no column of languages",
        "small.toml:28:19: JSON lines have lists of tokens and tags",
        "small.toml:29:11: columns of JSON lines have names, not numbers",
        "small.toml:33:11: conll files hold tokens",
        "small.toml:33:11: some sources have texts and some have tokens",
        "small.toml:37:19: only tokens have a separator",
        "small.toml:38:11: some sources have texts and some have tokens",
        "small.toml:42:11: a column `tags` without `tokens`",
        "small.toml:46:11: no column `text`, and no `tokens`",
        "small.toml:46:11: some sources have texts and some have tokens",
    ];
    for expected in expected {
        assert!(
            found.iter().any(|problem| problem.ends_with(expected)),
            "{expected}\nis not among\n{}",
            found.join("\n")
        );
    }
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
}

#[test]
fn words_of_the_new_keys_are_checked() {
    let of = |from: &str, to: &str| problems(&SMALL.replace(from, to)).remove(0);
    let separator = "format = \"conll\"\nseparator = \"comma\"";
    assert!(of("format = \"tsv\"", separator).starts_with("cards/small.toml:8:13: unknown variant `comma`"));
    assert!(of("\"tsv\"", "\"conl\"").starts_with("cards/small.toml:7:10: unknown variant `conl`"));
    assert_eq!(help(&parse(&SMALL.replace("\"tsv\"", "\"conl\"")).unwrap_err()), "did you mean `conll`?");
    assert!(of("tags = 2", "tag = 2").starts_with("cards/small.toml:8:25: unknown field `tag`"));
    let labels = "labels = [\"B-X\", \"I-X\", \"O\"]";
    assert!(of(labels, "labels_file = 3").contains("expected a path below the data root, or a list of paths"));
    assert_eq!(of(labels, ""), "cards/small.toml:8:11: a column `tags`, but the card has no labels");
    assert!(of(labels, "labels_file = \"\"").ends_with(":4:15: no path of a tag dictionary"));
}

#[test]
fn labels_come_from_the_first_dictionary_that_is_there() {
    let root = tempfile::tempdir().unwrap();
    let labels = "labels_file = [\"a/tag.dic\", \"b.dic\"]\ndrop_labels = [\"?\"]";
    let text = SMALL.replace("labels = [\"B-X\", \"I-X\", \"O\"]", labels);
    let load = || parse(&text).unwrap().with_labels(root.path());
    let error = load().unwrap_err();
    assert_eq!(error.to_string(), format!("no tag dictionary of `small` below {}", root.path().display()));
    assert!(help(&error).contains("a/tag.dic or b.dic"), "{}", help(&error));
    fs::write(root.path().join("b.dic"), "0\tB-X\n1\tI-X\n0\tX-B\n").unwrap();
    let card = load().unwrap();
    assert_eq!(card.labels.names(), ["X-B", "I-X"]);
    assert_eq!(card.labels.find("B-X").unwrap(), Label::Is(0));
    assert_eq!(card.labels.find("?").unwrap(), Label::Dropped);
    fs::create_dir(root.path().join("a")).unwrap();
    fs::write(root.path().join("a/tag.dic"), "O\n\nX\n").unwrap();
    let error = load().unwrap_err().to_string();
    assert!(error.ends_with("tag.dic:2: an empty line among the tags"), "{error}");
    let listed = parse(SMALL).unwrap().with_labels(Path::new("/no/such/folder")).unwrap();
    assert_eq!(listed.labels.names(), ["B-X", "I-X", "O"], "a card that lists its labels needs no file");
}
