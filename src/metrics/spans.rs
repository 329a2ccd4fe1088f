//! From a model's start and end logits to answers: `postprocess_qa_predictions` of transformers' `run_qa.py` (4.46).
//!
//! A candidate is one of the `n_best` likeliest starts of a window with one of its `n_best` likeliest ends, if it lies in
//! the passage and has at most `max_answer_length` tokens; its score is the sum of the two logits. The best of all windows
//! wins, and its text is cut from the passage by its characters. Two things differ: equal scores are in the order of
//! the windows and their tokens, and where no candidate is left (`run_qa.py` then answers with the word "empty") the
//! best of all starts and ends that go together is taken.

use serde::{Deserialize, Serialize};

use crate::data::questions::QuestionRow;
use crate::data::windows::WindowPlace;
use crate::ranks::bits;

/// How likely DuReader's baseline holds an answer in the document of a rank, from the first on (`pp_scores` of
/// `rc_model.py`, PaddlePaddle/models): a candidate's probability is multiplied with it.
pub const RANK_PRIOR: [f32; 5] = [0.44, 0.23, 0.15, 0.09, 0.07];

/// How answers are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpanOptions {
    pub n_best: usize,
    /// In tokens.
    pub max_answer_length: usize,
    /// "No answer" is one of the candidates: its score is that of `[CLS]` in the window where that is lowest.
    pub version_2_with_negative: bool,
    /// By how much "no answer" has to be better than the best answer.
    pub null_score_diff_threshold: f32,
    /// Whether earlier passages count for more, by [`RANK_PRIOR`].
    pub ranked: bool,
}

/// The logits of one window, of as many tokens as it has (padding left out).
#[derive(Debug, Clone, Copy)]
pub struct WindowLogits<'a> {
    pub place: &'a WindowPlace,
    pub start: &'a [f32],
    pub end: &'a [f32],
}

/// An answer cut from a passage.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Empty for "no answer".
    pub text: String,
    pub passage: u32,
    /// Characters in the passage (start, end); both 0 for "no answer".
    pub start: u32,
    pub end: u32,
    /// Sum of the two logits.
    pub score: f32,
    /// The candidate's share among the `n_best` best ones (softmax of their scores).
    pub probability: f32,
}

/// The answers of one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The `n_best` best, the best first; [`Self::chosen`] may be another.
    pub candidates: Vec<Answer>,
    chosen: usize,
}

impl Answers {
    /// The answer to give; `None` where there is not even a candidate, because no passage has a token.
    pub fn chosen(&self) -> Option<&Answer> {
        self.candidates.get(self.chosen)
    }
}

/// What one window has to say: its best candidates, and how likely it is that the answer is elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowAnswers {
    /// The `n_best` best, the best first.
    candidates: Vec<Candidate>,
    /// The best of all, where none of the likeliest starts and ends go together.
    fallback: Option<Candidate>,
    #[serde(with = "bits")]
    null: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Candidate {
    passage: u32,
    start: u32,
    end: u32,
    #[serde(with = "bits")]
    score: f32,
    is_null: bool,
}

impl WindowAnswers {
    /// Reads the logits of a window.
    pub fn new(window: &WindowLogits, options: SpanOptions) -> Self {
        let mut candidates = likely(window, options);
        let fallback = if candidates.is_empty() { best_of_all(window, options) } else { None };
        best_first(&mut candidates, options.n_best);
        let null = window.start.first().zip(window.end.first()).map(|(start, end)| start + end);
        Self { candidates, fallback, null }
    }
}

fn best_first(candidates: &mut Vec<Candidate>, count: usize) {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable
    candidates.truncate(count);
}

/// The answers of `row`, from all its windows, in their order.
pub fn answers(row: &QuestionRow, windows: &[WindowAnswers], options: SpanOptions) -> Answers {
    let mut candidates: Vec<Candidate> = windows.iter().flat_map(|window| window.candidates.iter().copied()).collect();
    if candidates.is_empty() {
        candidates.extend(windows.iter().filter_map(|window| window.fallback));
    }
    best_first(&mut candidates, options.n_best);
    let nulls = windows.iter().filter_map(|window| window.null).min_by(f32::total_cmp);
    let null = nulls.filter(|_| options.version_2_with_negative);
    if let Some(score) = null {
        // As in run_qa.py: it stays, even if `n_best` others are better; if not, it takes the last one's place.
        let place = candidates.partition_point(|other| other.score >= score);
        candidates.insert(place, Candidate { passage: 0, start: 0, end: 0, score, is_null: true });
        if place < options.n_best {
            candidates.truncate(options.n_best);
        }
    }
    let best = candidates.iter().position(|candidate| !candidate.is_null);
    let chosen = match (null, best) {
        (Some(null), Some(best)) if null - candidates[best].score <= options.null_score_diff_threshold => best,
        (Some(_), _) => candidates.iter().position(|candidate| candidate.is_null).unwrap_or(0),
        (None, _) => 0,
    };
    let shares = softmax(&candidates);
    let answer = |(candidate, probability): (&Candidate, f32)| Answer {
        text: cut(row, candidate),
        passage: candidate.passage,
        start: candidate.start,
        end: candidate.end,
        score: candidate.score,
        probability,
    };
    Answers { candidates: candidates.iter().zip(shares).map(answer).collect(), chosen }
}

fn cut(row: &QuestionRow, candidate: &Candidate) -> String {
    let Some(passage) = row.passages.get(candidate.passage as usize) else { return String::new() };
    passage.chars().skip(candidate.start as usize).take((candidate.end - candidate.start) as usize).collect()
}

/// What the passage's rank adds to a score.
fn prior(window: &WindowLogits, options: SpanOptions) -> f32 {
    let prior = RANK_PRIOR.get(window.place.passage as usize).or(RANK_PRIOR.last()).copied().unwrap_or(1.0);
    if options.ranked { prior.ln() } else { 0.0 }
}

/// The candidate from token `start` to token `end` of the passage's tokens in a window.
fn candidate(window: &WindowLogits, start: usize, end: usize, options: SpanOptions) -> Option<Candidate> {
    if end < start || end - start + 1 > options.max_answer_length {
        return None;
    }
    let place = window.place;
    let before = place.start as usize;
    let score = window.start.get(before + start)? + window.end.get(before + end)? + prior(window, options);
    let (from, to) = (place.offsets.get(start)?.0, place.offsets.get(end)?.1);
    Some(Candidate { passage: place.passage, start: from, end: to.max(from), score, is_null: false })
}

/// The likeliest starts with the likeliest ends.
fn likely(window: &WindowLogits, options: SpanOptions) -> Vec<Candidate> {
    let (starts, ends) = (highest(window.start, options.n_best), highest(window.end, options.n_best));
    let before = window.place.start as usize;
    let inside = |token: usize| token.checked_sub(before);
    let pairs = starts.iter().flat_map(|start| ends.iter().map(move |end| (*start, *end)));
    pairs.filter_map(|(start, end)| candidate(window, inside(start)?, inside(end)?, options)).collect()
}

fn best_of_all(window: &WindowLogits, options: SpanOptions) -> Option<Candidate> {
    let count = window.place.offsets.len();
    let ends = |start: usize| start..start.saturating_add(options.max_answer_length).min(count);
    let pairs = (0..count).flat_map(|start| ends(start).map(move |end| (start, end)));
    let all = pairs.filter_map(|(start, end)| candidate(window, start, end, options));
    all.reduce(|best, other| if other.score > best.score { other } else { best })
}

/// The tokens with the `count` highest logits, the highest first.
fn highest(logits: &[f32], count: usize) -> Vec<usize> {
    let mut tokens: Vec<usize> = (0..logits.len()).collect();
    tokens.sort_by(|&a, &b| logits[b].total_cmp(&logits[a])); // stable
    tokens.truncate(count);
    tokens
}

fn softmax(candidates: &[Candidate]) -> Vec<f32> {
    let highest = candidates.iter().map(|candidate| candidate.score).fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = candidates.iter().map(|candidate| (candidate.score - highest).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In JSON, which has no word for what a model gone wrong may give.
    #[test]
    fn what_windows_say_comes_back_from_other_ranks() {
        let place = WindowPlace { passage: 1, start: 2, offsets: vec![(0, 2), (2, 5), (6, 7)] };
        let options = SpanOptions {
            n_best: 3,
            max_answer_length: 2,
            version_2_with_negative: true,
            null_score_diff_threshold: 0.0,
            ranked: true,
        };
        let of = |start: [f32; 5], end: [f32; 5]| {
            WindowAnswers::new(&WindowLogits { place: &place, start: &start, end: &end }, options)
        };
        let last = [0.0, 0.0, 0.0, 0.1, 1.0 / 3.0];
        for window in [
            of(last, last),
            of([f32::NAN, 1.0, f32::INFINITY, 0.1, -0.0], [f32::NEG_INFINITY, 2.0, 1e-45, f32::MAX, f32::NAN]),
            // None of the likeliest go together.
            of([9.0, 9.0, -1.0, -2.0, 9.0], [9.0, 9.0, 9.0, f32::NEG_INFINITY, f32::NAN]),
        ] {
            let message = serde_json::to_string(&window).unwrap();
            let found: WindowAnswers = serde_json::from_str(&message).unwrap();
            // NaN equals nothing, but is written alike.
            assert_eq!(format!("{found:?}"), format!("{window:?}"), "{message}");
        }
    }
}
