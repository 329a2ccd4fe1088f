//! Batches of ERNIE-M's own pre-training (TLM, CAMLM, BTMLM): attention patterns, masked tokens, and the pseudo tokens that the model
//! has to write first.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::TaskBatch;
use super::batch::{Batch, LossTerm};
use super::masked_lm::{LM_LOSS, Labels, MaskedLm, never_empty};
use super::pseudo_tokens::{Decoding, PseudoTokens};
use crate::corpus::multilingual::{MixtureBatch, Multilingual};
use crate::corpus::pairs::PairSample;
use crate::data::{bucket_by_length, width_on};
use crate::models::{AttentionPattern, EncoderInput, Visibility};
use crate::recipe::TaskName;

/// The sides of a row's tokens.
const SOURCE: i64 = 1;
const TARGET: i64 = 2;

/// The numbers of a batch's rows, padded to one width: each `[rows * width]`.
#[derive(Default)]
struct Numbers {
    width: usize,
    ids: Vec<i64>,
    sides: Vec<i64>,
    languages: Vec<i64>,
    masked: Vec<i64>,
    /// Where tokens are masked, and what they were.
    positions: Vec<i64>,
    labels: Vec<i64>,
    /// Where placeholders stand.
    placeholders: Vec<i64>,
}

impl Numbers {
    /// `widen` makes of the width that the rows need the one that they get.
    fn new(samples: &[PairSample], special: [u32; 2], widen: impl Fn(usize) -> usize) -> Self {
        let lengths = samples.iter().map(|sample| sample.ids.len() + added(sample));
        let width = widen(lengths.max().unwrap_or(0).max(1));
        let mut numbers = Self { width, masked: vec![0; samples.len() * width], ..Self::default() };
        samples.iter().enumerate().for_each(|(row, sample)| numbers.push(row, sample, special));
        (numbers.positions, numbers.labels) = never_empty(numbers.positions, numbers.labels);
        numbers
    }

    /// `[CLS] x [SEP]` is the source, `[SEP] y [SEP]` the target.
    fn push(&mut self, row: usize, sample: &PairSample, [mask, sep]: [u32; 2]) {
        let start = row * self.width;
        self.ids.extend(sample.ids.iter().map(|id| i64::from(*id)));
        // In a pair the source has the first of the two separators.
        let source = (sample.first + 1).min(sample.ids.len());
        self.sides.resize(start + source, SOURCE);
        self.sides.resize(self.ids.len(), TARGET);
        if sample.pseudo_tokens > 0 {
            self.ids.push(i64::from(sep));
            self.placeholders.extend((self.ids.len()..self.ids.len() + sample.pseudo_tokens).map(|place| place as i64));
            self.ids.extend(std::iter::repeat_n(i64::from(mask), sample.pseudo_tokens));
            self.ids.push(i64::from(sep));
            self.sides.resize(self.ids.len(), TARGET);
        }
        let language = |side: &i64| sample.languages[usize::from(*side == TARGET)] as i64;
        self.languages.extend(self.sides[start..].iter().map(language));
        for (position, label) in sample.masked_positions.iter().zip(&sample.labels) {
            let place = start + *position as usize;
            self.masked[place] = 1;
            self.positions.push(place as i64);
            self.labels.push(i64::from(*label));
        }
        let end = start + self.width;
        self.ids.resize(end, 0);
        self.sides.resize(end, 0);
        self.languages.resize(end, 0);
    }

    /// The ids before anything was masked.
    fn unmasked(&self) -> Vec<i64> {
        let mut ids = self.ids.clone();
        let counted = self.positions.iter().zip(&self.labels).filter(|(_, label)| **label >= 0);
        counted.for_each(|(place, label)| ids[*place as usize] = *label);
        ids
    }
}

/// Tokens that a sample's row gets behind it: `[SEP]`, placeholders, `[SEP]`.
fn added(sample: &PairSample) -> usize {
    if sample.pseudo_tokens > 0 { sample.pseudo_tokens + 2 } else { 0 }
}

/// The batches of a mixture's batch. It is one batch, or where `overhead` says what a batch costs beside
/// its tokens, several of rows of like length. `max_length` is how many tokens a row may have.
pub fn batches(
    set: &Multilingual,
    mixed: &MixtureBatch,
    numbers: &[u64],
    overhead: Option<usize>,
    max_length: usize,
    device: &Device,
) -> Vec<TaskBatch<MaskedLm>> {
    let lengths: Vec<usize> = mixed.samples.iter().map(|sample| sample.ids.len() + added(sample)).collect();
    let cuts = match overhead {
        Some(overhead) => bucket_by_length(&lengths, lengths.len(), overhead),
        None => vec![(0..lengths.len()).collect()],
    };
    let of = |rows: Vec<usize>| {
        let numbers: Vec<u64> = rows.iter().map(|row| numbers[*row]).collect();
        batch(set, mixed.rows(&rows), &numbers, max_length, device)
    };
    cuts.into_iter().map(of).collect()
}

fn batch(
    set: &Multilingual,
    mixed: MixtureBatch,
    numbers: &[u64],
    max_length: usize,
    device: &Device,
) -> TaskBatch<MaskedLm> {
    let MixtureBatch { task, samples, draws } = mixed;
    let rows = Numbers::new(&samples, [set.mask, set.sep], |longest| width_on(device, longest, max_length));
    let matrix = |values: Vec<i64>| {
        Tensor::<2, Int>::from_data(TensorData::new(values, [samples.len(), rows.width]), device) // [batch, seq]
    };
    let vector = |values: &[i64]| Tensor::<1, Int>::from_data(TensorData::from(values), device);
    let pattern =
        if task == TaskName::CrossAttentionMaskedLm { AttentionPattern::CrossLingual } else { AttentionPattern::Full };
    let visibility = Visibility {
        document_ids: matrix(vec![1; rows.ids.len()]),
        segment_ids: matrix(rows.sides.clone()),
        masked: matrix(rows.masked.clone()),
        pattern,
    };
    let pseudo_tokens = (!rows.placeholders.is_empty()).then(|| PseudoTokens {
        input_ids: matrix(rows.unmasked()),
        positions: vector(&rows.placeholders),
        decoding: match draws {
            None => Decoding::Greedy,
            Some(draws) => Decoding::Sampled(Tensor::from_data(TensorData::from(draws.concat().as_slice()), device)),
        },
    });
    let weight = rows.labels.iter().filter(|label| **label >= 0).count();
    Batch {
        tokens: rows.sides.iter().filter(|side| **side > 0).count(),
        padded_tokens: rows.ids.len(),
        input: EncoderInput {
            language_ids: Some(matrix(rows.languages.clone())),
            visibility: Some(visibility),
            ..EncoderInput::new(matrix(rows.ids.clone()))
        },
        labels: Labels { positions: vector(&rows.positions), tokens: vector(&rows.labels), sop: None, pseudo_tokens },
        rows: numbers.iter().map(|&number| number as usize).collect(),
        block: 0,
        terms: vec![LossTerm::mean(LM_LOSS, weight)],
    }
}
