//! What is known of tasks by their names, and their options: what a recipe's `[task]` says, and a model's `config.json` keeps.

use serde::{Deserialize, Serialize};

use super::schema::Task;
use super::words::TaskName;

impl TaskName {
    /// What Hugging Face's class names end with.
    pub fn class_suffix(self) -> &'static str {
        match self {
            Self::SequenceClassification | Self::MultiLabelClassification | Self::Regression => {
                "ForSequenceClassification"
            }
            Self::TokenClassification => "ForTokenClassification",
            Self::QuestionAnswering => "ForQuestionAnswering",
            Self::MaskedLm
            | Self::TranslationMaskedLm
            | Self::CrossAttentionMaskedLm
            | Self::BackTranslationMaskedLm => "ForMaskedLM",
            Self::PreTraining => "ForPreTraining",
            Self::BidirectionalLm => "ForBidirectionalLM",
        }
    }

    /// What Hugging Face's hub calls the use of such a model.
    pub fn pipeline_tag(self) -> &'static str {
        match self {
            Self::SequenceClassification | Self::MultiLabelClassification => "text-classification",
            Self::Regression => "sentence-similarity",
            Self::TokenClassification => "token-classification",
            Self::QuestionAnswering => "question-answering",
            Self::BidirectionalLm => "feature-extraction",
            _ => "fill-mask",
        }
    }

    /// Whether tokens are masked and guessed.
    pub fn is_masked_lm(self) -> bool {
        matches!(self, Self::MaskedLm | Self::PreTraining) || self.reads_translations()
    }

    /// Whether what is masked is guessed from a translation too: ERNIE-M's pre-training.
    pub fn reads_translations(self) -> bool {
        matches!(self, Self::TranslationMaskedLm | Self::CrossAttentionMaskedLm | Self::BackTranslationMaskedLm)
    }

    /// Whether F1 is among its figures.
    pub fn has_f1(self) -> bool {
        self.figures().contains(&"f1")
    }

    /// The figures of an evaluation, beside the loss, by the names that [`crate::metrics::Evaluation::figure`] knows.
    pub fn figures(self) -> &'static [&'static str] {
        match self {
            Self::TokenClassification => &["f1", "accuracy"],
            Self::MultiLabelClassification => &["f1", "macro_f1", "accuracy"],
            Self::Regression => &["pearson", "spearman"],
            Self::QuestionAnswering => &["f1", "exact_match"],
            Self::BidirectionalLm => &["perplexity", "accuracy"],
            _ => &["accuracy"],
        }
    }

    /// The task of a folder whose `config.json` names this class and, where the class is that of several tasks, this `problem_type`.
    pub fn from_class(class: &str, problem_type: Option<&str>, labels: usize) -> Option<Self> {
        let all = [
            Self::SequenceClassification,
            Self::TokenClassification,
            Self::QuestionAnswering,
            Self::MaskedLm,
            Self::PreTraining,
            Self::BidirectionalLm,
        ];
        // PaddleNLP writes ErniePretraining's class with a small t.
        let found = all.into_iter().find(|task| class.to_lowercase().ends_with(&task.class_suffix().to_lowercase()))?;
        Some(match (found, problem_type) {
            (Self::SequenceClassification, Some("multi_label_classification")) => Self::MultiLabelClassification,
            (Self::SequenceClassification, Some("regression")) => Self::Regression,
            // As Hugging Face's library has it where nothing is said.
            (Self::SequenceClassification, None) if labels == 1 => Self::Regression,
            _ => found,
        })
    }
}

/// The options of `run_qa.py` (and `max_query_length` of `run_squad.py`), with their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QaOptions {
    pub doc_stride: usize,
    pub max_query_length: usize,
    pub max_answer_length: usize,
    pub n_best_size: usize,
    pub version_2_with_negative: bool,
    pub null_score_diff_threshold: f32,
}

impl Default for QaOptions {
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

impl From<&Task> for QaOptions {
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

impl QaOptions {
    /// Writes every option into the task, so that a resolved recipe shows it.
    pub fn fill(self, task: &mut Task) {
        task.doc_stride = Some(self.doc_stride);
        task.max_query_length = Some(self.max_query_length);
        task.max_answer_length = Some(self.max_answer_length);
        task.n_best_size = Some(self.n_best_size);
        task.version_2_with_negative = Some(self.version_2_with_negative);
        task.null_score_diff_threshold = Some(self.null_score_diff_threshold);
    }
}

/// The layers between a model and its tags, in the words of LAC's demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaggerOptions {
    /// Whether a conditional random field scores whole rows of tags.
    pub crf: bool,
    /// Layers of bidirectional GRUs.
    pub bigru_num: usize,
    /// Width of each direction.
    pub grnn_hidden_dim: usize,
}

impl Default for TaggerOptions {
    fn default() -> Self {
        Self { crf: false, bigru_num: 0, grnn_hidden_dim: 256 }
    }
}

impl From<&Task> for TaggerOptions {
    fn from(task: &Task) -> Self {
        let default = Self::default();
        Self {
            crf: task.crf.unwrap_or(default.crf),
            bigru_num: task.bigru_num.unwrap_or(default.bigru_num),
            grnn_hidden_dim: task.grnn_hidden_dim.unwrap_or(default.grnn_hidden_dim),
        }
    }
}

impl TaggerOptions {
    /// Writes every option that has an effect into the task, so that a resolved recipe shows it.
    pub fn fill(self, task: &mut Task) {
        task.crf = Some(self.crf);
        task.bigru_num = Some(self.bigru_num);
        if self.bigru_num > 0 {
            task.grnn_hidden_dim = Some(self.grnn_hidden_dim);
        }
    }
}

/// Hyper-parameters of the BiDAF reader, in the words of DuReader's baseline, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BidafOptions {
    /// Width of each direction of its LSTMs.
    pub hidden_size: usize,
    /// Dropout on the LSTMs' outputs.
    pub drop_rate: f64,
}

impl Default for BidafOptions {
    fn default() -> Self {
        Self { hidden_size: 150, drop_rate: 0.0 }
    }
}

impl From<&Task> for BidafOptions {
    fn from(task: &Task) -> Self {
        let default = Self::default();
        Self {
            hidden_size: task.reader_hidden_size.unwrap_or(default.hidden_size),
            drop_rate: task.drop_rate.unwrap_or(default.drop_rate),
        }
    }
}

impl BidafOptions {
    /// Writes every option into the task, so that a resolved recipe shows it.
    pub fn fill(self, task: &mut Task) {
        task.reader_hidden_size = Some(self.hidden_size);
        task.drop_rate = Some(self.drop_rate);
    }
}
