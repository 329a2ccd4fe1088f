//! Evaluation: counts over whole splits, a figure per language, their average.

mod folder;
mod report;

pub use folder::folder;
pub use report::table;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::{DataLoader, Progress};
use burn::data::dataset::Dataset as _;
use burn::tensor::Device;
use burn::train::InferenceStep;
use serde::{Deserialize, Serialize};

use crate::data::card::Split;
use crate::data::{EvalLoader, Preparation, TokenCache, TokenRows, find};
use crate::error::{Error, Problem, Result};
use crate::files::write_file;
use crate::models::Padding;
use crate::recipe::{Recipe, SelectOn};
use crate::tasks::{Batch, Labels, Logits, StepOutput, TaskModel};

/// The rows of one language of one split.
#[derive(Debug, Clone)]
pub struct EvalSet {
    pub split: String,
    pub language: String,
    pub rows: Arc<TokenCache>,
}

/// What was counted over one set. Everything a figure is made of is here, so that figures of parts can be joined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetResult {
    pub split: String,
    pub language: String,
    /// `correct / labelled`.
    pub accuracy: f64,
    pub correct: usize,
    pub labelled: usize,
    /// Mean loss over the labelled rows.
    pub loss: f64,
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

/// The result of one evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Mean loss over all labelled rows.
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
    loader: EvalLoader,
    data: Arc<TokenRows>,
}

#[derive(Default, Clone)]
struct Counts {
    correct: usize,
    labelled: usize,
    loss_sum: f64,
}

impl Evaluator {
    /// The rows of some splits in every language that the recipe evaluates.
    pub fn of(preparation: &Preparation, recipe: &Recipe, splits: &[Split], device: &Device) -> Result<Self> {
        let mut sets = Vec::new();
        for &split in splits {
            for language in find::eval_languages(preparation.card, &recipe.data, split)? {
                let rows = preparation.rows(split, &language)?;
                sets.push(EvalSet { split: split.to_string(), language, rows });
            }
        }
        let padding = preparation.tokenizer.padding(preparation.data.max_seq_length);
        Ok(Self::new(sets, recipe.evaluation.batch_size, padding, device))
    }

    fn new(sets: Vec<EvalSet>, batch_size: usize, padding: Padding, device: &Device) -> Self {
        let data = Arc::new(TokenRows::new(sets.iter().map(|set| set.rows.clone()).collect()));
        let loader = EvalLoader::new(data.clone(), batch_size, padding, device.clone().inner());
        Self { sets, loader, data }
    }

    /// The same rows as a Burn data loader.
    pub fn loader(&self) -> EvalLoader {
        self.loader.clone()
    }

    /// Rows to evaluate.
    pub fn rows(&self) -> usize {
        self.data.len()
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
            let (set, _) = self.data.locate(batch.rows[0]);
            let labels = batch.labels.clone();
            let output = InferenceStep::step(model, batch);
            count(&mut counts[set], &output, &labels);
            seen(output, batches.progress());
        }
        Ok(self.evaluation(counts, start.elapsed().as_secs_f64()))
    }

    fn evaluation(&self, counts: Vec<Counts>, seconds: f64) -> Evaluation {
        let sets: Vec<SetResult> = self.sets.iter().zip(&counts).map(|(set, counts)| result(set, counts)).collect();
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

fn result(set: &EvalSet, counts: &Counts) -> SetResult {
    SetResult {
        split: set.split.clone(),
        language: set.language.clone(),
        accuracy: counts.correct as f64 / counts.labelled.max(1) as f64,
        correct: counts.correct,
        labelled: counts.labelled,
        loss: counts.loss_sum / counts.labelled.max(1) as f64,
        skipped: set.rows.info.skipped,
        empty: set.rows.info.empty,
    }
}

fn average(split: &str, sets: &[SetResult]) -> Average {
    let sets: Vec<&SetResult> = sets.iter().filter(|set| set.split == split).collect();
    let labelled: usize = sets.iter().map(|set| set.labelled).sum();
    let correct: usize = sets.iter().map(|set| set.correct).sum();
    Average {
        split: split.to_string(),
        accuracy: sets.iter().map(|set| set.accuracy).sum::<f64>() / sets.len().max(1) as f64,
        pooled_accuracy: correct as f64 / labelled.max(1) as f64,
        loss: sets.iter().map(|set| set.loss * set.labelled as f64).sum::<f64>() / (labelled as f64).max(1.0),
        labelled,
    }
}

fn count(counts: &mut Counts, output: &StepOutput, labels: &Labels) {
    counts.loss_sum += output.loss_sum.to_data().iter::<f64>().sum::<f64>();
    counts.labelled += output.weight;
    if let (Some(Logits::Sequence(logits)), Labels::Classes(classes)) = (&output.logits, labels) {
        let best = logits.clone().argmax(1).into_data(); // [batch, 1]
        let classes = classes.to_data(); // [batch]
        let right = best.iter::<i64>().zip(classes.iter::<i64>()).filter(|(best, class)| best == class);
        counts.correct += right.count();
    }
}
