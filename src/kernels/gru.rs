//! All steps of a GRU as one operation, forward and backward, as [`super::lstm`] is for the LSTM.

mod rows;

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Shape, Tensor};
use rayon::prelude::*;

use self::rows::{Back, Forth};
use super::matrix::{Factor, Matrix, Packed, Threads, multiply};
use super::sequence::{Sequences, Share};
use super::{NoCheckpointing, tensor, values};

/// The outputs `[batch, steps, hidden]` of [`crate::nn::Gru`], 0 where a row has ended, from a state of zeros. `None` where there is
/// no kernel for the tensors.
///
/// `gates` `[batch, steps, 3 * hidden]` is what the inputs and the bias give to update gate, reset gate and candidate; `recurrent` as
/// the layer has it. Where `reversed`, the steps are taken from each row's last to its first.
pub fn gru(gates: &Tensor<3>, recurrent: &Tensor<2>, lengths: &[usize], reversed: bool) -> Option<Tensor<3>> {
    if gates.dtype() != DType::F32 || recurrent.dtype() != DType::F32 {
        return None;
    }
    let ([batch, steps, _], [hidden, _]) = (gates.dims(), recurrent.dims());
    let layout = Layout { batch, steps, hidden, lengths: lengths.to_vec(), reversed };
    if let Ok(gates) = gates.clone().try_into_primitive::<Flex>() {
        let recurrent = recurrent.clone().try_into_primitive::<Flex>().ok()?;
        let inputs = [gates, recurrent].map(|tensor| tensor.to_contiguous());
        return Some(Tensor::from_primitive::<Flex>(Pass::forward(layout, inputs, false).output));
    }
    let gates = gates.clone().try_into_primitive::<Autodiff<Flex>>().ok()?;
    let inputs = [gates, recurrent.clone().try_into_primitive::<Autodiff<Flex>>().ok()?];
    let nodes = inputs.each_ref().map(|tensor| tensor.node());
    let inputs = inputs.map(|tensor| tensor.into_primitive().to_contiguous());
    let output = match Gru.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let pass = Pass::forward(layout, inputs, true);
            let output = pass.output.clone();
            prepared.finish(Arc::new(pass), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(Pass::forward(layout, inputs, false).output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(output))
}

#[derive(Debug)]
struct Gru;

impl Backward<Flex, 2> for Gru {
    type State = Arc<Pass>;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [gates, recurrent] = ops.parents;
        let (of_gates, of_recurrent) = ops.state.backward(values(&gradient), recurrent.is_some());
        if let Some(parent) = gates {
            gradients.register::<Flex>(parent.id, of_gates);
        }
        if let (Some(parent), Some(gradient)) = (recurrent, of_recurrent) {
            gradients.register::<Flex>(parent.id, gradient);
        }
    }
}

/// Sizes, and where rows end.
#[derive(Debug)]
struct Layout {
    batch: usize,
    steps: usize,
    hidden: usize,
    lengths: Vec<usize>,
    reversed: bool,
}

/// What the forward pass leaves.
#[derive(Debug)]
struct Pass {
    layout: Layout,
    /// The gates' part from the inputs, and the weights.
    inputs: [FlexTensor; 2],
    /// The gates after their functions, `[batch, steps, 3 * hidden]`: update, reset, candidate.
    gates: Vec<f32>,
    /// What the reset gate leaves of the state, `[batch, steps, hidden]`.
    reset: Vec<f32>,
    /// `[batch, steps, hidden]`
    output: FlexTensor,
}

/// The inputs' numbers, and how to go through them.
#[derive(Clone, Copy)]
struct View<'a> {
    hidden: usize,
    sequences: Sequences<'a>,
    share: Share,
    gates: &'a [f32],
}

impl<'a> View<'a> {
    fn new(layout: &'a Layout, inputs: &'a [FlexTensor; 2]) -> Self {
        let Layout { batch, steps, hidden, ref lengths, reversed } = *layout;
        let [gates, recurrent] = inputs.each_ref().map(values);
        Self {
            hidden,
            sequences: Sequences { batch, steps, lengths: Some(lengths), reversed },
            share: Share::new(batch, recurrent.len()),
            gates,
        }
    }
}

/// The weights as the steps' products read them: forward, or turned round for the way back.
struct Weights {
    /// `[hidden, 2 * hidden]`, or the other way round.
    of_gates: Packed,
    /// `[hidden, hidden]`, or the other way round.
    of_candidate: Packed,
}

impl Weights {
    fn new(recurrent: &FlexTensor, hidden: usize, turned: bool) -> Self {
        let (of_gates, of_candidate) = values(recurrent).split_at(2 * hidden * hidden);
        let packed = |values, columns| {
            let factor = Factor::new(values, Matrix::whole(hidden, columns));
            Packed::new(if turned { factor.transposed() } else { factor })
        };
        Self { of_gates: packed(of_gates, 2 * hidden), of_candidate: packed(of_candidate, hidden) }
    }
}

impl Pass {
    fn forward(layout: Layout, inputs: [FlexTensor; 2], keep: bool) -> Self {
        let Layout { batch, steps, hidden, .. } = layout;
        let view = View::new(&layout, &inputs);
        let weights = Weights::new(&inputs[1], hidden, false);
        let kept = if keep { steps.max(1) } else { 1 };
        let mut gates = vec![0.0; batch * kept * 3 * hidden];
        let mut reset = vec![0.0; batch * kept * hidden];
        let mut output = vec![0.0; batch * steps * hidden];
        let rows = view.share.rows;
        let parts = gates.par_chunks_mut(rows * kept * 3 * hidden).zip(reset.par_chunks_mut(rows * kept * hidden));
        let parts = parts.zip(output.par_chunks_mut(rows * steps.max(1) * hidden)).enumerate();
        parts.for_each(|(number, ((gates, reset), output))| {
            let state = vec![0.0; reset.len() / kept];
            Forth { view, weights: &weights, first: number * rows, kept, state, gates, reset, output }.run();
        });
        let output = tensor(output, Shape::new([batch, steps, hidden]));
        Self { layout, inputs, gates, reset, output }
    }

    /// The gradients of the gates' part from the inputs and, if it is `wanted`, of the weights, from that of the output.
    fn backward(&self, gradient: &[f32], wanted: bool) -> (FlexTensor, Option<FlexTensor>) {
        let Layout { batch, steps, hidden, .. } = self.layout;
        let view = View::new(&self.layout, &self.inputs);
        let mut gates = vec![0.0; batch * steps * 3 * hidden];
        let rows = view.share.rows;
        let turned = Weights::new(&self.inputs[1], hidden, true);
        gates.par_chunks_mut((rows * steps * 3 * hidden).max(1)).enumerate().for_each(|(number, gates)| {
            let rows_here = gates.len() / (steps * 3 * hidden);
            let [flowing, reset] = [(); 2].map(|()| vec![0.0; rows_here * hidden]);
            Back { pass: self, view, weights: &turned, first: number * rows, gradient, flowing, reset, gates }.run();
        });
        let recurrent = wanted.then(|| {
            let zeros = vec![0.0; batch * hidden];
            let before = view.sequences.befores(values(&self.output), steps * hidden, &zeros, hidden);
            let mut out = vec![0.0; 3 * hidden * hidden];
            let (of_gates, of_candidate) = out.split_at_mut(2 * hidden * hidden);
            let all = batch * steps;
            for (out, left, offset, columns) in
                [(of_gates, &before, 0, 2 * hidden), (of_candidate, &self.reset, 2 * hidden, hidden)]
            {
                let left = Factor::new(left, Matrix::whole(all, hidden)).transposed();
                let right = Factor::new(&gates, Matrix { offset, rows: all, columns, stride: 3 * hidden });
                multiply(out, Matrix::whole(hidden, columns), false, left, right, Threads::Many);
            }
            tensor(out, Shape::new([hidden, 3 * hidden]))
        });
        (tensor(gates, Shape::new([batch, steps, 3 * hidden])), recurrent)
    }
}
