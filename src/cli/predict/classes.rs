//! Predictions of sequence-classification: `{"label": ..., "probabilities": {...}}`.

use burn::tensor::activation::softmax;
use serde_json::{Map, Value, json};

use super::Loaded;
use crate::data::rows::Row;
use crate::models::InputRow;
use crate::tasks::Logits;

/// Gives a text or a pair of texts its label.
pub struct Classes(pub Loaded);

impl Classes {
    /// One line a row, in the order of the rows.
    pub fn predict(&self, rows: &[Row]) -> Vec<Value> {
        let texts: Vec<(&str, Option<&str>)> =
            rows.iter().map(|row| (row.text.as_str(), row.text_pair.as_deref())).collect();
        let encodings = self.0.tokenizer.encode_batch(&texts, self.0.max_length);
        let rows: Vec<InputRow> = encodings.iter().map(InputRow::from).collect();
        self.0.lines(&rows, |logits, _| self.probabilities(logits).iter().map(|shares| self.line(shares)).collect())
    }

    fn probabilities(&self, logits: Logits) -> Vec<Vec<f32>> {
        let Logits::Sequence(logits) = logits else { return Vec::new() }; // the command has seen to the head
        let classes = self.0.opened.described.labels.len();
        let values: Vec<f32> = softmax(logits, 1).into_data().iter::<f32>().collect(); // [batch, classes]
        values.chunks(classes).map(<[f32]>::to_vec).collect()
    }

    fn line(&self, probabilities: &[f32]) -> Value {
        let labels = &self.0.opened.described.labels;
        let best = (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap_or(0);
        let shares: Map<String, Value> =
            labels.iter().zip(probabilities).map(|(label, &share)| (label.clone(), json!(rounded(share)))).collect();
        json!({ "label": labels.get(best), "probabilities": shares })
    }
}

/// To six places: further digits of an f32 say nothing.
fn rounded(share: f32) -> f64 {
    (f64::from(share) * 1e6).round() / 1e6
}
