//! Gradients that hold the graph of one layer at a time (arXiv 1604.06174): the forward pass keeps each layer's input alone, and the
//! backward pass computes each layer anew. It costs a second forward pass.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Device;

use super::batch::Loss;
use super::chunked_loss::{self, backward_from, gradient_of};
use super::{TaskBatch, TaskHead, TaskModel};
use crate::nn::{Encoder, Packing, dropout_seed, seed_dropout};

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
    let bias = backbone.attention_bias(&batch.input);
    let dropout = Dropout::new(batch.input.input_ids.device());

    // Frozen parameters leave no graph behind, and dropout goes on as in training.
    dropout.begin(0);
    let embedded = backbone.clone().no_grad().embed(&batch.input); // [batch, seq, hidden]
    let packing = Packing::new(H::reads(batch), &bias, &embedded);
    let mut inputs = vec![packing.pack(embedded)]; // [tokens, hidden]
    for (index, layer) in layers.iter().enumerate() {
        dropout.begin(index as u64 + 1);
        inputs.push(layer.clone().no_grad().forward(inputs[index].clone(), bias.clone()));
    }

    let mut last_input = || inputs.pop().expect("one for every layer, and the last layer's output"); // [tokens, hidden]
    dropout.begin(layers.len() as u64 + 1);
    let leaf = packing.unpack(last_input()).require_grad(); // [batch, seq, hidden]
    let (losses, grad_output) = chunked_loss::add_gradients(model, leaf, batch, most_logits, accumulator);
    let mut grad_output = packing.pack(grad_output); // of what the layer at hand gives, [tokens, hidden]

    let mut add = |gradients: GradientsParams| accumulator.accumulate(model, gradients);
    for (index, layer) in layers.iter().enumerate().rev() {
        let input = last_input().require_grad(); // [tokens, hidden]
        dropout.begin(index as u64 + 1);
        let gradients = backward_from(layer.forward(input.clone(), bias.clone()), grad_output);
        grad_output = gradient_of(&input, &gradients);
        add(GradientsParams::from_grads(gradients, layer));
    }
    dropout.begin(0);
    let gradients = backward_from(backbone.embed(&batch.input), packing.unpack(grad_output));
    add(GradientsParams::from_grads(gradients, backbone));
    losses
}

/// Has each part of the model drop out the same in its second forward pass as in its first.
struct Dropout {
    device: Device,
    seed: u64,
}

impl Dropout {
    /// Takes a seed from the generator that the training loop has seeded for the step.
    fn new(device: Device) -> Self {
        Self { device, seed: dropout_seed() }
    }

    /// Before part `number` of the model, in either pass: 0 are the embeddings, then come the layers, then the head.
    fn begin(&self, number: u64) {
        seed_dropout(&self.device, self.seed.wrapping_add(number));
    }
}
