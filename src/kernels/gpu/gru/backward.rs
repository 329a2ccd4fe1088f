//! The steps backward.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Layer;
use crate::kernels::gpu::launch::{element, empty, units};
use crate::kernels::gpu::steps::{multiply, order, turned};

/// What the steps share.
struct Flow {
    kept: CubeTensor,
    ends: CubeTensor,
    /// Of the state after the step, `[batch, hidden]`, but for the output's, and for what the step after has given by way of its gates.
    state: CubeTensor,
    /// Of the gates before their functions, `[batch, steps, 3 * hidden]`.
    gates: CubeTensor,
    /// Of the step's update and reset gate, `[batch, 2 * hidden]`, as products read it.
    of_gates: CubeTensor,
}

impl Layer {
    /// Fills the gradient of the gates before their functions, `[batch, steps, 3 * hidden]`.
    pub(super) fn backward(&self, [gradient, of_gates, of_candidate, kept, ends]: [CubeTensor; 5], gates: CubeTensor) {
        let Self { batch, hidden, .. } = *self;
        let factor = |width: usize| empty(&of_gates, [batch, width].into(), of_gates.dtype);
        let (product, candidate, left) = (factor(hidden), factor(hidden), factor(hidden));
        let state = empty(&gates, [batch, hidden].into(), DType::F32);
        let flow = Flow { kept, ends, state, gates, of_gates: factor(2 * hidden) };
        let (of_gates, of_candidate) = (turned(of_gates), turned(of_candidate));
        self.zero(&flow.state, &product);
        for step in order(self.steps, self.reversed).rev() {
            self.through_state(step, &flow, [&gradient, &product], &candidate);
            multiply(&candidate, &of_candidate, &left);
            self.through_reset(step, &flow, &left);
            multiply(&flow.of_gates, &of_gates, &product);
        }
    }

    fn through_state(&self, step: usize, flow: &Flow, [gradient, product]: [&CubeTensor; 2], candidate: &CubeTensor) {
        let (cubes, units) = units(self.batch * self.hidden);
        unsafe {
            through_state::launch_unchecked(
                &gradient.client,
                cubes,
                units,
                gradient.clone().into_buffer_arg(),
                product.clone().into_buffer_arg(),
                flow.kept.clone().into_buffer_arg(),
                flow.ends.clone().into_buffer_arg(),
                flow.state.clone().into_buffer_arg(),
                flow.gates.clone().into_buffer_arg(),
                flow.of_gates.clone().into_buffer_arg(),
                candidate.clone().into_buffer_arg(),
                step,
                self.steps,
                self.hidden,
                [element(product), element(&flow.ends)],
            );
        }
    }

    fn through_reset(&self, step: usize, flow: &Flow, left: &CubeTensor) {
        let (cubes, units) = units(self.batch * self.hidden);
        unsafe {
            through_reset::launch_unchecked(
                &left.client,
                cubes,
                units,
                left.clone().into_buffer_arg(),
                flow.kept.clone().into_buffer_arg(),
                flow.ends.clone().into_buffer_arg(),
                flow.state.clone().into_buffer_arg(),
                flow.gates.clone().into_buffer_arg(),
                flow.of_gates.clone().into_buffer_arg(),
                step,
                self.steps,
                self.hidden,
                [element(left), element(&flow.ends)],
            );
        }
    }
}

/// From the state after the step to update gate and candidate, and to the state before it, as far as it goes past the candidate.
#[cube(launch_unchecked)]
fn through_state<C: Float, I: Int>(
    gradient: &[f32],
    product: &[C],
    kept: &[f32],
    ends: &[I],
    state: &mut [f32],
    gates: &mut [f32],
    of_gates: &mut [C],
    of_candidate: &mut [C],
    step: usize,
    steps: usize,
    width: usize,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < state.len() {
        let row = at / width;
        let column = at % width;
        let place = row * steps + step;
        let mut flowing = state[at] + f32::cast_from(product[at]);
        let mut update = f32::new(0.0);
        let mut candidate = f32::new(0.0);
        if step < usize::cast_from(ends[row]) {
            let from = place * 4 * width + column;
            let gate = kept[from];
            let proposed = kept[from + 2 * width];
            let arrived = flowing + gradient[place * width + column];
            let moved = arrived * gate;
            update = moved * (proposed - kept[from + 3 * width]) * (f32::new(1.0) - gate);
            candidate = moved * (f32::new(1.0) - proposed * proposed);
            flowing = arrived - moved;
        }
        state[at] = flowing;
        let to = place * 3 * width + column;
        gates[to] = update;
        gates[to + 2 * width] = candidate;
        of_gates[row * 2 * width + column] = C::cast_from(update);
        of_candidate[at] = C::cast_from(candidate);
    }
}

/// From what the reset gate has left to the gate, and to the state before the step.
#[cube(launch_unchecked)]
fn through_reset<C: Float, I: Int>(
    left: &[C],
    kept: &[f32],
    ends: &[I],
    state: &mut [f32],
    gates: &mut [f32],
    of_gates: &mut [C],
    step: usize,
    steps: usize,
    width: usize,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < state.len() {
        let row = at / width;
        let column = at % width;
        let place = row * steps + step;
        let mut reset = f32::new(0.0);
        if step < usize::cast_from(ends[row]) {
            let from = place * 4 * width + column;
            let gate = kept[from + width];
            let through = f32::cast_from(left[at]) * gate;
            reset = through * kept[from + 3 * width] * (f32::new(1.0) - gate);
            state[at] += through;
        }
        gates[(place * 3 + 1) * width + column] = reset;
        of_gates[(row * 2 + 1) * width + column] = C::cast_from(reset);
    }
}
