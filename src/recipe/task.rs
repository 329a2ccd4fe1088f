//! What is known of tasks by their names, and their options: what a recipe's `[task]` says, and a model's `config.json` keeps.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::Task;
use super::words::{SelectOn, TaskName};

/// What is known of a task by its name alone.
pub struct Facts {
    /// What Hugging Face's class names end with.
    pub class_suffix: &'static str,
    /// The word of a `config.json` that tells it from other tasks of its class.
    pub problem_type: Option<&'static str>,
    /// What Hugging Face's hub calls the use of such a model.
    pub pipeline_tag: &'static str,
    /// What the best model is chosen by where a recipe does not say.
    pub select_on: SelectOn,
    /// The figures of an evaluation, beside the loss, by the names that [`crate::metrics::Evaluation::figure`] knows.
    pub figures: &'static [&'static str],
}

impl TaskName {
    /// What is known of it: a row a task.
    pub fn facts(self) -> Facts {
        const TEXTS: Facts = Facts {
            class_suffix: "ForSequenceClassification",
            problem_type: None,
            pipeline_tag: "text-classification",
            select_on: SelectOn::DevAccuracy,
            figures: &["accuracy"],
        };
        const HIDDEN: Facts = Facts { class_suffix: "ForMaskedLM", pipeline_tag: "fill-mask", ..TEXTS };
        match self {
            Self::SequenceClassification => TEXTS,
            Self::MultiLabelClassification => Facts {
                problem_type: Some("multi_label_classification"),
                select_on: SelectOn::DevF1,
                figures: &["f1", "macro_f1", "accuracy"],
                ..TEXTS
            },
            Self::Regression => Facts {
                problem_type: Some("regression"),
                pipeline_tag: "sentence-similarity",
                select_on: SelectOn::DevPearson,
                figures: &["pearson", "spearman"],
                ..TEXTS
            },
            Self::TokenClassification => Facts {
                class_suffix: "ForTokenClassification",
                pipeline_tag: "token-classification",
                select_on: SelectOn::DevF1,
                figures: &["f1", "accuracy"],
                ..TEXTS
            },
            Self::QuestionAnswering => Facts {
                class_suffix: "ForQuestionAnswering",
                pipeline_tag: "question-answering",
                select_on: SelectOn::DevF1,
                figures: &["f1", "exact_match"],
                ..TEXTS
            },
            Self::MaskedLm => HIDDEN,
            Self::TranslationMaskedLm => HIDDEN,
            Self::CrossAttentionMaskedLm => HIDDEN,
            Self::BackTranslationMaskedLm => HIDDEN,
            Self::PreTraining => Facts { class_suffix: "ForPreTraining", ..HIDDEN },
            Self::BidirectionalLm => Facts {
                class_suffix: "ForBidirectionalLM",
                pipeline_tag: "feature-extraction",
                select_on: SelectOn::DevLoss,
                figures: &["perplexity", "accuracy"],
                ..TEXTS
            },
        }
    }

    /// Whether tokens are masked and guessed.
    pub fn is_masked_lm(self) -> bool {
        self.facts().pipeline_tag == "fill-mask"
    }

    /// The task of a folder whose `config.json` names this class and, where the class is that of several tasks, this `problem_type`.
    pub fn from_class(class: &str, problem_type: Option<&str>, labels: usize) -> Option<Self> {
        // PaddleNLP writes ErniePretraining's class with a small t.
        let class = class.to_lowercase();
        let of_class = |task: &&Self| class.ends_with(&task.facts().class_suffix.to_lowercase());
        let found: Vec<Self> = Self::ALL.iter().filter(of_class).copied().collect();
        // As Hugging Face's library has it where nothing is said.
        let problem_type = problem_type.or((labels == 1).then_some("regression"));
        found.iter().find(|task| task.facts().problem_type == problem_type).or(found.first()).copied()
    }
}

impl Task {
    /// Some of its options, the usual ones where it says nothing.
    pub fn options<T: DeserializeOwned + Default>(&self) -> T {
        let mut words = serde_json::to_value(self).unwrap_or_default();
        words.as_object_mut().into_iter().for_each(|words| words.retain(|_, word| *word != Value::Null));
        // A section has only values that its options can have.
        serde_json::from_value(words).unwrap_or_default()
    }

    /// Writes the usual option wherever one that has an effect is left out, so that a resolved recipe shows it.
    pub fn fill(&mut self, reads_words: bool) {
        match self.name {
            TaskName::TokenClassification => {
                self.label_all_pieces.get_or_insert_default();
                self.chunk_counting.get_or_insert_default();
                let usual = TaggerOptions::default();
                self.crf.get_or_insert(usual.crf);
                if *self.bigru_num.get_or_insert(usual.bigru_num) > 0 {
                    self.grnn_hidden_dim.get_or_insert(usual.grnn_hidden_dim);
                }
            }
            TaskName::QuestionAnswering => {
                let usual = QaOptions::default();
                self.doc_stride.get_or_insert(usual.doc_stride);
                self.max_query_length.get_or_insert(usual.max_query_length);
                self.max_answer_length.get_or_insert(usual.max_answer_length);
                self.n_best_size.get_or_insert(usual.n_best_size);
                self.version_2_with_negative.get_or_insert(usual.version_2_with_negative);
                self.null_score_diff_threshold.get_or_insert(usual.null_score_diff_threshold);
                if reads_words {
                    let usual = BidafOptions::default();
                    self.reader_hidden_size.get_or_insert(usual.hidden_size);
                    self.drop_rate.get_or_insert(usual.drop_rate);
                }
            }
            _ => {}
        }
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

/// Hyper-parameters of the BiDAF reader, in the words of DuReader's baseline, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BidafOptions {
    /// Width of each direction of its LSTMs.
    #[serde(alias = "reader_hidden_size")]
    pub hidden_size: usize,
    /// Dropout on the LSTMs' outputs.
    pub drop_rate: f64,
}

impl Default for BidafOptions {
    fn default() -> Self {
        Self { hidden_size: 150, drop_rate: 0.0 }
    }
}
