//! The steps backward.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Layer;
use crate::kernels::gpu::launch::{element, empty, units};
use crate::kernels::gpu::steps::{clipped, multiply, order, turned};

/// What flows back from step to step.
struct Flow<'a> {
    /// Of the whole output, see [`super::Pass::all`].
    gradient: &'a CubeTensor,
    ends: &'a CubeTensor,
    /// Of the state after the step, `[batch, output]` and `[batch, cell]`, but for `product`.
    state: &'a CubeTensor,
    /// What the step after has given to the output by way of its gates, `[batch, output]`.
    product: CubeTensor,
}

impl Layer {
    /// The shape of the gradient of the projected outputs before clipping, if there are any.
    pub(super) fn projected(&self) -> Vec<usize> {
        if self.projects { vec![self.batch, self.steps, self.output] } else { vec![1] }
    }

    /// Fills the gradient of the gates before their functions, `[batch, steps, 4 * cell]`; of the state before the first step,
    /// `[batch, output]` and `[batch, cell]`; and of the projected outputs.
    pub(super) fn backward(
        &self,
        [gradient, recurrent, projection, all, kept, ends]: [CubeTensor; 6],
        [gates, state, projected]: [CubeTensor; 3],
    ) {
        let Self { batch, cell, output, .. } = *self;
        let factor = |width: usize| empty(&recurrent, [batch, width].into(), recurrent.dtype);
        let (of_gates, product) = (factor(4 * cell), factor(output));
        let flow = Flow { gradient: &gradient, ends: &ends, state: &state, product };
        let inner = self.projects.then(|| (factor(output), factor(cell)));
        let (recurrent, projection) = (turned(recurrent), turned(projection));
        self.end(&flow);
        for step in order(self.steps, self.reversed).rev() {
            if let Some((factor, inner)) = &inner {
                self.through_output(step, &flow, &all, [&projected, factor]);
                multiply(factor, &projection, inner);
            }
            let inner = inner.as_ref().map(|(_, inner)| inner);
            self.through_gates(step, &flow, inner, [&all, &kept], [&gates, &of_gates]);
            multiply(&of_gates, &recurrent, &flow.product);
        }
        self.arrive(&flow);
    }

    /// What there is behind the last step.
    fn end(&self, flow: &Flow) {
        let (cubes, units) = units(self.batch * (self.output + self.cell));
        unsafe {
            end::launch_unchecked(
                &flow.state.client,
                cubes,
                units,
                flow.gradient.clone().into_buffer_arg(),
                flow.state.clone().into_buffer_arg(),
                flow.product.clone().into_buffer_arg(),
                self.hidden_at(),
                element(&flow.product),
            );
        }
    }

    fn through_output(&self, step: usize, flow: &Flow, all: &CubeTensor, [projected, factor]: [&CubeTensor; 2]) {
        let (cubes, units) = units(self.batch * self.output);
        unsafe {
            through_output::launch_unchecked(
                &all.client,
                cubes,
                units,
                flow.gradient.clone().into_buffer_arg(),
                all.clone().into_buffer_arg(),
                flow.product.clone().into_buffer_arg(),
                flow.ends.clone().into_buffer_arg(),
                flow.state.clone().into_buffer_arg(),
                projected.clone().into_buffer_arg(),
                factor.clone().into_buffer_arg(),
                step,
                self.steps,
                self.output,
                self.output_limit,
                [element(factor), element(flow.ends)],
            );
        }
    }

    fn through_gates(
        &self,
        step: usize,
        flow: &Flow,
        inner: Option<&CubeTensor>,
        [all, kept]: [&CubeTensor; 2],
        [gates, factor]: [&CubeTensor; 2],
    ) {
        let (cubes, units) = units(self.batch * self.cell);
        // Where nothing is projected, what comes out of the cell is the output.
        let arrived = inner.unwrap_or(&flow.product);
        let outputs = inner.is_none().then(|| (flow.gradient.clone(), all.clone()));
        let (gradient, all) = outputs.unzip();
        unsafe {
            through_gates::launch_unchecked(
                &gates.client,
                cubes,
                units,
                arrived.clone().into_buffer_arg(),
                gradient.map(CubeTensor::into_buffer_arg).into(),
                all.map(CubeTensor::into_buffer_arg).into(),
                kept.clone().into_buffer_arg(),
                flow.ends.clone().into_buffer_arg(),
                flow.state.clone().into_buffer_arg(),
                gates.clone().into_buffer_arg(),
                factor.clone().into_buffer_arg(),
                step,
                self.steps,
                self.cell,
                self.batch * self.output,
                self.cell_limit,
                self.output_limit,
                [element(factor), element(flow.ends)],
            );
        }
    }

    /// What the first step has given goes to the state before it.
    fn arrive(&self, flow: &Flow) {
        let (cubes, units) = units(self.batch * self.output);
        unsafe {
            arrive::launch_unchecked(
                &flow.state.client,
                cubes,
                units,
                flow.product.clone().into_buffer_arg(),
                flow.state.clone().into_buffer_arg(),
                element(&flow.product),
            );
        }
    }
}

#[cube(launch_unchecked)]
fn end<C: Float>(
    gradient: &[f32],
    state: &mut [f32],
    product: &mut [C],
    hidden_at: usize,
    #[define(C)] _type: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < state.len() {
        state[at] = gradient[hidden_at + at];
    }
    if at < product.len() {
        product[at] = C::cast_from(f32::new(0.0));
    }
}

/// To the projected output before clipping. A unit a row's output.
#[cube(launch_unchecked)]
fn through_output<C: Float, I: Int>(
    gradient: &[f32],
    all: &[f32],
    product: &[C],
    ends: &[I],
    state: &mut [f32],
    projected: &mut [f32],
    factor: &mut [C],
    step: usize,
    steps: usize,
    width: usize,
    limit: f32,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < ends.len() * width {
        let row = at / width;
        let place = (row * steps + step) * width + at % width;
        let arrived = state[at] + f32::cast_from(product[at]);
        let mut passed = f32::new(0.0);
        let mut left = arrived; // of a row that has ended it flows on
        if step < usize::cast_from(ends[row]) {
            left = f32::new(0.0);
            passed = arrived + gradient[place];
            if all[place].abs() >= limit {
                passed = f32::new(0.0);
            }
        }
        state[at] = left;
        projected[place] = passed;
        factor[at] = C::cast_from(passed);
    }
}

/// To the gates before their functions, and to the cell before the step. A unit a row's cell. `gradient` and `all` are there where the
/// output is not projected.
#[cube(launch_unchecked)]
fn through_gates<C: Float, I: Int>(
    arrived: &[C],
    gradient: ComptimeOption<&[f32]>,
    all: ComptimeOption<&[f32]>,
    kept: &[f32],
    ends: &[I],
    state: &mut [f32],
    gates: &mut [f32],
    factor: &mut [C],
    step: usize,
    steps: usize,
    width: usize,
    cell_at: usize,
    cell_limit: f32,
    output_limit: f32,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < ends.len() * width {
        let row = at / width;
        let column = at % width;
        let place = row * steps + step;
        let is_there = step < usize::cast_from(ends[row]);
        let mut inner = f32::cast_from(arrived[at]);
        #[comptime]
        if let ComptimeOption::Some(gradient) = &gradient {
            inner += state[at];
            let mut left = inner;
            if is_there {
                left = f32::new(0.0);
                inner += gradient[place * width + column];
                #[comptime]
                if let ComptimeOption::Some(all) = &all {
                    if all[place * width + column].abs() >= output_limit {
                        inner = f32::new(0.0);
                    }
                }
            }
            state[at] = left;
        }
        let mut of_candidate = f32::new(0.0);
        let mut of_input = f32::new(0.0);
        let mut of_forget = f32::new(0.0);
        let mut of_output = f32::new(0.0);
        if is_there {
            let from = place * 5 * width + column;
            let candidate = kept[from];
            let input = kept[from + width];
            let forget = kept[from + 2 * width];
            let output = kept[from + 3 * width];
            let before = kept[from + 4 * width];
            let cell = clipped(candidate * input + before * forget, cell_limit);
            let squashed = cell.tanh();
            let mut of_cell = state[cell_at + at] + inner * output * (f32::new(1.0) - squashed * squashed);
            if cell.abs() >= cell_limit {
                of_cell = f32::new(0.0);
            }
            of_candidate = of_cell * input * (f32::new(1.0) - candidate * candidate);
            of_input = of_cell * candidate * input * (f32::new(1.0) - input);
            of_forget = of_cell * before * forget * (f32::new(1.0) - forget);
            of_output = inner * squashed * output * (f32::new(1.0) - output);
            state[cell_at + at] = of_cell * forget;
        }
        let to = place * 4 * width + column;
        gates[to] = of_candidate;
        gates[to + width] = of_input;
        gates[to + 2 * width] = of_forget;
        gates[to + 3 * width] = of_output;
        let to = row * 4 * width + column;
        factor[to] = C::cast_from(of_candidate);
        factor[to + width] = C::cast_from(of_input);
        factor[to + 2 * width] = C::cast_from(of_forget);
        factor[to + 3 * width] = C::cast_from(of_output);
    }
}

#[cube(launch_unchecked)]
fn arrive<C: Float>(product: &[C], state: &mut [f32], #[define(C)] _type: ElemType) {
    let at = ABSOLUTE_POS;
    if at < product.len() {
        state[at] += f32::cast_from(product[at]);
    }
}
