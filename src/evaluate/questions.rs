//! Counting answers during an evaluation: windows come in any order, questions are answered from all of theirs.

use burn::data::dataset::Dataset as _;
use burn::tensor::Tensor;

use super::answers::{AnswerCounts, Scoring};
use super::spans::{SpanOptions, WindowAnswers, WindowLogits, answers};
use crate::data::questions::QuestionRow;
use crate::data::{Span, Target, TokenRows};
use crate::error::{Error, Problem, Result};

/// The questions of all sets, and how their answers are chosen and compared.
pub struct Questions {
    /// The questions of each set, in the order of its file.
    pub sets: Vec<Vec<QuestionRow>>,
    pub scoring: Scoring,
    pub options: SpanOptions,
}

/// What the windows of a set have said so far: the row that each is, its question, and its answers.
pub type Said = Vec<(usize, u32, WindowAnswers)>;

/// The logits of a batch, read back: `[batch, seq]`, each row as a slice.
pub struct BatchLogits {
    start: Vec<f32>,
    end: Vec<f32>,
    width: usize,
}

impl BatchLogits {
    /// `start` and `end` are `[batch, seq]`.
    pub fn new(start: &Tensor<2>, end: &Tensor<2>) -> Self {
        let values = |logits: &Tensor<2>| logits.to_data().iter::<f32>().collect();
        Self { start: values(start), end: values(end), width: start.dims()[1] }
    }

    /// The logits of a row of `length` tokens.
    pub fn row(&self, row: usize, length: usize) -> (&[f32], &[f32]) {
        let range = row * self.width..row * self.width + length.min(self.width);
        (&self.start[range.clone()], &self.end[range])
    }
}

impl Questions {
    /// Reads the logits of the rows with these numbers into `said`; returns in how many windows the likeliest start and the
    /// likeliest end are those of the answer.
    pub fn listen(&self, logits: &BatchLogits, rows: &TokenRows, numbers: &[usize], said: &mut Said) -> Result<usize> {
        let mut right = 0;
        for (place, &number) in numbers.iter().enumerate() {
            let row = rows.get(number).map_err(|cause| Error::run(Problem::new(cause.to_string())))?;
            let Target::Span(Span { answer, question, place: window }) = row.target else { continue };
            let (start, end) = logits.row(place, row.ids.len());
            right += usize::from([start, end].map(highest) == answer.map(|token| usize::try_from(token).ok()));
            let window = WindowLogits { place: &window, start, end };
            said.push((number, question, WindowAnswers::new(&window, self.options)));
        }
        Ok(right)
    }

    /// Answers the questions of a set and compares the answers.
    pub fn count(&self, set: usize, mut said: Said) -> AnswerCounts {
        said.sort_by_key(|(row, ..)| *row);
        let mut counts = AnswerCounts::default();
        for windows in said.chunk_by(|(_, one, _), (_, other, _)| one == other) {
            let Some(row) = self.sets.get(set).and_then(|rows| rows.get(windows[0].1 as usize)) else { continue };
            let windows: Vec<WindowAnswers> = windows.iter().map(|(.., window)| window.clone()).collect();
            let found = answers(row, &windows, self.options);
            counts.add(self.scoring, found.chosen().map_or("", |answer| &answer.text), &row.answers);
        }
        counts
    }
}

/// The first of the highest.
fn highest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}
