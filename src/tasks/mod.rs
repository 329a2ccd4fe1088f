//! The tasks. A task is one file: its options, rows, collate, head, loss, metrics and prediction lines. What all share: a
//! backbone with a head ([`TaskModel`]), batches, and gradients within a bound of memory.
//!
//! A new task is its file, a name in [`TaskName`](crate::recipe::TaskName) with its row of
//! [facts](crate::recipe::TaskName::facts), and a line in [`with_row_task`].

mod batch;
pub mod bidirectional_lm;
mod chunked_loss;
mod gradients;
mod layer_wise;
pub mod masked_lm;
mod model;
pub mod multi_label_classification;
pub mod multilingual_lm;
pub mod pseudo_tokens;
pub mod question_answering;
pub mod regression;
mod rows;
pub mod sample_batches;
mod scorer;
pub mod sequence_classification;
mod span_reader;
#[cfg(test)]
pub(crate) mod test_model;
mod text_labels;
pub mod token_classification;

pub use batch::{
    Batch, BatchOf, Carried, Figures, Learned, Loss, LossTerm, Mean, StepTotals, Trainable, join_losses, learn_block,
    number, scale_to_step,
};
pub use gradients::{BackwardHook, add, added};
pub use model::{NoHead, TaskBatch, TaskHead, TaskModel};
pub use rows::{Predictor, Remark, RowData, RowTask, Tokenised, loader};
pub use scorer::{EvalSet, NewScorer, Scorer};

pub(crate) use masked_lm::MaskedLm;
pub(crate) use multi_label_classification::MultiLabelClassification;
pub(crate) use question_answering::QuestionAnswering;
pub(crate) use regression::Regression;
pub(crate) use sequence_classification::SequenceClassification;
pub(crate) use token_classification::TokenClassification;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Problem, Result};

/// Calls a function that is generic over the task on rows with the task of this name; `$otherwise` is for tasks that do not read rows.
macro_rules! with_row_task {
    ($task:expr, $call:ident($($argument:expr),*), $otherwise:expr) => {{
        use $crate::recipe::TaskName;
        use $crate::tasks;
        match $task {
            TaskName::SequenceClassification => $call::<tasks::SequenceClassification>($($argument),*),
            TaskName::MultiLabelClassification => $call::<tasks::MultiLabelClassification>($($argument),*),
            TaskName::Regression => $call::<tasks::Regression>($($argument),*),
            TaskName::TokenClassification => $call::<tasks::TokenClassification>($($argument),*),
            TaskName::QuestionAnswering => $call::<tasks::QuestionAnswering>($($argument),*),
            _ => $otherwise,
        }
    }};
}
pub(crate) use with_row_task;

/// Calls a function that is generic over the head with that of a model's task; of a bare encoder there is [`NoHead`].
macro_rules! with_head {
    ($task:expr, $call:ident($($argument:expr),*)) => {{
        use $crate::tasks::{MaskedLm, NoHead, with_row_task};
        match $task {
            None => $call::<NoHead>($($argument),*),
            Some(task) if task.is_masked_lm() => $call::<MaskedLm>($($argument),*),
            Some(task) => with_row_task!(task, $call($($argument),*), $call::<NoHead>($($argument),*)),
        }
    }};
}
pub(crate) use with_head;

/// More than any head has of anything: its layers are laid out before the weights are compared with them.
const WIDEST: u64 = 1 << 24;

/// Options of Kiln's own in a `config.json`, the usual ones where it says nothing.
fn read_own<T: DeserializeOwned + Default>(config: &Map<String, Value>, key: &str) -> Result<T> {
    let sizes = config.get(key).and_then(Value::as_object).into_iter().flatten();
    for (option, size) in sizes.filter_map(|(option, value)| Some((option, value.as_u64()?))) {
        if size > WIDEST {
            let problem = Problem::new(format!("`{key}.{option}` is {size}"));
            return Err(problem.help(format!("it is at most {WIDEST}")).into());
        }
    }
    let found = config.get(key).cloned().map(serde_json::from_value).transpose();
    found.map(Option::unwrap_or_default).map_err(|cause| {
        Problem::new(format!("`{key}` cannot be used: {cause}")).help("leave it out for the usual options").into()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::recipe::BidafOptions;

    /// Eight times the width is laid out before there is a look at the weights.
    #[test]
    fn options_of_a_folder_have_bounds() {
        let of = |size: u64| {
            let Value::Object(config) = json!({"bidaf": {"hidden_size": size}}) else { panic!("an object") };
            read_own::<BidafOptions>(&config, "bidaf").map_err(|error| error.to_string())
        };
        assert_eq!(of(7).unwrap().hidden_size, 7);
        assert_eq!(of(u64::MAX).unwrap_err(), "`bidaf.hidden_size` is 18446744073709551615");
    }
}
