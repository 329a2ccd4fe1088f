//! Sequence classification: one label for a text or a pair of texts.
//!
//! Hugging Face's `...ForSequenceClassification`. Loss: cross-entropy. Metric: accuracy. Predictions:
//! `{"label": ..., "probabilities": {...}}`.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor};
use serde_json::{Value, json};

use super::rows::integers;
use super::scorer::count_equal;
use super::text_labels::{TextHead, TextLabels, named_shares};
use crate::data::card::RowKind;
use crate::data::labels::{Label, Labels};
use crate::error::Problem;
use crate::metrics::SetResult;
use crate::nn::cross_entropy_sum;
use crate::recipe::TaskName;

/// The head of the task.
pub type SequenceClassification = TextHead<Class>;

/// One class of several.
#[derive(Module, Debug)]
pub struct Class {}

impl TextLabels for Class {
    const ROWS: RowKind = RowKind::Texts;
    const TASK: TaskName = TaskName::SequenceClassification;
    /// `[batch]`, negative for none.
    type Targets = Tensor<1, Int>;
    /// Rows whose likeliest class is the right one.
    type Counts = usize;

    fn read(labels: &Labels, cell: &str) -> Result<Option<Vec<u32>>, Box<Problem>> {
        Ok(match labels.find(cell)? {
            Label::Is(class) => Some(vec![class]),
            Label::Dropped => None,
        })
    }

    fn targets(rows: &[&[u32]], _: usize, device: &Device) -> (Tensor<1, Int>, usize) {
        let classes: Vec<i64> = rows.iter().map(|row| row.first().map_or(-100, |class| i64::from(*class))).collect();
        let weight = classes.iter().filter(|class| **class >= 0).count();
        (integers(classes, device), weight)
    }

    fn loss(logits: Tensor<2>, classes: &Tensor<1, Int>) -> Tensor<1> {
        cross_entropy_sum(logits, classes.clone())
    }

    fn count(logits: &Tensor<2>, classes: &Tensor<1, Int>) -> usize {
        count_equal(logits, classes)
    }

    fn add(correct: &mut usize, of_batch: usize) {
        *correct += of_batch;
    }

    fn finish(correct: usize, result: &mut SetResult) {
        result.correct = correct;
    }

    fn outputs(logits: Tensor<2>) -> Tensor<2> {
        softmax(logits, 1)
    }

    fn line(labels: &[String], shares: &[f32]) -> Value {
        let best = (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).unwrap_or(0);
        json!({ "label": labels.get(best), "probabilities": named_shares(labels, shares) })
    }
}
