//! Reading tokens with tags exactly, in every layout, and every way a file can be wrong; the real files of the shipped
//! cards.

use std::collections::BTreeMap;
use std::fs;

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln::data::card::{Card, RowKind, Split};
use kiln::data::read::read_tagged_split;
use kiln::data::read::{ReadOptions, Rows, read_split};
use kiln::data::rows::TaggedRow;
use kiln::error::Error;
use kiln::metrics::chunks::{ChunkCounter, ChunkScheme};
use kiln::recipe::{BadRows, ChunkCounting, EmptyText};
use miette::Diagnostic;
use proptest::prelude::*;

use crate::real_data;

const SKIP: ReadOptions = ReadOptions { bad_rows: BadRows::Skip, empty_text: EmptyText::Skip, max_rows: None };

const SPACES: &str = "format = 'tsv'\ncolumns = { tokens = 1, tags = 2 }";
const CHARACTERS: &str =
    "format = 'tsv'\nheader = true\ntoken_separator = \"\\u0002\"\ncolumns = { tokens = 'text_a', tags = 'label' }";
const LISTS: &str = "format = 'jsonl'\ncolumns = { tokens = 'tokens', tags = 'ner' }";
const CONLL: &str = "format = 'conll'\ncolumns = { tokens = 1, tags = 4 }";
const TABS: &str = "format = 'conll'\nseparator = 'tab'\ncolumns = { tokens = 1, tags = 2 }";

/// The dev split's one file, laid out as `layout` says, with `content`.
fn read_with(layout: &str, content: &[u8], options: ReadOptions) -> Result<Rows<TaggedRow>, Error> {
    let root = tempfile::tempdir().unwrap();
    let card = format!(
        "title = 'T'\nlanguages = ['en', 'fr']\nlabels = ['B-PER', 'I-PER', 'O']\ndrop_labels = ['?']\n\
         label_aliases = {{ '0' = 'O' }}\n[[dev]]\nfiles = 'dev-{{lang}}'\n{layout}"
    );
    fs::write(root.path().join("dev-en"), content).unwrap();
    let card = Card::parse(std::path::Path::new("t.toml"), &card).unwrap();
    assert_eq!(card.rows(), RowKind::Tagged);
    read_tagged_split(&card, root.path(), Split::Dev, "en", options)
}

fn read(layout: &str, content: &str) -> Vec<TaggedRow> {
    read_with(layout, content.as_bytes(), ReadOptions::default()).unwrap().rows
}

/// The messages, with the temporary folder cut off.
fn faults(layout: &str, content: &str) -> Vec<String> {
    let error = read_with(layout, content.as_bytes(), ReadOptions::default()).expect_err("the file must be refused");
    assert_eq!(error.exit_code(), 2);
    error.problems().iter().map(|problem| problem.to_string().rsplit_once("/dev-en").unwrap().1.to_string()).collect()
}

fn fault(layout: &str, content: &str) -> String {
    faults(layout, content).remove(0)
}

fn row(tokens: &[&str], tags: &[u32], line: u32) -> TaggedRow {
    TaggedRow { tokens: tokens.iter().map(ToString::to_string).collect(), tags: tags.to_vec(), line }
}

#[test]
fn cells_of_words() {
    let content = "Ada \"x\u{3000}\tB-PER O\n\n a b  \t O ? \nMr Wu\tO B-PER\r\nc\t0";
    assert_eq!(
        read(SPACES, content),
        [row(&["Ada", "\"x\u{3000}"], &[0, 2], 1), row(&["Mr", "Wu"], &[2, 0], 4), row(&["c"], &[2], 5)]
    );
}

#[test]
fn cells_of_characters_keep_every_character() {
    let content = "text_a\tlabel\n \u{2}a\u{2}\u{3000}\tO\u{2}B-PER\u{2}I-PER\n";
    assert_eq!(read(CHARACTERS, content), [row(&[" ", "a", "\u{3000}"], &[2, 0, 1], 2)]);
}

#[test]
fn lists_of_json_lines_with_tags_as_words_and_numbers() {
    let content = "\n{\"ner\": [\"B-PER\", 0], \"tokens\": [\"A b\", \"1\"], \"id\": 7}\n";
    assert_eq!(read(LISTS, content), [row(&["A b", "1"], &[0, 2], 2)]);
}

#[test]
fn one_token_a_line() {
    let content =
        "-DOCSTART- -X- -X- O\n\nAda NNP  B-NP B-PER\nLi NNP I-NP I-PER\n\n \n. . O O\n-DOCSTART- -X- O O\nx y z O";
    let expected = [row(&["Ada", "Li"], &[0, 1], 3), row(&["."], &[2], 7), row(&["x"], &[2], 9)];
    assert_eq!(read(CONLL, content), expected);
    assert_eq!(read(CONLL, &(content.replace('\n', "\r\n") + "\r\n\r\n")), expected);
    assert_eq!(
        read(TABS, "a b\tB-PER\n\u{3000}\tO\n\t\nc\tO\n"),
        [row(&["a b", "\u{3000}"], &[0, 2], 1), row(&["c"], &[2], 4)]
    );
    let wide = "format = 'conll'\nwidth = 3\ncolumns = { tokens = 2, tags = 1 }";
    assert_eq!(read(wide, "O a x\nO b y\n"), [row(&["a", "b"], &[2, 2], 1)]);
}

#[test]
fn bad_rows_are_named_by_file_and_line() {
    assert_eq!(fault(SPACES, "a\tO\na b c\tO O\n"), ":2: 3 tokens but 2 tags, in the row \"a b c\"");
    assert_eq!(fault(SPACES, "a\t\n"), ":1: 1 tokens but 0 tags, in the row \"a\"");
    assert_eq!(fault(SPACES, "a\tO\n \t \n"), ":2: a row without tokens");
    assert_eq!(fault(SPACES, "a  b\tO O O\n"), ":1: token 2 of 3 is empty");
    assert_eq!(fault(SPACES, "a  b\tO  O\n"), ":1: token 2 of 3 is empty");
    assert_eq!(fault(SPACES, "a b\tO B-PRE\n"), ":1: unknown tag `B-PRE` of token 2, `b`");
    assert_eq!(fault(SPACES, "a b O O\n"), ":1: 1 columns where 2 are expected, in the row \"a b O O\"");
    assert_eq!(fault(CHARACTERS, "text_a\tlabel\na\u{2}b\tO\n"), ":2: 2 tokens but 1 tags, in the row \"a b\"");
    assert_eq!(fault(CHARACTERS, "text\tlabel\na\tO\n"), ":1: the header has no column `text_a`");
    assert_eq!(fault(LISTS, "{\"tokens\": [\"a\"], \"ner\": []}"), ":1: 1 tokens but 0 tags, in the row \"a\"");
    assert_eq!(fault(LISTS, "{\"tokens\": [], \"ner\": []}"), ":1: a row without tokens");
    assert_eq!(fault(LISTS, "{\"tokens\": \"a\", \"ner\": []}"), ":1: `tokens` is not a list but a string");
    assert_eq!(fault(LISTS, "{\"tokens\": [\"a\", null], \"ner\": []}"), ":1: `tokens` has null at place 2");
    assert_eq!(fault(LISTS, "{\"tokens\": [\"a\"]}"), ":1: the object has no `ner`");
}

/// The line is that of the token, not of the row's beginning.
#[test]
fn bad_lines_of_conll_files_are_named() {
    assert_eq!(fault(CONLL, "a b c O\n\nd e f O\ng h i B-PRE\n"), ":4: unknown tag `B-PRE` of token 2, `g`");
    assert_eq!(fault(CONLL, "a b c O\nd e O\n"), ":2: 3 columns where 4 are expected, in the line \"d e O\"");
    assert_eq!(fault(CONLL, "a b c d O\n"), ":1: more than 4 columns where 4 are expected, in the line \"a b c d O\"");
    assert_eq!(fault(TABS, "a\tO\n\tO\n"), ":2: token 2 of 2 is empty");
    let error = read_with(TABS, b"a\tO\n\xc3\tO\n\nb\tO\n", ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("dev-en:2:1: not UTF-8 text"), "{error}");
    let error = read_with(CONLL, b"a\tb\tc\tO\n", ReadOptions::default()).unwrap_err();
    assert!(Diagnostic::help(&error.problems()[0]).unwrap().to_string().contains("separator = \"tab\""));
}

#[test]
fn an_unknown_tag_gets_the_nearest() {
    let error = read_with(SPACES, b"a\tI-PRE\n", ReadOptions::default()).unwrap_err();
    let help = Diagnostic::help(&error.problems()[0]).unwrap().to_string();
    assert_eq!(help, "did you mean `I-PER`? the dataset card knows: 0, ?, B-PER, I-PER, O");
}

/// A spoilt row of several lines is one bad row, and the row after it is read.
#[test]
fn bad_rows_are_left_out_and_counted() {
    let content = b"a b c O\nspoilt\nd e B-PRE\n\ng h i O\n\nj k l ?\nm n o O\n\np q r X\n";
    let rows = read_with(CONLL, content, SKIP).unwrap();
    assert_eq!(rows.rows, [row(&["g"], &[2], 5)]);
    assert_eq!((rows.skipped_count, rows.skipped.len(), rows.dropped, rows.empty), (2, 2, 1, 0));
    let many = "a b\tO\n".repeat(25) + "a\tO\n";
    let found = faults(SPACES, &many);
    assert_eq!((found.len(), found[10].as_str()), (11, ": 25 of 26 rows cannot be read; the first 10 are shown"));
    let none = read_with(SPACES, b"a b\tO\n", SKIP).unwrap_err().to_string();
    assert!(none.ends_with("no rows left: 1 cannot be read, 0 have an empty text, 0 have no label"), "{none}");
}

#[test]
fn the_hash_is_of_the_whole_file_unpacked() {
    let content = b"a\tO\nb\tO\nc\tO\n";
    let first = read_with(SPACES, content, ReadOptions { max_rows: Some(2), ..SKIP }).unwrap();
    assert_eq!(first.rows.len(), 2);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, content).unwrap();
    let packed = read_with(SPACES, &encoder.finish().unwrap(), SKIP).unwrap();
    assert_eq!((packed.rows.len(), &packed.sha256), (3, &first.sha256));
    let first = read_with(CONLL, b"a b c O\n\nd e f O\n", ReadOptions { max_rows: Some(1), ..SKIP }).unwrap();
    assert_eq!(first.sha256, read_with(CONLL, b"a b c O\n\nd e f O\n", SKIP).unwrap().sha256);
}

/// Without blank lines a whole file would be one row.
#[test]
fn a_file_without_blank_lines_does_not_fill_the_memory() {
    let content = "abcdefghijklmnopqrstuvwxyz O\n".repeat((17 << 20) / 28);
    let layout = "format = 'conll'\ncolumns = { tokens = 1, tags = 2 }";
    let error = read_with(layout, content.as_bytes(), SKIP).unwrap_err().to_string();
    assert!(error.ends_with("dev-en:1: a row of more than 16 MiB"), "{error}");
}

#[test]
fn the_other_kind_of_card_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("data/dev")).unwrap();
    fs::write(root.path().join("data/dev/dev.tsv"), "a\ta\n").unwrap();
    let card = Card::load("lac-demo").unwrap();
    let error = read_split(&card, root.path(), Split::Dev, "zh", ReadOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "the dataset `lac-demo` has tokens with tags, not texts with labels");
    fs::create_dir_all(root.path().join("ocnli")).unwrap();
    fs::write(root.path().join("ocnli/dev.json"), "{}").unwrap();
    let card = Card::load("ocnli").unwrap();
    let error = read_tagged_split(&card, root.path(), Split::Dev, "zh", ReadOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "the dataset `ocnli` has texts with labels, not tokens with tags");
}

proptest! {
    #[test]
    fn whatever_is_in_a_file_a_row_has_one_tag_a_token(
        content in "(a|é|\u{3000}| |\t|\n|\u{2}|O|B-PER|\\?|-DOCSTART-|\\[|\\]|\"tokens\": |\"ner\": |,|\\{|\\}){0,40}",
    ) {
        for layout in [SPACES, CHARACTERS, LISTS, CONLL, TABS] {
            let content = if layout == CHARACTERS { format!("text_a\tlabel\n{content}") } else { content.clone() };
            if let Ok(rows) = read_with(layout, content.as_bytes(), SKIP) {
                prop_assert!(rows.rows.iter().all(|row| row.tokens.len() == row.tags.len() && !row.tokens.is_empty()));
                prop_assert!(rows.rows.iter().all(|row| row.tokens.iter().all(|token| !token.is_empty())));
            }
        }
    }
}

/// Rows, tokens, chunks by conlleval's rules and by Paddle's, and the chunks of some types.
fn summary(card: &Card, root: &std::path::Path, split: Split) -> (usize, usize, usize, usize, BTreeMap<String, usize>) {
    let rows = read_tagged_split(card, root, split, "zh", ReadOptions::default()).unwrap();
    assert!(rows.unexpected.is_none() && rows.skipped_count == 0 && rows.dropped == 0);
    let count = |counting| {
        let mut counter = ChunkCounter::new(ChunkScheme::new(card.labels.names(), counting).unwrap());
        rows.rows.iter().for_each(|row| counter.add(&row.tags, &row.tags));
        counter
    };
    let (conll, paddle) = (count(ChunkCounting::Conll), count(ChunkCounting::Paddle).total().gold);
    let tokens = rows.rows.iter().map(|row| row.tokens.len()).sum();
    let by_type = conll.by_type().map(|(name, counts)| (name.to_string(), counts.gold)).collect();
    println!(
        "{} {split}: {} rows, {tokens} tokens, {} chunks, {paddle} by Paddle",
        card.name,
        rows.rows.len(),
        conll.total().gold
    );
    println!("  {by_type:?}");
    (rows.rows.len(), tokens, conll.total().gold, paddle, by_type)
}

/// The numbers are seqeval's (a bare type read as `X-S`) and those of Paddle's chunk_eval, from the same files.
#[test]
fn the_shipped_cards_read_the_real_files() {
    let Some(root) = real_data() else { return };
    let root = root.join("data");
    let demo = Card::load("lac-demo").unwrap().with_labels(&root.join("elmo")).unwrap();
    assert_eq!((demo.labels.names().len(), demo.labels.names()[1].as_str()), (60, "a-B"));
    let (rows, tokens, chunks, paddle, types) = summary(&demo, &root.join("elmo"), Split::Train);
    assert_eq!((rows, tokens, chunks, paddle), (200, 3109, 2649, 2652));
    assert_eq!((types["n"], types["v"], types["w"], types["nt"], types.len()), (562, 523, 275, 6, 23));
    let (rows, tokens, chunks, paddle, types) = summary(&demo, &root.join("elmo"), Split::Dev);
    assert_eq!((rows, tokens, chunks, paddle), (200, 3084, 2691, 2667));
    assert_eq!((types["n"], types["v"], types["w"], types["nt"], types.len()), (557, 584, 269, 15, 23));

    let lac = Card::load("lexical-analysis").unwrap().with_labels(&root.join("lac")).unwrap();
    assert_eq!((lac.labels.names().len(), lac.labels.names()[16].as_str()), (49, "PER-B"));
    let (rows, tokens, chunks, paddle, types) = summary(&lac, &root.join("lac"), Split::Train);
    assert_eq!((rows, tokens, chunks, paddle), (1000, 23336, 12054, 12054));
    assert_eq!((types["PER"], types["LOC"], types["w"], types.len()), (204, 363, 2178, 24));
    let (rows, tokens, chunks, paddle, types) = summary(&lac, &root.join("lac"), Split::Test);
    assert_eq!((rows, tokens, chunks, paddle), (1000, 22943, 13506, 13506));
    assert_eq!((types["PER"], types["LOC"], types["w"], types.len()), (132, 134, 1432, 24));
}
