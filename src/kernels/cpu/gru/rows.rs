//! Some rows of a batch on their way through all steps of a GRU, and back.

use rayon::prelude::*;

use super::{Gru, Pass, Weights};
use crate::kernels::cpu::functions::{sigmoid, tanh};
use crate::kernels::cpu::matrix::{Factor, Matrix, multiply_packed};
use crate::kernels::cpu::{values, vectorized};

/// The way forward. All buffers begin with row `first` of the batch.
pub(super) struct Forth<'a> {
    pub(super) gru: &'a Gru,
    /// The gates' part from the inputs.
    pub(super) inputs: &'a [f32],
    pub(super) weights: &'a Weights,
    pub(super) first: usize,
    /// Steps that the next but one two have room for: all, or only the one at hand.
    pub(super) kept: usize,
    /// The state before the step at hand, `[rows, hidden]`.
    pub(super) state: Vec<f32>,
    /// `[rows, kept, 3 * hidden]`
    pub(super) gates: &'a mut [f32],
    /// `[rows, kept, hidden]`
    pub(super) reset: &'a mut [f32],
    /// `[rows, steps, hidden]`
    pub(super) output: &'a mut [f32],
}

impl Forth<'_> {
    pub(super) fn run(mut self) {
        self.gru.sequences.order().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: usize) {
        let Self { gru, inputs, weights, first, kept, .. } = *self;
        let Gru { hidden: size, ref sequences } = *gru;
        let (steps, share) = (sequences.steps, gru.share());
        let rows = self.state.len() / size;
        let is_there = |row: usize| !sequences.has_ended(first + row, step);
        let slot = if kept == steps { step } else { 0 };
        for (row, gates) in self.gates.chunks_mut(kept * 3 * size).enumerate() {
            let from = ((first + row) * steps + step) * 3 * size;
            gates[slot * 3 * size..][..3 * size].copy_from_slice(&inputs[from..][..3 * size]);
        }
        let part = |number: usize, columns: usize| Matrix {
            offset: (slot * 3 + number) * size,
            rows,
            columns,
            stride: kept * 3 * size,
        };
        let state = Factor::new(&self.state, Matrix::whole(rows, size));
        multiply_packed(self.gates, part(0, 2 * size), true, state, &weights.of_gates, share.threads);

        let parts = self.gates.par_chunks_mut(kept * 3 * size).zip(self.reset.par_chunks_mut(kept * size));
        let parts = parts.zip(self.state.par_chunks(size)).with_min_len(share.least()).enumerate();
        parts.filter(|(row, _)| is_there(*row)).for_each(|(_, ((gates, reset), state))| {
            open(&mut gates[slot * 3 * size..][..2 * size], state, &mut reset[slot * size..][..size]);
        });
        let reset = Factor::new(self.reset, Matrix::step(rows, kept, size, slot));
        multiply_packed(self.gates, part(2, size), true, reset, &weights.of_candidate, share.threads);

        let parts = self.gates.par_chunks_mut(kept * 3 * size).zip(self.state.par_chunks_mut(size));
        let parts = parts.zip(self.output.par_chunks_mut(steps * size)).with_min_len(share.least()).enumerate();
        parts.filter(|(row, _)| is_there(*row)).for_each(|(_, ((gates, state), output))| {
            let (update, rest) = gates[slot * 3 * size..][..3 * size].split_at_mut(size);
            advance(update, &mut rest[size..], state);
            output[step * size..][..size].copy_from_slice(state);
        });
    }
}

/// The way back. All buffers but the pass's and the output's gradient begin with row `first` of the batch.
pub(super) struct Back<'a> {
    pub(super) gru: &'a Gru,
    pub(super) pass: &'a Pass,
    /// Turned round.
    pub(super) weights: &'a Weights,
    pub(super) first: usize,
    /// Of the output, `[batch, steps, hidden]`.
    pub(super) gradient: &'a [f32],
    /// Of the state after the step at hand, but for what the output gets, `[rows, hidden]`.
    pub(super) flowing: Vec<f32>,
    /// Of what the reset gate leaves, `[rows, hidden]`.
    pub(super) reset: Vec<f32>,
    /// Of the gates before their functions, `[rows, steps, 3 * hidden]`.
    pub(super) gates: &'a mut [f32],
}

impl Back<'_> {
    pub(super) fn run(mut self) {
        let zeros = vec![0.0; self.gru.hidden];
        self.gru.sequences.order().rev().for_each(|step| self.step(step, &zeros));
    }

    fn step(&mut self, step: usize, zeros: &[f32]) {
        let Self { gru, pass, weights, first, gradient, .. } = *self;
        let Gru { hidden: size, ref sequences } = *gru;
        let (steps, share) = (sequences.steps, gru.share());
        let rows = self.flowing.len() / size;
        let output = values(&pass.output);
        let before = |row: usize| match sequences.before(row, step) {
            Some(before) => &output[(row * steps + before) * size..][..size],
            None => zeros,
        };
        let kept = |row: usize| {
            let gates = &pass.gates[(row * steps + step) * 3 * size..][..3 * size];
            [0, 1, 2].map(|part| &gates[part * size..][..size])
        };
        let is_there = |row: usize| !sequences.has_ended(first + row, step);

        let parts = self.gates.par_chunks_mut(steps * 3 * size).zip(self.flowing.par_chunks_mut(size));
        parts.with_min_len(share.least()).enumerate().filter(|(row, _)| is_there(*row)).for_each(
            |(row, (out, flowing))| {
                let row = first + row;
                let (before, [update, _, candidate]) = (before(row), kept(row));
                let arrived = &gradient[(row * steps + step) * size..][..size];
                let (update_out, rest) = out[step * 3 * size..][..3 * size].split_at_mut(size);
                advance_back(before, update, candidate, arrived, flowing, update_out, &mut rest[size..]);
            },
        );
        let part = |number: usize, columns: usize| Matrix {
            offset: (step * 3 + number) * size,
            rows,
            columns,
            stride: steps * 3 * size,
        };
        let candidate = Factor::new(self.gates, part(2, size));
        let whole = Matrix::whole(rows, size);
        multiply_packed(&mut self.reset, whole, false, candidate, &weights.of_candidate, share.threads);

        let parts = self.gates.par_chunks_mut(steps * 3 * size).zip(self.flowing.par_chunks_mut(size));
        let parts = parts.zip(self.reset.par_chunks(size)).with_min_len(share.least()).enumerate();
        parts.filter(|(row, _)| is_there(*row)).for_each(|(row, ((out, flowing), arrived))| {
            let row = first + row;
            let (before, [_, reset, _]) = (before(row), kept(row));
            open_back(before, reset, arrived, flowing, &mut out[(step * 3 + 1) * size..][..size]);
        });
        let gates = Factor::new(self.gates, part(0, 2 * size));
        multiply_packed(&mut self.flowing, whole, true, gates, &weights.of_gates, share.threads);
    }
}

// Of one row at one step; all are of the hidden size, but for `gates`, which are two.
vectorized! {
    /// The functions of the update and the reset gate in place, and what the latter leaves of the state.
    fn open<'a>(gates: &'a mut [f32], state: &'a [f32], reset: &'a mut [f32]) {
        for value in gates.iter_mut() {
            *value = sigmoid(*value);
        }
        let gates = &gates[reset.len()..];
        for ((reset, gate), state) in reset.iter_mut().zip(gates).zip(state) {
            *reset = gate * state;
        }
    }

    /// The candidate's function in place, and the state from before the step to after it.
    fn advance<'a>(update: &'a [f32], candidate: &'a mut [f32], state: &'a mut [f32]) {
        for ((state, candidate), update) in state.iter_mut().zip(candidate).zip(update) {
            *candidate = tanh(*candidate);
            *state += update * (*candidate - *state);
        }
    }

    /// [`advance`] backwards: `arrived` is the gradient of the output.
    fn advance_back<'a>(
        before: &'a [f32],
        update: &'a [f32],
        candidate: &'a [f32],
        arrived: &'a [f32],
        flowing: &'a mut [f32],
        update_out: &'a mut [f32],
        candidate_out: &'a mut [f32],
    ) {
        let size = flowing.len();
        let (before, update, candidate) = (&before[..size], &update[..size], &candidate[..size]);
        let (arrived, update_out, candidate_out) =
            (&arrived[..size], &mut update_out[..size], &mut candidate_out[..size]);
        for at in 0..size {
            let arrived = flowing[at] + arrived[at];
            let moved = arrived * update[at];
            update_out[at] = moved * (candidate[at] - before[at]) * (1.0 - update[at]);
            candidate_out[at] = moved * (1.0 - candidate[at] * candidate[at]);
            flowing[at] = arrived - moved;
        }
    }

    /// [`open`] backwards: `arrived` is the gradient of what the reset gate left.
    fn open_back<'a>(
        before: &'a [f32], reset: &'a [f32], arrived: &'a [f32], flowing: &'a mut [f32], reset_out: &'a mut [f32],
    ) {
        let size = flowing.len();
        let (before, reset, arrived, reset_out) =
            (&before[..size], &reset[..size], &arrived[..size], &mut reset_out[..size]);
        for at in 0..size {
            let through = arrived[at] * reset[at];
            reset_out[at] = through * before[at] * (1.0 - reset[at]);
            flowing[at] += through;
        }
    }
}
