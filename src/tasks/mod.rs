//! The tasks: what a model's head is, what a batch holds, the loss, the predictions.

mod answering;
mod batch;
mod generation;
mod head;
mod model;
mod network;
mod parts;
mod reading;
mod recompute;
mod span_reader;
mod tagging;

pub use answering::Answering;
pub use batch::{Batch, Input, Labels, StreamStart};
pub use generation::{Choice, Generation};
pub use head::{HeadShape, Logits, Losses};
pub use model::{StepOutput, TaskModel};
pub use network::Network;
pub use reading::Reading;
pub use tagging::Tagging;

use crate::recipe::TaskName;

impl TaskName {
    /// What Hugging Face's class names end with.
    pub fn class_suffix(self) -> &'static str {
        match self {
            Self::SequenceClassification => "ForSequenceClassification",
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

    /// Whether tokens are hidden and guessed.
    pub fn hides_tokens(self) -> bool {
        matches!(self, Self::MaskedLm | Self::PreTraining) || self.reads_translations()
    }

    /// Whether what is hidden is guessed from a translation too: ERNIE-M's pre-training.
    pub fn reads_translations(self) -> bool {
        matches!(self, Self::TranslationMaskedLm | Self::CrossAttentionMaskedLm | Self::BackTranslationMaskedLm)
    }

    /// Whether F1 is among its figures.
    pub fn has_f1(self) -> bool {
        matches!(self, Self::TokenClassification | Self::QuestionAnswering)
    }

    /// The task of a folder whose `config.json` names this class, if it names one of Kiln's.
    pub fn from_class(class: &str) -> Option<Self> {
        let all = [
            Self::SequenceClassification,
            Self::TokenClassification,
            Self::QuestionAnswering,
            Self::MaskedLm,
            Self::PreTraining,
            Self::BidirectionalLm,
        ];
        // PaddleNLP writes ErniePretraining's class with a small t.
        all.into_iter().find(|task| class.to_lowercase().ends_with(&task.class_suffix().to_lowercase()))
    }
}
