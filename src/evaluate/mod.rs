//! Evaluation: counts over whole splits, a figure per language, their average.

pub mod chunks;
mod folder;
mod report;

pub use folder::folder;
pub use report::table;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::{DataLoader, Progress};
use burn::tensor::{Device, Int, Tensor};
use burn::train::InferenceStep;
use serde::{Deserialize, Serialize};

use crate::corpus::samples::{Samples, nothing_to_evaluate, settings};
use crate::data::card::Split;
use crate::data::{EvalLoader, Preparation, SampleBatches, SampleLoader, TokenRows, find};
use crate::error::{Error, Problem, Result};
use crate::files::write_file;
use crate::recipe::{Recipe, SelectOn};
use crate::tasks::{Batch, Labels, Logits, StepOutput, TaskModel};
use crate::tokenize::Tokenizer;

/// What is counted together: one language of one split, or one part of the corpora.
#[derive(Debug, Clone)]
struct EvalSet {
    split: String,
    language: String,
    /// Rows that could not be read and were left out, and rows with an empty text.
    skipped: usize,
    empty: usize,
}

/// What was counted over one set. Everything a figure is made of is here, so that figures of parts can be joined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetResult {
    pub split: String,
    pub language: String,
    /// `correct / labelled`.
    pub accuracy: f64,
    pub correct: usize,
    /// Labelled rows, or hidden tokens.
    pub labelled: usize,
    /// Mean loss over them.
    pub loss: f64,
    /// The same for sentence order, where it is learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence_order: Option<OrderResult>,
    /// Rows that could not be read and were left out.
    pub skipped: usize,
    /// Rows with an empty text.
    pub empty: usize,
}

impl SelectOn {
    /// The split whose figure it is.
    pub fn split(self) -> Split {
        match self {
            Self::DevAccuracy | Self::DevLoss => Split::Dev,
            Self::TestAccuracy | Self::TestLoss => Split::Test,
        }
    }
}

/// What was counted of sentence order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OrderResult {
    pub accuracy: f64,
    pub correct: usize,
    pub rows: usize,
    /// Mean loss over the rows.
    pub loss: f64,
}

/// The result of one evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The optimizer step it was made after, if it was during a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// What the run chooses its best model by, if it was during a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected_on: Option<String>,
    pub sets: Vec<SetResult>,
    pub averages: Vec<Average>,
    pub seconds: f64,
}

/// The figures of one split over its languages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Average {
    pub split: String,
    /// The mean of the languages' accuracies, each counting alike (XNLI's average).
    pub accuracy: f64,
    /// The share of all labelled rows that are right, whatever their language.
    pub pooled_accuracy: f64,
    /// Mean loss over all labelled rows or hidden tokens, with that of sentence order where it is learnt.
    pub loss: f64,
    pub labelled: usize,
}

impl Evaluation {
    /// Reads an `eval.json`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|cause| Error::reading(path, &cause))?;
        serde_json::from_str(&text)
            .map_err(|cause| Problem::new(format!("is no evaluation: {cause}")).in_file(path).into())
    }

    /// Writes an `eval.json`.
    pub fn write(&self, path: &Path) -> Result<()> {
        // Structs of numbers and words are always written.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        write_file(path, (text + "\n").as_bytes())
    }

    /// Whether there are figures of this split.
    pub fn has(&self, split: Split) -> bool {
        self.averages.iter().any(|average| average.split == split.to_string())
    }

    /// The value of a figure by the name recipes use: `SPLIT.accuracy` or `SPLIT.loss`.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let (split, word) = name.split_once('.')?;
        let average = self.averages.iter().find(|average| average.split == split)?;
        match word {
            "accuracy" => Some(average.accuracy),
            "loss" => Some(average.loss),
            _ => None,
        }
    }
}

/// The sets to evaluate, and how to bring them to the device.
pub struct Evaluator {
    sets: Vec<EvalSet>,
    loader: Arc<dyn DataLoader<Batch>>,
    /// Tells which set a row is of, where there are several.
    rows: Option<Arc<TokenRows>>,
}

#[derive(Default, Clone)]
struct Counts {
    correct: usize,
    labelled: usize,
    loss_sum: f64,
    order_correct: usize,
    order_rows: usize,
    order_loss_sum: f64,
}

impl Evaluator {
    /// The rows of some splits in every language that the recipe evaluates.
    pub fn of_rows(preparation: &Preparation, recipe: &Recipe, splits: &[Split], device: &Device) -> Result<Self> {
        let (mut sets, mut parts) = (Vec::new(), Vec::new());
        for &split in splits {
            for language in find::eval_languages(preparation.card, &recipe.data, split)? {
                let rows = preparation.rows(split, &language)?;
                let (skipped, empty) = (rows.info.skipped, rows.info.empty);
                sets.push(EvalSet { split: split.to_string(), language, skipped, empty });
                parts.push(rows);
            }
        }
        let padding = preparation.tokenizer.padding(preparation.data.max_seq_length);
        let rows = Arc::new(TokenRows::new(parts));
        let loader = EvalLoader::new(rows.clone(), recipe.evaluation.batch_size, padding, device.clone().inner());
        Ok(Self { sets, loader: Arc::new(loader), rows: Some(rows) })
    }

    /// Samples of one part of the recipe's corpora, always the first ones, or all of its rows. Where there is none, there is
    /// nothing to evaluate.
    pub fn of_samples(recipe: &Recipe, tokenizer: &Tokenizer, split: Split, device: &Device) -> Result<Option<Self>> {
        let Some(samples) = Samples::open(recipe, tokenizer, split)? else {
            tracing::warn!("{}", nothing_to_evaluate(settings(recipe)?, split));
            return Ok(None);
        };
        let form = SampleBatches { accumulation: 1, ..SampleBatches::of(recipe, tokenizer)? };
        let batches = samples.eval_batches(settings(recipe)?, recipe, split, form.batch_size);
        let skipped = samples.skipped();
        let loader = SampleLoader::new(Arc::new(samples), form, device.clone().inner(), batches);
        let set = EvalSet { split: split.to_string(), language: "all".to_string(), skipped, empty: 0 };
        Ok(Some(Self { sets: vec![set], loader: Arc::new(loader), rows: None }))
    }

    /// The same rows as a Burn data loader.
    pub fn loader(&self) -> Arc<dyn DataLoader<Batch>> {
        self.loader.clone()
    }

    /// Rows to evaluate.
    pub fn rows(&self) -> usize {
        self.loader.num_items()
    }

    /// Runs `model` (in inference mode) over the rows of `loader`, which is [`Self::loader`]. `seen` gets each batch's output;
    /// `stop` ends it early with [`Error::Interrupted`].
    pub fn run(
        &self,
        model: &TaskModel,
        loader: &dyn DataLoader<Batch>,
        stop: impl Fn() -> bool,
        mut seen: impl FnMut(StepOutput, Progress),
    ) -> Result<Evaluation> {
        let start = Instant::now();
        let mut counts = vec![Counts::default(); self.sets.len()];
        let mut batches = loader.iter();
        while let Some(batch) = batches.next() {
            if stop() {
                return Err(Error::Interrupted);
            }
            let batch = batch.map_err(|cause| Error::run(Problem::new(cause.to_string())))?;
            let set = self.rows.as_ref().map_or(0, |rows| rows.locate(batch.rows[0]).0);
            let labels = batch.labels.clone();
            let output = InferenceStep::step(model, batch);
            counts[set].add(&output, &labels);
            seen(output, batches.progress());
        }
        Ok(self.evaluation(counts, start.elapsed().as_secs_f64()))
    }

    fn evaluation(&self, counts: Vec<Counts>, seconds: f64) -> Evaluation {
        let sets: Vec<SetResult> = self.sets.iter().zip(&counts).map(|(set, counts)| counts.result(set)).collect();
        let mut splits: Vec<&str> = Vec::new();
        for set in &sets {
            if !splits.contains(&set.split.as_str()) {
                splits.push(&set.split);
            }
        }
        let averages = splits.iter().map(|split| average(split, &sets)).collect();
        Evaluation { step: None, selected_on: None, sets, averages, seconds }
    }
}

impl Counts {
    fn add(&mut self, output: &StepOutput, labels: &Labels) {
        let number = |sum: &Tensor<1>| sum.to_data().iter::<f64>().sum::<f64>();
        self.loss_sum += number(&output.loss_sum);
        self.labelled += output.weight;
        if let Some((sum, rows)) = &output.order {
            self.order_loss_sum += number(sum);
            self.order_rows += rows;
        }
        match (&output.logits, labels) {
            (Some(Logits::Sequence(logits)), Labels::Classes(classes)) => self.correct += right(logits, classes),
            (Some(Logits::Hidden(logits, order)), Labels::Masked { tokens, order: labels, .. }) => {
                self.correct += right(logits, tokens);
                if let (Some(order), Some(labels)) = (order, labels) {
                    self.order_correct += right(order, labels);
                }
            }
            _ => {}
        }
    }

    fn result(&self, set: &EvalSet) -> SetResult {
        let share = |correct: usize, of: usize| correct as f64 / of.max(1) as f64;
        SetResult {
            split: set.split.clone(),
            language: set.language.clone(),
            accuracy: share(self.correct, self.labelled),
            correct: self.correct,
            labelled: self.labelled,
            loss: self.loss_sum / self.labelled.max(1) as f64,
            sentence_order: (self.order_rows > 0).then(|| OrderResult {
                accuracy: share(self.order_correct, self.order_rows),
                correct: self.order_correct,
                rows: self.order_rows,
                loss: self.order_loss_sum / self.order_rows as f64,
            }),
            skipped: set.skipped,
            empty: set.empty,
        }
    }
}

/// How many rows have their highest score, of `[rows, classes]`, where the labels, `[rows]`, say.
fn right(logits: &Tensor<2>, labels: &Tensor<1, Int>) -> usize {
    let best = logits.clone().argmax(1).into_data(); // [rows, 1]
    let labels = labels.to_data(); // [rows]
    best.iter::<i64>().zip(labels.iter::<i64>()).filter(|(best, label)| best == label).count()
}

fn average(split: &str, sets: &[SetResult]) -> Average {
    let sets: Vec<&SetResult> = sets.iter().filter(|set| set.split == split).collect();
    let labelled: usize = sets.iter().map(|set| set.labelled).sum();
    let correct: usize = sets.iter().map(|set| set.correct).sum();
    let order = sets.iter().filter_map(|set| set.sentence_order);
    let rows: usize = order.clone().map(|order| order.rows).sum();
    let order_loss = order.map(|order| order.loss * order.rows as f64).sum::<f64>() / (rows as f64).max(1.0);
    let loss = sets.iter().map(|set| set.loss * set.labelled as f64).sum::<f64>() / (labelled as f64).max(1.0);
    Average {
        split: split.to_string(),
        accuracy: sets.iter().map(|set| set.accuracy).sum::<f64>() / sets.len().max(1) as f64,
        pooled_accuracy: correct as f64 / labelled.max(1) as f64,
        loss: loss + order_loss,
        labelled,
    }
}
