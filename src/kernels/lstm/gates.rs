//! What an LSTM does with the gates of one row at one step.

use crate::kernels::functions::{sigmoid, tanh};
use crate::kernels::vectorized;

/// What the forward pass has left of the step: the gates after their functions, and the cell before and after it.
pub(super) struct Kept<'a> {
    pub(super) gates: &'a [f32],
    pub(super) before: &'a [f32],
    pub(super) cells: &'a [f32],
}

vectorized! {
    /// The gates' functions in place, the cell from before the step to after it, and what comes out of the cell.
    pub(super) fn gate<'a>(gates: &'a mut [f32], cell: &'a mut [f32], inner: &'a mut [f32], limit: f32) {
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
    pub(super) fn gate_back<'a>(out: &'a mut [f32], kept: Kept<'a>, inner: &'a [f32], flowing: &'a mut [f32], limit: f32) {
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
