//! The steps forward.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Layer;
use crate::kernels::gpu::launch::{element, empty, units};
use crate::kernels::gpu::steps::{multiply, order, sigmoid};

impl Layer {
    /// Fills the output, and what [`super::Pass`] keeps.
    pub(super) fn forward(
        &self,
        [gates, of_gates, of_candidate, ends]: [CubeTensor; 4],
        output: CubeTensor,
        kept: Option<CubeTensor>,
    ) {
        let Self { batch, hidden, .. } = *self;
        let factor = |width: usize| empty(&of_gates, [batch, width].into(), of_gates.dtype);
        let (factor, for_gates, left, for_candidate) =
            (factor(hidden), factor(2 * hidden), factor(hidden), factor(hidden));
        let state = empty(&gates, [batch, hidden].into(), DType::F32);
        self.zero(&state, &factor);
        for step in order(self.steps, self.reversed) {
            multiply(&factor, &of_gates, &for_gates);
            self.open(step, [&gates, &for_gates, &ends, &state], &left);
            multiply(&left, &of_candidate, &for_candidate);
            let inputs = [&gates, &for_gates, &for_candidate, &ends];
            self.advance(step, inputs, [&state, &factor, &output], kept.as_ref());
        }
    }

    /// A state of zeros, or what flows back from behind the last step.
    pub(super) fn zero(&self, state: &CubeTensor, factor: &CubeTensor) {
        let (cubes, units) = units(self.batch * self.hidden);
        unsafe {
            zero::launch_unchecked(
                &state.client,
                cubes,
                units,
                state.clone().into_buffer_arg(),
                factor.clone().into_buffer_arg(),
                element(factor),
            );
        }
    }

    fn open(&self, step: usize, [gates, product, ends, state]: [&CubeTensor; 4], left: &CubeTensor) {
        let (cubes, units) = units(self.batch * self.hidden);
        unsafe {
            open::launch_unchecked(
                &state.client,
                cubes,
                units,
                gates.clone().into_buffer_arg(),
                product.clone().into_buffer_arg(),
                ends.clone().into_buffer_arg(),
                state.clone().into_buffer_arg(),
                left.clone().into_buffer_arg(),
                step,
                self.steps,
                self.hidden,
                [element(product), element(ends)],
            );
        }
    }

    fn advance(
        &self,
        step: usize,
        [gates, for_gates, for_candidate, ends]: [&CubeTensor; 4],
        [state, factor, output]: [&CubeTensor; 3],
        kept: Option<&CubeTensor>,
    ) {
        let (cubes, units) = units(self.batch * self.hidden);
        unsafe {
            advance::launch_unchecked(
                &state.client,
                cubes,
                units,
                gates.clone().into_buffer_arg(),
                for_gates.clone().into_buffer_arg(),
                for_candidate.clone().into_buffer_arg(),
                ends.clone().into_buffer_arg(),
                state.clone().into_buffer_arg(),
                factor.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                kept.cloned().map(CubeTensor::into_buffer_arg).into(),
                step,
                self.steps,
                self.hidden,
                [element(factor), element(ends)],
            );
        }
    }

    /// The state before each step, and what the reset gate leaves of it, `[batch * steps, hidden]`; 0 where a row has ended.
    pub(super) fn factors(&self, [kept, ends]: [CubeTensor; 2], [before, left]: [CubeTensor; 2]) {
        let (cubes, units) = units(self.batch * self.steps * self.hidden);
        let (client, types) = (kept.client.clone(), [element(&before), element(&ends)]);
        unsafe {
            factors::launch_unchecked(
                &client,
                cubes,
                units,
                kept.into_buffer_arg(),
                ends.into_buffer_arg(),
                before.into_buffer_arg(),
                left.into_buffer_arg(),
                self.steps,
                self.hidden,
                types,
            );
        }
    }
}

#[cube(launch_unchecked)]
fn zero<C: Float>(state: &mut [f32], factor: &mut [C], #[define(C)] _type: ElemType) {
    let at = ABSOLUTE_POS;
    if at < state.len() {
        state[at] = f32::new(0.0);
        factor[at] = C::cast_from(f32::new(0.0));
    }
}

/// What the reset gate leaves of the state.
#[cube(launch_unchecked)]
fn open<C: Float, I: Int>(
    gates: &[f32],
    product: &[C],
    ends: &[I],
    state: &[f32],
    left: &mut [C],
    step: usize,
    steps: usize,
    width: usize,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < state.len() {
        let row = at / width;
        let column = at % width;
        let mut found = f32::new(0.0);
        if step < usize::cast_from(ends[row]) {
            let x = (row * steps + step) * 3 * width + column;
            let reset = sigmoid(gates[x + width] + f32::cast_from(product[(row * 2 + 1) * width + column]));
            found = reset * state[at];
        }
        left[at] = C::cast_from(found);
    }
}

/// From the state before the step to that after it.
#[cube(launch_unchecked)]
fn advance<C: Float, I: Int>(
    gates: &[f32],
    for_gates: &[C],
    for_candidate: &[C],
    ends: &[I],
    state: &mut [f32],
    factor: &mut [C],
    output: &mut [f32],
    mut kept: ComptimeOption<&mut [f32]>,
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
        let mut found = f32::new(0.0);
        if step < usize::cast_from(ends[row]) {
            let x = place * 3 * width + column;
            let h = row * 2 * width + column;
            let update = sigmoid(gates[x] + f32::cast_from(for_gates[h]));
            let candidate = (gates[x + 2 * width] + f32::cast_from(for_candidate[at])).tanh();
            let before = state[at];
            #[comptime]
            if let ComptimeOption::Some(kept) = &mut kept {
                let to = place * 4 * width + column;
                kept[to] = update;
                kept[to + width] = sigmoid(gates[x + width] + f32::cast_from(for_gates[h + width]));
                kept[to + 2 * width] = candidate;
                kept[to + 3 * width] = before;
            }
            found = before + update * (candidate - before);
            state[at] = found;
            factor[at] = C::cast_from(found);
        }
        output[place * width + column] = found;
    }
}

#[cube(launch_unchecked)]
fn factors<C: Float, I: Int>(
    kept: &[f32],
    ends: &[I],
    before: &mut [C],
    left: &mut [C],
    steps: usize,
    width: usize,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < ends.len() * steps * width {
        let place = at / width;
        let mut state = f32::new(0.0);
        let mut reset = f32::new(0.0);
        if place % steps < usize::cast_from(ends[place / steps]) {
            let from = place * 4 * width + at % width;
            state = kept[from + 3 * width];
            reset = kept[from + width];
        }
        before[at] = C::cast_from(state);
        left[at] = C::cast_from(reset * state);
    }
}
