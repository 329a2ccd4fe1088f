//! How questions are answered: what a recipe's `[task]` says of it, and a model's `config.json` keeps for predictions.

use serde::{Deserialize, Serialize};

use crate::data::windows::WindowOptions;
use crate::evaluate::spans::SpanOptions;
use crate::recipe::Task;

/// The options of `run_qa.py` (and `max_query_length` of `run_squad.py`), with their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answering {
    pub doc_stride: usize,
    pub max_query_length: usize,
    pub max_answer_length: usize,
    pub n_best_size: usize,
    pub version_2_with_negative: bool,
    pub null_score_diff_threshold: f32,
}

impl Default for Answering {
    fn default() -> Self {
        Self {
            doc_stride: 128,
            max_query_length: 64,
            max_answer_length: 30,
            n_best_size: 20,
            version_2_with_negative: false,
            null_score_diff_threshold: 0.0,
        }
    }
}

impl From<&Task> for Answering {
    fn from(task: &Task) -> Self {
        let default = Self::default();
        Self {
            doc_stride: task.doc_stride.unwrap_or(default.doc_stride),
            max_query_length: task.max_query_length.unwrap_or(default.max_query_length),
            max_answer_length: task.max_answer_length.unwrap_or(default.max_answer_length),
            n_best_size: task.n_best_size.unwrap_or(default.n_best_size),
            version_2_with_negative: task.version_2_with_negative.unwrap_or(default.version_2_with_negative),
            null_score_diff_threshold: task.null_score_diff_threshold.unwrap_or(default.null_score_diff_threshold),
        }
    }
}

impl Answering {
    /// Writes every option into the task, so that a resolved recipe shows it.
    pub fn fill(self, task: &mut Task) {
        task.doc_stride = Some(self.doc_stride);
        task.max_query_length = Some(self.max_query_length);
        task.max_answer_length = Some(self.max_answer_length);
        task.n_best_size = Some(self.n_best_size);
        task.version_2_with_negative = Some(self.version_2_with_negative);
        task.null_score_diff_threshold = Some(self.null_score_diff_threshold);
    }

    /// How passages are cut into windows of at most `max_seq_length` tokens.
    pub fn windows(self, max_seq_length: usize) -> WindowOptions {
        WindowOptions { max_seq_length, doc_stride: self.doc_stride, max_query_length: self.max_query_length }
    }

    /// How answers are chosen; `ranked` passages count by their rank.
    pub fn spans(self, ranked: bool) -> SpanOptions {
        SpanOptions {
            n_best: self.n_best_size,
            max_answer_length: self.max_answer_length,
            version_2_with_negative: self.version_2_with_negative,
            null_score_diff_threshold: self.null_score_diff_threshold,
            ranked,
        }
    }
}
