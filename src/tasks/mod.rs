//! The tasks. A task is one file: its options, rows, collate, head, loss, metrics and prediction lines. What all share: a
//! backbone with a head ([`TaskModel`]), batches, and gradients within a bound of memory.
//!
//! A new task is its file, a name in [`TaskName`] with its row of [facts](TaskName::facts), and a line in [`with_row_task`].

mod batch;
pub mod bidirectional_lm;
mod chunked_loss;
pub mod masked_lm;
mod model;
pub mod multi_label_classification;
pub mod multilingual_lm;
pub mod pseudo_tokens;
pub mod question_answering;
mod recompute;
pub mod regression;
mod rows;
pub mod sample_batches;
mod scorer;
pub mod sequence_classification;
mod span_reader;
mod text_labels;
pub mod token_classification;

pub use batch::{Batch, BatchOf, Carried, Figures, Loss, LossTerm, Trainable, join_losses, number, scale_to_step};
pub use model::{NoHead, TaskBatch, TaskHead, TaskModel};
pub use rows::{Predictor, RowData, RowTask, evaluation_loader, training_loader};
pub use scorer::{EvalSet, Scorer, Scorers};

use masked_lm::MaskedLm;
use multi_label_classification::MultiLabelClassification;
use question_answering::QuestionAnswering;
use regression::Regression;
use sequence_classification::SequenceClassification;
use token_classification::TokenClassification;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Problem, Result};
use crate::recipe::TaskName;

/// Something that is done with a task on rows of a data set, whichever it is.
pub trait RowTaskVisitor {
    type Output;
    fn visit<T: RowTask>(self) -> Self::Output;
}

/// Does it with the task of this name; gives the visitor back for tasks that do not read rows.
pub fn with_row_task<V: RowTaskVisitor>(task: TaskName, visitor: V) -> std::result::Result<V::Output, V> {
    Ok(match task {
        TaskName::SequenceClassification => visitor.visit::<SequenceClassification>(),
        TaskName::MultiLabelClassification => visitor.visit::<MultiLabelClassification>(),
        TaskName::Regression => visitor.visit::<Regression>(),
        TaskName::TokenClassification => visitor.visit::<TokenClassification>(),
        TaskName::QuestionAnswering => visitor.visit::<QuestionAnswering>(),
        _ => return Err(visitor),
    })
}

/// Something that is done with the head of a model, whichever it has.
pub trait HeadVisitor {
    type Output;
    fn visit<H: TaskHead>(self) -> Self::Output;
}

struct HeadOfRows<V>(V);

impl<V: HeadVisitor> RowTaskVisitor for HeadOfRows<V> {
    type Output = V::Output;

    fn visit<T: RowTask>(self) -> V::Output {
        self.0.visit::<T>()
    }
}

/// Does it with the head of this task; of a bare encoder there is [`NoHead`].
pub fn with_head<V: HeadVisitor>(task: Option<TaskName>, visitor: V) -> V::Output {
    match task {
        None => visitor.visit::<NoHead>(),
        Some(task) if task.is_masked_lm() => visitor.visit::<MaskedLm>(),
        Some(task) => {
            with_row_task(task, HeadOfRows(visitor)).unwrap_or_else(|HeadOfRows(visitor)| visitor.visit::<NoHead>())
        }
    }
}

/// Options of Kiln's own in a `config.json`, the usual ones where it says nothing.
fn read_own<T: DeserializeOwned + Default>(config: &Map<String, Value>, key: &str) -> Result<T> {
    let found = config.get(key).cloned().map(serde_json::from_value).transpose();
    found.map(Option::unwrap_or_default).map_err(|cause| {
        Problem::new(format!("`{key}` cannot be used: {cause}")).help("leave it out for the usual options").into()
    })
}
