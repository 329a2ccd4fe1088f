//! Rows of question answering: a question, the passages its answer is looked for in, and what people answered.

use std::sync::Arc;

use super::labels::shorten;
use crate::error::Problem;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionRow {
    /// As in the file; its number there (from 1) if it has none.
    pub id: String,
    pub question: String,
    /// What the answer is cut from: one text, or the best paragraph of each document (DuReader). Questions on the same
    /// text share it.
    pub passages: Vec<Arc<str>>,
    /// What people answered, as it is compared with predictions; empty where nobody did, or nothing can be.
    pub answers: Vec<String>,
    /// Where the answer to learn from stands.
    pub placing: Placing,
    /// The line of the file that the question begins in, from 1.
    pub line: u32,
}

/// Where the first answer that stands in a passage was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placing {
    /// Where the file says.
    Given(AnswerSpan),
    /// Elsewhere: the nearest place with the same text.
    Moved(AnswerSpan),
    /// There are answers, and none of them stands in a passage.
    Nowhere,
    /// There is no answer: the question cannot be answered, or nobody has told the answer.
    None,
}

/// A stretch of a passage, in characters (Unicode scalar values), its end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerSpan {
    pub passage: u32,
    pub start: u32,
    pub end: u32,
}

impl Placing {
    /// The span, wherever it is.
    pub fn span(self) -> Option<AnswerSpan> {
        match self {
            Self::Given(place) | Self::Moved(place) => Some(place),
            Self::Nowhere | Self::None => None,
        }
    }
}

impl QuestionRow {
    /// Whether the question, or all there is to find its answer in, is empty or all blanks.
    pub fn has_empty_text(&self) -> bool {
        self.question.trim().is_empty() || self.passages.iter().all(|passage| passage.trim().is_empty())
    }
}

/// What a question needs to be of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To learn from: its answer stands in a passage.
    Train,
    /// To compare predictions with: it has answers, wherever they stand.
    Evaluate,
    /// To be answered.
    Predict,
}

/// How questions are read.
#[derive(Debug, Clone, Copy)]
pub struct QuestionOptions {
    pub purpose: Purpose,
    /// A question without an answer is one that cannot be answered (SQuAD 2.0), not a mistake.
    pub version_2_with_negative: bool,
}

impl QuestionOptions {
    /// What is wrong with a row for this purpose.
    pub(super) fn fault(&self, row: &QuestionRow) -> Option<Problem> {
        match (self.purpose, row.placing) {
            (Purpose::Train, Placing::Nowhere) => {
                let answer = row.answers.first().map_or("", String::as_str);
                let problem = Problem::new(format!("the answer \"{}\" does not stand in the context", shorten(answer)));
                Some(problem.help("an answer is a stretch of its context, character by character"))
            }
            (Purpose::Train | Purpose::Evaluate, Placing::None) if !self.version_2_with_negative => {
                let problem = Problem::new(format!("the question \"{}\" has no answer", shorten(&row.question)));
                Some(problem.help("task.version_2_with_negative=true takes such questions for unanswerable ones"))
            }
            _ => None,
        }
    }
}

/// A text in which answers are looked for.
pub(super) struct Context {
    pub(super) text: Arc<str>,
    /// The byte that each character begins at.
    starts: Vec<usize>,
}

impl Context {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into(), starts: text.char_indices().map(|(at, _)| at).collect() }
    }

    /// Where the first of `answers` that stands in the text does: each is a text and the character that it should begin
    /// at. Without that, the first place is as good as told.
    pub(super) fn place<'a>(&self, answers: impl IntoIterator<Item = (&'a str, Option<i64>)>) -> Placing {
        let mut placing = Placing::None;
        for (answer, start) in answers {
            match self.place_one(answer, start) {
                Placing::Nowhere => placing = Placing::Nowhere,
                found => return found,
            }
        }
        placing
    }

    fn place_one(&self, answer: &str, start: Option<i64>) -> Placing {
        let given = start.and_then(|start| usize::try_from(start).ok());
        if let Some(&at) = given.and_then(|given| self.starts.get(given))
            && !answer.is_empty()
            && self.text[at..].starts_with(answer)
        {
            return Placing::Given(self.stretch(at, answer));
        }
        let answer = answer.trim();
        if answer.is_empty() {
            return Placing::Nowhere;
        }
        let near = given.map_or(0, |given| self.starts.get(given).copied().unwrap_or(self.text.len()));
        let nearest = self.text.match_indices(answer).map(|(at, _)| at).min_by_key(|at| at.abs_diff(near));
        match (nearest, start) {
            (Some(at), None) => Placing::Given(self.stretch(at, answer)),
            (Some(at), Some(_)) => Placing::Moved(self.stretch(at, answer)),
            (None, _) => Placing::Nowhere,
        }
    }

    fn stretch(&self, at: usize, answer: &str) -> AnswerSpan {
        let start = self.starts.partition_point(|&start| start < at) as u32;
        AnswerSpan { passage: 0, start, end: start + answer.chars().count() as u32 }
    }
}
