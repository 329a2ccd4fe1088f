//! DuReader's preprocessed JSON lines: a segmented question, and segmented documents of which one paragraph each is read.
//!
//! As in the original reader (`dataset.py` of baidu/DuReader): in training the paragraph is `most_related_para`, and
//! questions without an answer span are left out; otherwise it is the one that has most of the question's words, the
//! shortest of several, and questions without an answer are left out of evaluation.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::jsonl::{self, Fault};
use super::questions::{AnswerSpan, Placing, Purpose, QuestionRow};
use crate::error::Problem;
use crate::lines::{Bytes, Lines, RowError};

/// Documents that are read of a question: `doc_num` of the original.
const DOCUMENTS: usize = 5;

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
    let mut take = |word: &str| {
        let count = left.get_mut(word)?;
        *count = count.checked_sub(1)?;
        Some(())
    };
    one.iter().filter_map(|word| take(word)).count()
}

/// The questions of `reader`, which messages call `file`; `None` in place of one that is of no use, because there is no answer
/// to learn from, or to compare with.
pub(super) fn rows(
    reader: Bytes,
    file: &Path,
    purpose: Purpose,
) -> Result<impl Iterator<Item = Result<Option<QuestionRow>, RowError>> + use<>, RowError> {
    const HELP: &str = "DuReader's preprocessed files hold one question a line";
    Ok(jsonl::each(Lines::new(reader, file)?, HELP, move |raw: Raw, line| raw.row(purpose, line)))
}

impl Raw {
    /// The row, or none if it is of no use for its purpose. Words are joined, as a model that reads text has them, and in training
    /// only the passage that holds the answer is kept (as PaddleNLP's DuReader reader has it).
    fn row(self, purpose: Purpose, line: usize) -> Result<Option<QuestionRow>, Fault> {
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
        let (passages, placing) = if purpose == Purpose::Train {
            let passages = documents.map(RawDocument::related).collect::<Result<Vec<_>, _>>()?;
            let span = span_of(&passages, &self.answer_docs, &self.answer_spans)?;
            let Some((document, [first, last])) = span else { return Ok(None) };
            let words = &passages[document];
            let length = |words: &[String]| words.iter().map(|word| word.chars().count() as u32).sum::<u32>();
            let start = length(&words[..first]);
            let end = start + length(&words[first..=last]);
            (vec![words.concat().into()], Placing::Given(AnswerSpan { passage: 0, start, end }))
        } else {
            let placing = if self.answers.is_empty() { Placing::None } else { Placing::Nowhere };
            let passages = documents.map(|document| document.likeliest(&self.segmented_question).concat().into());
            (passages.collect(), placing)
        };
        let (question, line) = (self.segmented_question.concat(), u32::try_from(line).unwrap_or(u32::MAX));
        Ok(Some(QuestionRow { id, question, passages, answers: self.answers, placing, line }))
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
