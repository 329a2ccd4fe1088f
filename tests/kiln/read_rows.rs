//! Reading rows exactly: every layout XNLI is found in, and every way a file can be wrong.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln::data::card::{Card, Split};
use kiln::data::read::{ReadOptions, Rows, read_split};
use kiln::data::rows::Row;
use kiln::error::{Error, Problem};
use kiln::recipe::{BadRows, EmptyText};
use miette::Diagnostic;

const SKIP: ReadOptions = ReadOptions { bad_rows: BadRows::Skip, empty_text: EmptyText::Skip, max_rows: None };

/// The dev split's one file, laid out as `layout` says, with `content`.
fn read_with(layout: &str, content: &[u8], options: ReadOptions) -> Result<Rows, Error> {
    let root = tempfile::tempdir().unwrap();
    let card = format!(
        "title = 'T'\nlanguages = ['en', 'fr']\nlabels = ['entailment', 'neutral', 'contradiction']\ndrop_labels = ['-']\n\
         label_aliases = {{ contradictory = 'contradiction' }}\n[[dev]]\nfiles = 'dev-{{lang}}'\n{layout}"
    );
    fs::write(root.path().join("dev-en"), content).unwrap();
    let card = Card::parse(Path::new("t.toml"), &card).unwrap();
    read_split(&card, root.path(), Split::Dev, "en", options)
}

const PLAIN: &str = "format = 'tsv'\ncolumns = { text = 1, text_pair = 2, label = 3 }";
const HEADED: &str =
    "format = 'tsv'\nheader = true\ncolumns = { text = 'premise', text_pair = 'hypo', label = 'label' }";
const QUOTED: &str =
    "format = 'csv'\nheader = true\ncolumns = { text = 'premise', text_pair = 'hypo', label = 'label' }";
const JSON: &str = "format = 'jsonl'\ncolumns = { text = 'premise', text_pair = 'hypo', label = 'label' }";

fn read(layout: &str, content: &str) -> Rows {
    read_with(layout, content.as_bytes(), ReadOptions::default()).unwrap()
}

/// The messages, with the temporary folder cut off.
fn faults(layout: &str, content: &[u8]) -> Vec<String> {
    let error = read_with(layout, content, ReadOptions::default()).expect_err("the file must be refused");
    assert_eq!(error.exit_code(), 2);
    error.problems().iter().map(|problem| problem.to_string().rsplit_once('/').unwrap().1.to_string()).collect()
}

fn fault(layout: &str, content: &str) -> String {
    faults(layout, content.as_bytes()).remove(0)
}

fn row(text: &str, pair: &str, label: u32, line: u32) -> Row {
    Row { text: text.to_string(), text_pair: Some(pair.to_string()), label: Some(label), line }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn quotation_marks_and_odd_line_ends_are_text() {
    // A reader with CSV quoting joins the first two rows; Python's splitlines breaks at U+2028 and U+0085.
    let content = "\"He said\tyes \"\" no\tneutral\nb\"\t\"c\"\tentailment\nd\u{2028}e\tf\u{85}\rg\tcontradictory\n";
    let expected =
        [row("\"He said", "yes \"\" no", 1, 1), row("b\"", "\"c\"", 0, 2), row("d\u{2028}e", "f\u{85}\rg", 2, 3)];
    assert_eq!(read(PLAIN, content).rows, expected);
}

#[test]
fn byte_order_mark_crlf_blank_lines_and_a_missing_last_newline() {
    let expected = [row("a", "b", 1, 2), row("c", " d ", 0, 4)];
    let content = "\u{feff}premise\thypo\tlabel\r\na\tb\tneutral\r\n\r\nc\t d \tentailment";
    assert_eq!(read(HEADED, content).rows, expected, "blanks inside cells are kept");
    let content = "\u{feff}premise,hypo,label\r\na,b,neutral\r\n\r\nc, d ,entailment";
    assert_eq!(read(QUOTED, content).rows, expected);
}

#[test]
fn quoted_cells_hold_separators_and_line_ends() {
    let content = "premise,hypo,label\n\"a, \"\"b\"\"\nc\",d,neutral\ne,f,neutral\n";
    assert_eq!(read(QUOTED, content).rows, [row("a, \"b\"\nc", "d", 1, 2), row("e", "f", 1, 4)]);
}

#[test]
fn json_lines_with_labels_as_words_and_numbers() {
    let content = "{\"premise\": \"a\\tb\\n\", \"hypo\": \"c\", \"label\": \"neutral\", \"x\": null}\n\n{\"label\": \"contradictory\", \"hypo\": \"é\", \"premise\": \"\\u0041\"}";
    assert_eq!(read(JSON, content).rows, [row("a\tb\n", "c", 1, 1), row("A", "é", 2, 3)]);
    assert!(fault(JSON, "{\"premise\": \"a\", \"hypo\": \"c\", \"label\": 7}").contains("unknown label `7`"));
}

#[test]
fn gzip_is_told_by_its_content_and_hashed_unpacked() {
    let content = b"a\tb\tneutral\nc\td\tneutral\n";
    let plain = read_with(PLAIN, content, ReadOptions::default()).unwrap();
    let mut members = gzip(&content[..10]);
    members.extend(gzip(&content[10..]));
    for packed in [gzip(content), members] {
        let rows = read_with(PLAIN, &packed, ReadOptions::default()).unwrap();
        assert_eq!((&rows.rows, &rows.sha256), (&plain.rows, &plain.sha256));
    }
}

#[test]
fn a_gzip_file_cut_short_or_damaged_is_refused_even_when_bad_rows_are_skipped() {
    let content: String = (0..5000).map(|i| format!("premise {}\thypothesis {i}\tneutral\n", i * 7919)).collect();
    let whole = gzip(content.as_bytes());
    let error = read_with(PLAIN, &whole[..whole.len() / 2], SKIP).unwrap_err().to_string();
    assert!(error.contains("/dev-en:") && error.ends_with(": the compressed file ends too early"), "{error}");
    let first = ReadOptions { max_rows: Some(1), ..SKIP };
    let error = read_with(PLAIN, &whole[..whole.len() - 4], first).unwrap_err().to_string();
    assert!(
        error.ends_with("dev-en: the compressed file ends too early"),
        "found although one row was asked for: {error}"
    );
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0xff;
    let error = read_with(PLAIN, &damaged, SKIP).unwrap_err().to_string();
    assert!(error.contains("the compressed file is damaged"), "{error}");
}

#[test]
fn each_bad_row_is_named_by_file_and_line() {
    assert_eq!(
        fault(PLAIN, "a\tb\tneutral\nc\tneutral\n"),
        "dev-en:2: 2 columns where 3 are expected, in the row \"c\""
    );
    assert!(fault(PLAIN, "a\tb\tneutral\tx\n").starts_with("dev-en:1: 4 columns where 3"));
    assert_eq!(fault(PLAIN, "a\tb\tneutrall\n"), "dev-en:1: unknown label `neutrall`");
    assert_eq!(faults(PLAIN, b"\xc3\xa9\xc3\tb\tneutral\n")[0], "dev-en:1:2: not UTF-8 text");
    assert_eq!(faults(QUOTED, b"premise,hypo,label\n\xff,b,neutral\n")[0], "dev-en:2: not UTF-8 text");
    assert!(fault(QUOTED, "premise,hypo,label\n\"a,b,neutral\nc,d,neutral\n").starts_with("dev-en:2: 1 columns"));
    assert_eq!(fault(JSON, "{\"premise\": \"a\"}"), "dev-en:1: the object has no `label`");
    assert_eq!(
        fault(JSON, "{\"premise\": 1, \"hypo\": \"b\", \"label\": \"neutral\"}"),
        "dev-en:1: `premise` is not a string but a number"
    );
    assert_eq!(fault(JSON, "{\"premise\": \"a\", \"hypo\": \"b\", \"label\": null}"), "dev-en:1: `label` is null");
    assert!(fault(JSON, "\n{\"premise\": \"é\" \"a\"}").starts_with("dev-en:2:17: not a JSON object"));
    assert!(fault(JSON, "[1]").contains("not a JSON object"));
}

#[test]
fn a_header_that_does_not_match_is_a_fault_of_the_file() {
    let error = read_with(HEADED, b"premise\thypothesis\tlabel\na\tb\tneutral\n", SKIP).unwrap_err();
    assert!(error.to_string().ends_with("dev-en:1: the header has no column `hypo`"), "{error}");
    let help = Diagnostic::help(&error.problems()[0]).unwrap().to_string();
    assert_eq!(help, "did you mean `hypothesis`? its columns: premise, hypothesis, label");
}

#[test]
fn empty_files_are_refused() {
    assert_eq!(fault(PLAIN, ""), "dev-en: no rows");
    assert_eq!(fault(HEADED, ""), "dev-en: the file is empty");
    assert_eq!(fault(HEADED, "premise\thypo\tlabel\n"), "dev-en: no rows");
    assert_eq!(fault(JSON, "\n\n"), "dev-en: no rows");
    assert_eq!(
        fault(PLAIN, "a\tb\t-\n"),
        "dev-en: no rows left: 0 cannot be read, 0 have an empty text, 1 have no label"
    );
}

#[test]
fn ten_bad_rows_are_shown_and_all_are_counted() {
    let content = "a\tb\tneutral\n".to_string() + &"bad\n".repeat(25);
    let found = faults(PLAIN, content.as_bytes());
    assert_eq!(found.len(), 11);
    assert_eq!(found[10], "dev-en: 25 of 26 rows cannot be read; the first 10 are shown");
    let rows = read_with(PLAIN, content.as_bytes(), SKIP).unwrap();
    assert_eq!((rows.rows.len(), rows.skipped.len(), rows.skipped_count), (1, 10, 25));
}

#[test]
fn unlabelled_and_empty_rows_are_counted() {
    let content = b"a\tb\tneutral\na\t\tneutral\n \xe3\x80\x80\tb\tneutral\nc\td\t-\n";
    let kept = read_with(PLAIN, content, ReadOptions::default()).unwrap();
    assert_eq!((kept.rows.len(), kept.empty, kept.dropped), (3, 2, 1));
    let skipped = read_with(PLAIN, content, SKIP).unwrap();
    assert_eq!((skipped.rows.len(), skipped.empty, skipped.dropped), (1, 2, 1));
}

#[test]
fn max_rows_counts_the_rows_that_stay() {
    let content = b"bad\n\tb\tneutral\na\tb\tneutral\nc\td\tneutral\ne\tf\tneutral\n";
    let rows = read_with(PLAIN, content, ReadOptions { max_rows: Some(2), ..SKIP }).unwrap();
    assert_eq!(rows.rows, [row("a", "b", 1, 3), row("c", "d", 1, 4)]);
    let all = read_with(PLAIN, content, SKIP).unwrap();
    assert_eq!(rows.sha256, all.sha256, "the hash is of the whole file");
}

#[test]
fn single_texts_and_unlabelled_sources() {
    let rows = read("format = 'tsv'\ncolumns = { text = 1 }", "a\n\nb\n");
    assert_eq!(rows.rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(), ["a", "", "b"]);
    assert!(rows.rows.iter().all(|row| row.label.is_none() && row.text_pair.is_none()));
    let wide = read("format = 'tsv'\nwidth = 4\ncolumns = { text = 2 }", "0\ta\t1\t2\n");
    assert_eq!(wide.rows[0].text, "a");
}

#[test]
fn the_official_file_of_all_languages_has_its_columns_found_by_name() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("XNLI-1.0")).unwrap();
    let header = "language\tgold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\t\
                  sentence1\tsentence2\tpromptID\tpairID\tgenre\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\t\
                  sentence1_tokenized\tsentence2_tokenized\tmatch";
    let line = |language: &str, label: &str, text: &str| {
        format!("{language}\t{label}\t\t\t\t\t{text}\tH \"{language}\t1\t2\tface\ta\tb\tc\td\te\tx\ty\tTrue\n")
    };
    let content =
        [header.to_string(), "\n".to_string(), line("ar", "neutral", "P1"), line("en", "contradiction", "P2")];
    fs::write(root.path().join("XNLI-1.0/xnli.dev.tsv"), content.concat()).unwrap();
    let card = Card::load("xnli").unwrap();
    let of = |language| read_split(&card, root.path(), Split::Dev, language, ReadOptions::default());
    assert_eq!(of("en").unwrap().rows, [row("P2", "H \"en", 2, 3)]);
    assert_eq!(of("ar").unwrap().rows, [row("P1", "H \"ar", 1, 2)]);
    let error = of("zh").unwrap_err().to_string();
    assert!(error.ends_with("xnli.dev.tsv: no rows of language `zh`"), "{error}");
}

#[test]
fn another_content_than_the_card_knows_is_warned_of() {
    let layout = format!("{PLAIN}\n[sha256]\n'dev-en' = '{}'", "0".repeat(64));
    let rows = read_with(&layout, b"a\tb\tneutral\n", ReadOptions::default()).unwrap();
    let warning: Problem = rows.unexpected.unwrap();
    assert!(warning.to_string().ends_with("differs from the file the card of `t` was written for"), "{warning}");
    let layout = format!("{PLAIN}\n[sha256]\n'dev-en' = '{}'", rows.sha256.to_uppercase());
    assert!(read_with(&layout, b"a\tb\tneutral\n", ReadOptions::default()).unwrap().unexpected.is_none());
}
