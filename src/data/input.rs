//! What `kiln predict` reads: texts without labels, from a file or a pipe, row by row.
//!
//! The rule. JSON lines are told by the ending `.jsonl`, `.ndjson` or `.json`, tables by `.tsv`, `.txt` or `.csv` (before `.gz`, if
//! any), everything else by its first character: `{` starts JSON lines. The texts are the first of these pairs that the header
//! (or the first object) has; the second of a pair may be missing:
//! `text`/`text_pair`, `premise`/`hypothesis`, `premise`/`hypo`, `sentence1`/`sentence2`, `text_a`/`text_b`.
//! A table whose first line has none of the first names as a cell has no header: one column is a text, two are a pair.
//!
//! For a model of token-classification the rows are words. JSON lines have them as a list under `tokens`. Everything else has a text,
//! the first of a pair (in a table without a header, the first column), which is split: into its characters, without the white
//! space, if the words that the model was trained on were all single characters (`characters_as_words` in its `config.json`, as
//! training writes it); else at white space. LAC's own separator, U+0002, counts as white space. So a file of the data that a model
//! was trained on is read as it is, tags and all.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, stdin};
use std::path::Path;

use serde_json::Value;

use super::jsonl::{self, Fault};
use super::labels::Labels;
use super::layout::{Column, Columns, Format, Layout, Quoting};
use super::readers::{self, RowReader};
use super::rows::Row;
use crate::error::{Error, Problem, Result};
use crate::lines::{self, Bytes, RowError};

/// The key of words in JSON lines.
const TOKENS: &str = "tokens";

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
pub fn open(input: &Path) -> Result<RowReader<Row>> {
    let (bytes, name) = open_bytes(input)?;
    Ok(rows_of(bytes, name)?)
}

/// [`open`] for rows of words.
///
/// # Errors
/// As [`open`].
pub fn open_words(input: &Path, characters_as_words: bool) -> Result<RowReader<Vec<String>>> {
    let (bytes, name) = open_bytes(input)?;
    Ok(words_of(bytes, name, characters_as_words)?)
}

pub(super) fn open_bytes(input: &Path) -> Result<(Bytes, &Path)> {
    Ok(match input.as_os_str() == "-" {
        true => (Box::new(stdin()), Path::new("<stdin>")),
        false => (Box::new(File::open(input).map_err(|cause| Error::reading(input, &cause))?), input),
    })
}

/// An input, unpacked, from its beginning; its first line with more than `blanks`, and that line's number.
pub(super) fn look_at(bytes: Bytes, name: &Path, blanks: &[char]) -> Result<(Bytes, String, usize), RowError> {
    let reading = |cause| RowError::reading(name, Some(1), &cause);
    let mut reader = BufReader::new(lines::unpack(bytes).map_err(reading)?);
    let (mut head, mut start) = (Vec::new(), 0);
    while String::from_utf8_lossy(&head[start..]).trim_matches(blanks).is_empty() {
        start = head.len();
        if lines::read_line(&mut reader, &mut head).map_err(reading)? == 0 {
            return Err(RowError::File(Box::new(Problem::new("the input is empty").in_file(name))));
        }
    }
    let first = String::from_utf8_lossy(&head[start..]);
    let first = first.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']).to_string();
    let line = head[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    Ok((Box::new(Cursor::new(head).chain(reader)), first, line))
}

/// The rows of any reader; `name` gives the format by its ending and is what messages call it.
pub fn rows_of(bytes: Bytes, name: &Path) -> Result<RowReader<Row>, RowError> {
    let input = Input::begin(bytes, name)?;
    let layout = match input.format {
        Format::Jsonl => json_layout(&input.first),
        _ => table_layout(&input.first, input.format, false),
    };
    input.texts(layout)
}

/// [`rows_of`] for rows of words.
pub fn words_of(bytes: Bytes, name: &Path, characters_as_words: bool) -> Result<RowReader<Vec<String>>, RowError> {
    let input = Input::begin(bytes, name)?;
    let layout = match input.format {
        Format::Jsonl => match jsonl::parse(&input.first) {
            Ok(object) if object.contains_key(TOKENS) => {
                let layout = Layout::json(Columns::texts(Column::Name(TOKENS.to_string()), None));
                let rows = jsonl::tagged(input.bytes, name, &layout)?;
                return Ok(Box::new(rows.map(|row| row.map(|row| row.tokens))));
            }
            Ok(_) => json_layout(&input.first),
            Err(fault) => Err(fault),
        },
        _ => table_layout(&input.first, input.format, true),
    };
    // The second text of a pair is not read.
    let layout = layout.map(|layout| Layout { columns: Columns { text_pair: None, ..layout.columns }, ..layout });
    Ok(Box::new(input.texts(layout)?.map(move |row| row.map(|row| split(&row.text, characters_as_words)))))
}

/// An input whose first line has been looked at.
struct Input<'a> {
    /// From the beginning.
    bytes: Bytes,
    name: &'a Path,
    format: Format,
    /// The first line that says something, and its number.
    first: String,
    line: usize,
}

impl<'a> Input<'a> {
    fn begin(bytes: Bytes, name: &'a Path) -> Result<Self, RowError> {
        let (bytes, first, line) = look_at(bytes, name, &['\u{feff}', ' ', '\r', '\n'])?;
        let format = format_of(name, &first);
        Ok(Self { bytes, name, format, first, line })
    }

    fn texts(self, layout: Result<Layout, Fault>) -> Result<RowReader<Row>, RowError> {
        let layout = layout.map_err(|fault| RowError::File(fault.at(self.name, self.line)))?;
        texts(self.bytes, self.name, &layout)
    }
}

/// Rows without labels.
pub(super) fn texts(bytes: Bytes, name: &Path, layout: &Layout) -> Result<RowReader<Row>, RowError> {
    let rows = readers::texts(bytes, name, layout, &Labels::default(), Labels::class, None)?;
    Ok(Box::new(rows.filter_map(Result::transpose)))
}

fn split(text: &str, characters_as_words: bool) -> Vec<String> {
    let is_space = |c: char| c.is_whitespace() || c == '\u{2}';
    match characters_as_words {
        true => text.chars().filter(|c| !is_space(*c)).map(String::from).collect(),
        false => text.split(is_space).filter(|word| !word.is_empty()).map(String::from).collect(),
    }
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
        Some(columns) => Ok(Layout::json(columns)),
        None => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            let problem = Problem::new(format!("no text among the keys {}", keys.join(", ")));
            Err(Fault::new(problem.help(names_help("keys"))))
        }
    }
}

/// Without a header the first column is the text; a second one goes with it, and more are none, unless only the `first_text` is
/// read.
fn table_layout(first: &str, format: Format, first_text: bool) -> Result<Layout, Fault> {
    let (cells, quoting) = cells(first, format);
    if let Some(columns) = columns(|name| cells.iter().any(|cell| cell == name)) {
        return Ok(Layout { format, header: true, quoting, width: None, columns });
    }
    if cells.len() > 2 && !first_text {
        let problem = Problem::new(format!("{} columns and no header that names the texts", cells.len()));
        return Err(Fault::new(problem.help(names_help("columns in a first line"))));
    }
    let columns = Columns::texts(Column::Number(1), (cells.len() == 2).then_some(Column::Number(2)));
    Ok(Layout { format, header: false, quoting, width: Some(cells.len()), columns })
}

fn cells(line: &str, format: Format) -> (Vec<String>, Quoting) {
    match format {
        Format::Csv => {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
            let record = reader.records().next().and_then(std::result::Result::ok).unwrap_or_default();
            (record.iter().map(String::from).collect(), Quoting::Csv)
        }
        _ => (line.split('\t').map(String::from).collect(), Quoting::None),
    }
}

fn columns(has: impl Fn(&str) -> bool) -> Option<Columns> {
    let name = |name: &str| Column::Name(name.to_string());
    let named = |first: &str, second: Option<&str>| Columns::texts(name(first), second.map(name));
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

    fn words(name: &str, content: &str, characters: bool) -> Result<Vec<Vec<String>>, String> {
        let bytes: Bytes = Box::new(Cursor::new(content.as_bytes().to_vec()));
        let rows = words_of(bytes, Path::new(name), characters).map_err(|error| error.into_problem().to_string())?;
        rows.collect::<Result<_, _>>().map_err(|error| error.into_problem().to_string())
    }

    #[test]
    fn texts_are_split_into_words_or_characters() {
        let text = "New  York is\n\n我 爱京\u{3000}城\n";
        assert_eq!(words("f.txt", text, false).unwrap(), [vec!["New", "York", "is"], vec![], vec!["我", "爱京", "城"]]);
        let characters = words("f.txt", text, true).unwrap();
        assert_eq!((characters[0].len(), &characters[2]), (9, &["我", "爱", "京", "城"].map(String::from).to_vec()));
    }

    #[test]
    fn words_of_data_files_are_read_as_they_are() {
        let expected = [["他", "来"]];
        assert_eq!(words("f.tsv", "他 来\tr v\n", false).unwrap(), expected);
        assert_eq!(words("f.tsv", "text_a\tlabel\n他\u{2}来\tr-B\u{2}v-B\n", true).unwrap(), expected);
        assert_eq!(words("-", "{\"tokens\": [\"他\", \"来\"], \"tags\": [\"r\"]}\n", true).unwrap(), expected);
        assert_eq!(words("-", "{\"text\": \"他 来\", \"text_pair\": \"x\"}\n", true).unwrap(), expected);
        // A list is taken as it is, whatever the model.
        assert_eq!(words("-", "{\"tokens\": [\"他 来\", \"\", 7]}\n", true).unwrap(), [["他 来", "", "7"]]);
        let of = |content: &str| words("f.jsonl", content, true).unwrap_err();
        assert_eq!(of("{\"tokens\": []}\n{\"token\": []}\n"), "f.jsonl:2: the object has no `tokens`");
        assert_eq!(of("{\"tokens\": \"a b\"}"), "f.jsonl:1: `tokens` is not a list but a string");
        assert_eq!(of("{\"words\": []}"), "f.jsonl:1: no text among the keys words");
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
