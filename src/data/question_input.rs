//! What `kiln predict` reads for a model that answers questions: questions with their contexts, from a file or a pipe.
//!
//! The rule. What begins with `[`, or with an object that has neither `question` nor `segmented_question`, is SQuAD's JSON (or
//! CMRC2018's), which is read whole first. Other objects are JSON lines, one question each: `question` and `context`, with
//! an `id` if there is one, or DuReader's preprocessed lines. Everything else is a table: its header names `question` and
//! `context`, or it has two columns without a header, the question first. Answers that are there are not looked at.

use std::path::Path;

use super::dureader;
use super::input::{self, look_at, open_bytes};
use super::jsonl;
use super::layout::{Column, Columns, Format, Layout, Quoting};
use super::questions::{Context, Placing, Purpose, QuestionOptions, QuestionRow};
use super::readers::RowReader;
use super::squad::{self, RawQuestion};
use crate::error::{Problem, Result};
use crate::lines::{Bytes, Lines, RowError};

const NAMES: [&str; 2] = ["question", "context"];
const HELP: &str =
    "such as {\"question\": \"...\", \"context\": \"...\"} a line, SQuAD's JSON, or a question, a tab and its context";

/// Opens a file, or standard input for `-`.
///
/// # Errors
/// A file that cannot be read, is empty, or whose beginning tells none of the layouts.
pub fn open(input: &Path) -> Result<RowReader<QuestionRow>> {
    let (bytes, name) = open_bytes(input)?;
    Ok(questions_of(bytes, name)?)
}

/// The questions of any reader; `name` is what messages call it.
///
/// # Errors
/// As [`open`].
pub fn questions_of(bytes: Bytes, name: &Path) -> Result<RowReader<QuestionRow>, RowError> {
    let (bytes, first, _) = look_at(bytes, name, &['\u{feff}', ' ', '\t', '\r', '\n'])?;
    let object = jsonl::parse(&first).ok().filter(|_| first.trim_start().starts_with('{'));
    match object {
        Some(object) if object.contains_key("segmented_question") => {
            Ok(Box::new(dureader::rows(bytes, name, Purpose::Predict)?.filter_map(Result::transpose)))
        }
        Some(object) if object.contains_key(NAMES[0]) => {
            let row = |raw: RawLine, line| Ok(raw.question.row(&Context::new(&raw.context), line, line));
            Ok(Box::new(jsonl::each(Lines::new(bytes, name)?, HELP, row)))
        }
        Some(object) if !object.contains_key("data") => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            let problem = Problem::new(format!("no question among the keys {}", keys.join(", "))).help(HELP);
            Err(RowError::File(Box::new(problem.in_file(name))))
        }
        None if !first.trim_start().starts_with(['{', '[']) => table(bytes, name, &first),
        _ => {
            let questions = QuestionOptions { purpose: Purpose::Predict, version_2_with_negative: true };
            Ok(Box::new(squad::read(bytes, name, questions, None)?.into_iter()))
        }
    }
}

fn table(bytes: Bytes, name: &Path, first: &str) -> Result<RowReader<QuestionRow>, RowError> {
    let format = if name.extension().is_some_and(|ending| ending == "csv") { Format::Csv } else { Format::Tsv };
    let separator = char::from(format.separator());
    let cells: Vec<&str> = first.split(separator).collect();
    let header = NAMES.iter().all(|name| cells.contains(name));
    if !header && cells.len() != 2 {
        let what = format!("{} columns and no header that names `question` and `context`", cells.len());
        return Err(RowError::File(Box::new(Problem::new(what).at(name, 1, None).help(HELP))));
    }
    let column = |number: usize| match header {
        true => Column::Name(NAMES[number].to_string()),
        false => Column::Number(number + 1),
    };
    let columns = Columns::texts(column(0), Some(column(1)));
    let quoting = if format == Format::Csv { Quoting::Csv } else { Quoting::None };
    let layout = Layout { format, header, quoting, width: None, columns };
    let rows = input::texts(bytes, name, &layout)?;
    let numbered = rows.enumerate().map(|(number, row)| {
        row.map(|row| QuestionRow {
            id: (number + 1).to_string(),
            question: row.text,
            passages: vec![row.text_pair.unwrap_or_default().into()],
            answers: Vec::new(),
            placing: Placing::None,
            line: row.line,
        })
    });
    Ok(Box::new(numbered))
}

/// A line as it is written.
#[derive(serde::Deserialize)]
struct RawLine {
    context: String,
    #[serde(flatten)]
    question: RawQuestion,
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(name: &str, content: &str) -> Result<Vec<[String; 3]>, String> {
        let bytes: Bytes = Box::new(Cursor::new(content.as_bytes().to_vec()));
        let rows = questions_of(bytes, Path::new(name)).map_err(|error| error.into_problem().to_string())?;
        rows.map(|row| row.map(|row| [row.id, row.question, row.passages[0].to_string()]))
            .collect::<Result<_, _>>()
            .map_err(|error| error.into_problem().to_string())
    }

    #[test]
    fn every_layout_is_told_by_its_beginning() {
        let one = |id: &str| Ok(vec![[id, "谁?", "他 a"].map(String::from)]);
        assert_eq!(read("-", "\n{\"id\": 5, \"question\": \"谁?\", \"context\": \"他 a\", \"x\": 1}\n"), one("5"));
        assert_eq!(
            read(
                "-",
                "{\"question\": \"谁?\", \"context\": \"他 a\", \"answers\": {\"text\": [\"b\"], \"answer_start\": [1]}}"
            ),
            one("1")
        );
        let squad = "{\"paragraphs\": [{\"context\": \"他 a\", \"qas\": [{\"id\": \"q\", \"question\": \"谁?\"}]}]}";
        assert_eq!(read("f.json", &format!("{{\"version\": \"1\",\n\"data\": [{squad}]}}")), one("q"));
        assert_eq!(read("-", &format!("{{\"data\": [{squad}]}}")), one("q"));
        assert_eq!(read("-", &format!("[\n{squad}]")), one("q"));
        assert_eq!(read("f.tsv", "谁?\t他 a\n"), one("1"));
        assert_eq!(read("f.tsv", "context\tid\tquestion\n他 a\t7\t谁?\n"), one("1"));
        assert_eq!(read("f.csv", "question,context\n谁?,\"他 a\"\n"), one("1"));
        let dureader = "{\"question_id\": 3, \"segmented_question\": [\"谁\", \"?\"], \"documents\": [{\"segmented_paragraphs\": [[\"他\", \" a\"]]}]}";
        assert_eq!(read("-", dureader), one("3"));
    }

    #[test]
    fn faults_name_their_line() {
        let of = |content: &str| read("<stdin>", content).unwrap_err();
        assert_eq!(of(" \n"), "<stdin>: the input is empty");
        assert_eq!(of("{\"q\": 1}"), "<stdin>: no question among the keys q");
        assert_eq!(of("a\tb\tc\n"), "<stdin>:1: 3 columns and no header that names `question` and `context`");
        assert!(of("{\"question\": \"a\", \"context\": \"b\"}\n{\"question\": \"a\"}\n").starts_with("<stdin>:2:"));
        assert!(of("[{]").starts_with("<stdin>:1:3: not a file of questions"));
    }
}
