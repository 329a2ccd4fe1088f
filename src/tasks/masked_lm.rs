//! Masked language modelling, and with sentence order prediction (SOP) beside it, ERNIE 1.0's pre-training.
//!
//! Hugging Face's `...ForMaskedLM` and `...ForPreTraining`. Losses: cross-entropy of the masked tokens (`lm_loss`) and of whether two
//! pieces of a text are in their order or were exchanged (`sop_loss`). Metric: accuracy of each. Batches are samples of corpora
//! ([`super::sample_batches`]), those of ERNIE-M's own tasks too.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor, TensorData, assert_shape};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::batch::BatchOf;
use super::model::{TaskBatch, TaskHead, TaskModel};
use super::pseudo_tokens::{self, PseudoTokens};
use super::scorer::{EvalSet, Scorer, count_equal};
use crate::error::Result;
use crate::metrics::{LossSums, OrderResult, SetResult};
use crate::models::{Backbone, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{HasRoles, HiddenStates, MaskedLmHead, apply, cross_entropy_sum, linear};
use crate::recipe::{Task, TaskName};

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
    fn logits_at(&self, states: Tensor<3>, positions: Tensor<1, Int>, backbone: &Backbone) -> Tensor<2> {
        self.masked_lm.forward(states_at(states, positions), backbone.tied_embedding())
    }

    /// For how many tokens there may be logits at once, if no more than `logits` numbers are to be held: at least for one.
    fn tokens_at_once(&self, logits: usize) -> usize {
        (logits / self.masked_lm.vocabulary().max(1)).max(1)
    }

    fn sop(&self, output: &EncoderOutput) -> Option<Tensor<2>> {
        self.sentence_order.as_ref().map(|layer| apply(layer, output.pooled()))
    }
}

/// The states at some positions of rows `[batch, seq, hidden]` laid end to end, `[positions] -> [positions, hidden]`.
fn states_at(states: Tensor<3>, positions: Tensor<1, Int>) -> Tensor<2> {
    states.flatten::<2>(0, 1).select(0, positions)
}

impl HasRoles for MaskedLm {}

impl TaskHead for MaskedLm {
    /// Whether it predicts sentence order too.
    type Options = bool;
    type Labels = Labels;
    type Logits = MlmLogits;
    type Outcome = Guessed;

    fn options(task: &Task, _: usize) -> bool {
        task.name == TaskName::PreTraining
    }

    fn read_options(task: Option<TaskName>, _: &Map<String, Value>, _: bool) -> Result<bool> {
        Ok(task == Some(TaskName::PreTraining))
    }

    fn write_options(_: &bool, _: &mut Map<String, Value>) {}

    fn reads_pooled(_: &ModelConfig, with_sop: &bool) -> bool {
        *with_sop
    }

    fn new(config: &ModelConfig, with_sop: &bool, _: usize, device: &Device) -> Self {
        Self {
            masked_lm: MaskedLmHead::new(&config.masked_lm(), device),
            sentence_order: with_sop.then(|| linear(config.hidden_size(), 2, device)),
        }
    }

    fn forward(&self, _: &EncoderInput, output: &EncoderOutput, backbone: &Backbone) -> MlmLogits {
        let states = output.last_hidden_state().flatten::<2>(0, 1); // [batch * seq, hidden]
        MlmLogits { tokens: self.masked_lm.forward(states, backbone.tied_embedding()), sop: self.sop(output) }
    }

    /// The vocabulary is large: there are logits of the masked tokens alone.
    fn training_logits(&self, batch: &TaskBatch<Self>, output: &EncoderOutput, backbone: &Backbone) -> MlmLogits {
        let positions = batch.labels.positions.clone();
        MlmLogits { tokens: self.logits_at(output.last_hidden_state(), positions, backbone), sop: self.sop(output) }
    }

    fn training_losses(&self, batch: &TaskBatch<Self>, output: &EncoderOutput, backbone: &Backbone) -> Vec<Tensor<1>> {
        let Labels { positions, tokens, .. } = &batch.labels;
        let states = states_at(output.last_hidden_state(), positions.clone()); // [masked, hidden]
        let loss = self.masked_lm.loss_sum(states, backbone.tied_embedding(), tokens.clone());
        with_sop_loss(loss, self.sop(output), batch)
    }

    fn losses(&self, batch: &TaskBatch<Self>, logits: &MlmLogits) -> Vec<Tensor<1>> {
        let tokens = &batch.labels.tokens;
        let [masked] = tokens.dims();
        assert_shape!(logits.tokens, [masked, _]);
        let loss = cross_entropy_sum(logits.tokens.clone(), tokens.clone());
        with_sop_loss(loss, logits.sop.clone(), batch)
    }

    fn named_logits(input: &EncoderInput, MlmLogits { tokens, sop }: MlmLogits) -> Vec<(&'static str, TensorData)> {
        let ([batch, seq], [_, vocabulary]) = (input.input_ids.dims(), tokens.dims());
        let mut named = vec![("prediction_logits", tokens.reshape([batch, seq, vocabulary]).into_data())];
        named.extend(sop.map(|sop| ("seq_relationship_logits", sop.into_data())));
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
            let TaskModel { backbone, head, .. } = model.valid();
            let states = |input: &EncoderInput| backbone.forward(input, HiddenStates::Last).last_hidden_state();
            let logits = |states, positions| head.logits_at(states, positions, &backbone);
            pseudo_tokens.write(&mut batch.input, head.tokens_at_once(pseudo_tokens::LOGITS), states, logits);
        }
        batch
    }
}

/// The masked tokens' loss, and that of sentence order where there is one.
fn with_sop_loss(lm_loss: Tensor<1>, sop: Option<Tensor<2>>, batch: &TaskBatch<MaskedLm>) -> Vec<Tensor<1>> {
    let Labels { sop: labels, pseudo_tokens, .. } = &batch.labels;
    assert!(pseudo_tokens.is_none(), "the loss of an incomplete batch is that of its placeholders");
    let sop_loss = sop.zip(labels.clone()).map(|(logits, labels)| cross_entropy_sum(logits, labels));
    [lm_loss].into_iter().chain(sop_loss).collect()
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
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Guessed {
    correct: usize,
    sop_correct: usize,
}

impl Scorer<TaskModel<MaskedLm>> for Guessed {
    fn outcome(
        &self,
        _: &TaskModel<MaskedLm>,
        batch: &BatchOf<TaskModel<MaskedLm>>,
        logits: &MlmLogits,
    ) -> Result<Guessed> {
        let sop = logits.sop.as_ref().zip(batch.labels.sop.as_ref());
        Ok(Self {
            correct: count_equal(&logits.tokens, &batch.labels.tokens),
            sop_correct: sop.map_or(0, |(logits, labels)| count_equal(logits, labels)),
        })
    }

    fn count(&mut self, Guessed { correct, sop_correct }: Guessed) {
        self.correct += correct;
        self.sop_correct += sop_correct;
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
