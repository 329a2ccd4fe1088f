//! Regression: a score for a text or a pair of texts, such as the similarity of two sentences (STS).
//!
//! Hugging Face's `...ForSequenceClassification` with one label and `problem_type` "regression". Loss: the mean squared error. Metrics:
//! Pearson's and Spearman's correlation, the latter with mean ranks for equal scores, as scipy has it. Predictions: `{"score": ...}`.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, assert_shape};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::rounded;
use super::text_labels::{TextHead, TextLabels};
use crate::data::card::RowKind;
use crate::data::labels::Labels;
use crate::error::Problem;
use crate::metrics::SetResult;
use crate::ranks::bits;
use crate::recipe::TaskName;

/// The head of the task.
pub type Regression = TextHead<Score>;

/// Predicted and right scores.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Pairs(#[serde(with = "bits")] Vec<[f64; 2]>);

/// A number.
#[derive(Module, Debug)]
pub struct Score {}

impl TextLabels for Score {
    const ROWS: RowKind = RowKind::Scores;
    const TASK: TaskName = TaskName::Regression;
    /// `[batch]`, NaN for none.
    type Targets = Tensor<1>;
    type Counts = Pairs;

    fn read(_: &Labels, cell: &str) -> Result<Option<Vec<u32>>, Box<Problem>> {
        match cell.trim().parse::<f32>() {
            Ok(score) if score.is_finite() => Ok(Some(vec![score.to_bits()])),
            _ => {
                let shown: String = cell.chars().take(40).collect();
                Err(Box::new(Problem::new(format!("`{shown}` is no score")).help("a score is a number, such as 3.8")))
            }
        }
    }

    fn targets(rows: &[&[u32]], _: usize, device: &Device) -> (Tensor<1>, usize) {
        let score = |row: &&[u32]| row.first().map_or(f32::NAN, |bits| f32::from_bits(*bits));
        let scores: Vec<f32> = rows.iter().map(score).collect();
        let weight = scores.iter().filter(|score| score.is_finite()).count();
        (Tensor::from_data(TensorData::from(scores.as_slice()), device), weight)
    }

    fn loss(logits: Tensor<2>, scores: &Tensor<1>) -> Tensor<1> {
        assert_shape!(logits, [scores.dims()[0], 1]);
        let missing = scores.clone().is_nan(); // [batch]
        let error = logits.squeeze_dim::<1>(1) - scores.clone().mask_fill(missing.clone(), 0.0); // [batch]
        error.square().mask_fill(missing, 0.0).sum()
    }

    fn count(logits: &Tensor<2>, scores: &Tensor<1>) -> Pairs {
        let (logits, scores) = (logits.to_data(), scores.to_data());
        let found = logits.iter::<f64>().zip(scores.iter::<f64>()).filter(|(_, score)| score.is_finite());
        Pairs(found.map(|(logit, score)| [logit, score]).collect())
    }

    fn add(pairs: &mut Pairs, of_batch: Pairs) {
        pairs.0.extend(of_batch.0);
    }

    fn finish(Pairs(pairs): Pairs, result: &mut SetResult) {
        let [predicted, right] = [0, 1].map(|side| pairs.iter().map(|pair| pair[side]).collect::<Vec<f64>>());
        result.labelled = pairs.len();
        result.add_figures([
            ("pearson", pearson(&predicted, &right)),
            ("spearman", pearson(&ranks(&predicted), &ranks(&right))),
        ]);
    }

    fn outputs(logits: Tensor<2>) -> Tensor<2> {
        logits
    }

    fn line(_: &[String], scores: &[f32]) -> Value {
        json!({ "score": scores.first().copied().map(rounded) })
    }
}

/// Pearson's correlation; 0 where either side does not vary.
fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(x, y)| f(x - mean_x, y - mean_y)).sum::<f64>();
    let spread = (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt();
    if spread > 0.0 { sum(&|x, y| x * y) / spread } else { 0.0 }
}

/// The rank of each value from 1, the mean of their ranks for equal ones.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&at| ranks[at] = rank);
        first += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy.stats.pearsonr and spearmanr of the same numbers.
    #[test]
    fn correlations_are_scipys() {
        let (x, y) = ([1.0, 2.0, 2.0, 4.0, 8.0], [0.5, 3.0, 1.0, 2.0, 9.0]);
        assert!((pearson(&x, &y) - 0.932_899_2).abs() < 1e-6, "{}", pearson(&x, &y));
        assert_eq!(ranks(&x), [1.0, 2.5, 2.5, 4.0, 5.0]);
        let spearman = pearson(&ranks(&x), &ranks(&y));
        assert!((spearman - 0.820_782_7).abs() < 1e-6, "{spearman}");
        assert_eq!(pearson(&[1.0, 1.0], &[2.0, 3.0]), 0.0);
    }

    /// A row without a score counts for nothing, in the loss and in its gradient.
    #[test]
    fn the_loss_is_the_squared_error() {
        let device = Device::flex().autodiff();
        let (scores, weight) = Score::targets(&[&[1.5_f32.to_bits()], &[], &[(-2.0_f32).to_bits()]], 1, &device);
        let logits = Tensor::<2>::from_floats([[1.0], [7.0], [1.0]], &device).require_grad();
        let loss = Score::loss(logits.clone(), &scores);
        assert_eq!((loss.to_data().iter::<f64>().sum::<f64>(), weight), (0.25 + 9.0, 2));
        let gradient = logits.grad(&loss.backward()).unwrap();
        assert_eq!(gradient.into_data().iter::<f64>().collect::<Vec<_>>(), [-1.0, 0.0, 6.0]);
    }
}
