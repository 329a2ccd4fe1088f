//! Files of data sets, plain or packed (gzip, Zstandard): read as a run reads its split, by a card for each format.

#![no_main]

use std::path::Path;

use kiln::data::card::{Card, RowKind, Split};
use kiln::data::questions::{Purpose, QuestionOptions};
use kiln::data::read::{ReadOptions, read_question_split, read_split, read_split_as, read_tagged_split};
use kiln::recipe::BadRows;
use kiln_fuzz::{choice, folder, write};
use libfuzzer_sys::fuzz_target;

/// What a card says of its files.
const SOURCES: [&str; 11] = [
    r#"format = "tsv", columns = { text = 1, text_pair = 2, label = 3 }"#,
    r#"format = "tsv", header = true, columns = { text = "text", label = "label" }"#,
    r#"format = "csv", columns = { text = 1, label = 2 }"#,
    r#"format = "jsonl", columns = { text = "text", label = "label", language = "language" }"#,
    r#"format = "jsonl", columns = { tokens = "tokens", tags = "tags" }"#,
    r#"format = "conll", columns = { tokens = 1, tags = 2 }"#,
    r#"format = "conll", separator = "tab", width = 3, columns = { tokens = 1, tags = 3 }"#,
    r#"format = "tsv", token_separator = "\u0002", columns = { tokens = 1, tags = 2 }"#,
    r#"format = "squad""#,
    r#"format = "dureader""#,
    r#"format = "csv", columns = { text = 1, score = 2 }"#,
];

fn card(source: &str, labels: &str) -> Card {
    let scoring = match source {
        r#"format = "squad""# => "scoring = \"squad\"\n",
        r#"format = "dureader""# => "scoring = \"dureader\"\n",
        _ => "",
    };
    let text = format!(
        "title = \"t\"\nhomepage = \"h\"\nlicence = \"l\"\nlanguages = [\"en\"]\n{scoring}{labels}\n\
         train = [{{ files = \"data\", {source} }}]\n"
    );
    Card::parse(Path::new("fuzz.toml"), &text).expect("a card")
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([kind, how], bytes)) = choice(bytes) else { return };
    let folder = folder("data");
    let source = SOURCES[usize::from(*kind) % SOURCES.len()];
    let has_labels = ["label =", "tags ="].iter().any(|column| source.contains(column));
    let labels = if has_labels { "labels = [\"O\", \"B-a\", \"I-a\"]" } else { "" };
    // Tag dictionaries are files, too.
    if how & 4 != 0 && has_labels {
        write(&folder, "tags", bytes);
        let _ = card(source, "labels_file = \"tags\"").with_labels(&folder);
    }
    let card = card(source, labels);
    write(&folder, "data", bytes);
    let bad_rows = if how & 1 == 0 { BadRows::Skip } else { BadRows::Error };
    let options = ReadOptions { bad_rows, ..ReadOptions::default() };
    match card.rows() {
        RowKind::Texts => drop(read_split(&card, &folder, Split::Train, "en", options)),
        RowKind::Scores => {
            drop(read_split_as(&card, &folder, Split::Train, "en", options, |_, cell| {
                Ok(cell.trim().parse::<f32>().ok())
            }));
        }
        RowKind::Tagged => drop(read_tagged_split(&card, &folder, Split::Train, "en", options)),
        RowKind::Questions => {
            let purpose = if how & 2 == 0 { Purpose::Train } else { Purpose::Evaluate };
            let questions = QuestionOptions { purpose, version_2_with_negative: how & 8 != 0 };
            drop(read_question_split(&card, &folder, Split::Train, "en", options, questions));
        }
    }
});
