//! All steps of a projected LSTM as one operation, forward and backward: what a step leaves for the backward pass is kept in one
//! buffer each, and the weights' gradients are one matrix product over all steps.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Shape, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::functions::{sigmoid, tanh};
use super::matrix::{Factor, Matrix, multiply};
use super::{NoCheckpointing, tensor, values};

/// What goes in: the gates' part from the inputs `[batch, steps, 4 * cell]`, the weights `[projection, 4 * cell]` and
/// `[cell, projection]`, and the state before the first step, `[batch, projection]` and `[batch, cell]`.
pub struct LstmInput<'a> {
    pub gates: &'a Tensor<3>,
    pub recurrent: &'a Tensor<2>,
    pub projection: &'a Tensor<2>,
    pub hidden: &'a Tensor<2>,
    pub cell: &'a Tensor<2>,
}

/// Limits of the cell and of the projected output, and where each row ends, if not all at the last step.
#[derive(Debug, Clone)]
pub struct LstmOptions {
    pub cell_clip: Option<f64>,
    pub projection_clip: Option<f64>,
    pub lengths: Option<Vec<usize>>,
}

/// The outputs `[batch, steps, projection]`, and the state after each row's last step: `[batch, projection]` and `[batch, cell]`.
/// `None` where there is no kernel for the tensors.
pub fn lstm(input: &LstmInput, options: LstmOptions) -> Option<(Tensor<3>, Tensor<2>, Tensor<2>)> {
    let [batch, steps, _] = input.gates.dims();
    let [cell, projection] = input.projection.dims();
    let matrices = [input.recurrent, input.projection, input.hidden, input.cell];
    if input.gates.dtype() != DType::F32 || matrices.iter().any(|tensor| tensor.dtype() != DType::F32) {
        return None;
    }
    let shape = Sizes { batch, steps, cell, projection };
    let all: Tensor<2> = match plain(input) {
        Some(inputs) => Tensor::from_primitive::<Flex>(Pass::forward(shape, options, inputs).output()),
        None => traced(input, shape, options)?,
    };
    // One tensor holds all three, so that one operation has their gradients: [batch, steps * projection + projection + cell].
    let outputs = all.clone().narrow(1, 0, steps * projection).reshape([batch, steps, projection]);
    let hidden = all.clone().narrow(1, steps * projection, projection); // [batch, projection]
    Some((outputs, hidden, all.narrow(1, (steps + 1) * projection, cell)))
}

type Inputs = [FlexTensor; 5];

fn plain(input: &LstmInput) -> Option<Inputs> {
    let of = |tensor: &Tensor<2>| tensor.clone().try_into_primitive::<Flex>().ok();
    let gates = input.gates.clone().try_into_primitive::<Flex>().ok()?;
    let all = [gates, of(input.recurrent)?, of(input.projection)?, of(input.hidden)?, of(input.cell)?];
    Some(all.map(|tensor| tensor.to_contiguous()))
}

fn traced(input: &LstmInput, sizes: Sizes, options: LstmOptions) -> Option<Tensor<2>> {
    let of = |tensor: &Tensor<2>| tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok();
    let gates = input.gates.clone().try_into_primitive::<Autodiff<Flex>>().ok()?;
    let all = [gates, of(input.recurrent)?, of(input.projection)?, of(input.hidden)?, of(input.cell)?];
    let nodes = all.each_ref().map(|tensor| tensor.node());
    let pass = Pass::forward(sizes, options, all.map(|tensor| tensor.into_primitive().to_contiguous()));
    let output = pass.output();
    let output = match Lstm.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(Arc::new(pass), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(output))
}

#[derive(Debug)]
struct Lstm;

impl Backward<Flex, 5> for Lstm {
    type State = Arc<Pass>;

    fn backward(self, ops: Ops<Self::State, 5>, gradients: &mut Gradients, _: &mut Checkpointer) {
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
    projection: usize,
}

/// What the forward pass leaves. Rows that have ended keep their state.
#[derive(Debug)]
struct Pass {
    sizes: Sizes,
    options: LstmOptions,
    inputs: Inputs,
    /// The gates after their functions, `[batch, steps, 4 * cell]`: candidate, input, forget, output.
    gates: Vec<f32>,
    /// The cell after each step, `[batch, steps, cell]`.
    cells: Vec<f32>,
    /// What is projected, `[batch, steps, cell]`.
    inner: Vec<f32>,
    /// The projected output after each step, `[batch, steps, projection]`.
    hidden: Vec<f32>,
}

impl Pass {
    fn forward(sizes: Sizes, options: LstmOptions, inputs: Inputs) -> Self {
        let Sizes { batch, steps, cell, projection } = sizes;
        let mut pass = Self {
            gates: values(&inputs[0]).to_vec(),
            cells: vec![0.0; batch * steps * cell],
            inner: vec![0.0; batch * steps * cell],
            hidden: vec![0.0; batch * steps * projection],
            sizes,
            options,
            inputs,
        };
        (0..steps).for_each(|step| pass.step(step));
        pass
    }

    fn step(&mut self, step: usize) {
        let Sizes { batch, steps, cell, projection } = self.sizes;
        let [_, recurrent, weight, first_hidden, first_cell] = self.inputs.each_ref().map(values);
        let at = |columns: usize, step: usize| Matrix::step(batch, steps, columns, step);
        let before = match step {
            0 => Factor::new(first_hidden, Matrix::whole(batch, projection)),
            _ => Factor::new(&self.hidden, at(projection, step - 1)),
        };
        let recurrent = Factor::new(recurrent, Matrix::whole(projection, 4 * cell));
        multiply(&mut self.gates, at(4 * cell, step), true, before, recurrent);

        let rows = self.gates.par_chunks_mut(steps * 4 * cell).zip(self.inner.par_chunks_mut(steps * cell));
        let limit = self.options.cell_clip;
        rows.zip(self.cells.par_chunks_mut(steps * cell)).enumerate().for_each(|(row, ((gates, inner), cells))| {
            let (done, rest) = cells.split_at_mut(step * cell);
            let before = if step == 0 { &first_cell[row * cell..][..cell] } else { &done[(step - 1) * cell..] };
            let gates = &mut gates[step * 4 * cell..][..4 * cell];
            let inner = &mut inner[step * cell..][..cell];
            Arch::new().dispatch(|| gate(gates, before, &mut rest[..cell], inner, limit_of(limit)));
        });
        let inner = Factor::new(&self.inner, at(cell, step));
        let weight = Factor::new(weight, Matrix::whole(cell, projection));
        multiply(&mut self.hidden, at(projection, step), false, inner, weight);
        if let Some(limit) = self.options.projection_clip {
            let limit = limit as f32;
            for row in 0..batch {
                let hidden = &mut self.hidden[(row * steps + step) * projection..][..projection];
                hidden.iter_mut().for_each(|value| *value = value.clamp(-limit, limit));
            }
        }
        for row in 0..batch {
            if self.has_ended(row, step) {
                self.keep(row, step);
            }
        }
    }

    fn has_ended(&self, row: usize, step: usize) -> bool {
        self.options.lengths.as_ref().is_some_and(|lengths| lengths[row] <= step)
    }

    /// Puts back the state that a row had before a step.
    fn keep(&mut self, row: usize, step: usize) {
        let Sizes { steps, cell, projection, .. } = self.sizes;
        let [_, _, _, first_hidden, first_cell] = self.inputs.each_ref().map(values);
        let parts = [(&mut self.hidden, first_hidden, projection), (&mut self.cells, first_cell, cell)];
        for (all, first, width) in parts {
            let place = (row * steps + step) * width;
            match step {
                0 => all[place..][..width].copy_from_slice(&first[row * width..][..width]),
                _ => all.copy_within(place - width..place, place),
            }
        }
    }

    /// Outputs and last state, as [`lstm`] takes them apart.
    fn output(&self) -> FlexTensor {
        let Sizes { batch, steps, cell, projection } = self.sizes;
        let [_, _, _, first_hidden, first_cell] = self.inputs.each_ref().map(values);
        let mut all = Vec::with_capacity(batch * ((steps + 1) * projection + cell));
        for row in 0..batch {
            let hidden = &self.hidden[row * steps * projection..][..steps * projection];
            for (step, output) in hidden.chunks(projection).enumerate() {
                if self.has_ended(row, step) {
                    all.resize(all.len() + projection, 0.0);
                } else {
                    all.extend_from_slice(output);
                }
            }
            if steps == 0 {
                all.extend_from_slice(&first_hidden[row * projection..][..projection]);
                all.extend_from_slice(&first_cell[row * cell..][..cell]);
            } else {
                all.extend_from_slice(&hidden[(steps - 1) * projection..]);
                all.extend_from_slice(&self.cells[((row + 1) * steps - 1) * cell..][..cell]);
            }
        }
        tensor(all, Shape::new([batch, (steps + 1) * projection + cell]))
    }

    /// The gradients of the inputs that are `wanted`, from that of [`Self::output`].
    fn backward(&self, gradient: &[f32], wanted: [bool; 5]) -> [Option<FlexTensor>; 5] {
        let Sizes { batch, steps, cell, projection } = self.sizes;
        let width = (steps + 1) * projection + cell;
        let row = |row: usize| &gradient[row * width..][..width];
        let mut flow = Flow {
            hidden: (0..batch).flat_map(|r| row(r)[steps * projection..][..projection].iter().copied()).collect(),
            cell: (0..batch).flat_map(|r| row(r)[(steps + 1) * projection..].iter().copied()).collect(),
            gates: vec![0.0; batch * steps * 4 * cell],
            projected: vec![0.0; batch * steps * projection],
        };
        for step in (0..steps).rev() {
            self.step_back(step, gradient, &mut flow);
        }
        let Flow { hidden, cell: last_cell, gates, projected } = flow;
        let weights = |left: &[f32], rows: usize, right: &[f32], columns: usize| {
            let mut out = vec![0.0; rows * columns];
            let left = Factor::new(left, Matrix::whole(batch * steps, rows)).transposed();
            let right = Factor::new(right, Matrix::whole(batch * steps, columns));
            multiply(&mut out, Matrix::whole(rows, columns), false, left, right);
            tensor(out, Shape::new([rows, columns]))
        };
        let recurrent = wanted[1].then(|| weights(&self.hidden_before(), projection, &gates, 4 * cell));
        let weight = wanted[2].then(|| weights(&self.inner, cell, &projected, projection));
        [
            wanted[0].then(|| tensor(gates, Shape::new([batch, steps, 4 * cell]))),
            recurrent,
            weight,
            wanted[3].then(|| tensor(hidden, Shape::new([batch, projection]))),
            wanted[4].then(|| tensor(last_cell, Shape::new([batch, cell]))),
        ]
    }

    fn step_back(&self, step: usize, gradient: &[f32], flow: &mut Flow) {
        let Sizes { batch, steps, cell, projection } = self.sizes;
        let [_, recurrent, weight, _, first_cell] = self.inputs.each_ref().map(values);
        let at = |columns: usize| Matrix::step(batch, steps, columns, step);
        let width = (steps + 1) * projection + cell;
        let limit = limit_of(self.options.projection_clip);
        for row in (0..batch).filter(|row| !self.has_ended(*row, step)) {
            let place = (row * steps + step) * projection;
            let out = &gradient[row * width + step * projection..][..projection];
            let flowing = &mut flow.hidden[row * projection..][..projection];
            let target = &mut flow.projected[place..][..projection];
            for at in 0..projection {
                let is_cut = self.hidden[place + at].abs() >= limit;
                target[at] = if is_cut { 0.0 } else { flowing[at] + out[at] };
                flowing[at] = 0.0; // it comes anew through the gates, and of ended rows it flows on
            }
        }
        let mut inner = vec![0.0; batch * cell];
        let projected = Factor::new(&flow.projected, at(projection));
        let weight = Factor::new(weight, Matrix::whole(cell, projection)).transposed();
        multiply(&mut inner, Matrix::whole(batch, cell), false, projected, weight);

        let limit = limit_of(self.options.cell_clip);
        let rows =
            flow.gates.par_chunks_mut(steps * 4 * cell).zip(flow.cell.par_chunks_mut(cell)).zip(inner.par_chunks(cell));
        rows.enumerate().filter(|(row, _)| !self.has_ended(*row, step)).for_each(|(row, ((gates, flowing), inner))| {
            let place = (row * steps + step) * cell;
            let before = match step {
                0 => &first_cell[row * cell..][..cell],
                _ => &self.cells[place - cell..place],
            };
            let cells = &self.cells[place..][..cell];
            let out = &mut gates[step * 4 * cell..][..4 * cell];
            Arch::new().dispatch(|| {
                gate_back(out, &self.gates[4 * place..][..4 * cell], before, cells, inner, flowing, limit)
            });
        });
        let gates = Factor::new(&flow.gates, at(4 * cell));
        let recurrent = Factor::new(recurrent, Matrix::whole(projection, 4 * cell)).transposed();
        multiply(&mut flow.hidden, Matrix::whole(batch, projection), true, gates, recurrent);
    }

    /// The projected output before each step, `[batch, steps, projection]`.
    fn hidden_before(&self) -> Vec<f32> {
        let Sizes { batch, steps, projection, .. } = self.sizes;
        let first = values(&self.inputs[3]);
        let mut all = Vec::with_capacity(batch * steps * projection);
        for row in 0..batch {
            all.extend_from_slice(&first[row * projection..][..projection]);
            all.extend_from_slice(&self.hidden[row * steps * projection..][..(steps - 1) * projection]);
        }
        all
    }
}

/// Gradients on their way back.
struct Flow {
    /// Of the state before the step at hand, `[batch, projection]` and `[batch, cell]`.
    hidden: Vec<f32>,
    cell: Vec<f32>,
    /// Of the gates before their functions, `[batch, steps, 4 * cell]`.
    gates: Vec<f32>,
    /// Of the projected outputs before clipping, `[batch, steps, projection]`.
    projected: Vec<f32>,
}

fn limit_of(clip: Option<f64>) -> f32 {
    clip.map_or(f32::INFINITY, |limit| limit as f32)
}

/// One row of one step: the gates' functions in place, the cell after it, and what is to be projected.
#[inline(always)]
fn gate(gates: &mut [f32], before: &[f32], cells: &mut [f32], inner: &mut [f32], limit: f32) {
    let size = cells.len();
    let (candidate, rest) = gates.split_at_mut(size);
    let (input, rest) = rest.split_at_mut(size);
    let (forget, output) = rest.split_at_mut(size);
    candidate.iter_mut().for_each(|value| *value = tanh(*value));
    [&mut *input, &mut *forget, &mut *output].into_iter().flatten().for_each(|value| *value = sigmoid(*value));
    for at in 0..size {
        cells[at] = (candidate[at] * input[at] + before[at] * forget[at]).clamp(-limit, limit);
        inner[at] = output[at] * tanh(cells[at]);
    }
}

/// One row of one step backwards: from the gradient of what is projected, `inner`, and of the cell, `flowing`, to that of the gates
/// before their functions, `out`, and of the cell before, again `flowing`.
#[inline(always)]
fn gate_back(
    out: &mut [f32],
    gates: &[f32],
    before: &[f32],
    cells: &[f32],
    inner: &[f32],
    flowing: &mut [f32],
    limit: f32,
) {
    let size = cells.len();
    let [candidate, input, forget, output] = [0, 1, 2, 3].map(|part| &gates[part * size..][..size]);
    let (candidate_out, rest) = out.split_at_mut(size);
    let (input_out, rest) = rest.split_at_mut(size);
    let (forget_out, output_out) = rest.split_at_mut(size);
    for at in 0..size {
        let squashed = tanh(cells[at]);
        let arrived = flowing[at] + inner[at] * output[at] * (1.0 - squashed * squashed);
        let cell = if cells[at].abs() >= limit { 0.0 } else { arrived };
        candidate_out[at] = cell * input[at] * (1.0 - candidate[at] * candidate[at]);
        input_out[at] = cell * candidate[at] * input[at] * (1.0 - input[at]);
        forget_out[at] = cell * before[at] * forget[at] * (1.0 - forget[at]);
        output_out[at] = inner[at] * squashed * output[at] * (1.0 - output[at]);
        flowing[at] = cell * forget[at];
    }
}
