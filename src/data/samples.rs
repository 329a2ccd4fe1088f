//! Pre-training samples on their way to a device, as Burn data loaders.

use std::ops::Range;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::items::{self, BatchItems, StepItems};
use super::multilingual;
use crate::corpus::sample::Sample;
use crate::corpus::samples::{Samples, settings};
use crate::error::{Error, Result};
use crate::models::{EncoderInput, InputRow, Padding};
use crate::recipe::{LossNormalization, Recipe, TaskName};
use crate::tasks::{Batch, Input, Labels};
use crate::tokenize::Tokenizer;

/// How samples become batches.
#[derive(Debug, Clone, Copy)]
pub struct SampleBatches {
    /// Samples of a batch, and batches of an optimizer step.
    pub batch_size: usize,
    pub accumulation: usize,
    pub normalization: LossNormalization,
    /// Whether samples have a label of sentence order.
    pub sentence_order: bool,
    pub padding: Padding,
    /// What a batch costs beside its tokens, in tokens: batches of ERNIE-M's are cut into ones of rows of like length. `None` keeps
    /// them whole.
    pub overhead: Option<usize>,
}

impl SampleBatches {
    /// What a recipe says.
    pub fn of(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<Self> {
        Ok(Self {
            batch_size: recipe.training.batch_size,
            accumulation: recipe.training.gradient_accumulation_steps,
            normalization: settings(recipe)?.loss_normalization,
            sentence_order: recipe.task.name == TaskName::PreTraining,
            padding: tokenizer.padding(recipe.data.max_seq_length),
            overhead: None,
        })
    }

    /// Samples of an optimizer step.
    pub fn step_size(&self) -> usize {
        self.batch_size * self.accumulation
    }

    /// The batches of a step whose samples are these.
    fn step(&self, set: &Samples, samples: Range<u64>, device: &Device) -> Result<Vec<Batch>, DatasetError> {
        let numbers: Vec<u64> = samples.collect();
        let mut batches = Vec::new();
        for numbers in numbers.chunks(self.batch_size) {
            batches.extend(self.batches(set, numbers, device)?);
        }
        let rows: usize = batches.iter().map(|batch| batch.rows.len()).sum();
        let labels: usize = batches.iter().map(|batch| batch.weight).sum();
        let count = batches.len();
        for batch in &mut batches {
            batch.order_scale = 1.0 / rows.max(1) as f64;
            batch.scale = match self.normalization {
                LossNormalization::Tokens => 1.0 / labels.max(1) as f64,
                LossNormalization::PaddedBatch => 1.0 / (batch.weight.max(1) * count) as f64,
            };
        }
        Ok(batches)
    }

    /// What becomes of the recipe's batch of these samples: one batch, or of ERNIE-M's maybe several.
    fn batches(&self, set: &Samples, numbers: &[u64], device: &Device) -> Result<Vec<Batch>, DatasetError> {
        let (Samples::Multilingual(set), Some(first)) = (set, numbers.first()) else {
            return Ok(vec![self.batch(set, numbers, device)?]);
        };
        let turn = set.turn(*first, numbers.len()).map_err(dataset_error)?;
        // Where each batch is a mean of its own, what it holds makes a difference.
        let overhead = self.overhead.filter(|_| self.normalization == LossNormalization::Tokens);
        Ok(multilingual::batches(set, &turn, numbers, overhead, device))
    }

    fn batch(&self, set: &Samples, numbers: &[u64], device: &Device) -> Result<Batch, DatasetError> {
        let samples: Vec<Sample> =
            numbers.iter().map(|&number| set.sample(number)).collect::<Result<_, _>>().map_err(dataset_error)?;
        let rows: Vec<InputRow> =
            samples.iter().map(|sample| InputRow { ids: &sample.ids, first: first(sample) }).collect();
        let input = EncoderInput::from_rows(&rows, self.padding, 0, device);
        let width = input.input_ids.dims()[1];
        let (mut places, mut tokens) = (Vec::new(), Vec::new());
        for (row, sample) in samples.iter().enumerate() {
            places.extend(sample.masked_positions.iter().map(|&position| (row * width) as i64 + i64::from(position)));
            tokens.extend(sample.labels.iter().map(|&label| i64::from(label)));
        }
        let hidden = tokens.len();
        if hidden == 0 {
            // A tensor has to have something in it; this is ignored.
            places.push(0);
            tokens.push(-1);
        }
        let vector = |values: Vec<i64>| {
            let shape = [values.len()];
            Tensor::<1, Int>::from_data(TensorData::new(values, shape), device)
        };
        let order = samples.iter().map(|sample| i64::from(sample.sentence_label)).collect();
        Ok(Batch {
            tokens: samples.iter().map(|sample| sample.ids.len()).sum(),
            input: Input::Tokens(input),
            labels: Labels::Masked {
                places: vector(places),
                tokens: vector(tokens),
                order: self.sentence_order.then(|| vector(order)),
            },
            generate: None,
            rows: numbers.iter().map(|&number| number as usize).collect(),
            weight: match self.normalization {
                LossNormalization::Tokens => hidden,
                LossNormalization::PaddedBatch => hidden.next_multiple_of(8),
            },
            scale: 0.0,
            order_weight: if self.sentence_order { numbers.len() } else { 0 },
            order_scale: 0.0,
        })
    }
}

fn dataset_error(error: Error) -> DatasetError {
    DatasetError::new(std::io::Error::other(error.to_string()))
}

/// How many tokens are of the first piece.
fn first(sample: &Sample) -> usize {
    sample.type_ids.partition_point(|type_id| *type_id == 0)
}

/// Samples in the order of their numbers, which is a random one already. An item is one optimizer step, as its batches, or for
/// evaluation one batch.
#[derive(Clone)]
pub struct SampleLoader {
    set: Arc<Samples>,
    batches: SampleBatches,
    device: Device,
    /// The steps that it yields, counted from the beginning of the samples.
    steps: Range<u64>,
}

impl SampleLoader {
    /// A loader of the steps `0..total`; of corpora, the set must have as many samples.
    pub fn new(set: Arc<Samples>, batches: SampleBatches, device: Device, total: u64) -> Self {
        Self { set, batches, device, steps: 0..total }
    }

    fn load(&self, step: u64) -> Result<Vec<Batch>, DatasetError> {
        let size = self.batches.step_size() as u64;
        self.batches.step(&self.set, self.set.step(step, size), &self.device)
    }

    /// Samples of the loader's steps before `step`, all of one epoch.
    fn samples_before(&self, step: u64) -> usize {
        let size = self.batches.step_size() as u64;
        let start = self.set.step(self.steps.start, size).start;
        let end = if step > self.steps.start { self.set.step(step - 1, size).end } else { start };
        (end - start) as usize
    }

    fn sliced(&self, start: usize, end: usize) -> Self {
        Self { steps: items::sliced(&self.steps, start, end), ..self.clone() }
    }
}

impl DataLoader<Vec<Batch>> for SampleLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Vec<Batch>> + 'a> {
        Box::new(StepItems(Steps { loader: self, next: self.steps.start }))
    }

    fn num_items(&self) -> usize {
        (self.steps.end - self.steps.start) as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Vec<Batch>>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Vec<Batch>>> {
        Arc::new(self.sliced(start, end))
    }
}

/// For evaluation; made with an accumulation of 1, so that a step is a batch.
impl DataLoader<Batch> for SampleLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(BatchItems(Steps { loader: self, next: self.steps.start }))
    }

    fn num_items(&self) -> usize {
        self.samples_before(self.steps.end)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.sliced(start, end))
    }
}

struct Steps<'a> {
    loader: &'a SampleLoader,
    next: u64,
}

impl items::Steps for Steps<'_> {
    fn advance(&mut self) -> Option<Result<Vec<Batch>, DatasetError>> {
        let step = self.next;
        (step < self.loader.steps.end).then(|| {
            self.next += 1;
            self.loader.load(step)
        })
    }

    fn steps(&self) -> (Range<u64>, u64) {
        (self.loader.steps.clone(), self.next)
    }

    fn evaluated(&self) -> Progress {
        let Steps { loader, next } = self;
        Progress::new(loader.samples_before(*next), loader.samples_before(loader.steps.end), Some("rows".into()))
    }
}
