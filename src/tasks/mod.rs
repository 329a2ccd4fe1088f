//! The tasks: what a model's head is, what a batch holds, the loss, the predictions.

mod batch;
mod model;
mod recompute;

pub use batch::{Batch, Labels};
pub use model::{Head, Logits, StepOutput, TaskModel};

use crate::recipe::TaskName;

impl TaskName {
    /// What Hugging Face's class names end with.
    pub fn class_suffix(self) -> &'static str {
        match self {
            Self::SequenceClassification => "ForSequenceClassification",
            Self::TokenClassification => "ForTokenClassification",
            Self::QuestionAnswering => "ForQuestionAnswering",
            Self::MaskedLm => "ForMaskedLM",
        }
    }

    /// The task of a folder whose `config.json` names this class, if it names one of Kiln's.
    pub fn from_class(class: &str) -> Option<Self> {
        [Self::SequenceClassification, Self::TokenClassification, Self::QuestionAnswering, Self::MaskedLm]
            .into_iter()
            .find(|task| class.ends_with(task.class_suffix()))
    }
}
