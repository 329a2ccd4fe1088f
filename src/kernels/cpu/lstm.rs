//! All steps of an LSTM as one operation, forward and backward: what a step leaves for the backward pass is kept in one buffer
//! each, and the weights' gradients are one matrix product over all steps. Where nothing needs a gradient, nothing is kept.

mod rows;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use rayon::prelude::*;

use self::rows::{Back, Forth};
use super::matrix::{Factor, Matrix, Packed, Threads, multiply};
use super::operation::{Operation, operate};
use super::sequence::{Sequences, Share};
use super::{tensor, values};
use crate::kernels::LstmInput;

/// See [`crate::kernels::lstm`].
pub fn lstm(
    input: &LstmInput,
    clips: [Option<f64>; 2],
    lengths: Option<&[usize]>,
    reversed: bool,
) -> Option<(Tensor<3>, Tensor<2>, Tensor<2>)> {
    let [batch, steps, _] = input.gates.dims();
    let ([_, output], [_, cell]) = (input.hidden.dims(), input.cell.dims());
    let [cell_limit, output_limit] = clips.map(|clip| clip.map_or(f32::INFINITY, |limit| limit as f32));
    let sequences = Sequences { batch, steps, lengths: lengths.map(<[usize]>::to_vec), reversed };
    let lstm = Lstm { cell, output, cell_limit, output_limit, sequences };
    let width = lstm.width();
    let gates = input.gates.clone().into_dispatch();
    let [recurrent, first_hidden, first_cell] =
        [input.recurrent, input.hidden, input.cell].map(|matrix| matrix.clone().into_dispatch());
    let all: Tensor<1> = match input.projection.map(|projection| projection.clone().into_dispatch()) {
        Some(projection) => operate(lstm, [gates, recurrent, first_hidden, first_cell, projection]),
        None => operate(lstm, [gates, recurrent, first_hidden, first_cell]),
    }?;
    // One tensor holds all three, so that one operation has their gradients.
    let all = all.reshape([batch, width]);
    let outputs = all.clone().narrow(1, 0, steps * output).reshape([batch, steps, output]);
    let hidden = all.clone().narrow(1, steps * output, output); // [batch, output]
    Some((outputs, hidden, all.narrow(1, (steps + 1) * output, cell)))
}

#[derive(Debug, Clone)]
struct Lstm {
    /// Widths.
    cell: usize,
    output: usize,
    cell_limit: f32,
    output_limit: f32,
    sequences: Sequences,
}

/// What the forward pass leaves.
#[derive(Debug)]
struct Pass {
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

/// The weights as the steps' products read them: forward, or turned round for the way back.
struct Weights {
    /// `[output, 4 * cell]`, or the other way round.
    recurrent: Packed,
    /// `[cell, output]`, or the other way round.
    projection: Option<Packed>,
}

impl Lstm {
    /// Numbers in a row of [`Pass::output`].
    fn width(&self) -> usize {
        (self.sequences.steps + 1) * self.output + self.cell
    }

    fn share(&self) -> Share {
        Share::new(self.sequences.batch, self.output * 4 * self.cell)
    }

    fn weights(&self, inputs: &[FlexTensor], turned: bool) -> Weights {
        let Self { cell, output, .. } = *self;
        let projection = inputs.get(4).map(|tensor| Packed::whole(values(tensor), cell, output, turned));
        Weights { recurrent: Packed::whole(values(&inputs[1]), output, 4 * cell, turned), projection }
    }
}

impl Operation for Lstm {
    type Kept = Pass;

    fn forward(&self, inputs: Vec<FlexTensor>, keep: bool) -> (FlexTensor, Pass) {
        let Self { cell, sequences: Sequences { batch, steps, .. }, .. } = *self;
        let (width, rows, weights) = (self.width(), self.share().rows, self.weights(&inputs, false));
        let kept = if keep { steps.max(1) } else { 1 };
        let inner_width = if weights.projection.is_some() { kept * cell } else { 1 };
        let mut gates = vec![0.0; batch * kept * 4 * cell];
        let mut cells = vec![0.0; batch * kept * cell];
        let mut inner = vec![0.0; batch * inner_width];
        let mut output = vec![0.0; batch * width];
        let parts = output.par_chunks_mut(rows * width).zip(gates.par_chunks_mut(rows * kept * 4 * cell));
        let parts = parts.zip(cells.par_chunks_mut(rows * kept * cell)).zip(inner.par_chunks_mut(rows * inner_width));
        parts.enumerate().for_each(|(number, (((output, gates), cells), inner))| {
            let (weights, first) = (&weights, number * rows);
            Forth { lstm: self, inputs: &inputs, weights, first, kept, output, gates, cells, inner }.run();
        });
        let output = tensor(output, [batch * width]);
        (output.clone(), Pass { inputs, gates, cells, inner, output })
    }

    fn backward(&self, pass: &Pass, gradient: &FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let Self { cell, output, sequences: Sequences { batch, steps, .. }, .. } = *self;
        let (width, rows, turned) = (self.width(), self.share().rows, self.weights(&pass.inputs, true));
        let gradient = values(gradient);
        let projected_width = if turned.projection.is_some() { steps * output } else { 1 };
        let mut hidden = vec![0.0; batch * output];
        let mut last_cell = vec![0.0; batch * cell];
        let mut gates = vec![0.0; batch * steps * 4 * cell];
        let mut projected = vec![0.0; batch * projected_width];
        for (row, gradient) in gradient.chunks(width).enumerate() {
            let (of_hidden, of_cell) = gradient[steps * output..].split_at(output);
            hidden[row * output..][..output].copy_from_slice(of_hidden);
            last_cell[row * cell..][..cell].copy_from_slice(of_cell);
        }
        let parts = hidden.par_chunks_mut(rows * output).zip(last_cell.par_chunks_mut(rows * cell));
        let parts = parts.zip(gates.par_chunks_mut((rows * steps * 4 * cell).max(1)));
        let parts = parts.zip(projected.par_chunks_mut((rows * projected_width).max(1)));
        parts.enumerate().for_each(|(number, (((hidden, cell), gates), projected))| {
            let (weights, first) = (&turned, number * rows);
            let gradient = &gradient[first * width..];
            Back { lstm: self, pass, weights, first, gradient, hidden, cell, gates, projected }.run();
        });
        let weights = |left: &[f32], rows: usize, right: &[f32], columns: usize| {
            let mut out = vec![0.0; rows * columns];
            let left = Factor::new(left, Matrix::whole(batch * steps, rows)).transposed();
            let right = Factor::new(right, Matrix::whole(batch * steps, columns));
            multiply(&mut out, Matrix::whole(rows, columns), false, left, right, Threads::Many);
            tensor(out, [rows, columns])
        };
        let befores = || self.sequences.befores(values(&pass.output), width, values(&pass.inputs[2]), output);
        let recurrent = wanted[1].then(|| weights(&befores(), output, &gates, 4 * cell));
        let is_projection_wanted = wanted.get(4).is_some_and(|wanted| *wanted);
        let projection = is_projection_wanted.then(|| weights(&pass.inner, cell, &projected, output));
        let gates = wanted[0].then(|| tensor(gates, [batch, steps, 4 * cell]));
        let hidden = wanted[2].then(|| tensor(hidden, [batch, output]));
        vec![gates, recurrent, hidden, wanted[3].then(|| tensor(last_cell, [batch, cell])), projection]
    }
}
