//! Some rows of a batch on their way through all steps of an LSTM, and back.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::{Lstm, Pass, Weights};
use crate::kernels::cpu::functions::{sigmoid, tanh};
use crate::kernels::cpu::matrix::{Factor, Matrix, multiply_packed};
use crate::kernels::cpu::{values, vectorized};

/// The way forward. All buffers begin with row `first` of the batch.
pub(super) struct Forth<'a> {
    pub(super) lstm: &'a Lstm,
    pub(super) inputs: &'a [FlexTensor],
    pub(super) weights: &'a Weights,
    pub(super) first: usize,
    /// Steps that the next three have room for: all, or only the one at hand.
    pub(super) kept: usize,
    /// `[rows, width]`, see [`Pass::output`]; on the way, its last part is the state before the step at hand.
    pub(super) output: &'a mut [f32],
    /// `[rows, kept, 4 * cell]`
    pub(super) gates: &'a mut [f32],
    /// `[rows, kept, cell]`
    pub(super) cells: &'a mut [f32],
    /// `[rows, kept, cell]`, or one number a row where nothing is projected.
    pub(super) inner: &'a mut [f32],
}

impl Forth<'_> {
    pub(super) fn run(mut self) {
        let Lstm { cell, output, ref sequences, .. } = *self.lstm;
        let [first_hidden, first_cell] = [2, 3].map(|number| values(&self.inputs[number]));
        for (row, numbers) in self.output.chunks_mut(self.lstm.width()).enumerate() {
            let row = self.first + row;
            let (hidden, cells) = numbers[sequences.steps * output..].split_at_mut(output);
            hidden.copy_from_slice(&first_hidden[row * output..][..output]);
            cells.copy_from_slice(&first_cell[row * cell..][..cell]);
        }
        sequences.order().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: usize) {
        let Self { lstm, weights, first, kept, .. } = *self;
        let Lstm { cell, output, cell_limit, output_limit, ref sequences } = *lstm;
        let (steps, width, share, of_inputs) = (sequences.steps, lstm.width(), lstm.share(), values(&self.inputs[0]));
        let rows = self.output.len() / width;
        let is_there = |row: usize| !sequences.has_ended(first + row, step);
        let slot = if kept == steps { step } else { 0 };
        for (row, gates) in self.gates.chunks_mut(kept * 4 * cell).enumerate() {
            let from = ((first + row) * steps + step) * 4 * cell;
            gates[slot * 4 * cell..][..4 * cell].copy_from_slice(&of_inputs[from..][..4 * cell]);
        }
        let gates = Matrix::step(rows, kept, 4 * cell, slot);
        let hidden = Factor::new(self.output, Matrix { offset: steps * output, rows, columns: output, stride: width });
        multiply_packed(self.gates, gates, true, hidden, &weights.recurrent, share.threads);

        let projects = weights.projection.is_some();
        let inner_width = if projects { kept * cell } else { 1 };
        let parts = self.output.par_chunks_mut(width).zip(self.gates.par_chunks_mut(kept * 4 * cell));
        let parts = parts.zip(self.cells.par_chunks_mut(kept * cell)).zip(self.inner.par_chunks_mut(inner_width));
        let parts = parts.with_min_len(share.least()).enumerate();
        parts.filter(|(row, _)| is_there(*row)).for_each(|(_, (((all, gates), cells), inner))| {
            let (outputs, state) = all.split_at_mut(steps * output);
            let inner = if projects { &mut inner[slot * cell..] } else { &mut outputs[step * output..] };
            let state = &mut state[output..];
            gate(&mut gates[slot * 4 * cell..][..4 * cell], state, &mut inner[..cell], cell_limit);
            cells[slot * cell..][..cell].copy_from_slice(state);
        });
        if let Some(projection) = &weights.projection {
            let inner = Factor::new(self.inner, Matrix::step(rows, kept, cell, slot));
            let outputs = Matrix { offset: step * output, rows, columns: output, stride: width };
            multiply_packed(self.output, outputs, false, inner, projection, share.threads);
        }
        for (row, all) in self.output.chunks_mut(width).enumerate() {
            let (outputs, state) = all.split_at_mut(steps * output);
            let outputs = &mut outputs[step * output..][..output];
            if !is_there(row) {
                outputs.fill(0.0);
                continue;
            }
            outputs.iter_mut().for_each(|value| *value = value.clamp(-output_limit, output_limit));
            state[..output].copy_from_slice(outputs);
        }
    }
}

/// The way back. All buffers but the pass's begin with row `first` of the batch.
pub(super) struct Back<'a> {
    pub(super) lstm: &'a Lstm,
    pub(super) pass: &'a Pass,
    /// Turned round.
    pub(super) weights: &'a Weights,
    pub(super) first: usize,
    /// Of the output, `[.., width]`.
    pub(super) gradient: &'a [f32],
    /// Of the state before the step at hand, `[rows, output]` and `[rows, cell]`.
    pub(super) hidden: &'a mut [f32],
    pub(super) cell: &'a mut [f32],
    /// Of the gates before their functions, `[rows, steps, 4 * cell]`.
    pub(super) gates: &'a mut [f32],
    /// Of the projected outputs before clipping, `[rows, steps, output]`, or one number a row where nothing is projected.
    pub(super) projected: &'a mut [f32],
}

impl Back<'_> {
    pub(super) fn run(mut self) {
        let mut inner = vec![0.0; self.cell.len()]; // what comes out of the cell
        self.lstm.sequences.order().rev().for_each(|step| self.step(step, &mut inner));
    }

    fn step(&mut self, step: usize, inner: &mut [f32]) {
        let Self { lstm, pass, weights, first, gradient, .. } = *self;
        let Lstm { cell, output, cell_limit, output_limit, ref sequences } = *lstm;
        let (steps, width, share) = (sequences.steps, lstm.width(), lstm.share());
        let is_there = |row: usize| !sequences.has_ended(first + row, step);
        let rows = self.hidden.len() / output;
        let outputs = values(&pass.output);
        for row in (0..rows).filter(|row| is_there(*row)) {
            let out = &gradient[row * width + step * output..][..output];
            let outputs = &outputs[(first + row) * width + step * output..][..output];
            let flowing = &mut self.hidden[row * output..][..output];
            let target = match weights.projection {
                Some(_) => &mut self.projected[(row * steps + step) * output..][..output],
                None => &mut inner[row * cell..][..output],
            };
            for at in 0..output {
                target[at] = if outputs[at].abs() >= output_limit { 0.0 } else { flowing[at] + out[at] };
                flowing[at] = 0.0; // it comes anew through the gates, and of ended rows it flows on
            }
        }
        if let Some(projection) = &weights.projection {
            let projected = Factor::new(self.projected, Matrix::step(rows, steps, output, step));
            multiply_packed(inner, Matrix::whole(rows, cell), false, projected, projection, share.threads);
        }

        let first_cell = values(&pass.inputs[3]);
        let parts = self.gates.par_chunks_mut(steps * 4 * cell).zip(self.cell.par_chunks_mut(cell));
        let parts = parts.zip(inner.par_chunks(cell)).with_min_len(share.least()).enumerate();
        parts.filter(|(row, _)| is_there(*row)).for_each(|(row, ((gates, flowing), inner))| {
            let row = first + row;
            let place = (row * steps + step) * cell;
            let before = match sequences.before(row, step) {
                Some(before) => &pass.cells[(row * steps + before) * cell..][..cell],
                None => &first_cell[row * cell..][..cell],
            };
            let kept =
                Kept { gates: &pass.gates[4 * place..][..4 * cell], before, cells: &pass.cells[place..][..cell] };
            gate_back(&mut gates[step * 4 * cell..][..4 * cell], kept, inner, flowing, cell_limit);
        });
        let gates = Factor::new(self.gates, Matrix::step(rows, steps, 4 * cell, step));
        multiply_packed(self.hidden, Matrix::whole(rows, output), true, gates, &weights.recurrent, share.threads);
    }
}

/// What the forward pass has left of the step: the gates after their functions, and the cell before and after it.
struct Kept<'a> {
    gates: &'a [f32],
    before: &'a [f32],
    cells: &'a [f32],
}

vectorized! {
    /// The gates' functions in place, the cell from before the step to after it, and what comes out of the cell.
    fn gate<'a>(gates: &'a mut [f32], cell: &'a mut [f32], inner: &'a mut [f32], limit: f32) {
        let size = cell.len();
        let (candidate, rest) = gates.split_at_mut(size);
        let (input, rest) = rest.split_at_mut(size);
        let (forget, output) = rest.split_at_mut(size);
        for value in candidate.iter_mut() {
            *value = tanh(*value);
        }
        for gate in [&mut *input, &mut *forget, &mut *output] {
            for value in gate {
                *value = sigmoid(*value);
            }
        }
        for at in 0..size {
            cell[at] = (candidate[at] * input[at] + cell[at] * forget[at]).clamp(-limit, limit);
            inner[at] = output[at] * tanh(cell[at]);
        }
    }

    /// Backwards: from the gradient of what comes out of the cell, `inner`, and of the cell, `flowing`, to that of the gates before
    /// their functions, `out`, and of the cell before, again `flowing`.
    fn gate_back<'a>(out: &'a mut [f32], kept: Kept<'a>, inner: &'a [f32], flowing: &'a mut [f32], limit: f32) {
        let Kept { gates, before, cells } = kept;
        let size = cells.len();
        let [candidate, input, forget, output] = [0, 1, 2, 3].map(|part| &gates[part * size..][..size]);
        let (before, inner, flowing) = (&before[..size], &inner[..size], &mut flowing[..size]);
        let (candidate_out, rest) = out.split_at_mut(size);
        let (input_out, rest) = rest.split_at_mut(size);
        let (forget_out, output_out) = rest.split_at_mut(size);
        let output_out = &mut output_out[..size];
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
}
