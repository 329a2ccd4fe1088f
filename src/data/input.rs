//! What `kiln predict` reads: texts without labels, from a file or a pipe, row by row.
//!
//! The rule. JSON lines are told by the ending `.jsonl`, `.ndjson` or `.json`, tables by `.tsv`, `.txt` or `.csv` (before `.gz`, if
//! any), everything else by its first character: `{` starts JSON lines. The texts are the first of these pairs that the header
//! (or the first object) has; the second of a pair may be missing:
//! `text`/`text_pair`, `premise`/`hypothesis`, `premise`/`hypo`, `sentence1`/`sentence2`, `text_a`/`text_b`.
//! A table whose first line has none of the first names as a cell has no header: one column is a text, two are a pair.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, stdin};
use std::path::Path;

use serde_json::Value;

use super::jsonl::{self, Fault};
use super::labels::Labels;
use super::layout::{Column, Columns, Format, Layout, Quoting};
use super::lines::{self, Bytes, RowError};
use super::rows::RowReader;
use crate::error::{Error, Problem, Result};

/// The names of first texts and of the second ones that go with them.
const NAMES: [(&str, &str); 5] = [
    ("text", "text_pair"),
    ("premise", "hypothesis"),
    ("premise", "hypo"),
    ("sentence1", "sentence2"),
    ("text_a", "text_b"),
];

/// Opens a file, or standard input for `-`, and returns its rows, without labels, as they come.
///
/// # Errors
/// A file that cannot be read, is empty, or whose first line does not tell what its columns are. The rows' own errors name
/// `<stdin>:line` for a pipe.
pub fn open(input: &Path) -> Result<RowReader> {
    let (name, bytes): (&Path, Bytes) = match input.as_os_str() == "-" {
        true => (Path::new("<stdin>"), Box::new(stdin())),
        false => (input, Box::new(File::open(input).map_err(|cause| Error::reading(input, &cause))?)),
    };
    Ok(rows_of(bytes, name)?)
}

/// The rows of any reader; `name` gives the format by its ending and is what messages call it.
pub fn rows_of(bytes: Bytes, name: &Path) -> Result<RowReader, RowError> {
    let reading = |cause| RowError::reading(name, Some(1), &cause);
    let mut reader = BufReader::new(lines::unpack(bytes).map_err(reading)?);
    // The lines up to the first that says something; they are read again below.
    let mut head = Vec::new();
    let mut start = 0;
    while String::from_utf8_lossy(&head[start..]).trim_matches(['\u{feff}', ' ', '\r', '\n']).is_empty() {
        start = head.len();
        if lines::read_line(&mut reader, &mut head).map_err(reading)? == 0 {
            return Err(RowError::File(Box::new(Problem::new("the input is empty").in_file(name))));
        }
    }
    let first = String::from_utf8_lossy(&head[start..]);
    let first = first.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    let format = format_of(name, first);
    let layout = match format {
        Format::Jsonl => json_layout(first),
        Format::Tsv | Format::Csv => table_layout(first, format),
    };
    let line = head[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    let layout = layout.map_err(|fault| RowError::File(fault.at(name, line)))?;
    RowReader::new(Box::new(Cursor::new(head).chain(reader)), name, &layout, &Labels::default(), None)
}

fn format_of(name: &Path, first: &str) -> Format {
    let name = name.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("jsonl" | "ndjson" | "json") => Format::Jsonl,
        Some("tsv" | "txt") => Format::Tsv,
        Some("csv") => Format::Csv,
        _ if first.trim_start().starts_with('{') => Format::Jsonl,
        _ => Format::Tsv,
    }
}

fn json_layout(first: &str) -> Result<Layout, Fault> {
    let object = jsonl::parse(first)?;
    let has_text = |key: &str| matches!(object.get(key), Some(Value::String(_)));
    match columns(has_text) {
        Some(columns) => {
            Ok(Layout { format: Format::Jsonl, header: false, quoting: Quoting::None, width: None, columns })
        }
        None => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            let problem = Problem::new(format!("no text among the keys {}", keys.join(", ")));
            Err(Fault::new(problem.help(names_help("keys"))))
        }
    }
}

fn table_layout(first: &str, format: Format) -> Result<Layout, Fault> {
    let quoting = if format == Format::Csv { Quoting::Csv } else { Quoting::None };
    let cells: Vec<String> = match format {
        Format::Csv => {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(first.as_bytes());
            let record = reader.records().next().and_then(std::result::Result::ok).unwrap_or_default();
            record.iter().map(String::from).collect()
        }
        _ => first.split('\t').map(String::from).collect(),
    };
    if let Some(columns) = columns(|name| cells.iter().any(|cell| cell == name)) {
        return Ok(Layout { format, header: true, quoting, width: None, columns });
    }
    let text_pair = match cells.len() {
        1 => None,
        2 => Some(Column::Number(2)),
        count => {
            let problem = Problem::new(format!("{count} columns and no header that names the texts"));
            return Err(Fault::new(problem.help(names_help("columns in a first line"))));
        }
    };
    let columns = Columns { text: Column::Number(1), text_pair, label: None, language: None };
    Ok(Layout { format, header: false, quoting, width: None, columns })
}

fn columns(has: impl Fn(&str) -> bool) -> Option<Columns> {
    let name = |name: &str| Column::Name(name.to_string());
    let named = |first: &str, second: Option<&str>| Columns {
        text: name(first),
        text_pair: second.map(name),
        label: None,
        language: None,
    };
    let pair = NAMES.iter().find(|(first, second)| has(first) && has(second));
    let single = || NAMES.iter().find(|(first, _)| has(first)).map(|(first, _)| named(first, None));
    pair.map(|(first, second)| named(first, Some(second))).or_else(single)
}

fn names_help(what: &str) -> String {
    let pairs: Vec<String> = NAMES.iter().map(|(first, second)| format!("{first} (and {second})")).collect();
    format!("name the {what}: {}", pairs.join(", or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &str) -> Result<Vec<(String, Option<String>, u32)>, String> {
        let bytes: Bytes = Box::new(Cursor::new(content.as_bytes().to_vec()));
        let rows = rows_of(bytes, Path::new(name)).map_err(|error| error.into_problem().to_string())?;
        rows.map(|row| row.map(|row| (row.text, row.text_pair, row.line)))
            .collect::<Result<_, _>>()
            .map_err(|error| error.into_problem().to_string())
    }

    fn row(text: &str, pair: Option<&str>, line: u32) -> (String, Option<String>, u32) {
        (text.to_string(), pair.map(String::from), line)
    }

    #[test]
    fn tables_with_and_without_a_header() {
        assert_eq!(read("f.txt", "one\ntwo \"2\"\n").unwrap(), [row("one", None, 1), row("two \"2\"", None, 2)]);
        assert_eq!(read("-", "a\tb\r\nc\td\r\n").unwrap(), [row("a", Some("b"), 1), row("c", Some("d"), 2)]);
        assert_eq!(read("f.tsv", "\u{feff}id\thypo\tpremise\n7\th\tp\n").unwrap(), [row("p", Some("h"), 2)]);
        assert_eq!(read("f.tsv", "sentence1\tlabel\nx\t1\n").unwrap(), [row("x", None, 2)]);
        assert_eq!(read("f.csv", "text,text_pair\n\"a, b\",c\n").unwrap(), [row("a, b", Some("c"), 2)]);
        assert_eq!(read("f.csv", "\"a, b\",c\n").unwrap(), [row("a, b", Some("c"), 1)]);
    }

    #[test]
    fn an_empty_line_among_single_texts_keeps_its_place() {
        // Predictions are matched with the input line by line.
        assert_eq!(read("f.txt", "a\n\nb\n").unwrap().len(), 3);
    }

    #[test]
    fn json_lines_by_ending_or_first_character() {
        let lines = "\n{\"premise\": \"p\", \"hypothesis\": \"h\", \"label\": null}\n";
        assert_eq!(read("<stdin>", lines).unwrap(), [row("p", Some("h"), 2)]);
        assert_eq!(read("f.jsonl", "{\"text\": \"t\"}").unwrap(), [row("t", None, 1)]);
        assert!(read("f.txt", "{\"text\": \"t\"}").unwrap()[0].0.starts_with('{'), "the ending decides");
    }

    #[test]
    fn faults_name_their_line() {
        let of = |name: &str, content: &str| read(name, content).unwrap_err();
        assert_eq!(of("<stdin>", ""), "<stdin>: the input is empty");
        assert_eq!(of("<stdin>", "\n\n"), "<stdin>: the input is empty");
        assert_eq!(of("<stdin>", "a\tb\tc\n"), "<stdin>:1: 3 columns and no header that names the texts");
        assert!(of("<stdin>", "a\tb\nc\n").starts_with("<stdin>:2: 1 columns where 2 are expected"));
        assert_eq!(of("f.json", "[1]\n").split(':').nth(3), Some(" not a JSON object"));
        assert_eq!(of("f.jsonl", "{\"txt\": \"t\"}\n"), "f.jsonl:1: no text among the keys txt");
        assert_eq!(
            of("f.jsonl", "{\"text\": \"t\"}\n{\"text\": 3}\n"),
            "f.jsonl:2: `text` is not a string but a number"
        );
        assert!(of("f.jsonl", "{\"text\": \"t\"}\n{\"text\": \n").starts_with("f.jsonl:2:9: not a JSON object"));
    }
}
