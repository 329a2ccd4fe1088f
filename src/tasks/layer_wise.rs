//! Gradients layer by layer: the graph of a batch is cut between the layers, and each has a backward pass of its own.
//!
//! Where memory is short the forward pass keeps each layer's input alone, and the backward pass computes each layer anew
//! (arXiv 1604.06174), which costs a second forward pass. And what exchanges gradients with other ranks has those of a layer while those
//! of the layers below are still computed.

use std::collections::HashSet;

use burn::module::{Module, ParamId, list_param_ids};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Gradients, Tensor};

use super::batch::Loss;
use super::chunked_loss::{self, backward_from, gradient_of};
use super::gradients::{BackwardHook, add};
use super::{TaskBatch, TaskHead, TaskModel};
use crate::nn::{AttentionBias, Encoder, EncoderLayer, Packing, dropout_seed, seed_dropout};

/// Adds the gradients of a batch's scaled loss to `sum`, and gives the losses themselves, without a graph.
pub fn add_gradients<H: TaskHead>(
    model: &TaskModel<H>,
    encoder: &Encoder,
    batch: &TaskBatch<H>,
    most_logits: usize,
    sum: &mut GradientsParams,
    mut hook: Option<&mut dyn BackwardHook<TaskModel<H>>>,
) -> Vec<Loss> {
    let (backbone, layers) = (&model.backbone, encoder.layers());
    let bias = backbone.attention_bias(&batch.input);
    let again = model.recompute.then(|| Again::new(batch.input.input_ids.device()));
    let again = again.as_ref();

    begin(again, 0);
    // Frozen parameters leave no graph behind, and dropout goes on as in training.
    let embedded = match again {
        Some(_) => backbone.clone().no_grad().embed(&batch.input),
        None => backbone.embed(&batch.input),
    }; // [batch, seq, hidden]
    let packing = Packing::new(H::reads(batch), &bias, &embedded);
    let embedded = packing.pack(embedded); // [tokens, hidden]
    let mut x = embedded.clone().detach(); // [tokens, hidden]
    let embedded = again.is_none().then_some(embedded);
    let mut computed = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let (layer, output) = ComputedLayer::forward(layer, index + 1, x, &bias, again);
        computed.push(layer);
        x = output;
    }

    begin(again, layers.len() + 1);
    let states = |leaf| packing.unpack(leaf); // [batch, seq, hidden]
    let (losses, mut grad_output) =
        chunked_loss::add_gradients(model, x.require_grad(), states, batch, most_logits, sum);
    let mut missing: HashSet<ParamId> = layers.iter().flat_map(list_param_ids).collect();
    missing.extend(backbone.params_of_embeddings());
    let mut ready = |missing: &HashSet<ParamId>, sum: &mut GradientsParams| {
        hook.iter_mut().for_each(|hook| hook.ready(model, missing, sum));
    };
    ready(&missing, sum);
    while let Some(computed) = computed.pop() {
        let layer = computed.layer;
        let (gradients, grad_input) = computed.backward(grad_output, &bias, again);
        grad_output = grad_input; // [tokens, hidden]
        add(model, sum, GradientsParams::from_grads(gradients, layer));
        list_param_ids(layer).iter().for_each(|id| _ = missing.remove(id));
        ready(&missing, sum);
    }
    let embedded = embedded.unwrap_or_else(|| {
        begin(again, 0);
        packing.pack(backbone.embed(&batch.input)) // [tokens, hidden]
    });
    add(model, sum, GradientsParams::from_grads(backward_from(embedded, grad_output), backbone));
    losses
}

/// A layer between its passes.
struct ComputedLayer<'a> {
    layer: &'a EncoderLayer,
    /// Which part of the model it is.
    number: usize,
    /// `[tokens, hidden]`, a leaf of the graph where there is one.
    input: Tensor<2>,
    /// Of the same shape, with its graph; `None` where it is to be computed again.
    output: Option<Tensor<2>>,
}

impl<'a> ComputedLayer<'a> {
    /// The forward pass, and its output without a graph: `[tokens, hidden] -> [tokens, hidden]`.
    fn forward(
        layer: &'a EncoderLayer,
        number: usize,
        x: Tensor<2>,
        bias: &AttentionBias,
        again: Option<&Again>,
    ) -> (Self, Tensor<2>) {
        begin(again, number);
        if again.is_some() {
            let output = layer.clone().no_grad().forward(x.clone(), bias.clone()); // [tokens, hidden]
            return (Self { layer, number, input: x, output: None }, output);
        }
        let input = x.require_grad();
        let output = layer.forward(input.clone(), bias.clone()); // [tokens, hidden]
        (Self { layer, number, input, output: Some(output.clone()) }, output.detach())
    }

    /// The backward pass: all gradients, and that to the input, from that to the output, both `[tokens, hidden]`.
    fn backward(self, grad_output: Tensor<2>, bias: &AttentionBias, again: Option<&Again>) -> (Gradients, Tensor<2>) {
        let (input, output) = match self.output {
            Some(output) => (self.input, output),
            None => {
                let input = self.input.require_grad();
                begin(again, self.number);
                (input.clone(), self.layer.forward(input, bias.clone()))
            }
        };
        let gradients = backward_from(output, grad_output);
        let grad_input = gradient_of(&input, &gradients); // [tokens, hidden]
        (gradients, grad_input)
    }
}

/// Has each part of the model drop out the same in its second forward pass as in its first.
struct Again {
    device: Device,
    seed: u64,
}

impl Again {
    /// Takes a seed from the generator that the training loop has seeded for the step.
    fn new(device: Device) -> Self {
        Self { device, seed: dropout_seed() }
    }
}

/// Before part `number` of the model, in either pass: 0 are the embeddings, then come the layers, then the head.
fn begin(again: Option<&Again>, number: usize) {
    if let Some(Again { device, seed }) = again {
        seed_dropout(device, seed.wrapping_add(number as u64));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::module::{ModuleVisitor, Param};

    use super::*;
    use crate::tasks::test_model::{batch, configs, model};
    use crate::tasks::{MaskedLm, learn_block, number};

    /// Takes what is ready, as ranks do.
    #[derive(Default)]
    struct Taking {
        begun: Option<GradientsParams>,
        /// How many parameters have a gradient, each time that some are ready.
        stages: Vec<usize>,
        taken: BTreeMap<String, Vec<u32>>,
    }

    struct Visitor<'a> {
        missing: &'a HashSet<ParamId>,
        gradients: &'a mut GradientsParams,
        earlier: &'a mut GradientsParams,
        taken: &'a mut BTreeMap<String, Vec<u32>>,
    }

    impl ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.missing.contains(&param.id) {
                return;
            }
            let earlier = self.earlier.remove::<D>(param.id);
            let Some(gradient) = crate::tasks::added(earlier, self.gradients.remove::<D>(param.id)) else { return };
            let bits = gradient.into_data().iter::<f32>().map(f32::to_bits).collect();
            assert!(self.taken.insert(param.id.to_string(), bits).is_none(), "a gradient came after it was ready");
        }
    }

    impl BackwardHook<TaskModel<MaskedLm>> for Taking {
        fn begin(&mut self, earlier: GradientsParams) {
            self.begun = Some(earlier);
        }

        fn ready(&mut self, model: &TaskModel<MaskedLm>, missing: &HashSet<ParamId>, gradients: &mut GradientsParams) {
            let earlier = self.begun.as_mut().unwrap();
            model.visit(&mut Visitor { missing, gradients, earlier, taken: &mut self.taken });
            self.stages.push(self.taken.len());
        }
    }

    /// On a CPU a block's gradients have the same bits, whoever waits for those of its last batch.
    #[test]
    fn a_hook_sees_the_gradients_of_the_whole_graph() {
        let device = Device::flex().autodiff();
        for (config, with_sop) in configs(0.3) {
            for recompute in [false, true] {
                let model = model(&config, with_sop, &device).with_recompute(recompute);
                let learn = |hook: Option<&mut dyn BackwardHook<_>>| {
                    seed_dropout(&device, 5);
                    learn_block(&model, vec![batch(with_sop, &device); 3], &(), hook)
                };
                let mut whole = learn(None);
                let mut taking = Taking::default();
                let other = learn(Some(&mut taking));
                let numbers = |losses: &[Loss]| losses.iter().map(|loss| number(&loss.sum)).collect::<Vec<_>>();
                assert_eq!(numbers(&whole.losses), numbers(&other.losses));
                let mut all = BTreeMap::new();
                let (nothing, mut none) = (HashSet::new(), GradientsParams::new());
                let gradients = &mut whole.gradients;
                model.visit(&mut Visitor { missing: &nothing, gradients, earlier: &mut none, taken: &mut all });
                assert!(all.len() > 30 && all == taking.taken, "{recompute}");
                // The head, two layers, the embeddings; then whatever there may be beside them, which is nothing.
                let [head, second, first, end] = taking.stages.try_into().unwrap();
                assert!(0 < head && head < second && second < first && first < end && end == all.len());
            }
        }
    }
}
