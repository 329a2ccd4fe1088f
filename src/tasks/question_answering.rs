//! Extractive question answering: where in a passage the answer to a question stands.
//!
//! On an encoder, Hugging Face's `...ForQuestionAnswering`: a linear layer gives each token the score of being the answer's start and its
//! end. On ELMo's words, DuReader's baseline: a BiDAF reader. Loss: the mean of both cross-entropies, of windows. Metrics: exact match
//! and F1 of answers, with DuReader's scoring Rouge-L and Bleu-4.
//! Predictions: `{"id": ..., "answer": ..., "start": ..., "end": ..., "score": ..., "probability": ...}`.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor, TensorData, assert_shape};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::batch::BatchOf;
use super::model::{TaskBatch, TaskHead, TaskModel};
use super::rows::{InputRows, Part, Predictor, Remark, RowData, RowTask, Tokenised, integers, rounded};
use super::scorer::{EvalSet, NewScorer, Scorer};
use super::span_reader::{NOT_A_CANDIDATE, SpanReader};
use crate::data::InputRow;
use crate::data::card::{Card, RowKind, Split};
use crate::data::questions::{Placing, Purpose, QuestionOptions, QuestionRow};
use crate::data::read::read_question_split;
use crate::data::windows::{Window, WindowOptions, WindowPlace, windows};
use crate::data::{TokenRow, TokenRows, WordCounts, question_input};
use crate::error::{Problem, Result};
use crate::metrics::answers::{AnswerCounts, Scoring};
use crate::metrics::spans::{Answer, SpanOptions, WindowAnswers, WindowLogits, answers};
use crate::metrics::{AnswerFigures, LossSums, SetResult};
use crate::models::{Backbone, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{HasRoles, HiddenStates, Roles, apply, cross_entropy_mean, linear, per_token};
use crate::recipe::{BidafOptions, QaOptions, Task, TaskName};
use crate::tokenize::Tokenizer;

/// Words of `config.json` that are Kiln's own; Hugging Face's library keeps them.
const QA: &str = "question_answering";
const BIDAF: &str = "reader";

/// What a recipe and a model folder say of the task.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    pub qa: QaOptions,
    /// Of a reader of words.
    pub bidaf: Option<BidafOptions>,
}

impl Options {
    /// How passages are cut into windows of at most `max_seq_length` tokens.
    pub fn windows(&self, max_seq_length: usize) -> WindowOptions {
        let QaOptions { doc_stride, max_query_length, .. } = self.qa;
        WindowOptions { max_seq_length, doc_stride, max_query_length }
    }

    /// How answers are chosen; `ranked` passages count by their rank.
    pub fn spans(&self, ranked: bool) -> SpanOptions {
        SpanOptions {
            n_best: self.qa.n_best_size,
            max_answer_length: self.qa.max_answer_length,
            version_2_with_negative: self.qa.version_2_with_negative,
            null_score_diff_threshold: self.qa.null_score_diff_threshold,
            ranked,
        }
    }
}

/// The head.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one")]
pub enum QuestionAnswering {
    /// On an encoder.
    Spans(Spans),
    /// On words.
    Reader(WordReader),
}

/// The start's and the end's logits of each token.
#[derive(Module, Debug)]
pub struct Spans {
    qa_outputs: Linear,
}

/// A BiDAF reader.
#[derive(Module, Debug)]
pub struct WordReader {
    reader: SpanReader,
}

/// Where the answers are.
#[derive(Debug, Clone)]
pub struct Labels {
    /// First and last token of the answer, both `[batch]`.
    pub first: Tensor<1, Int>,
    pub last: Tensor<1, Int>,
    /// `[batch, seq]`, 1 for the tokens that the softmax is over; `None`: all positions, padding too, as in transformers and
    /// PaddleNLP, whose loss therefore depends on how rows are batched.
    pub candidates: Option<Tensor<2, Int>>,
}

/// The scores of being the answer's first and its last token, both `[batch, seq]`.
#[derive(Debug, Clone)]
pub struct SpanLogits {
    pub start: Tensor<2>,
    pub end: Tensor<2>,
}

impl HasRoles for QuestionAnswering {
    fn add_roles(&self, roles: &mut Roles) {
        if let Self::Reader(WordReader { reader }) = self {
            reader.add_roles(roles);
        }
    }
}

impl TaskHead for QuestionAnswering {
    type Options = Options;
    type Labels = Labels;
    type Logits = SpanLogits;
    type Outcome = Windows;

    fn options(task: &Task, _: usize) -> Options {
        // A recipe of words has the reader's options written out.
        Options { qa: task.options(), bidaf: task.reader_hidden_size.map(|_| task.options()) }
    }

    fn read_options(_: Option<TaskName>, config: &Map<String, Value>, _: bool) -> Result<Options> {
        Ok(Options { qa: super::read_own(config, QA)?, bidaf: Some(super::read_own(config, BIDAF)?) })
    }

    fn write_options(options: &Options, config: &mut Map<String, Value>) {
        config.insert(QA.into(), json!(options.qa));
        if let Some(bidaf) = &options.bidaf {
            config.insert(BIDAF.into(), json!(bidaf));
        }
    }

    fn new(config: &ModelConfig, options: &Options, _: usize, device: &Device) -> Self {
        let size = config.hidden_size();
        match config.is_of_words() {
            true => {
                let reader = SpanReader::new(size, options.bidaf.unwrap_or_default(), device);
                Self::Reader(WordReader { reader })
            }
            false => Self::Spans(Spans { qa_outputs: linear(size, 2, device) }),
        }
    }

    fn reads(batch: &TaskBatch<Self>) -> HiddenStates {
        if batch.labels.candidates.is_some() { HiddenStates::LastOfTokens } else { HiddenStates::Last }
    }

    fn forward(&self, input: &EncoderInput, output: &EncoderOutput, _: &Backbone) -> SpanLogits {
        let last = output.last_hidden_state(); // [batch, seq, hidden]
        let [start, end] = match self {
            Self::Reader(WordReader { reader }) => reader.forward(input, last), // [batch, seq]
            Self::Spans(Spans { qa_outputs }) => {
                let both = per_token(last, |states| apply(qa_outputs, states)); // [batch, seq, 2]
                [0, 1].map(|i| both.clone().narrow(2, i, 1).squeeze_dim::<2>(2)) // [batch, seq]
            }
        };
        SpanLogits { start, end }
    }

    fn losses(&self, batch: &TaskBatch<Self>, logits: &SpanLogits) -> Vec<Tensor<1>> {
        let Labels { first, last, candidates } = &batch.labels;
        let [rows, seq] = batch.input.input_ids.dims();
        assert_shape!(logits.start, [rows, seq]);
        assert_shape!(logits.end, [rows, seq]);
        let [start, end] = [&logits.start, &logits.end].map(|logits| match candidates {
            Some(candidates) => logits.clone().mask_fill(candidates.clone().equal_elem(0), NOT_A_CANDIDATE),
            None => logits.clone(),
        });
        // A batch may lack more starts than ends (cut off, beyond the last token): the libraries take both means apart.
        let means = cross_entropy_mean(start, first.clone()) + cross_entropy_mean(end, last.clone());
        vec![means.mul_scalar(batch.labelled() as f64 / 2.0)]
    }

    fn named_logits(_: &EncoderInput, SpanLogits { start, end }: SpanLogits) -> Vec<(&'static str, TensorData)> {
        vec![("start_logits", start.into_data()), ("end_logits", end.into_data())]
    }
}

type Model = TaskModel<QuestionAnswering>;

/// What is to be learnt of a window on a passage, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    /// First and last token of the answer, see [`Window::answer`].
    answer: [i32; 2],
    /// The number of the question among those of its file.
    question: u32,
    place: WindowPlace,
}

impl Span {
    fn to_target(&self) -> Vec<u32> {
        let Self { answer: [first, last], question, place } = self;
        let head = [first.cast_unsigned(), last.cast_unsigned(), *question, place.passage, place.start];
        head.into_iter().chain(place.offsets.iter().flat_map(|(start, end)| [*start, *end])).collect()
    }

    fn of(row: &TokenRow) -> Self {
        let (head, offsets) = row.target.split_at(5.min(row.target.len()));
        let at = |number: usize| head.get(number).copied().unwrap_or_default();
        let offsets = offsets.as_chunks::<2>().0.iter().map(|&[start, end]| (start, end)).collect();
        Self {
            answer: [at(0), at(1)].map(u32::cast_signed),
            question: at(2),
            place: WindowPlace { passage: at(3), start: at(4), offsets },
        }
    }
}

impl RowTask for QuestionAnswering {
    const ROWS: RowKind = RowKind::Questions;
    type Gold = Vec<QuestionRow>;
    type Row = QuestionRow;

    /// Rows are windows on passages.
    fn read(data: &RowData, own: &Options, split: Split, language: &str) -> Result<Tokenised<Vec<QuestionRow>>> {
        let purpose = if split == Split::Train { Purpose::Train } else { Purpose::Evaluate };
        let questions = QuestionOptions { purpose, version_2_with_negative: own.qa.version_2_with_negative };
        let options = data.read_options(split);
        let read = read_question_split(data.card, &data.data.root, split, language, options, questions)?;
        let count = |is: fn(Placing) -> bool| read.rows.iter().filter(|row| is(row.placing)).count();
        let moved = count(|placing| matches!(placing, Placing::Moved(_)));
        let (nowhere, none) = (count(|placing| placing == Placing::Nowhere), count(|placing| placing == Placing::None));
        let count = format!(
            "{split} {language}: {} questions; the answers of {moved} were found beside the place they are said to be at, \
             those of {nowhere} are not looked for or not in the text; {none} have none",
            read.rows.len()
        );
        let windows = own.windows(data.data.max_seq_length);
        let given = format!("{language} {options:?} {questions:?} {windows:?}");
        // Of a passage nothing is cut off, it has more windows.
        let part = Part { split, language, given, truncates: false };
        let tokenise = |rows: &[QuestionRow]| (tokenise(data.tokenizer, rows, windows), WordCounts::default());
        let mut found = data.tokenised_of(&part, read, tokenise)?;
        found.remarks.insert(0, Remark::Count(count));
        Ok(found)
    }

    fn labels(_: &Options, rows: &[TokenRow], input: &EncoderInput) -> (Labels, usize) {
        let device = &input.input_ids.device();
        let answers: Vec<[i64; 2]> = rows.iter().map(|row| Span::of(row).answer.map(i64::from)).collect();
        let [first, last] = [0, 1].map(|end| answers.iter().map(|answer| answer[end]).collect::<Vec<_>>());
        // A window's start and end count together.
        let weight = first.iter().filter(|label| **label >= 0).count();
        let labels = Labels {
            first: integers(first, device),
            last: integers(last, device),
            candidates: input.attention_mask.clone(),
        };
        (labels, weight)
    }

    fn scorer(own: &Options, card: &Card, rows: &Arc<TokenRows>, gold: Vec<QuestionRow>) -> Result<NewScorer<Model>> {
        let (rows, questions, scoring) = (rows.clone(), Arc::new(gold), card.scoring);
        let options = own.spans(scoring == Scoring::DuReader);
        let answered = Answered { rows, questions, scoring, options, found: Windows::default() };
        Ok(Box::new(move || Box::new(answered.clone())))
    }

    fn open_rows(file: &Path, _: &Options) -> Result<InputRows<QuestionRow>> {
        Ok(Box::new(question_input::open(file)?))
    }

    fn check_predictor(predictor: &Predictor<Self>) -> Result<()> {
        let windows = predictor.options.windows(predictor.max_length);
        let taken = [windows.max_query_length, predictor.tokenizer.added_to_pair()];
        let taken = taken.into_iter().fold(windows.doc_stride, usize::saturating_add);
        if taken >= predictor.max_length {
            let what = format!(
                "its rows of {} tokens have no room for a question of {} and {} tokens that windows share",
                predictor.max_length, windows.max_query_length, windows.doc_stride
            );
            return Err(Problem::new(what).help("lower them in `question_answering` of its config.json").into());
        }
        Ok(())
    }

    fn predict(predictor: &Predictor<Self>, rows: &[QuestionRow]) -> Vec<Value> {
        let (cut, spans) = (predictor.options.windows(predictor.max_length), predictor.options.spans(false));
        let windows: Vec<Vec<Window>> = rows.iter().map(|row| windows(row, &predictor.tokenizer, cut)).collect();
        let flat: Vec<&Window> = windows.iter().flatten().collect();
        let inputs: Vec<InputRow> =
            flat.iter().map(|window| InputRow { ids: &window.ids, first: window.first }).collect();
        let mut predictions = predictor.each(&inputs, |logits, numbers| {
            let windows = numbers.iter().map(|&number| flat[number]);
            let read = |(window, [start, end]): (&Window, [Vec<f32>; 2])| {
                let length = window.ids.len();
                let logits = WindowLogits { place: &window.place, start: &start[..length], end: &end[..length] };
                WindowAnswers::new(&logits, spans)
            };
            windows.zip(logits.rows()).map(read).collect()
        });
        let lines = rows.iter().zip(&windows).map(|(row, windows)| {
            let own: Vec<WindowAnswers> = predictions.drain(..windows.len()).collect();
            line(row, answers(row, &own, spans).chosen())
        });
        lines.collect()
    }
}

fn tokenise(tokenizer: &Tokenizer, rows: &[QuestionRow], options: WindowOptions) -> Vec<TokenRow> {
    let token_rows = |(question, row): (usize, &QuestionRow)| -> Vec<TokenRow> {
        let token_row = |window: Window| TokenRow {
            first: window.first as u32,
            line: row.line,
            target: Span { answer: window.answer, question: question as u32, place: window.place }.to_target(),
            ids: window.ids,
        };
        windows(row, tokenizer, options).into_iter().map(token_row).collect()
    };
    rows.par_iter().enumerate().flat_map_iter(token_rows).collect()
}

impl SpanLogits {
    /// Those of each row, padding too, read back: of the start and of the end.
    fn rows(&self) -> impl Iterator<Item = [Vec<f32>; 2]> {
        let width = self.start.dims()[1];
        let [start, end] = [&self.start, &self.end].map(|logits| logits.to_data().iter::<f32>().collect::<Vec<_>>());
        (0..start.len()).step_by(width).map(move |row| [&start, &end].map(|logits| logits[row..row + width].to_vec()))
    }
}

/// What is found in some windows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Windows {
    /// The row that each window is, its question, and its answers.
    answers: Vec<(usize, u32, WindowAnswers)>,
    /// How many have their likeliest start and their likeliest end where those of the answer are.
    right: usize,
}

/// Collects the answers of a set's windows, which come in any order; a question is answered from all of its windows.
#[derive(Clone)]
struct Answered {
    rows: Arc<TokenRows>,
    questions: Arc<Vec<QuestionRow>>,
    scoring: Scoring,
    options: SpanOptions,
    found: Windows,
}

impl Scorer<Model> for Answered {
    fn outcome(&self, _: &Model, batch: &BatchOf<Model>, logits: &SpanLogits) -> Result<Windows> {
        let rows = self.rows.rows(&batch.rows)?;
        let mut found = Windows::default();
        for ((number, row), [start, end]) in batch.rows.iter().zip(&rows).zip(logits.rows()) {
            let Span { answer, question, place } = Span::of(row);
            let (start, end) = (&start[..row.ids.len()], &end[..row.ids.len()]);
            let is_right = [start, end].map(highest) == answer.map(|token| usize::try_from(token).ok());
            found.right += usize::from(is_right);
            let window = WindowLogits { place: &place, start, end };
            found.answers.push((*number, question, WindowAnswers::new(&window, self.options)));
        }
        Ok(found)
    }

    fn count(&mut self, Windows { answers, right }: Windows) {
        self.found.answers.extend(answers);
        self.found.right += right;
    }

    fn finish(mut self: Box<Self>, _: &EvalSet, _: &LossSums, result: &mut SetResult) {
        self.found.answers.sort_by_key(|(row, ..)| *row);
        let mut counts = AnswerCounts::default();
        for windows in self.found.answers.chunk_by(|(_, one, _), (_, other, _)| one == other) {
            let Some(row) = self.questions.get(windows[0].1 as usize) else { continue };
            let windows: Vec<WindowAnswers> = windows.iter().map(|(.., window)| window.clone()).collect();
            let found = answers(row, &windows, self.options);
            counts.add(self.scoring, found.chosen().map_or("", |answer| &answer.text), &row.answers);
        }
        result.correct = self.found.right;
        result.answers = Some(AnswerFigures::new(counts, self.scoring == Scoring::DuReader));
    }
}

/// The first of the highest.
fn highest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer in a window, one that nobody knows, a window without any token of its passage.
    #[test]
    fn targets_come_back() {
        for (answer, question, start, offsets) in
            [([3, 4], 0, 3, vec![(0, 2), (2, 3)]), ([-100, -100], 0, 3, vec![(7, 70_000)]), ([0, 0], 1, 2, vec![])]
        {
            let span = Span { answer, question, place: WindowPlace { passage: question, start, offsets } };
            let row = TokenRow { ids: vec![1, 5, 2], first: 2, line: 3, target: span.to_target() };
            assert_eq!(Span::of(&row), span);
        }
    }
}
