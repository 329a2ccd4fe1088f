//! DuReader's preprocessed JSON lines: a segmented question, and segmented documents of which one paragraph each is read.
//!
//! As in the original reader (`dataset.py` of baidu/DuReader): in training the paragraph is `most_related_para`, and
//! questions without an answer span are left out; otherwise it is the one that has most of the question's words, the
//! shortest of several, and questions without an answer are left out of evaluation.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::jsonl::{self, Fault};
use super::questions::{AnswerSpan, Placing, Purpose, QuestionRow};
use crate::error::Problem;
use crate::lines::{Bytes, Lines, RowError};

/// Documents that are read of a question: `doc_num` of the original.
const DOCUMENTS: usize = 5;

/// One question in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuReaderRow {
    pub id: String,
    pub question: Vec<String>,
    /// The paragraph of each document that is read, the document ranked first first.
    pub passages: Vec<Vec<String>>,
    /// What people answered.
    pub answers: Vec<String>,
    /// In training: the passage of the answer, and its first and last word there, both included.
    pub span: Option<(usize, [usize; 2])>,
    /// The line of the file, from 1.
    pub line: u32,
}

/// A line as it is written.
#[derive(Deserialize)]
struct Raw {
    question_id: serde_json::Value,
    segmented_question: Vec<String>,
    documents: Vec<RawDocument>,
    #[serde(default)]
    answers: Vec<String>,
    #[serde(default)]
    answer_spans: Vec<[usize; 2]>,
    #[serde(default)]
    answer_docs: Vec<usize>,
}

#[derive(Deserialize)]
struct RawDocument {
    segmented_paragraphs: Vec<Vec<String>>,
    most_related_para: Option<usize>,
}

impl RawDocument {
    /// The paragraph to read, told by the file.
    fn related(self) -> Result<Vec<String>, Fault> {
        let count = self.segmented_paragraphs.len();
        let number = self.most_related_para.ok_or_else(|| {
            let problem = Problem::new("a document has no `most_related_para`");
            Fault::new(problem.help("training reads the preprocessed train set"))
        })?;
        self.segmented_paragraphs.into_iter().nth(number).ok_or_else(|| {
            let problem = Problem::new(format!("`most_related_para` is {number}, of {count} paragraphs"));
            Fault::new(problem.help("it counts from 0"))
        })
    }

    /// The paragraph with most of the question's words, the shortest of several; none of a document without any.
    fn likeliest(self, question: &[String]) -> Vec<String> {
        let recall = |words: &Vec<String>| std::cmp::Reverse(common(words, question));
        self.segmented_paragraphs.into_iter().min_by_key(|words| (recall(words), words.len())).unwrap_or_default()
    }
}

/// How many words two texts share, each as often as it stands in both.
fn common(one: &[String], other: &[String]) -> usize {
    let mut left: HashMap<&str, usize> = HashMap::new();
    other.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let shared = one.iter().filter(|word| match left.get_mut(word.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    });
    shared.count()
}

/// Reads questions one by one; a bad one does not end the reading, a bad file does.
pub struct DuReaderReader {
    lines: Lines,
    purpose: Purpose,
    dropped: usize,
    failed: bool,
}

impl DuReaderReader {
    /// Rows of `reader`, which messages call `file`.
    ///
    /// # Errors
    /// The first bytes cannot be read.
    pub fn new(reader: Bytes, file: &Path, purpose: Purpose) -> Result<Self, RowError> {
        Ok(Self { lines: Lines::new(reader, file)?, purpose, dropped: 0, failed: false })
    }

    /// How many questions were left out so far because there is no answer to learn from, or to compare with.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Reads what is left and returns the SHA-256 of the whole file, unpacked, in hexadecimal.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn finish(self) -> io::Result<String> {
        self.lines.finish()
    }

    fn read(&mut self) -> Result<Option<DuReaderRow>, RowError> {
        loop {
            let parsed: Result<Raw, Fault> = match self.lines.next_line()? {
                None => return Ok(None),
                Some(line) if line.trim().is_empty() => continue,
                Some(line) => jsonl::parse_as(line, "DuReader's preprocessed files hold one question a line"),
            };
            let number = self.lines.number();
            let row = parsed.and_then(|raw| raw.row(self.purpose, number));
            match row.map_err(|fault| RowError::Row(fault.at(self.lines.file(), number)))? {
                Some(row) => return Ok(Some(row)),
                None => self.dropped += 1,
            }
        }
    }
}

impl Iterator for DuReaderReader {
    type Item = Result<DuReaderRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.read().transpose();
        self.failed = matches!(row, Some(Err(RowError::File(_))));
        row
    }
}

impl Raw {
    /// The row, or none if it is of no use for its purpose.
    fn row(self, purpose: Purpose, line: usize) -> Result<Option<DuReaderRow>, Fault> {
        let is_useless = match purpose {
            Purpose::Train => self.answer_spans.is_empty(),
            Purpose::Evaluate => self.answers.is_empty(),
            Purpose::Predict => false,
        };
        if is_useless {
            return Ok(None);
        }
        let id = match self.question_id {
            serde_json::Value::String(id) => id,
            other => other.to_string(),
        };
        let documents = self.documents.into_iter().take(DOCUMENTS);
        let (mut passages, mut span) = (Vec::new(), None);
        if purpose == Purpose::Train {
            passages = documents.map(RawDocument::related).collect::<Result<_, _>>()?;
            span = span_of(&passages, &self.answer_docs, &self.answer_spans)?;
            if span.is_none() {
                return Ok(None);
            }
        } else {
            passages.extend(documents.map(|document| document.likeliest(&self.segmented_question)));
        }
        Ok(Some(DuReaderRow {
            id,
            question: self.segmented_question,
            passages,
            answers: self.answers,
            span,
            line: u32::try_from(line).unwrap_or(u32::MAX),
        }))
    }
}

/// The first answer's passage and words; none if its document is not read.
fn span_of(
    passages: &[Vec<String>],
    documents: &[usize],
    spans: &[[usize; 2]],
) -> Result<Option<(usize, [usize; 2])>, Fault> {
    let (&[document, ..], &[span, ..]) = (documents, spans) else {
        let problem = Problem::new("`answer_spans` without `answer_docs`");
        return Err(Fault::new(problem.help("each span has its document's number")));
    };
    let Some(passage) = passages.get(document) else { return Ok(None) };
    if span[0] > span[1] || span[1] >= passage.len() {
        let what = format!("the answer is the words {} to {} of a paragraph of {}", span[0], span[1], passage.len());
        let problem = Problem::new(what).help("`answer_spans` count the words of `most_related_para` from 0");
        return Err(Fault::new(problem));
    }
    Ok(Some((document, span)))
}

/// The row as a model that reads text does: words joined, and in training only the passage that holds the answer (as
/// PaddleNLP's DuReader reader has it).
pub fn question(row: DuReaderRow, purpose: Purpose) -> QuestionRow {
    let passage = |words: &Vec<String>| words.concat().into();
    let (passages, placing) = match (purpose, row.span) {
        (Purpose::Train, Some((document, [first, last]))) => {
            let words = &row.passages[document];
            let length = |words: &[String]| words.iter().map(|word| word.chars().count() as u32).sum::<u32>();
            let start = length(&words[..first]);
            let end = start + length(&words[first..=last]);
            (vec![passage(words)], Placing::Given(AnswerSpan { passage: 0, start, end }))
        }
        _ => {
            let placing = if row.answers.is_empty() { Placing::None } else { Placing::Nowhere };
            (row.passages.iter().map(passage).collect(), placing)
        }
    };
    QuestionRow { id: row.id, question: row.question.concat(), passages, answers: row.answers, placing, line: row.line }
}
