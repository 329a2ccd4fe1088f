//! Multi-label classification: any number of labels for a text or a pair of texts.
//!
//! Hugging Face's `...ForSequenceClassification` with `problem_type` "multi_label_classification". Loss: binary cross-entropy of each
//! label, the mean over rows and labels (PyTorch's BCEWithLogitsLoss). A label is predicted where its probability is above one half.
//! Metrics: precision, recall and F1 over all labels (micro), the mean of the labels' F1 (macro), and, as accuracy, the share of rows
//! whose labels are all right. Predictions: `{"labels": [...], "probabilities": {...}}`.

use burn::module::Module;
use burn::tensor::activation::{relu, sigmoid, softplus};
use burn::tensor::{Device, Tensor, TensorData, assert_shape};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text_labels::{TextHead, TextLabels, named_shares};
use crate::data::card::RowKind;
use crate::data::labels::{Label, Labels};
use crate::error::Problem;
use crate::metrics::SetResult;
use crate::metrics::chunks::ChunkCounts;
use crate::recipe::TaskName;

/// The head of the task.
pub type MultiLabelClassification = TextHead<Several>;

/// Any number of classes.
#[derive(Module, Debug)]
pub struct Several {}

/// What is counted, for each label and of whole rows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    by_label: Vec<ChunkCounts>,
    rows: usize,
    correct_rows: usize,
}

impl TextLabels for Several {
    const ROWS: RowKind = RowKind::Texts;
    const TASK: TaskName = TaskName::MultiLabelClassification;
    /// 1 for the labels that a row has, else 0; -1 in rows without any cell: `[batch, classes]`.
    type Targets = Tensor<2>;
    type Counts = Counts;

    /// The first number counts the labels, so that a row of none differs from one that is not labelled.
    fn read(labels: &Labels, cell: &str) -> Result<Option<Vec<u32>>, Box<Problem>> {
        let mut found = vec![0];
        for word in labels.split(cell) {
            match labels.find(word)? {
                Label::Is(class) if found[1..].contains(&class) => {}
                Label::Is(class) => found.push(class),
                Label::Dropped => return Ok(None),
            }
        }
        found[0] = found.len() as u32 - 1;
        Ok(Some(found))
    }

    fn targets(rows: &[&[u32]], classes: usize, device: &Device) -> (Tensor<2>, usize) {
        let mut values = vec![0.0_f32; rows.len() * classes];
        let mut labelled = 0;
        for (row, values) in rows.iter().zip(values.chunks_mut(classes.max(1))) {
            match row.split_first() {
                Some((_, found)) => {
                    labelled += 1;
                    found.iter().for_each(|class| values[*class as usize] = 1.0);
                }
                None => values.fill(-1.0),
            }
        }
        (Tensor::from_data(TensorData::new(values, [rows.len(), classes]), device), labelled * classes)
    }

    /// `max(x, 0) - x y + ln(1 + e^-|x|)`, which neither overflows nor loses small values.
    fn loss(logits: Tensor<2>, targets: &Tensor<2>) -> Tensor<1> {
        let [batch, classes] = targets.dims();
        assert_shape!(logits, [batch, classes]);
        let each = relu(logits.clone()) - logits.clone() * targets.clone() + softplus(logits.abs().neg(), 1.0); // [batch, classes]
        each.mask_fill(targets.clone().lower_elem(0.0), 0.0).sum()
    }

    fn count(logits: &Tensor<2>, targets: &Tensor<2>) -> Counts {
        let [_, classes] = logits.dims();
        let mut counts = Counts { by_label: vec![ChunkCounts::default(); classes], ..Counts::default() };
        let [logits, targets] = [logits, targets].map(|tensor| tensor.to_data().iter::<f32>().collect::<Vec<_>>());
        for (logits, targets) in logits.chunks(classes).zip(targets.chunks(classes)) {
            if targets[0] < 0.0 {
                continue;
            }
            let mut all_right = true;
            for ((logit, target), label) in logits.iter().zip(targets).zip(&mut counts.by_label) {
                let (gold, predicted) = (*target > 0.5, *logit > 0.0);
                let one =
                    ChunkCounts { gold: gold.into(), predicted: predicted.into(), correct: (gold && predicted).into() };
                *label = label.plus(one);
                all_right &= gold == predicted;
            }
            counts.rows += 1;
            counts.correct_rows += usize::from(all_right);
        }
        counts
    }

    fn add(counts: &mut Counts, of_batch: Counts) {
        counts.by_label.resize(of_batch.by_label.len(), ChunkCounts::default());
        counts.by_label.iter_mut().zip(of_batch.by_label).for_each(|(label, more)| *label = label.plus(more));
        counts.rows += of_batch.rows;
        counts.correct_rows += of_batch.correct_rows;
    }

    fn finish(counts: Counts, result: &mut SetResult) {
        let all = counts.by_label.iter().fold(ChunkCounts::default(), |sum, label| sum.plus(*label));
        let macro_f1 = counts.by_label.iter().map(ChunkCounts::f1).sum::<f64>() / counts.by_label.len().max(1) as f64;
        (result.correct, result.labelled) = (counts.correct_rows, counts.rows);
        result.add_figures([
            ("precision", all.precision()),
            ("recall", all.recall()),
            ("f1", all.f1()),
            ("macro_f1", macro_f1),
        ]);
    }

    fn outputs(logits: Tensor<2>) -> Tensor<2> {
        sigmoid(logits)
    }

    fn line(labels: &[String], shares: &[f32]) -> Value {
        let chosen: Vec<&String> =
            labels.iter().zip(shares).filter(|(_, share)| **share > 0.5).map(|(l, _)| l).collect();
        json!({ "labels": chosen, "probabilities": named_shares(labels, shares) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: Tensor<1>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }

    /// torch.nn.BCEWithLogitsLoss(reduction="sum") of the same numbers, and a row without labels that counts for nothing.
    #[test]
    fn the_loss_is_pytorchs() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_floats([[0.5, -2.0, 3.0], [-1.0, 0.0, 40.0], [9.0, 9.0, 9.0]], &device);
        let (targets, weight) = Several::targets(&[&[2, 0, 2], &[0], &[]], 3, &device);
        // 0.474077 + 0.126928 + 0.048587 and 0.313262 + 0.693147 + 40.0
        let loss = values(Several::loss(logits, &targets))[0];
        assert!((loss - 41.656_001).abs() < 1e-4, "{loss}");
        assert_eq!(weight, 6);
    }

    /// Micro: 2 of 3 predictions, 2 of 4 labels; the second row is all right.
    #[test]
    fn labels_and_rows_are_counted() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_floats([[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]], &device);
        let (targets, _) = Several::targets(&[&[3, 0, 2, 1], &[1, 2], &[]], 3, &device);
        let counts = Several::count(&logits, &targets);
        let mut result = SetResult::default();
        Several::finish(counts, &mut result);
        assert_eq!((result.correct, result.labelled), (1, 2));
        assert_eq!(result.figures["precision"], 1.0);
        assert_eq!(result.figures["recall"], 0.75);
        assert_eq!(result.figures["macro_f1"], (1.0 + 1.0 + 2.0 / 3.0) / 3.0);
    }
}
