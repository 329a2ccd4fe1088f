//! All steps of an LSTM as one operation, forward and backward: what a step leaves for the backward pass is kept in one buffer
//! each, and the weights' gradients are one matrix product over all steps. Where nothing needs a gradient, nothing is kept.

mod gates;
mod rows;

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Shape, Tensor};
use rayon::prelude::*;

use self::rows::{Back, Forth};
use super::matrix::{Factor, Matrix, Packed, Threads, multiply};
use super::sequence::{Sequences, Share};
use super::{NoCheckpointing, tensor, values};

/// What goes in: the gates' part from the inputs `[batch, steps, 4 * cell]`, the weights `[output, 4 * cell]` and, if the output is
/// projected, `[cell, output]`; and the state before the first step, `[batch, output]` and `[batch, cell]`. Without a projection,
/// output and cell are of one width.
pub struct LstmInput<'a> {
    pub gates: &'a Tensor<3>,
    pub recurrent: &'a Tensor<2>,
    pub projection: Option<&'a Tensor<2>>,
    pub hidden: &'a Tensor<2>,
    pub cell: &'a Tensor<2>,
}

/// Limits of the cell and of the output; where each row ends, if not all at the last step; and whether the steps are taken from
/// the last to the first, which for a row that ends earlier is the last that it has.
#[derive(Debug, Clone)]
pub struct LstmOptions {
    pub cell_clip: Option<f64>,
    pub output_clip: Option<f64>,
    pub lengths: Option<Vec<usize>>,
    pub reversed: bool,
}

/// The outputs `[batch, steps, output]`, 0 where a row has ended, and the state after the last step that is taken of each row:
/// `[batch, output]` and `[batch, cell]`. `None` where there is no kernel for the tensors.
pub fn lstm(input: &LstmInput, options: LstmOptions) -> Option<(Tensor<3>, Tensor<2>, Tensor<2>)> {
    let [batch, steps, _] = input.gates.dims();
    let ([_, output], [_, cell]) = (input.hidden.dims(), input.cell.dims());
    let matrices = [input.recurrent, input.hidden, input.cell].into_iter().chain(input.projection);
    if input.gates.dtype() != DType::F32 || matrices.clone().any(|tensor| tensor.dtype() != DType::F32) {
        return None;
    }
    let sizes = Sizes { batch, steps, cell, output };
    let all: Tensor<1> = match input.gates.clone().try_into_primitive::<Flex>() {
        Ok(gates) => {
            let matrices = matrices.map(|tensor| tensor.clone().try_into_primitive::<Flex>().ok());
            let inputs = std::iter::once(Some(gates)).chain(matrices).map(|tensor| Some(tensor?.to_contiguous()));
            Tensor::from_primitive::<Flex>(Pass::forward(sizes, options, inputs.collect::<Option<_>>()?, false).output)
        }
        Err(_) => {
            let gates = input.gates.clone().try_into_primitive::<Autodiff<Flex>>().ok()?;
            let matrices = matrices.map(|tensor| tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok());
            let inputs = std::iter::once(Some(gates)).chain(matrices).collect::<Option<Vec<_>>>()?;
            match input.projection {
                Some(_) => traced::<5>(inputs, sizes, options)?,
                None => traced::<4>(inputs, sizes, options)?,
            }
        }
    };
    // One tensor holds all three, so that one operation has their gradients.
    let all = all.reshape([batch, sizes.width()]);
    let outputs = all.clone().narrow(1, 0, steps * output).reshape([batch, steps, output]);
    let hidden = all.clone().narrow(1, steps * output, output); // [batch, output]
    Some((outputs, hidden, all.narrow(1, (steps + 1) * output, cell)))
}

fn traced<const N: usize>(
    inputs: Vec<FloatTensor<Autodiff<Flex>>>,
    sizes: Sizes,
    options: LstmOptions,
) -> Option<Tensor<1>> {
    let inputs: [_; N] = inputs.try_into().ok()?;
    let nodes = inputs.each_ref().map(|tensor| tensor.node());
    let inputs = inputs.into_iter().map(|tensor| tensor.into_primitive().to_contiguous()).collect();
    let output = match Backward::<Flex, N>::prepare::<NoCheckpointing>(Lstm, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let pass = Pass::forward(sizes, options, inputs, true);
            let output = pass.output.clone();
            prepared.finish(Arc::new(pass), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(Pass::forward(sizes, options, inputs, false).output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(output))
}

#[derive(Debug)]
struct Lstm;

impl<const N: usize> Backward<Flex, N> for Lstm {
    type State = Arc<Pass>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let found = ops.state.backward(values(&gradient), ops.parents.each_ref().map(Option::is_some));
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    steps: usize,
    cell: usize,
    output: usize,
}

impl Sizes {
    /// Numbers in a row of [`Pass::output`].
    fn width(self) -> usize {
        (self.steps + 1) * self.output + self.cell
    }

    fn share(self) -> Share {
        Share::new(self.batch, self.output * 4 * self.cell)
    }
}

/// What the forward pass leaves.
#[derive(Debug)]
struct Pass {
    sizes: Sizes,
    options: LstmOptions,
    /// As [`LstmInput`] has them, the projection last.
    inputs: Vec<FlexTensor>,
    /// The gates after their functions, `[batch, steps, 4 * cell]`: candidate, input, forget, output.
    gates: Vec<f32>,
    /// The cell after each step, `[batch, steps, cell]`.
    cells: Vec<f32>,
    /// What is projected, `[batch, steps, cell]`, if anything is.
    inner: Vec<f32>,
    /// `[batch * width]`: of each row the outputs, then the state.
    output: FlexTensor,
}

/// The inputs' numbers, and how to go through them.
#[derive(Clone, Copy)]
struct View<'a> {
    sizes: Sizes,
    options: &'a LstmOptions,
    sequences: Sequences<'a>,
    share: Share,
    gates: &'a [f32],
    hidden: &'a [f32],
    cell: &'a [f32],
}

impl<'a> View<'a> {
    fn new(sizes: Sizes, options: &'a LstmOptions, inputs: &'a [FlexTensor]) -> Self {
        let Sizes { batch, steps, .. } = sizes;
        let of = |number: usize| values(&inputs[number]);
        let sequences = Sequences { batch, steps, lengths: options.lengths.as_deref(), reversed: options.reversed };
        Self { sizes, options, sequences, share: sizes.share(), gates: of(0), hidden: of(2), cell: of(3) }
    }
}

/// The weights as the steps' products read them: forward, or turned round for the way back.
struct Weights {
    /// `[output, 4 * cell]`, or the other way round.
    recurrent: Packed,
    /// `[cell, output]`, or the other way round.
    projection: Option<Packed>,
}

impl Weights {
    fn new(sizes: Sizes, inputs: &[FlexTensor], turned: bool) -> Self {
        let Sizes { cell, output, .. } = sizes;
        let packed = |tensor: &FlexTensor, rows, columns| {
            let factor = Factor::new(values(tensor), Matrix::whole(rows, columns));
            Packed::new(if turned { factor.transposed() } else { factor })
        };
        Self {
            recurrent: packed(&inputs[1], output, 4 * cell),
            projection: inputs.get(4).map(|tensor| packed(tensor, cell, output)),
        }
    }
}

impl Pass {
    fn forward(sizes: Sizes, options: LstmOptions, inputs: Vec<FlexTensor>, keep: bool) -> Self {
        let Sizes { batch, steps, cell, .. } = sizes;
        let view = View::new(sizes, &options, &inputs);
        let kept = if keep { steps.max(1) } else { 1 };
        let weights = Weights::new(sizes, &inputs, false);
        let inner_width = if weights.projection.is_some() { kept * cell } else { 1 };
        let mut gates = vec![0.0; batch * kept * 4 * cell];
        let mut cells = vec![0.0; batch * kept * cell];
        let mut inner = vec![0.0; batch * inner_width];
        let mut output = vec![0.0; batch * sizes.width()];
        let rows = view.share.rows;
        let parts = output.par_chunks_mut(rows * sizes.width()).zip(gates.par_chunks_mut(rows * kept * 4 * cell));
        let parts = parts.zip(cells.par_chunks_mut(rows * kept * cell)).zip(inner.par_chunks_mut(rows * inner_width));
        parts.enumerate().for_each(|(number, (((output, gates), cells), inner))| {
            Forth { view, weights: &weights, first: number * rows, kept, output, gates, cells, inner }.run();
        });
        let output = tensor(output, Shape::new([batch * sizes.width()]));
        Self { sizes, options, inputs, gates, cells, inner, output }
    }

    /// The gradients of the inputs that are `wanted`, from that of the output.
    fn backward<const N: usize>(&self, gradient: &[f32], wanted: [bool; N]) -> [Option<FlexTensor>; N] {
        let Sizes { batch, steps, cell, output } = self.sizes;
        let view = View::new(self.sizes, &self.options, &self.inputs);
        let turned = Weights::new(self.sizes, &self.inputs, true);
        let projected_width = if turned.projection.is_some() { steps * output } else { 1 };
        let mut hidden = vec![0.0; batch * output];
        let mut last_cell = vec![0.0; batch * cell];
        let mut gates = vec![0.0; batch * steps * 4 * cell];
        let mut projected = vec![0.0; batch * projected_width];
        let rows = view.share.rows;
        if steps > 0 {
            let parts = hidden.par_chunks_mut(rows * output).zip(last_cell.par_chunks_mut(rows * cell));
            let parts = parts.zip(gates.par_chunks_mut(rows * steps * 4 * cell));
            let parts = parts.zip(projected.par_chunks_mut(rows * projected_width));
            parts.enumerate().for_each(|(number, (((hidden, cell), gates), projected))| {
                let first = number * rows;
                let gradient = &gradient[first * self.sizes.width()..];
                Back { pass: self, view, weights: &turned, first, gradient, hidden, cell, gates, projected }.run();
            });
        } else {
            for (row, gradient) in gradient.chunks(output + cell).enumerate() {
                hidden[row * output..][..output].copy_from_slice(&gradient[..output]);
                last_cell[row * cell..][..cell].copy_from_slice(&gradient[output..]);
            }
        }
        let weights = |left: &[f32], rows: usize, right: &[f32], columns: usize| {
            let mut out = vec![0.0; rows * columns];
            let left = Factor::new(left, Matrix::whole(batch * steps, rows)).transposed();
            let right = Factor::new(right, Matrix::whole(batch * steps, columns));
            multiply(&mut out, Matrix::whole(rows, columns), false, left, right, Threads::Many);
            tensor(out, Shape::new([rows, columns]))
        };
        let befores = || view.sequences.befores(values(&self.output), self.sizes.width(), view.hidden, output);
        let recurrent = wanted[1].then(|| weights(&befores(), output, &gates, 4 * cell));
        let projection =
            wanted.get(4).is_some_and(|wanted| *wanted).then(|| weights(&self.inner, cell, &projected, output));
        let mut found = [
            wanted[0].then(|| tensor(gates, Shape::new([batch, steps, 4 * cell]))),
            recurrent,
            wanted[2].then(|| tensor(hidden, Shape::new([batch, output]))),
            wanted[3].then(|| tensor(last_cell, Shape::new([batch, cell]))),
            projection,
        ]
        .into_iter();
        std::array::from_fn(|_| found.next().flatten())
    }
}
