//! Samples of corpora as batches for masked language modelling.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Device;

use super::TaskBatch;
use super::batch::{Batch, LossTerm};
use super::masked_lm::{LM_LOSS, Labels, MaskedLm, SOP_LOSS, never_empty};
use super::multilingual_lm;
use super::rows::integers;
use crate::corpus::sample::Sample;
use crate::corpus::samples::{SampleSteps, Samples};
use crate::data::Loader;
use crate::data::{InputRow, pad};
use crate::error::Result;
use crate::recipe::LossNormalization;
use crate::tokenize::Padding;

/// How samples become batches.
#[derive(Debug, Clone, Copy)]
pub struct SampleCollate {
    /// Samples of a batch.
    pub batch_size: usize,
    pub normalization: LossNormalization,
    /// Whether samples have a label of sentence order.
    pub with_sop: bool,
    pub padding: Padding,
    /// What a batch costs beside its tokens, in tokens: batches of ERNIE-M's are bucketed by length. `None` keeps them whole.
    pub overhead: Option<usize>,
}

impl SampleCollate {
    /// The steps of samples, each as its batches.
    pub fn loader(self, steps: SampleSteps, device: &Device) -> Loader<SampleSteps, Vec<TaskBatch<MaskedLm>>> {
        let set = steps.set.clone();
        Loader::new(Arc::new(steps), device.clone(), move |samples, device| self.step(&set, samples, device))
    }

    /// The batches of a step whose samples are these.
    fn step(&self, set: &Samples, samples: Range<u64>, device: &Device) -> Result<Vec<TaskBatch<MaskedLm>>> {
        let numbers: Vec<u64> = samples.collect();
        let mut batches = Vec::new();
        for numbers in numbers.chunks(self.batch_size) {
            batches.extend(self.batches(set, numbers, device)?);
        }
        let rows: usize = batches.iter().map(|batch| batch.rows.len()).sum();
        let labels: usize = batches.iter().map(Batch::labelled).sum();
        let count = batches.len();
        for batch in &mut batches {
            let [lm, rest @ ..] = batch.terms.as_mut_slice() else { continue };
            lm.scale = match self.normalization {
                LossNormalization::Tokens => 1.0 / labels.max(1) as f64,
                LossNormalization::PaddedBatch => 1.0 / (lm.labels.max(1) * count) as f64,
            };
            rest.iter_mut().for_each(|sop| sop.scale = 1.0 / rows.max(1) as f64);
        }
        Ok(batches)
    }

    /// What becomes of the recipe's batch of these samples: one batch, or of ERNIE-M's maybe several.
    fn batches(&self, set: &Samples, numbers: &[u64], device: &Device) -> Result<Vec<TaskBatch<MaskedLm>>> {
        let (Samples::Multilingual(set), Some(first)) = (set, numbers.first()) else {
            return Ok(vec![self.batch(set, numbers, device)?]);
        };
        let batch = set.batch(*first, numbers.len())?;
        // Where each batch is a mean of its own, what it holds makes a difference.
        let overhead = self.overhead.filter(|_| self.normalization == LossNormalization::Tokens);
        Ok(multilingual_lm::batches(set, &batch, numbers, overhead, self.padding.max_length, device))
    }

    fn batch(&self, set: &Samples, numbers: &[u64], device: &Device) -> Result<TaskBatch<MaskedLm>> {
        let samples: Vec<Sample> = numbers.iter().map(|&number| set.sample(number)).collect::<Result<_>>()?;
        let first = |sample: &Sample| sample.type_ids.partition_point(|type_id| *type_id == 0);
        let rows: Vec<InputRow> =
            samples.iter().map(|sample| InputRow { ids: &sample.ids, first: first(sample) }).collect();
        let input = pad(&rows, self.padding, 0, device);
        let width = input.input_ids.dims()[1];
        let (mut positions, mut tokens) = (Vec::new(), Vec::new());
        for (row, sample) in samples.iter().enumerate() {
            let start = (row * width) as i64;
            positions.extend(sample.masked_positions.iter().map(|&position| start + i64::from(position)));
            tokens.extend(sample.labels.iter().map(|&label| i64::from(label)));
        }
        let masked = tokens.len();
        let weight = match self.normalization {
            LossNormalization::Tokens => masked,
            LossNormalization::PaddedBatch => masked.next_multiple_of(8),
        };
        let mut terms = vec![LossTerm { name: LM_LOSS, labels: weight, scale: 0.0 }];
        if self.with_sop {
            terms.push(LossTerm { name: SOP_LOSS, labels: numbers.len(), scale: 0.0 });
        }
        let sop = samples.iter().map(|sample| i64::from(sample.sentence_label)).collect();
        let (positions, tokens) = never_empty(positions, tokens);
        Ok(Batch {
            tokens: samples.iter().map(|sample| sample.ids.len()).sum(),
            padded_tokens: samples.len() * width,
            input,
            labels: Labels {
                positions: integers(positions, device),
                tokens: integers(tokens, device),
                sop: self.with_sop.then(|| integers(sop, device)),
                pseudo_tokens: None,
            },
            rows: numbers.iter().map(|&number| number as usize).collect(),
            terms,
        })
    }
}
