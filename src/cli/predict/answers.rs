//! Predictions of question-answering: `{"id": ..., "answer": ..., "start": ..., "end": ..., "score": ..., "probability": ...}`.

use serde_json::{Value, json};

use super::Loaded;
use crate::data::questions::QuestionRow;
use crate::data::windows::{Window, WindowOptions, windows};
use crate::error::{Problem, Result};
use crate::evaluate::BatchLogits;
use crate::evaluate::spans::{Answer, SpanOptions, WindowAnswers, WindowLogits, answers};
use crate::models::InputRow;
use crate::tasks::Logits;

/// Gives questions their answers.
pub struct Answers {
    model: Loaded,
    windows: WindowOptions,
    spans: SpanOptions,
}

impl Answers {
    /// # Errors
    /// The model's longest row is too short for the options it was trained with.
    pub fn new(model: Loaded) -> Result<Self> {
        let answering = model.opened.described.answering;
        let windows = answering.windows(model.max_length);
        let taken = windows.doc_stride + windows.max_query_length + model.tokenizer.added_to_pair();
        if taken >= model.max_length {
            let what = format!(
                "its rows of {} tokens have no room for a question of {} and {} tokens that windows share",
                model.max_length, windows.max_query_length, windows.doc_stride
            );
            return Err(Problem::new(what).help("lower them in `question_answering` of its config.json").into());
        }
        Ok(Self { windows, spans: answering.spans(false), model })
    }

    /// One line a question, in their order.
    pub fn predict(&self, rows: &[QuestionRow]) -> Vec<Value> {
        let cut = |row: &QuestionRow| windows(row, &self.model.tokenizer, self.windows);
        let windows: Vec<Vec<Window>> = rows.iter().map(cut).collect();
        let flat: Vec<&Window> = windows.iter().flatten().collect();
        let inputs: Vec<InputRow> =
            flat.iter().map(|window| InputRow { ids: &window.ids, first: window.first }).collect();
        let mut said = self.model.each(&inputs, |logits, numbers| {
            let Logits::Span(start, end) = logits else { return Vec::new() }; // the command has seen to the head
            let logits = BatchLogits::new(&start, &end);
            let read = |(place, &number): (usize, &usize)| {
                let (start, end) = logits.row(place, flat[number].ids.len());
                let window = WindowLogits { place: &flat[number].place, start, end };
                WindowAnswers::new(&window, self.spans)
            };
            numbers.iter().enumerate().map(read).collect()
        });
        let lines = rows.iter().zip(&windows).map(|(row, windows)| {
            let own: Vec<WindowAnswers> = said.drain(..windows.len()).flatten().collect();
            line(row, answers(row, &own, self.spans).chosen())
        });
        lines.collect()
    }
}

/// Places count characters of the context; with several passages, of the one with this number.
fn line(row: &QuestionRow, answer: Option<&Answer>) -> Value {
    let Some(answer) = answer.filter(|answer| answer.end > answer.start) else {
        let score = answer.map(|answer| rounded(answer.score));
        let probability = answer.map(|answer| rounded(answer.probability));
        return json!({
            "id": row.id, "answer": "", "start": null, "end": null, "score": score, "probability": probability
        });
    };
    let mut line = json!({
        "id": row.id,
        "answer": answer.text,
        "start": answer.start,
        "end": answer.end,
        "score": rounded(answer.score),
        "probability": rounded(answer.probability),
    });
    if row.passages.len() > 1 {
        line["passage"] = json!(answer.passage);
    }
    line
}

/// To six places: further digits of an f32 say nothing.
fn rounded(number: f32) -> f64 {
    (f64::from(number) * 1e6).round() / 1e6
}
