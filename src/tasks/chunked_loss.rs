//! The head's part of a training step, for vocabularies so large that the logits of all masked tokens would not fit, on devices that keep
//! them: some tokens at a time, each part with a backward pass of its own, which ends at the encoder's output.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Gradients, Tensor};

use super::batch::{Loss, join_losses};
use super::{TaskBatch, TaskHead, TaskModel};

/// Numbers of the logits at once: 256 MiB of them, and as much for their gradients.
pub(super) const MOST_LOGITS: usize = 1 << 26;

/// Adds the gradients of a batch's scaled loss to the head's parameters, and the output embedding, to `accumulator`. `last`,
/// `[batch, seq, hidden]`, is the encoder's output as a leaf of the graph. Gives the losses, without a graph, and the gradient to `last`.
pub fn add_gradients<H: TaskHead>(
    model: &TaskModel<H>,
    last: Tensor<3>,
    batch: &TaskBatch<H>,
    most: usize,
    accumulator: &mut GradientsAccumulator<TaskModel<H>>,
) -> (Vec<Loss>, Tensor<3>) {
    let of_part = |part: &TaskBatch<H>| {
        let output = model.backbone.output(vec![last.clone()]);
        let sums = model.head.training_losses(part, &output, &model.backbone);
        let gradients = part.scaled(&sums).backward();
        let grad_output = gradient_of(&last, &gradients); // [batch, seq, hidden]
        accumulator.accumulate(model, GradientsParams::from_grads(gradients, model));
        (part.losses(sums), grad_output)
    };
    let sum = |(one, to_last): (Vec<Loss>, Tensor<3>), (other, more): (Vec<Loss>, Tensor<3>)| {
        (join_losses(vec![one, other]), to_last + more)
    };
    let parts = model.head.parts(batch, most);
    parts.iter().map(of_part).reduce(sum).expect("a batch is cut into at least one part")
}

/// The gradients of everything that `output` was computed from, given the loss's gradient to `output`, of the same shape.
pub(super) fn backward_from<const D: usize>(output: Tensor<D>, gradient: Tensor<D>) -> Gradients {
    (output * gradient.autodiff()).sum().backward()
}

/// The gradient to a leaf; 0 where nothing of the loss depends on it.
pub(super) fn gradient_of<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Tensor<D> {
    leaf.grad(gradients).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::module::{Module, ModuleVisitor, Param};
    use burn::tensor::{Device, Int, TensorData};

    use super::*;
    use crate::data::{InputRow, pad};
    use crate::models::ModelConfig;
    use crate::models::{PretrainedConfig, ernie, ernie_m};
    use crate::nn::HiddenStates;
    use crate::tasks::masked_lm::{LM_LOSS, Labels, MaskedLm, SOP_LOSS};
    use crate::tasks::{Batch, LossTerm, number};
    use crate::tokenize::Padding;
    use crate::weights::{Missing, fill};

    /// Sums of f32 in another order: absolute for the loss, relative to the largest number of a tensor for gradients.
    const LOSS: f64 = 1e-5;
    const GRADIENT: f64 = 1e-4;
    const VOCABULARY: usize = 31;

    /// Each with whether there is a loss of sentence order.
    fn configs() -> [(ModelConfig, bool); 2] {
        let of = |family, defaults| {
            let config = PretrainedConfig {
                vocab_size: VOCABULARY,
                hidden_size: 8,
                num_hidden_layers: 2,
                num_attention_heads: 2,
                intermediate_size: 16,
                hidden_dropout_prob: 0.0,
                attention_probs_dropout_prob: 0.0,
                max_position_embeddings: 20,
                initializer_range: 0.3,
                ..defaults
            };
            ModelConfig::encoder(family, config).unwrap()
        };
        [(of(&ernie_m::FAMILY, ernie_m::DEFAULTS), false), (of(&ernie::FAMILY, ernie::DEFAULTS), true)]
    }

    fn batch(with_sop: bool, device: &Device) -> TaskBatch<MaskedLm> {
        let ids: [&[u32]; 2] = [&[0, 5, 6, 7, 8, 9, 10, 2], &[0, 11, 12, 13, 2]];
        let rows = ids.map(|ids| InputRow { ids, first: 3 });
        let vector = |values: &[i64]| Tensor::<1, Int>::from_data(TensorData::from(values), device);
        let mut terms = vec![LossTerm::mean(LM_LOSS, 7)];
        terms.extend(with_sop.then(|| LossTerm::mean(SOP_LOSS, 2)));
        Batch {
            input: pad(&rows, Padding { id: 1, apart: false, types: true, max_length: 512 }, 0, device),
            labels: Labels {
                positions: vector(&[1, 2, 4, 6, 9, 10, 11]),
                tokens: vector(&[20, 21, 22, 23, 24, 25, 26]),
                sop: with_sop.then(|| vector(&[0, 1])),
                pseudo_tokens: None,
            },
            rows: vec![0, 1],
            block: 0,
            tokens: 13,
            padded_tokens: 16,
            terms,
        }
    }

    struct Found<'a> {
        gradients: &'a GradientsParams,
        found: BTreeMap<String, Vec<f64>>,
    }

    impl ModuleVisitor for Found<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.found.insert(param.id.to_string(), gradient.into_data().iter::<f64>().collect());
            }
        }
    }

    /// What the memory bound must not change, with and without layers that are computed again.
    #[test]
    fn the_loss_and_its_gradients_do_not_depend_on_the_parts() {
        let device = Device::flex().autodiff();
        for (config, with_sop) in configs() {
            let empty = TaskModel::new(&config, &with_sop, 0, &device);
            let names = &config.family().tensors;
            let (model, _) = fill(empty, None, names, config.initialisation(3), Missing::HeadsAreNew).unwrap();
            let batch = batch(with_sop, &device);
            let learn = |model: &TaskModel<MaskedLm>, most: usize| {
                let mut accumulator = GradientsAccumulator::new();
                let losses = model.add_gradients(&batch, most, &mut accumulator);
                let gradients = accumulator.grads();
                let mut visitor = Found { gradients: &gradients, found: BTreeMap::new() };
                model.visit(&mut visitor);
                let labels: Vec<usize> = losses.iter().map(|loss| loss.labels).collect();
                assert_eq!(labels, if with_sop { vec![7, 2] } else { vec![7] });
                (number(&losses[0].sum), losses.get(1).map(|sop| number(&sop.sum)), visitor.found)
            };
            let (loss, sop, gradients) = learn(&model, usize::MAX);
            assert!(gradients.len() > 30, "{}", gradients.len());
            for (most, parts) in [(1, 7), (3 * VOCABULARY, 3), (6 * VOCABULARY + 1, 2), (7 * VOCABULARY, 1)] {
                assert_eq!(model.head.parts(&batch, most).len(), parts);
                for recompute in [false, true] {
                    let (other_loss, other_sop, others) = learn(&model.clone().with_recompute(recompute), most);
                    assert!((loss - other_loss).abs() < LOSS, "{loss} for {other_loss}");
                    assert_eq!(sop, other_sop);
                    assert_eq!(gradients.len(), others.len());
                    for (name, gradient) in &gradients {
                        let largest = gradient.iter().map(|x| x.abs()).fold(1e-3, f64::max);
                        let off = gradient.iter().zip(&others[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                        assert!(off <= GRADIENT * largest, "{parts} parts: off by {off:e} of {largest:e}");
                    }
                }
            }
        }
    }

    /// An encoder that leaves the padding out has the same states of the tokens, and the same gradients.
    #[test]
    fn the_padding_behind_a_row_makes_no_difference() {
        let device = Device::flex().autodiff();
        for (config, with_sop) in configs() {
            let empty = TaskModel::<MaskedLm>::new(&config, &with_sop, 0, &device);
            let names = &config.family().tensors;
            let (model, _) = fill(empty, None, names, config.initialisation(3), Missing::HeadsAreNew).unwrap();
            let batch: TaskBatch<MaskedLm> = batch(with_sop, &device);
            let learn = |keep: HiddenStates| {
                let output = model.backbone.forward(&batch.input, keep);
                let states: Vec<f32> = output.last_hidden_state().into_data().try_to_vec().unwrap(); // [2, 8, 8]
                let sums = model.head.training_losses(&batch, &output, &model.backbone);
                let gradients = GradientsParams::from_grads(batch.scaled(&sums).backward(), &model);
                let mut visitor = Found { gradients: &gradients, found: BTreeMap::new() };
                model.visit(&mut visitor);
                (states, visitor.found)
            };
            let ((states, gradients), (packed, others)) =
                (learn(HiddenStates::Last), learn(HiddenStates::LastOfTokens));
            assert!(states[13 * 8..] != packed[13 * 8..] && packed[13 * 8..].iter().all(|state| *state == 0.0));
            let off = states[..13 * 8].iter().zip(&packed).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
            assert!(f64::from(off) < LOSS, "states are off by {off:e}");
            assert!(gradients.len() > 30 && gradients.len() == others.len());
            for (name, gradient) in &gradients {
                let largest = gradient.iter().map(|x| x.abs()).fold(1e-3, f64::max);
                let off = gradient.iter().zip(&others[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(off <= GRADIENT * largest, "gradients are off by {off:e} of {largest:e}");
            }
        }
    }
}
