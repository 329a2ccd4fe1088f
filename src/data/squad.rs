//! SQuAD's JSON, versions 1.1 and 2.0, and CMRC2018's, in SQuAD's layout and in the older one (a list of contexts, whose
//! questions have a list of texts as answers).
//!
//! The file is read as a stream: a context is held once however many questions it has, and nothing else but rows is.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::questions::{Context, QuestionOptions, QuestionRow};
use crate::error::Problem;
use crate::lines::{self, Bytes, RowError};

const HELP: &str = "SQuAD's layout is {\"data\": [{\"paragraphs\": [{\"context\": \"...\", \"qas\": [{\"id\": \"...\", \
    \"question\": \"...\", \"answers\": [{\"text\": \"...\", \"answer_start\": 0}]}]}]}]}; CMRC2018's older one is \
    [{\"context_text\": \"...\", \"qas\": [{\"query_id\": \"...\", \"query_text\": \"...\", \"answers\": [\"...\"]}]}]";

/// Reads a file, which messages call `file`: its rows in their order, up to so many good ones.
pub(super) fn read(
    bytes: Bytes,
    file: &Path,
    questions: QuestionOptions,
    max_rows: Option<usize>,
) -> Result<Vec<Result<QuestionRow, RowError>>, RowError> {
    let reading = |cause: &io::Error| RowError::reading(file, None, cause);
    let at = Cell::new(Position { line: 1, column: 0 });
    let inner = BufReader::with_capacity(1 << 16, Box::new(lines::text(bytes, file)?) as Bytes);
    let mut counted = Counted { inner, at: &at, bytes: 0, recent: VecDeque::new(), ended: false };
    let limit = max_rows.unwrap_or(usize::MAX);
    let mut sink = Sink { file, questions, limit, good: 0, seen: 0, at: &at, rows: Vec::new() };
    let mut json = serde_json::Deserializer::from_reader(&mut counted);
    let parsed = Node { sink: &mut sink, place: Place::File }.deserialize(&mut json).and_then(|()| json.end());
    if let Err(cause) = parsed
        && sink.good < sink.limit
    {
        if let Some(kind) = cause.io_error_kind() {
            return Err(reading(&io::Error::new(kind, cause)));
        }
        let Position { line, column } = counted.place_of(&cause);
        // serde_json adds the place to its message, and counts columns in bytes.
        let text = cause.to_string();
        let text = text.rsplit_once(" at line").map_or(text.as_str(), |(text, _)| text);
        let problem = Problem::new(format!("not a file of questions: {text}")).at(file, line, Some(column.max(1)));
        return Err(RowError::File(Box::new(problem.help(HELP))));
    }
    Ok(sink.rows)
}

/// The character that was read last.
#[derive(Debug, Clone, Copy)]
struct Position {
    line: usize,
    column: usize,
}

/// Counts lines and characters as they pass. serde_json takes one byte after the other, and one ahead at most, so that
/// this is where it stands.
struct Counted<'a> {
    inner: BufReader<Bytes>,
    at: &'a Cell<Position>,
    /// How many bytes of the line were read.
    bytes: usize,
    /// Where the last bytes are, each with its number in its line.
    recent: VecDeque<(usize, Position)>,
    /// Whether the last byte ended a line.
    ended: bool,
}

/// After an error serde_json looks for the ends of what it is in, before it hands the error on.
const LOOKS_FURTHER: usize = 256;

impl Counted<'_> {
    /// Where serde_json met an error: it counts bytes.
    fn place_of(&self, error: &serde_json::Error) -> Position {
        let is_it = |(byte, at): &&(usize, Position)| (at.line, *byte) == (error.line(), error.column());
        self.recent.iter().find(is_it).map_or(self.at.get(), |(_, at)| *at)
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let mut at = self.at.get();
        for byte in &buffer[..count] {
            if std::mem::replace(&mut self.ended, *byte == b'\n') {
                at = Position { line: at.line + 1, column: 0 };
                self.bytes = 0;
            }
            self.bytes += 1;
            // Bytes that go on with a character are none of their own.
            at.column += usize::from(byte & 0xC0 != 0x80);
            self.recent.push_back((self.bytes, at));
        }
        let old = self.recent.len().saturating_sub(LOOKS_FURTHER);
        self.recent.drain(..old);
        self.at.set(at);
        Ok(count)
    }
}

/// Makes rows of what comes.
struct Sink<'a> {
    file: &'a Path,
    questions: QuestionOptions,
    limit: usize,
    good: usize,
    /// Questions so far.
    seen: usize,
    at: &'a Cell<Position>,
    rows: Vec<Result<QuestionRow, RowError>>,
}

impl Sink<'_> {
    /// Takes the questions on one context; false when no more are wanted.
    fn take(&mut self, context: Option<String>, questions: Vec<(Position, RawQuestion)>) -> bool {
        let context = context.map(|text| Context::new(&text));
        for (at, question) in questions {
            self.seen += 1;
            let bad = |problem: Problem| RowError::Row(Box::new(problem.at(self.file, at.line, Some(at.column))));
            let row = match &context {
                Some(context) => {
                    let row = question.row(context, self.seen, at.line);
                    self.questions.fault(&row).map_or(Ok(row), |problem| Err(bad(problem)))
                }
                None => Err(bad(Problem::new("a question without a context").help(HELP))),
            };
            self.good += usize::from(row.is_ok());
            self.rows.push(row);
            if self.good >= self.limit {
                return false;
            }
        }
        true
    }
}

/// Reads a question, and says where the stream stood before it.
struct QuestionSeed<'a>(&'a Cell<Position>);

impl<'de> DeserializeSeed<'de> for QuestionSeed<'_> {
    type Value = (Position, RawQuestion);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Ok((self.0.get(), RawQuestion::deserialize(deserializer)?))
    }
}

/// A question as it is written.
#[derive(Deserialize)]
pub(super) struct RawQuestion {
    #[serde(alias = "query_id")]
    pub(super) id: Option<Id>,
    #[serde(alias = "query_text")]
    pub(super) question: String,
    #[serde(default)]
    pub(super) answers: RawAnswers,
    #[serde(default)]
    pub(super) is_impossible: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an id is a word or a number")]
pub(super) enum Id {
    Word(String),
    Number(i64),
}

/// A list of answers, or (as the Hugging Face hub has it) lists of their texts and their starts.
#[derive(Deserialize)]
#[serde(untagged, expecting = "answers are a list of texts, or of objects with `text` and `answer_start`")]
pub(super) enum RawAnswers {
    List(Vec<RawAnswer>),
    Columns { text: Vec<String>, answer_start: Vec<i64> },
}

impl Default for RawAnswers {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an answer is a text, or an object with `text` and `answer_start`")]
pub(super) enum RawAnswer {
    Text(String),
    Placed { text: String, answer_start: Option<i64> },
}

impl RawQuestion {
    /// The row of a question that is the `number`th of its file.
    pub(super) fn row(self, context: &Context, number: usize, line: usize) -> QuestionRow {
        let answers: Vec<(String, Option<i64>)> = match self.answers {
            _ if self.is_impossible => Vec::new(),
            RawAnswers::List(list) => list.into_iter().map(RawAnswer::parts).collect(),
            RawAnswers::Columns { text, answer_start } => {
                let starts = answer_start.into_iter().map(Some).chain(std::iter::repeat(None));
                text.into_iter().zip(starts).collect()
            }
        };
        let placing = context.place(answers.iter().map(|(text, start)| (text.as_str(), *start)));
        QuestionRow {
            id: match self.id {
                Some(Id::Word(word)) => word,
                Some(Id::Number(id)) => id.to_string(),
                None => number.to_string(),
            },
            question: self.question,
            passages: vec![context.text.clone()],
            answers: answers.into_iter().map(|(text, _)| text).collect(),
            placing,
            line: u32::try_from(line).unwrap_or(u32::MAX),
        }
    }
}

impl RawAnswer {
    fn parts(self) -> (String, Option<i64>) {
        match self {
            Self::Text(text) => (text, None),
            Self::Placed { text, answer_start } => (text, answer_start),
        }
    }
}

/// What has contexts in it, at any depth: a list of such, or an object with `data` or `paragraphs`; or a context with questions
/// on it, in any order.
struct Node<'a, 'b> {
    sink: &'a mut Sink<'b>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The whole file: an object with `data`, or a list.
    File,
    List,
    Element,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.place {
            Place::File => "an object with `data`, or a list of contexts",
            Place::List => "a list of objects with `paragraphs`, or with a context and `qas`",
            Place::Element => "an object with `paragraphs`, or with a context and `qas`",
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.place == Place::Element {
            return Err(de::Error::invalid_type(Unexpected::Seq, &self));
        }
        while seq.next_element_seed(Node { sink: self.sink, place: Place::Element })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.place == Place::List {
            return Err(de::Error::invalid_type(Unexpected::Map, &self));
        }
        let is_file = self.place == Place::File;
        let (mut has_data, mut context, mut questions) = (false, None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            match (key.as_str(), is_file) {
                ("data", true) | ("paragraphs", false) => {
                    has_data = true;
                    map.next_value_seed(Node { sink: self.sink, place: Place::List })?;
                }
                ("context" | "context_text", false) => context = Some(map.next_value()?),
                ("qas", false) => map.next_value_seed(QuestionList { at: self.sink.at, found: &mut questions })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match self.sink.take(context, questions) {
            _ if is_file && !has_data => Err(de::Error::missing_field("data")),
            true => Ok(()),
            false => Err(de::Error::custom("enough")),
        }
    }
}

/// The questions on one context.
struct QuestionList<'a> {
    at: &'a Cell<Position>,
    found: &'a mut Vec<(Position, RawQuestion)>,
}

impl<'de> DeserializeSeed<'de> for QuestionList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for QuestionList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of questions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(question) = seq.next_element_seed(QuestionSeed(self.at))? {
            self.found.push(question);
        }
        Ok(())
    }
}
