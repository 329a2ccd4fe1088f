//! What the tasks on whole texts share: a classifier on the first token, rows of one text or two, and how a row's label becomes what
//! the logits are compared with. A task of this kind is a [`TextLabels`].

use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, ModuleDisplay};
use burn::nn::{Dropout, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::batch::BatchOf;
use super::model::{TaskBatch, TaskHead, TaskModel};
use super::rows::{InputRows, Part, Predictor, RowData, RowTask, Tokenised, rounded};
use super::scorer::{EvalSet, NewScorer, Scorer};
use crate::data::card::{Card, RowKind, Split};
use crate::data::labels::Labels;
use crate::data::read::read_split_as;
use crate::data::rows::Row;
use crate::data::{InputRow, TokenRow, TokenRows, WordCounts, input};
use crate::error::{Problem, Result};
use crate::metrics::{LossSums, SetResult};
use crate::models::{Backbone, Classifier, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{HasRoles, MlpClassifier, apply, drop_out, dropout, linear};
use crate::recipe::{Task, TaskName};
use crate::tokenize::Encoding;

/// A kind of label that a text has. (It is a module without parameters because Burn asks that of what an enum of modules is generic
/// over.)
pub trait TextLabels: Module + ModuleDisplay + 'static {
    const ROWS: RowKind;
    /// Its task, whose [facts](TaskName::facts) have Hugging Face's `problem_type`.
    const TASK: TaskName;
    /// What the logits of a batch, `[batch, classes]`, are compared with.
    type Targets: Clone + Debug + Send + 'static;
    /// What is counted of predictions.
    type Counts: Debug + Default + Serialize + DeserializeOwned;

    /// The numbers that a cell of the label column stands for, to be kept with the row; `None` for a mark of "no label".
    ///
    /// # Errors
    /// The cell is no label.
    fn read(labels: &Labels, cell: &str) -> std::result::Result<Option<Vec<u32>>, Box<Problem>>;
    /// The targets of rows, by the numbers that [`Self::read`] gave, none for a row without a label; and how many labels count.
    fn targets(rows: &[&[u32]], classes: usize, device: &Device) -> (Self::Targets, usize);
    /// The loss summed over the labels that count, `[1]`.
    fn loss(logits: Tensor<2>, targets: &Self::Targets) -> Tensor<1>;
    /// Counts the predictions of a batch.
    fn count(logits: &Tensor<2>, targets: &Self::Targets) -> Self::Counts;
    /// Adds what was counted of a further batch.
    fn add(counts: &mut Self::Counts, of_batch: Self::Counts);
    /// Writes the figures.
    fn finish(counts: Self::Counts, result: &mut SetResult);
    /// What logits predict: probabilities, or scores, of their shape.
    fn outputs(logits: Tensor<2>) -> Tensor<2>;
    /// A line of JSON for a row, by its outputs.
    fn line(labels: &[String], outputs: &[f32]) -> Value;
}

/// The head.
#[derive(Module, Debug)]
pub enum TextHead<K: TextLabels> {
    /// On the pooled first token.
    Pooled(PooledClassifier<K>),
    /// RoBERTa's, on the first token itself: two layers.
    FirstToken(FirstTokenClassifier),
}

/// BERT's: one layer.
#[derive(Module, Debug)]
pub struct PooledClassifier<K: TextLabels> {
    dropout: Dropout,
    classifier: Linear,
    #[module(skip)]
    kind: PhantomData<K>,
}

#[derive(Module, Debug)]
pub struct FirstTokenClassifier {
    mlp: MlpClassifier,
}

impl<K: TextLabels> HasRoles for TextHead<K> {}

impl<K: TextLabels> TaskHead for TextHead<K> {
    /// The number of classes.
    type Options = usize;
    type Labels = K::Targets;
    /// `[batch, classes]`
    type Logits = Tensor<2>;
    type Outcome = K::Counts;

    fn options(_: &Task, classes: usize) -> usize {
        classes
    }

    fn read_options(_: Option<TaskName>, config: &Map<String, Value>, _: bool) -> Result<usize> {
        Ok(config.get("id2label").and_then(Value::as_object).map_or(2, Map::len))
    }

    fn write_options(_: &usize, config: &mut Map<String, Value>) {
        if let Some(problem_type) = K::TASK.facts().problem_type {
            config.insert("problem_type".into(), json!(problem_type));
        }
    }

    fn reads_pooled(config: &ModelConfig, _: &usize) -> bool {
        config.classifier() == Classifier::Pooled
    }

    fn new(config: &ModelConfig, _: &usize, classes: usize, device: &Device) -> Self {
        let (size, probability) = (config.hidden_size(), config.classifier_dropout());
        match config.classifier() {
            Classifier::Pooled => Self::Pooled(PooledClassifier {
                dropout: dropout(probability),
                classifier: linear(size, classes, device),
                kind: PhantomData,
            }),
            Classifier::Mlp => {
                Self::FirstToken(FirstTokenClassifier { mlp: MlpClassifier::new(size, classes, probability, device) })
            }
        }
    }

    fn forward(&self, _: &EncoderInput, output: &EncoderOutput, _: &Backbone) -> Tensor<2> {
        match self {
            Self::Pooled(head) => apply(&head.classifier, drop_out(&head.dropout, output.pooled())),
            Self::FirstToken(head) => head.mlp.forward(output.last_hidden_state()),
        }
    }

    fn losses(&self, batch: &TaskBatch<Self>, logits: &Tensor<2>) -> Vec<Tensor<1>> {
        vec![K::loss(logits.clone(), &batch.labels)]
    }

    fn named_logits(_: &EncoderInput, logits: Tensor<2>) -> Vec<(&'static str, TensorData)> {
        vec![("logits", logits.into_data())]
    }
}

impl<K: TextLabels> RowTask for TextHead<K> {
    const ROWS: RowKind = K::ROWS;
    type Gold = ();
    type Row = Row;

    fn read(data: &RowData, _: &usize, split: Split, language: &str) -> Result<Tokenised<()>> {
        let options = data.read_options(split);
        let given = format!("{language} {options:?}{}", K::TASK.facts().problem_type.unwrap_or_default());
        let read = || read_split_as(data.card, &data.data.root, split, language, options, K::read);
        let part = Part { split, language, given, truncates: true };
        data.tokenised(&part, read, |rows| (tokenise(data, rows), WordCounts::default()))
    }

    fn labels(classes: &usize, rows: &[TokenRow], input: &EncoderInput) -> (K::Targets, usize) {
        let numbers: Vec<&[u32]> = rows.iter().map(|row| row.target.as_slice()).collect();
        K::targets(&numbers, *classes, &input.input_ids.device())
    }

    fn scorer(_: &usize, _: &Card, _: &Arc<TokenRows>, (): ()) -> Result<NewScorer<TaskModel<Self>>> {
        Ok(Box::new(|| Box::new(Counter::<K>(K::Counts::default()))))
    }

    fn open_rows(file: &Path, _: &usize) -> Result<InputRows<Row>> {
        Ok(Box::new(input::open(file)?))
    }

    fn predict(predictor: &Predictor<Self>, rows: &[Row]) -> Vec<Value> {
        let encodings = predictor.tokenizer.encode_batch(&texts(rows), predictor.max_length);
        let rows: Vec<InputRow> = encodings.iter().map(InputRow::from).collect();
        predictor.each(&rows, |logits, _| {
            let [_, classes] = logits.dims();
            let outputs: Vec<f32> = K::outputs(logits).into_data().iter::<f32>().collect(); // [batch, classes]
            outputs.chunks(classes).map(|outputs| K::line(&predictor.labels, outputs)).collect()
        })
    }
}

fn texts<L>(rows: &[Row<L>]) -> Vec<(&str, Option<&str>)> {
    rows.iter().map(|row| (row.text.as_str(), row.text_pair.as_deref())).collect()
}

fn tokenise(data: &RowData, rows: &[Row<Vec<u32>>]) -> Vec<TokenRow> {
    let encodings = data.tokenizer.encode_batch(&texts(rows), data.data.max_seq_length);
    let token_row = |(encoding, row): (Encoding, &Row<Vec<u32>>)| TokenRow {
        first: encoding.first_length() as u32,
        ids: encoding.ids,
        line: row.line,
        target: row.label.clone().unwrap_or_default(),
    };
    encodings.into_iter().zip(rows).map(token_row).collect()
}

/// The probability of each label, by its name.
pub(super) fn named_shares(labels: &[String], shares: &[f32]) -> Map<String, Value> {
    labels.iter().zip(shares).map(|(label, &share)| (label.clone(), json!(rounded(share)))).collect()
}

type Model<K> = TaskModel<TextHead<K>>;

struct Counter<K: TextLabels>(K::Counts);

impl<K: TextLabels> Scorer<Model<K>> for Counter<K> {
    fn outcome(&self, _: &Model<K>, batch: &BatchOf<Model<K>>, logits: &Tensor<2>) -> Result<K::Counts> {
        Ok(K::count(logits, &batch.labels))
    }

    fn count(&mut self, of_batch: K::Counts) {
        K::add(&mut self.0, of_batch);
    }

    fn finish(self: Box<Self>, _: &EvalSet, _: &LossSums, result: &mut SetResult) {
        K::finish(self.0, result);
    }
}
