//! Samples of corpora as batches for masked language modelling.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Device;

use super::TaskBatch;
use super::batch::{Batch, LossTerm, Mean};
use super::masked_lm::{LM_LOSS, Labels, MaskedLm, SOP_LOSS, never_empty};
use super::multilingual_lm;
use super::rows::integers;
use crate::corpus::sample::Sample;
use crate::corpus::samples::{SampleSteps, Samples};
use crate::data::Loader;
use crate::data::{InputRow, pad};
use crate::error::Result;
use crate::ranks::Place;
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
    /// The rank that takes its blocks of each step.
    pub place: Place,
}

impl SampleCollate {
    /// The steps of samples, each as its batches.
    pub fn loader(self, steps: SampleSteps, device: &Device) -> Loader<SampleSteps, Vec<TaskBatch<MaskedLm>>> {
        let set = steps.set.clone();
        Loader::new(Arc::new(steps), device.clone(), move |samples, device| self.step(&set, samples, device))
    }

    /// The batches of this rank's blocks of a step whose samples are these.
    fn step(&self, set: &Samples, samples: Range<u64>, device: &Device) -> Result<Vec<TaskBatch<MaskedLm>>> {
        let numbers: Vec<u64> = samples.collect();
        let blocks: Vec<&[u64]> = numbers.chunks(self.batch_size).collect();
        let mut batches = Vec::new();
        for block in self.place.blocks(blocks.len()) {
            let of_block = self.batches(set, blocks[block], device)?;
            batches.extend(of_block.into_iter().map(|batch| Batch { block, ..batch }));
        }
        if self.normalization == LossNormalization::PaddedBatch {
            let own_loss = batches.iter_mut().filter_map(|batch| batch.terms.first_mut());
            own_loss.for_each(|term| term.mean = Mean::OfBatches);
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
        let mut terms = vec![LossTerm::mean(LM_LOSS, weight)];
        if self.with_sop {
            terms.push(LossTerm::mean(SOP_LOSS, numbers.len()));
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
            block: 0,
            terms,
        })
    }
}
