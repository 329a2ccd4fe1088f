//! Sequence classification: one label for a text or a pair of texts.
//!
//! Hugging Face's `...ForSequenceClassification`: a linear layer on the pooled first token, or RoBERTa's two layers on the token
//! itself. Loss: cross-entropy. Metric: accuracy. Predictions: `{"label": ..., "probabilities": {...}}`.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor};
use serde_json::{Map, Value, json};

use super::batch::{BatchOf, Trainable};
use super::model::{TaskBatch, TaskHead, TaskModel};
use super::rows::{Predictor, RowData, RowTask, rounded, row_labels};
use super::scorer::{EvalSet, Scorer, Scorers, count_equal};
use crate::data::InputRow;
use crate::data::card::{Card, RowKind, Split};
use crate::data::read::read_split;
use crate::data::rows::Row;
use crate::data::{TokenCache, TokenRow, TokenRows, WordCounts, input};
use crate::error::Result;
use crate::lines::RowError;
use crate::metrics::{LossSums, SetResult};
use crate::models::{Backbone, Classifier, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{HasRoles, MlpClassifier, cross_entropy_sum, drop_out, dropout, linear};
use crate::recipe::{Task, TaskName};
use crate::tokenize::Encoding;

/// The head.
#[derive(Module, Debug)]
pub enum SequenceClassification {
    /// On the pooled first token.
    Pooled(PooledClassifier),
    /// On the first token itself.
    FirstToken(FirstTokenClassifier),
}

/// BERT's: one layer.
#[derive(Module, Debug)]
pub struct PooledClassifier {
    dropout: Dropout,
    classifier: Linear,
}

/// RoBERTa's: two layers.
#[derive(Module, Debug)]
pub struct FirstTokenClassifier {
    mlp: MlpClassifier,
}

impl HasRoles for SequenceClassification {}

impl TaskHead for SequenceClassification {
    type Options = ();
    /// One class a row, `[batch]`.
    type Labels = Tensor<1, Int>;
    /// `[batch, classes]`
    type Logits = Tensor<2>;

    fn options(_: &Task) {}

    fn read_options(_: Option<TaskName>, _: &Map<String, Value>, _: bool) -> Result<()> {
        Ok(())
    }

    fn write_options((): &(), _: &mut Map<String, Value>) {}

    fn reads_pooled(config: &ModelConfig, (): &()) -> bool {
        config.classifier() == Classifier::Pooled
    }

    fn new(config: &ModelConfig, (): &(), classes: usize, device: &Device) -> Self {
        let (size, probability) = (config.hidden_size(), config.classifier_dropout());
        match config.classifier() {
            Classifier::Pooled => Self::Pooled(PooledClassifier {
                dropout: dropout(probability),
                classifier: linear(size, classes, device),
            }),
            Classifier::Mlp => {
                Self::FirstToken(FirstTokenClassifier { mlp: MlpClassifier::new(size, classes, probability, device) })
            }
        }
    }

    fn forward(&self, _: &EncoderInput, output: &EncoderOutput, _: &Backbone) -> Tensor<2> {
        match self {
            Self::Pooled(head) => head.classifier.forward(drop_out(&head.dropout, output.pooled())),
            Self::FirstToken(head) => head.mlp.forward(output.last_hidden_state()),
        }
    }

    fn losses(
        &self,
        batch: &TaskBatch<Self>,
        output: &EncoderOutput,
        backbone: &Backbone,
    ) -> (Vec<Tensor<1>>, Tensor<2>) {
        let logits = self.forward(&batch.input, output, backbone);
        (vec![cross_entropy_sum(logits.clone(), batch.labels.clone())], logits)
    }

    fn named_logits(_: &EncoderInput, logits: Tensor<2>) -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
        let shape = logits.dims().to_vec();
        vec![("logits", shape, logits.into_data().iter::<f32>().collect())]
    }
}

impl RowTask for SequenceClassification {
    const ROWS: RowKind = RowKind::Texts;
    type Gold = ();
    type Row = Row;

    fn read(data: &RowData, (): &(), split: Split, language: &str) -> Result<(Arc<TokenCache>, ())> {
        let options = data.read_options(split);
        let read = read_split(data.card, &data.data.root, split, language, options)?;
        let cache = data.cached(&read, &format!("{language} {options:?}"), true, |rows| {
            (tokenise(data, rows), WordCounts::default())
        })?;
        Ok((cache, ()))
    }

    fn labels((): &(), rows: &[TokenRow], _: &EncoderInput, device: &Device) -> (Tensor<1, Int>, usize) {
        let classes: Vec<i64> = rows.iter().map(|row| i64::from(row.target[0].cast_signed())).collect();
        let weight = classes.iter().filter(|class| **class >= 0).count();
        (row_labels(classes, device), weight)
    }

    fn scorers((): &(), _: &Card, _: &Arc<TokenRows>, gold: Vec<()>) -> Result<Scorers<TaskModel<Self>>> {
        Ok(Box::new(move || gold.iter().map(|()| Box::new(Correct::default()) as Box<dyn Scorer<_>>).collect()))
    }

    fn open_rows(file: &Path, (): &()) -> Result<Box<dyn Iterator<Item = std::result::Result<Row, RowError>>>> {
        Ok(Box::new(input::open(file)?))
    }

    fn predict(predictor: &Predictor<Self>, rows: &[Row]) -> Vec<Value> {
        let encodings = predictor.tokenizer.encode_batch(&texts(rows), predictor.max_length);
        let rows: Vec<InputRow> = encodings.iter().map(InputRow::from).collect();
        predictor.each(&rows, |logits, _| {
            let classes = predictor.labels.len().max(1);
            let shares: Vec<f32> = softmax(logits, 1).into_data().iter::<f32>().collect(); // [batch, classes]
            shares.chunks(classes).map(|shares| line(&predictor.labels, shares)).collect()
        })
    }
}

fn texts(rows: &[Row]) -> Vec<(&str, Option<&str>)> {
    rows.iter().map(|row| (row.text.as_str(), row.text_pair.as_deref())).collect()
}

fn tokenise(data: &RowData, rows: &[Row]) -> Vec<TokenRow> {
    let encodings = data.tokenizer.encode_batch(&texts(rows), data.data.max_seq_length);
    let token_row = |(encoding, row): (Encoding, &Row)| TokenRow {
        first: encoding.first_length() as u32,
        ids: encoding.ids,
        line: row.line,
        target: vec![row.label.map_or(-100_i32, |label| label as i32).cast_unsigned()],
    };
    encodings.into_iter().zip(rows).map(token_row).collect()
}

/// Rows whose likeliest class is the right one.
#[derive(Default)]
struct Correct(usize);

impl Scorer<TaskModel<SequenceClassification>> for Correct {
    fn add(
        &mut self,
        _: &TaskModel<SequenceClassification>,
        batch: &BatchOf<TaskModel<SequenceClassification>>,
        logits: &<TaskModel<SequenceClassification> as Trainable>::Logits,
    ) -> Result<()> {
        self.0 += count_equal(logits, &batch.labels);
        Ok(())
    }

    fn finish(self: Box<Self>, _: &EvalSet, _: &LossSums, result: &mut SetResult) {
        result.correct = self.0;
    }
}

fn line(labels: &[String], probabilities: &[f32]) -> Value {
    let best = (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap_or(0);
    let shares: Map<String, Value> =
        labels.iter().zip(probabilities).map(|(label, &share)| (label.clone(), json!(rounded(share)))).collect();
    json!({ "label": labels.get(best), "probabilities": shares })
}
