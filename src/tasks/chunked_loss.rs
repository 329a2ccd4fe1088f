//! The head's part of a training step, for vocabularies so large that the logits of all masked tokens would not fit, on devices that keep
//! them: some tokens at a time, each part with a backward pass of its own, which ends at the encoder's output.

use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};

use super::batch::{Loss, join_losses};
use super::gradients::add;
use super::{TaskBatch, TaskHead, TaskModel};

/// Numbers of the logits at once: 256 MiB of them, and as much for their gradients.
pub(super) const MOST_LOGITS: usize = 1 << 26;

/// Adds the gradients of a batch's scaled loss to the head's parameters, and the output embedding, to `all`. `last`, `[tokens, hidden]`, is
/// the encoder's output as a leaf of the graph, and `states` gives it as `[batch, seq, hidden]`. Gives the losses, without a graph, and
/// the gradient to `last`.
pub fn add_gradients<H: TaskHead>(
    model: &TaskModel<H>,
    last: Tensor<2>,
    states: impl Fn(Tensor<2>) -> Tensor<3>,
    batch: &TaskBatch<H>,
    most: usize,
    all: &mut GradientsParams,
) -> (Vec<Loss>, Tensor<2>) {
    let of_part = |part: &TaskBatch<H>| {
        let output = model.backbone.output(vec![states(last.clone())]);
        let sums = model.head.training_losses(part, &output, &model.backbone);
        let gradients = part.scaled(&sums).backward();
        let grad_output = gradient_of(&last, &gradients); // [tokens, hidden]
        add(model, all, GradientsParams::from_grads(gradients, model));
        (part.losses(sums), grad_output)
    };
    let sum = |(one, to_last): (Vec<Loss>, Tensor<2>), (other, more): (Vec<Loss>, Tensor<2>)| {
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
    use burn::tensor::Device;

    use super::*;
    use crate::nn::HiddenStates;
    use crate::tasks::test_model::{VOCABULARY, batch, configs, model};
    use crate::tasks::{MaskedLm, number};

    /// Sums of f32 in another order: absolute for the loss, relative to the largest number of a tensor for gradients.
    const LOSS: f64 = 1e-5;
    const GRADIENT: f64 = 1e-4;

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
        for (config, with_sop) in configs(0.0) {
            let model = model(&config, with_sop, &device);
            let batch = batch(with_sop, &device);
            let learn = |model: &TaskModel<MaskedLm>, most: usize| {
                let mut gradients = GradientsParams::new();
                let losses = model.add_gradients(&batch, most, &mut gradients, None);
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
        for (config, with_sop) in configs(0.0) {
            let model = model(&config, with_sop, &device);
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
