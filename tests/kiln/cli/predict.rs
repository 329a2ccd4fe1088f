//! `kiln predict`: every form of input, the order of the rows, the figures of the evaluation, and inputs that are wrong.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json as value};

use super::{Ended, Place, command, json, kiln, trained};

const LABELS: [&str; 3] = ["entailment", "neutral", "contradiction"];

fn predict(input: &str) -> Ended {
    kiln(["predict", &trained().display().to_string(), "--input", input])
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn label(line: &Value) -> &str {
    line["label"].as_str().unwrap()
}

/// The pairs and labels of a file of the quickstart's data.
fn sample(name: &str) -> Vec<[String; 3]> {
    let path = format!("{}/datasets/samples/quickstart-nli/{name}.tsv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let cells = |line: &str| line.split('\t').map(str::to_string).collect::<Vec<_>>().try_into().unwrap();
    text.lines().skip(1).map(cells).collect()
}

fn table(rows: &[[String; 3]], header: &str) -> String {
    let rows: String = rows.iter().map(|[a, b, _]| format!("{a}\t{b}\n")).collect();
    header.to_string() + &rows
}

/// Whatever form the rows come in, the lines that come out are the same bytes.
#[test]
fn every_form_of_the_same_rows_gives_the_same_lines() {
    let place = Place::new();
    let rows = sample("dev.en");
    let bare = table(&rows, "");
    let objects: String =
        rows.iter().map(|[a, b, _]| value!({ "hypothesis": b, "id": 7, "premise": a }).to_string() + "\n").collect();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bare.as_bytes()).unwrap();

    let file = place.write("bare.tsv", &bare);
    let expected = predict(&file.display().to_string()).with(0, &[]).stdout;
    assert_eq!(expected.lines().count(), rows.len());
    let forms = [
        place.write("header.tsv", table(&rows, "sentence1\tsentence2\n")),
        place.write("windows.tsv", bare.replace('\n', "\r\n")),
        place.write("open-ended.tsv", bare.trim_end()),
        place.write("rows.jsonl", &objects),
        place.write("rows.tsv.gz", gzip.finish().unwrap()),
    ];
    for form in &forms {
        let path = form.display().to_string();
        assert!(predict(&path).with(0, &[]).stdout == expected, "{path}");
    }
    for form in [&forms[0], &forms[3], &forms[4]] {
        let arguments = ["predict", &trained().display().to_string(), "--input", "-"];
        let output = command(arguments).stdin(File::open(form).unwrap()).output().unwrap();
        assert!(Ended::from(output).with(0, &[]).stdout == expected, "from standard input: {}", form.display());
    }
}

#[test]
fn a_line_has_the_label_and_the_probabilities_of_all() {
    let place = Place::new();
    let rows = sample("dev.en");
    let ended = predict(&place.write("in.tsv", table(&rows, "")).display().to_string()).with(0, &[]);
    let found = lines(&ended.stdout);
    for line in &found {
        let shares = line["probabilities"].as_object().unwrap();
        assert!(shares.keys().eq(LABELS), "in the order of the labels: {line}");
        let sum: f64 = shares.values().map(|share| share.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{line}");
        assert!(shares.values().all(|share| share.as_f64() <= shares[label(line)].as_f64()), "{line}");
    }
    for word in LABELS {
        assert!(found.iter().any(|line| label(line) == word), "the test's model never says {word}");
    }
}

/// Rows go through the model sorted by length, in chunks of 256: they come out in the order of the input all the same.
#[test]
fn the_order_of_the_input_is_kept() {
    let place = Place::new();
    let rows = sample("train.en");
    // Long, short, long, short: a chunk's own order is never the sorted one.
    let mixed: Vec<[String; 3]> = (0..300)
        .map(|i| match i % 2 {
            0 => [rows[i][0].repeat(i % 5 + 1), rows[i][1].clone(), String::new()],
            _ => [rows[i][0].split(' ').next().unwrap().to_string(), rows[i][1].clone(), String::new()],
        })
        .collect();
    let all = lines(&predict(&place.write("all.tsv", table(&mixed, "")).display().to_string()).with(0, &[]).stdout);
    let reversed: Vec<[String; 3]> = mixed.iter().rev().cloned().collect();
    let path = place.write("reversed.tsv", table(&reversed, "")).display().to_string();
    let mut back = lines(&predict(&path).with(0, &[]).stdout);
    back.reverse();
    assert_eq!(all.len(), mixed.len());
    let mut different = 0;
    for (row, (one, other)) in all.iter().zip(&back).enumerate() {
        // The other rows of its batch change a row's padding, and with it the rounding.
        let apart = |word: &str| {
            (one["probabilities"][word].as_f64().unwrap() - other["probabilities"][word].as_f64().unwrap()).abs()
        };
        assert!(LABELS.iter().all(|word| apart(word) < 1e-5), "row {row}: {one} and {other}");
        different += usize::from(row > 0 && all[row]["probabilities"] != all[row - 1]["probabilities"]);
    }
    assert!(different > 250, "the rows are too much alike to tell their order");
}

#[test]
fn the_labels_are_those_that_the_evaluation_counts() {
    let report = json(&trained().join("eval.json"));
    for set in report["sets"].as_array().unwrap() {
        let language = set["language"].as_str().unwrap();
        let rows: Vec<[String; 3]> = sample(&format!("dev.{language}")).into_iter().take(40).collect();
        let place = Place::new();
        let ended = predict(&place.write("in.tsv", table(&rows, "")).display().to_string()).with(0, &[]);
        let right = lines(&ended.stdout).iter().zip(&rows).filter(|(line, row)| label(line) == row[2]).count();
        assert_eq!(Some(right as u64), set["correct"].as_u64(), "{language}");
        assert_eq!(set["labelled"], 40);
        assert_eq!(set["accuracy"].as_f64(), Some(right as f64 / 40.0));
    }
}

#[test]
fn an_output_file_holds_what_would_be_printed() {
    let place = Place::new();
    let input = place.write("in.tsv", table(&sample("dev.de"), "")).display().to_string();
    let printed = predict(&input).with(0, &[]).stdout;
    let output = place.text("out.jsonl");
    let arguments = ["predict", &trained().display().to_string(), "--input", &input, "--output", &output];
    assert_eq!(kiln(arguments).with(0, &[]).stdout, "");
    assert_eq!(std::fs::read_to_string(&output).unwrap(), printed);
    let nowhere = place.text("no/such/folder.jsonl");
    let arguments = ["predict", &trained().display().to_string(), "--input", &input, "--output", &nowhere];
    kiln(arguments).with_problems(1, 1, &[&nowhere, "cannot be written"]);
}

/// A slip of the keyboard must not cost the data.
#[test]
fn the_input_is_never_written_over() {
    let place = Place::new();
    let text = table(&sample("dev.de"), "");
    let input = place.write("in.tsv", &text).display().to_string();
    let arguments = ["predict", &trained().display().to_string(), "--input", &input, "--output", &input];
    kiln(arguments).with_problems(2, 1, &[&input, "help:"]);
    assert_eq!(std::fs::read_to_string(&input).unwrap(), text);
}

#[test]
fn rows_that_cannot_be_read() {
    let place = Place::new();
    // Beyond a chunk, so that good rows before the bad one are seen to come out.
    let mut long = table(&sample("train.en")[..300], "");
    long.push_str("one text only\n");
    let path = place.write("long.tsv", &long).display().to_string();
    let word = format!("{path}:301: 1 columns where 2 are expected");
    let ended = predict(&path).with_problems(2, 1, &[&word, "help: a separator is missing"]);
    assert_eq!(ended.stdout.lines().count(), 300, "the rows before it are labelled");

    let cases: [(&str, &[u8], &str); 6] = [
        ("empty.tsv", b"", "the input is empty"),
        ("three.tsv", b"a\tb\tc\n", ":1: 3 columns and no header that names the texts"),
        ("bytes.tsv", b"a\tb\nx\t\xff\n", ":2:3: not UTF-8"),
        ("keys.jsonl", b"{\"txt\": \"a\"}\n", ":1: no text among the keys txt"),
        ("cut.jsonl", b"{\"text\": \"a\"}\n{\"text\": \n", ":2:9: not a JSON object"),
        ("cut.tsv.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "the compressed file ends too early"),
    ];
    for (name, content, words) in cases {
        let path = place.write(name, content).display().to_string();
        predict(&path).with_problems(2, 1, &[&path, words]);
    }
    let nowhere = place.text("nowhere.tsv");
    predict(&nowhere).with_problems(2, 1, &[&nowhere, "cannot be read"]);
    predict(&place.text("")).with_problems(2, 1, &["directory"]);
}

/// `kiln predict ... | head -1`
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let rows = sample("train.en");
    let text = table(&rows, "");
    let input = place.write("in.tsv", text.repeat(4)).display().to_string();
    let arguments = ["predict", &trained().display().to_string(), "--input", &input];
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"label\":"), "{first}");
    let ended = Ended::from(child.wait_with_output().unwrap()).with(0, &[]);
    assert_eq!(ended.stderr, "");
}
