//! Masked language modelling, and with sentence order prediction (SOP) beside it, ERNIE 1.0's pre-training.
//!
//! Hugging Face's `...ForMaskedLM` and `...ForPreTraining`. Losses: cross-entropy of the masked tokens (`lm_loss`) and of whether two
//! pieces of a text are in their order or were exchanged (`sop_loss`). Metric: accuracy of each. Batches are samples of corpora; those
//! of ERNIE-M's own tasks are made by [`super::multilingual_lm`].

use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::{Map, Value};

use super::batch::{Batch, BatchOf, LossTerm};
use super::model::{TaskBatch, TaskHead, TaskModel};
use super::multilingual_lm;
use super::pseudo_tokens::PseudoTokens;
use super::scorer::{EvalSet, Scorer, count_equal};
use crate::corpus::sample::Sample;
use crate::corpus::samples::{SampleSteps, Samples};
use crate::data::Loader;
use crate::error::Result;
use crate::metrics::{LossSums, OrderResult, SetResult};
use crate::models::{Backbone, EncoderInput, EncoderOutput, InputRow, ModelConfig, Padding};
use crate::nn::{MaskedLmHead, cross_entropy_sum, linear};
use crate::recipe::{LossNormalization, Task, TaskName};

/// What the losses are called in logs.
pub const LM_LOSS: &str = "lm_loss";
pub const SOP_LOSS: &str = "sop_loss";

/// The head.
#[derive(Module, Debug)]
pub struct MaskedLm {
    masked_lm: MaskedLmHead,
    /// Of pre-training: whether two pieces of a text are in their order, or were exchanged.
    sentence_order: Option<Linear>,
}

/// The tokens that were masked.
#[derive(Debug, Clone)]
pub struct Labels {
    /// Their positions in the batch's rows laid end to end, `[masked]`.
    pub positions: Tensor<1, Int>,
    /// What they were, `[masked]`.
    pub tokens: Tensor<1, Int>,
    /// 1 where a row's two pieces were exchanged, `[batch]`.
    pub sop: Option<Tensor<1, Int>>,
    /// What the model itself has to write into the input before it learns from it.
    pub pseudo_tokens: Option<PseudoTokens>,
}

/// The scores of the vocabulary.
#[derive(Debug, Clone)]
pub struct MlmLogits {
    /// Of every token, `[batch * seq, vocabulary]`, or of a batch's masked ones, `[masked, vocabulary]`.
    pub tokens: Tensor<2>,
    /// `[batch, 2]`
    pub sop: Option<Tensor<2>>,
}

impl MaskedLm {
    /// The logits at some positions of rows `[batch, seq, hidden]` laid end to end, `[positions] -> [positions, vocabulary]`.
    pub(super) fn logits_at(&self, states: Tensor<3>, positions: Tensor<1, Int>, backbone: &Backbone) -> Tensor<2> {
        let states = states.flatten::<2>(0, 1).select(0, positions); // [positions, hidden]
        self.masked_lm.forward(states, backbone.tied_embedding())
    }

    /// For how many tokens there may be logits at once, if no more than `logits` numbers are to be held: at least for one.
    pub(super) fn tokens_at_once(&self, logits: usize) -> usize {
        (logits / self.masked_lm.vocabulary().max(1)).max(1)
    }

    fn sop(&self, output: &EncoderOutput) -> Option<Tensor<2>> {
        self.sentence_order.as_ref().map(|layer| layer.forward(output.pooled()))
    }
}

impl TaskHead for MaskedLm {
    /// Whether it predicts sentence order too.
    type Options = bool;
    type Labels = Labels;
    type Logits = MlmLogits;

    fn options(task: &Task) -> bool {
        task.name == TaskName::PreTraining
    }

    fn read_options(task: Option<TaskName>, _: &Map<String, Value>, _: bool) -> Result<bool> {
        Ok(task == Some(TaskName::PreTraining))
    }

    fn write_options(_: &bool, _: &mut Map<String, Value>) {}

    fn reads_pooled(with_sop: &bool) -> bool {
        *with_sop
    }

    fn new(config: &ModelConfig, with_sop: &bool, _: usize, device: &Device) -> Self {
        Self {
            masked_lm: MaskedLmHead::new(&config.masked_lm(), device),
            sentence_order: with_sop.then(|| linear(config.common().encoder.hidden_size, 2, device)),
        }
    }

    fn forward(&self, _: &EncoderInput, output: &EncoderOutput, backbone: &Backbone) -> MlmLogits {
        let states = output.last_hidden_state().flatten::<2>(0, 1); // [batch * seq, hidden]
        MlmLogits { tokens: self.masked_lm.forward(states, backbone.tied_embedding()), sop: self.sop(output) }
    }

    /// The vocabulary is large: there are logits of the masked tokens alone.
    fn losses(
        &self,
        batch: &TaskBatch<Self>,
        output: &EncoderOutput,
        backbone: &Backbone,
    ) -> (Vec<Tensor<1>>, MlmLogits) {
        let Labels { positions, tokens, sop, pseudo_tokens } = &batch.labels;
        debug_assert!(pseudo_tokens.is_none(), "the loss of an incomplete batch is that of its placeholders");
        let logits = MlmLogits {
            tokens: self.logits_at(output.last_hidden_state(), positions.clone(), backbone),
            sop: self.sop(output),
        };
        let mut sums = vec![cross_entropy_sum(logits.tokens.clone(), tokens.clone())];
        if let (Some(logits), Some(labels)) = (&logits.sop, sop) {
            sums.push(cross_entropy_sum(logits.clone(), labels.clone()));
        }
        (sums, logits)
    }

    fn named_logits(input: &EncoderInput, logits: MlmLogits) -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
        let [batch, seq] = input.input_ids.dims();
        let [_, vocabulary] = logits.tokens.dims();
        let tokens = logits.tokens.into_data().iter::<f32>().collect();
        let mut named = vec![("prediction_logits", vec![batch, seq, vocabulary], tokens)];
        if let Some(sop) = logits.sop {
            named.push(("seq_relationship_logits", sop.dims().to_vec(), sop.into_data().iter::<f32>().collect()));
        }
        named
    }

    /// No part has more logits than `most`, or more than one masked token; sentence order, which is of rows, goes with the first part.
    fn parts(&self, batch: &TaskBatch<Self>, most: usize) -> Vec<TaskBatch<Self>> {
        let Labels { positions, tokens, .. } = &batch.labels;
        let [count] = tokens.dims();
        let size = self.tokens_at_once(most);
        if count <= size {
            return vec![batch.clone()];
        }
        let part = |first: usize| {
            let length = size.min(count - first);
            let mut part = batch.clone();
            part.labels.positions = positions.clone().narrow(0, first, length); // [length]
            part.labels.tokens = tokens.clone().narrow(0, first, length); // [length]
            if first > 0 {
                part.labels.sop = None;
                part.terms.truncate(1);
                // The first part counts all labels.
                part.terms.iter_mut().for_each(|term| term.labels = 0);
            }
            part
        };
        (0..count).step_by(size).map(part).collect()
    }

    fn completed(model: &TaskModel<Self>, mut batch: TaskBatch<Self>) -> TaskBatch<Self> {
        if let Some(pseudo_tokens) = batch.labels.pseudo_tokens.take() {
            pseudo_tokens.write(model, &mut batch.input);
        }
        batch
    }
}

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
        Ok(multilingual_lm::batches(set, &batch, numbers, overhead, device))
    }

    fn batch(&self, set: &Samples, numbers: &[u64], device: &Device) -> Result<TaskBatch<MaskedLm>> {
        let samples: Vec<Sample> = numbers.iter().map(|&number| set.sample(number)).collect::<Result<_>>()?;
        let first = |sample: &Sample| sample.type_ids.partition_point(|type_id| *type_id == 0);
        let rows: Vec<InputRow> =
            samples.iter().map(|sample| InputRow { ids: &sample.ids, first: first(sample) }).collect();
        let input = EncoderInput::from_rows(&rows, self.padding, 0, device);
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
        let vector = |values: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::from(values.as_slice()), device);
        let sop = samples.iter().map(|sample| i64::from(sample.sentence_label)).collect();
        let (positions, tokens) = never_empty(positions, tokens);
        Ok(Batch {
            tokens: samples.iter().map(|sample| sample.ids.len()).sum(),
            padded_tokens: samples.len() * width,
            input,
            labels: Labels {
                positions: vector(positions),
                tokens: vector(tokens),
                sop: self.with_sop.then(|| vector(sop)),
                pseudo_tokens: None,
            },
            rows: numbers.iter().map(|&number| number as usize).collect(),
            terms,
        })
    }
}

/// A tensor has to have something in it: where nothing is masked, a label that is ignored.
pub(super) fn never_empty(mut positions: Vec<i64>, mut tokens: Vec<i64>) -> (Vec<i64>, Vec<i64>) {
    if tokens.is_empty() {
        positions.push(0);
        tokens.push(-1);
    }
    (positions, tokens)
}

/// Counts masked tokens and sentence orders that were guessed right.
#[derive(Default)]
pub struct Guessed {
    correct: usize,
    sop_correct: usize,
}

impl Scorer<TaskModel<MaskedLm>> for Guessed {
    fn add(&mut self, _: &TaskModel<MaskedLm>, batch: &BatchOf<TaskModel<MaskedLm>>, logits: &MlmLogits) -> Result<()> {
        self.correct += count_equal(&logits.tokens, &batch.labels.tokens);
        if let (Some(logits), Some(labels)) = (&logits.sop, &batch.labels.sop) {
            self.sop_correct += count_equal(logits, labels);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &EvalSet, losses: &LossSums, result: &mut SetResult) {
        result.correct = self.correct;
        if let Some(sop) = losses.get(SOP_LOSS) {
            let rows = sop.labels as usize;
            let accuracy = self.sop_correct as f64 / rows.max(1) as f64;
            result.sentence_order = Some(OrderResult { accuracy, correct: self.sop_correct, rows, loss: sop.mean() });
        }
    }
}
