//! Gradients that hold the graph of one layer at a time (arXiv 1604.06174): the forward pass keeps each layer's input alone, and the
//! backward pass computes each layer anew. It costs a second forward pass.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Distribution, Gradients, Tensor};

use super::batch::Loss;
use super::{TaskBatch, TaskHead, TaskModel, chunked_loss};
use crate::nn::Encoder;

/// Adds the gradients of a batch's scaled loss to `accumulator`, and gives the losses themselves, without a graph.
pub fn add_gradients<H: TaskHead>(
    model: &TaskModel<H>,
    encoder: &Encoder,
    batch: &TaskBatch<H>,
    most_logits: usize,
    accumulator: &mut GradientsAccumulator<TaskModel<H>>,
) -> Vec<Loss> {
    let backbone = &model.backbone;
    let layers = encoder.layers();
    let bias = backbone.attention_bias(&batch.input); // [batch, 1, query or 1, key]
    let dropout = Dropout::new(bias.device());

    // Frozen parameters leave no graph behind, and dropout goes on as in training.
    dropout.begin(0);
    let mut inputs = vec![backbone.clone().no_grad().embed(&batch.input)]; // [batch, seq, hidden]
    for (index, layer) in layers.iter().enumerate() {
        dropout.begin(index as u64 + 1);
        inputs.push(layer.clone().no_grad().forward(inputs[index].clone(), bias.clone()));
    }

    let mut leaf = || inputs.pop().map(Tensor::require_grad).expect("one for every layer, and the last layer's output");
    dropout.begin(layers.len() as u64 + 1);
    // Of what the layer at hand gives, [batch, seq, hidden].
    let (losses, mut grad_output) = chunked_loss::add_gradients(model, leaf(), batch, most_logits, accumulator);

    let mut add = |gradients: GradientsParams| accumulator.accumulate(model, gradients);
    for (index, layer) in layers.iter().enumerate().rev() {
        let input = leaf(); // [batch, seq, hidden]
        dropout.begin(index as u64 + 1);
        let gradients = backward_from(layer.forward(input.clone(), bias.clone()), grad_output);
        grad_output = gradient_of(&input, &gradients);
        add(GradientsParams::from_grads(gradients, layer));
    }
    dropout.begin(0);
    let gradients = backward_from(backbone.embed(&batch.input), grad_output);
    add(GradientsParams::from_grads(gradients, backbone));
    losses
}

/// The gradients of everything that `output` was computed from, given the loss's gradient to `output`; both `[batch, seq, hidden]`.
pub(super) fn backward_from(output: Tensor<3>, gradient: Tensor<3>) -> Gradients {
    (output * gradient.autodiff()).sum().backward()
}

/// The gradient to a leaf; 0 where nothing of the loss depends on it.
pub(super) fn gradient_of(leaf: &Tensor<3>, gradients: &Gradients) -> Tensor<3> {
    leaf.grad(gradients).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}

/// Has each part of the model drop out the same in its second forward pass as in its first.
struct Dropout {
    device: Device,
    seed: u64,
}

impl Dropout {
    /// Takes a seed from the device's generator, which the training loop has seeded for the step.
    fn new(device: Device) -> Self {
        let words = Tensor::<1>::random([2], Distribution::Uniform(0.0, f64::from(1 << 24)), &device); // [2]
        let seed = words.into_data().iter::<f64>().fold(0, |seed, word| (seed << 24) | word as u64);
        Self { device, seed }
    }

    /// Before part `number` of the model, in either pass: 0 are the embeddings, then come the layers, then the head.
    fn begin(&self, number: u64) {
        self.device.seed(self.seed.wrapping_add(number));
    }
}
