//! Data files that are wrong: the file, the line and the column are named, and a bad row costs no more than itself.

use super::{Ended, Place, json, kiln};

const CARD: &str = r#"
title = "Questions of two files"
languages = ["en"]
labels = ["yes", "no"]

[[train]]
files = "train.tsv"
format = "tsv"
header = true
columns = { text = "a", text_pair = "b", label = "answer" }

[[dev]]
files = "dev.tsv"
format = "tsv"
header = true
columns = { text = "a", text_pair = "b", label = "answer" }
"#;
const HEADER: &str = "a\tb\tanswer\n";
pub const GOOD: &str = "a\tb\tanswer\nA dog runs.\tA cat.\tyes\nThe man\tThe woman\tno\n";

/// A folder with a card of its own and this text as its training file.
pub fn place(train: impl AsRef<[u8]>) -> Place {
    let place = Place::new();
    place.write("card.toml", CARD);
    place.write("dev.tsv", GOOD);
    place.write("train.tsv", train);
    place
}

pub fn train(place: &Place, more: &[&str]) -> Ended {
    let data = [
        format!("data.dataset={}", place.text("card.toml")),
        format!("data.root={}", place.text("")),
        "data.protocol=cross-lingual-transfer".to_string(),
    ];
    let all: Vec<&str> = data.iter().map(String::as_str).chain(more.iter().copied()).collect();
    place.train(&all)
}

/// The place of a line, or of a line and a column, of the training file, as messages name it.
fn at(place: &Place, line: &str) -> String {
    format!("{}:{line}: ", place.text("train.tsv"))
}

#[test]
fn an_unknown_label() {
    let place = place(format!("{GOOD}It rains.\tIt snows.\tyess\n"));
    let file = place.text("train.tsv");
    let words = [
        &format!("{}unknown label `yess`", at(&place, "4")),
        "help: did you mean `yes`?",
        &format!("{file}: 1 of 3 rows cannot be read"),
        "data.bad_rows=\"skip\"",
    ];
    train(&place, &[]).with_problems(2, 2, &words);
}

#[test]
fn a_row_of_too_few_or_too_many_columns() {
    let place = place(format!("{GOOD}It rains.\tyes\nx\ty\tz\tno\n"));
    let few = format!("{}2 columns where 3 are expected, in the row \"It rains.\"", at(&place, "4"));
    let many = format!("{}4 columns where 3 are expected", at(&place, "5"));
    let words = [&few, "help: a separator is missing", &many, "help: a text holds the separator", "2 of 4 rows"];
    train(&place, &[]).with_problems(2, 3, &words);
}

#[test]
fn bytes_that_are_no_utf_8() {
    let mut bytes = GOOD.as_bytes().to_vec();
    bytes.extend(b"caf\xe9\tx\tyes\n");
    let place = place(bytes);
    train(&place, &[]).with_problems(
        2,
        2,
        &[&format!("{}not UTF-8", at(&place, "4:4")), "help: save the file as UTF-8"],
    );
}

#[test]
fn files_without_rows_or_with_another_header() {
    let empty = place("");
    train(&empty, &[]).with_problems(2, 1, &[&empty.text("train.tsv"), "is empty", "help: a header line is expected"]);
    let bare = place(HEADER);
    train(&bare, &[]).with_problems(2, 1, &[&format!("{}: no rows", bare.text("train.tsv"))]);
    let other = place("a\tc\tanswer\nx\ty\tyes\n");
    let words = [&format!("{}the header has no column `b`", at(&other, "1")), "help:", "its columns: a, c, answer"];
    train(&other, &[]).with_problems(2, 1, &words);
}

#[test]
fn a_card_with_a_typo() {
    let place = place(GOOD);
    place.write("card.toml", CARD.replacen("columns", "colums", 1));
    let words = [&format!("{}:10:1: unknown field `colums`", place.text("card.toml")), "help: did you mean `columns`?"];
    train(&place, &[]).with_problems(2, 1, &words);
    assert!(!place.path("run").exists());
}

/// Each skipped row is named, and counted where the result is read.
#[test]
fn bad_rows_are_left_out_and_counted_when_the_recipe_says_so() {
    let mut bytes = format!("{GOOD}x\ty\tyess\nx\tyes\nfine\tfine\tno\n").into_bytes();
    bytes.extend(b"caf\xe9\tx\tyes\n");
    let place = place(&bytes);
    place.write("dev.tsv", bytes);
    let words = [
        &format!("left out: {}unknown label", at(&place, "4")),
        &format!("left out: {}2 columns", at(&place, "5")),
        &format!("left out: {}not UTF-8", at(&place, "7:4")),
        "train en: 3 rows",
        "(3 left out",
    ];
    train(&place, &["data.bad_rows=skip"]).with(0, &words);
    let set = &json(&place.path("run/eval.json"))["sets"][0];
    assert_eq!((set["labelled"].as_u64(), set["skipped"].as_u64()), (Some(3), Some(3)));
}

/// The error's own advice has to work in the folder that the failed attempt has left.
#[test]
fn after_bad_rows_the_same_folder_takes_the_mended_recipe() {
    let place = place(format!("{GOOD}x\ty\tyess\n"));
    train(&place, &[]).with(2, &["data.bad_rows=\"skip\""]);
    train(&place, &["data.bad_rows=\"skip\""]).with(0, &["(1 left out"]);
}

#[test]
fn windows_line_ends_change_nothing() {
    let models = [GOOD.to_string(), GOOD.replace('\n', "\r\n"), format!("\u{feff}{GOOD}")].map(|text| {
        let place = place(text);
        train(&place, &[]).with(0, &[]);
        std::fs::read(place.path("run/last/model.safetensors")).unwrap()
    });
    assert!(models[0] == models[1], "CRLF gives other weights");
    assert!(models[0] == models[2], "a byte order mark gives other weights");
    let place = place(GOOD.replace("yes", "no"));
    train(&place, &[]).with(0, &[]);
    assert!(std::fs::read(place.path("run/last/model.safetensors")).unwrap() != models[0], "the comparison compares");
}

#[test]
fn eval_reports_bad_rows_as_training_does() {
    let place = place(GOOD);
    train(&place, &[]).with(0, &[]);
    place.write("dev.tsv", format!("{GOOD}x\ty\tyess\n"));
    let before = std::fs::read(place.path("run/eval.json")).unwrap();
    let words = [&format!("{}:4: unknown label `yess`", place.text("dev.tsv")), "1 of 3 rows"];
    kiln(["eval", &place.text("run")]).with_problems(2, 2, &words);
    assert_eq!(std::fs::read(place.path("run/eval.json")).unwrap(), before, "the last good figures stay");
}
