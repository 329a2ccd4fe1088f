//! Some rows of a batch on their way through all steps of an LSTM, and back.

use rayon::prelude::*;

use super::gates::{Kept, gate, gate_back};
use super::{Pass, Sizes, View, Weights};
use crate::kernels::matrix::{Factor, Matrix, multiply_packed};
use crate::kernels::values;

/// The way forward. All buffers begin with row `first` of the batch.
pub(super) struct Forth<'a> {
    pub(super) view: View<'a>,
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
        let Sizes { steps, cell, output, .. } = self.view.sizes;
        for (row, numbers) in self.output.chunks_mut(self.view.sizes.width()).enumerate() {
            let row = self.first + row;
            let (hidden, cells) = numbers[steps * output..].split_at_mut(output);
            hidden.copy_from_slice(&self.view.hidden[row * output..][..output]);
            cells.copy_from_slice(&self.view.cell[row * cell..][..cell]);
        }
        self.view.sequences.order().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: usize) {
        let Self { view, weights, first, kept, .. } = *self;
        let Sizes { steps, cell, output, .. } = view.sizes;
        let width = view.sizes.width();
        let rows = self.output.len() / width;
        let slot = if kept == steps { step } else { 0 };
        for (row, gates) in self.gates.chunks_mut(kept * 4 * cell).enumerate() {
            let from = ((first + row) * steps + step) * 4 * cell;
            gates[slot * 4 * cell..][..4 * cell].copy_from_slice(&view.gates[from..][..4 * cell]);
        }
        let gates = Matrix::step(rows, kept, 4 * cell, slot);
        let hidden = Factor::new(self.output, Matrix { offset: steps * output, rows, columns: output, stride: width });
        multiply_packed(self.gates, gates, true, hidden, &weights.recurrent, view.share.threads);

        let limit = limit_of(view.options.cell_clip);
        let projects = weights.projection.is_some();
        let inner_width = if projects { kept * cell } else { 1 };
        let parts = self.output.par_chunks_mut(width).zip(self.gates.par_chunks_mut(kept * 4 * cell));
        let parts = parts.zip(self.cells.par_chunks_mut(kept * cell)).zip(self.inner.par_chunks_mut(inner_width));
        let parts = parts.with_min_len(view.share.least()).enumerate();
        parts.filter(|(row, _)| !view.sequences.has_ended(first + row, step)).for_each(
            |(_, (((all, gates), cells), inner))| {
                let (outputs, state) = all.split_at_mut(steps * output);
                let inner =
                    if projects { &mut inner[slot * cell..][..cell] } else { &mut outputs[step * output..][..cell] };
                let state = &mut state[output..];
                gate(&mut gates[slot * 4 * cell..][..4 * cell], state, inner, limit);
                cells[slot * cell..][..cell].copy_from_slice(state);
            },
        );
        if let Some(projection) = &weights.projection {
            let inner = Matrix::step(rows, kept, cell, slot);
            let outputs = Matrix { offset: step * output, rows, columns: output, stride: width };
            multiply_packed(
                self.output,
                outputs,
                false,
                Factor::new(self.inner, inner),
                projection,
                view.share.threads,
            );
        }
        let limit = limit_of(view.options.output_clip);
        for (row, all) in self.output.chunks_mut(width).enumerate() {
            let (outputs, state) = all.split_at_mut(steps * output);
            let outputs = &mut outputs[step * output..][..output];
            if view.sequences.has_ended(first + row, step) {
                outputs.fill(0.0);
                continue;
            }
            outputs.iter_mut().for_each(|value| *value = value.clamp(-limit, limit));
            state[..output].copy_from_slice(outputs);
        }
    }
}

/// The way back. All buffers but the pass's begin with row `first` of the batch.
pub(super) struct Back<'a> {
    pub(super) pass: &'a Pass,
    pub(super) view: View<'a>,
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
        let Sizes { steps, cell, output, .. } = self.view.sizes;
        let rows = self.hidden.len() / output;
        for row in 0..rows {
            let gradient = &self.gradient[row * self.view.sizes.width() + steps * output..];
            self.hidden[row * output..][..output].copy_from_slice(&gradient[..output]);
            self.cell[row * cell..][..cell].copy_from_slice(&gradient[output..][..cell]);
        }
        let mut inner = vec![0.0; rows * cell]; // what comes out of the cell
        self.view.sequences.order().rev().for_each(|step| self.step(step, &mut inner));
    }

    fn step(&mut self, step: usize, inner: &mut [f32]) {
        let Self { pass, view, weights, first, gradient, .. } = *self;
        let Sizes { steps, cell, output, .. } = view.sizes;
        let width = view.sizes.width();
        let rows = self.hidden.len() / output;
        let limit = limit_of(view.options.output_clip);
        let outputs = values(&pass.output);
        for row in (0..rows).filter(|row| !view.sequences.has_ended(first + row, step)) {
            let out = &gradient[row * width + step * output..][..output];
            let outputs = &outputs[(first + row) * width + step * output..][..output];
            let flowing = &mut self.hidden[row * output..][..output];
            let target = match weights.projection {
                Some(_) => &mut self.projected[(row * steps + step) * output..][..output],
                None => &mut inner[row * cell..][..output],
            };
            for at in 0..output {
                target[at] = if outputs[at].abs() >= limit { 0.0 } else { flowing[at] + out[at] };
                flowing[at] = 0.0; // it comes anew through the gates, and of ended rows it flows on
            }
        }
        if let Some(projection) = &weights.projection {
            let projected = Matrix::step(rows, steps, output, step);
            let projected = Factor::new(self.projected, projected);
            multiply_packed(inner, Matrix::whole(rows, cell), false, projected, projection, view.share.threads);
        }

        let limit = limit_of(view.options.cell_clip);
        let parts = self.gates.par_chunks_mut(steps * 4 * cell).zip(self.cell.par_chunks_mut(cell));
        let parts = parts.zip(inner.par_chunks(cell)).with_min_len(view.share.least()).enumerate();
        parts.filter(|(row, _)| !view.sequences.has_ended(first + row, step)).for_each(
            |(row, ((gates, flowing), inner))| {
                let row = first + row;
                let place = (row * steps + step) * cell;
                let before = match view.sequences.before(row, step) {
                    Some(before) => &pass.cells[(row * steps + before) * cell..][..cell],
                    None => &view.cell[row * cell..][..cell],
                };
                let kept =
                    Kept { gates: &pass.gates[4 * place..][..4 * cell], before, cells: &pass.cells[place..][..cell] };
                gate_back(&mut gates[step * 4 * cell..][..4 * cell], kept, inner, flowing, limit);
            },
        );
        let gates = Matrix::step(rows, steps, 4 * cell, step);
        let gates = Factor::new(self.gates, gates);
        multiply_packed(self.hidden, Matrix::whole(rows, output), true, gates, &weights.recurrent, view.share.threads);
    }
}

fn limit_of(clip: Option<f64>) -> f32 {
    clip.map_or(f32::INFINITY, |limit| limit as f32)
}
