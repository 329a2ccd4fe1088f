//! How well answers match those that people gave: the figures of SQuAD's, CMRC2018's and DuReader's own scripts.
//!
//! - [`Scoring::Squad`]: `evaluate-v1.1.py` and `evaluate-v2.0.py`: exact match and F1 of words, after lower-casing and
//!   without punctuation and articles.
//! - [`Scoring::Cmrc2018`]: `cmrc2018_evaluate.py`: exact match without punctuation, and F1 of the longest common run of
//!   characters and words. English words are cut as `nltk.word_tokenize` does with `preserve_line=True`; the script
//!   itself lets nltk cut sentences first, which parts a full stop from a word inside an answer now and then.
//! - [`Scoring::DuReader`]: `dureader_eval.py`: Rouge-L and Bleu-4 of characters.
//!
//! An answer counts by the best it reaches with any of the references. Figures are shares, from 0 to 1.

mod chinese;
mod english;
mod overlap;
mod treebank;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

pub use self::overlap::BleuCounts;
pub use crate::data::card::Scoring;

/// What one answer reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    pub exact: bool,
    pub f1: f64,
    /// Of [`Scoring::DuReader`] only.
    pub rouge_l: f64,
}

/// Compares one answer with what people answered. No reference at all means that the question has no answer: then an empty
/// answer is right (SQuAD 2.0).
pub fn score(scoring: Scoring, answer: &str, references: &[String]) -> Score {
    if references.is_empty() {
        let right = match scoring {
            Scoring::Squad => english::words(answer).is_empty(),
            Scoring::Cmrc2018 | Scoring::DuReader => answer.trim().is_empty(),
        };
        let full = f64::from(u8::from(right));
        return Score { exact: right, f1: full, rouge_l: full };
    }
    match scoring {
        Scoring::Squad => english::score(answer, references),
        Scoring::Cmrc2018 => chinese::score(answer, references),
        Scoring::DuReader => {
            // Exact match and F1 are no figures of DuReader's; they are CMRC2018's.
            Score { rouge_l: overlap::rouge_l(answer, references), ..chinese::score(answer, references) }
        }
    }
}

/// The best that an answer reaches with any of the references: whether it is right to the letter, and its F1.
fn best(references: &[String], reach: impl Fn(&str) -> (bool, f64)) -> Score {
    let mut best = Score::default();
    for (exact, f1) in references.iter().map(|reference| reach(reference)) {
        best.exact |= exact;
        best.f1 = best.f1.max(f1);
    }
    best
}

/// F1 of two texts of so many units, which share `common` of them.
fn f1_of(common: usize, found: usize, expected: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / found as f64, common as f64 / expected as f64);
    2.0 * precision * recall / (precision + recall)
}

/// A pattern in which `W` stands for Python's `\w`.
fn pattern(found: &str) -> Regex {
    Regex::new(&found.replace('W', r"[\p{Alphabetic}\p{N}_]")).expect("the patterns are constants")
}

/// What was counted over questions; figures of parts can be joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerCounts {
    pub questions: usize,
    /// Answers that are right to the letter.
    pub exact: usize,
    /// Sum of the F1 of all answers.
    pub f1_sum: f64,
    /// Sum of their Rouge-L, of [`Scoring::DuReader`].
    pub rouge_l_sum: f64,
    /// Of [`Scoring::DuReader`].
    pub bleu: BleuCounts,
}

impl AnswerCounts {
    pub fn add(&mut self, scoring: Scoring, answer: &str, references: &[String]) {
        let score = score(scoring, answer, references);
        self.questions += 1;
        self.exact += usize::from(score.exact);
        self.f1_sum += score.f1;
        if scoring == Scoring::DuReader && !references.is_empty() {
            self.rouge_l_sum += score.rouge_l;
            self.bleu.add(answer, references);
        }
    }

    /// Takes the counts of other questions in.
    pub fn join(&mut self, other: &Self) {
        self.questions += other.questions;
        self.exact += other.exact;
        self.f1_sum += other.f1_sum;
        self.rouge_l_sum += other.rouge_l_sum;
        self.bleu.join(&other.bleu);
    }

    /// The share of questions whose answer is right to the letter.
    pub fn exact_match(&self) -> f64 {
        self.mean(self.exact as f64)
    }

    /// Mean over the questions.
    pub fn f1(&self) -> f64 {
        self.mean(self.f1_sum)
    }

    /// Mean over the questions.
    pub fn rouge_l(&self) -> f64 {
        self.mean(self.rouge_l_sum)
    }

    /// Of the whole corpus.
    pub fn bleu_4(&self) -> f64 {
        self.bleu.bleu_4()
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / self.questions.max(1) as f64
    }
}
