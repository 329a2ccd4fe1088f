//! The steps forward.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Layer;
use crate::kernels::gpu::launch::{element, empty, units};
use crate::kernels::gpu::steps::{clipped, multiply, order, sigmoid};

impl Layer {
    /// Fills what [`super::Pass`] has.
    pub(super) fn forward(
        &self,
        [gates, recurrent, projection, first_hidden, first_cell, ends]: [CubeTensor; 6],
        all: CubeTensor,
        kept: Option<CubeTensor>,
    ) {
        let Self { batch, cell, output, .. } = *self;
        let factor = |width: usize| empty(&recurrent, [batch, width].into(), recurrent.dtype);
        let (hidden, product) = (factor(output), factor(4 * cell));
        let projected = self.projects.then(|| (factor(cell), factor(output)));
        self.start([first_hidden, first_cell], &all, &hidden);
        for step in order(self.steps, self.reversed) {
            multiply(&hidden, &recurrent, &product);
            let next = projected.as_ref().map_or(&hidden, |(inner, _)| inner);
            self.gate(step, [&gates, &product, &ends], &all, next, kept.as_ref());
            if let Some((inner, product)) = &projected {
                multiply(inner, &projection, product);
                self.put(step, [product, &ends], &all, &hidden);
            }
        }
    }

    fn start(&self, [hidden, cell]: [CubeTensor; 2], all: &CubeTensor, factor: &CubeTensor) {
        let (cubes, units) = units(self.batch * self.output.max(self.cell));
        unsafe {
            start::launch_unchecked(
                &all.client,
                cubes,
                units,
                hidden.into_buffer_arg(),
                cell.into_buffer_arg(),
                all.clone().into_buffer_arg(),
                factor.clone().into_buffer_arg(),
                self.hidden_at(),
                self.cell_at(),
                element(factor),
            );
        }
    }

    fn gate(
        &self,
        step: usize,
        [gates, product, ends]: [&CubeTensor; 3],
        all: &CubeTensor,
        next: &CubeTensor,
        kept: Option<&CubeTensor>,
    ) {
        let (cubes, units) = units(self.batch * self.cell);
        unsafe {
            gate::launch_unchecked(
                &all.client,
                cubes,
                units,
                gates.clone().into_buffer_arg(),
                product.clone().into_buffer_arg(),
                ends.clone().into_buffer_arg(),
                all.clone().into_buffer_arg(),
                next.clone().into_buffer_arg(),
                kept.cloned().map(CubeTensor::into_buffer_arg).into(),
                step,
                self.steps,
                self.cell,
                self.hidden_at(),
                self.cell_at(),
                self.cell_limit,
                self.output_limit,
                self.projects,
                [element(product), element(ends)],
            );
        }
    }

    fn put(&self, step: usize, [product, ends]: [&CubeTensor; 2], all: &CubeTensor, hidden: &CubeTensor) {
        let (cubes, units) = units(self.batch * self.output);
        unsafe {
            put::launch_unchecked(
                &all.client,
                cubes,
                units,
                product.clone().into_buffer_arg(),
                ends.clone().into_buffer_arg(),
                all.clone().into_buffer_arg(),
                hidden.clone().into_buffer_arg(),
                step,
                self.steps,
                self.output,
                self.hidden_at(),
                self.output_limit,
                [element(product), element(ends)],
            );
        }
    }

    /// The outputs before each step, `[batch * steps, output]`; 0 where a row has ended.
    pub(super) fn before(&self, [all, first, ends]: [CubeTensor; 3], out: CubeTensor) {
        let (cubes, units) = units(self.hidden_at());
        let (client, types) = (all.client.clone(), [element(&out), element(&ends)]);
        unsafe {
            before::launch_unchecked(
                &client,
                cubes,
                units,
                all.into_buffer_arg(),
                first.into_buffer_arg(),
                ends.into_buffer_arg(),
                out.into_buffer_arg(),
                self.steps,
                self.output,
                self.reversed,
                types,
            );
        }
    }

    /// What comes out of the cell and is projected, `[batch * steps, cell]`; 0 where a row has ended.
    pub(super) fn inner(&self, [kept, ends]: [CubeTensor; 2], out: CubeTensor) {
        let (cubes, units) = units(self.batch * self.steps * self.cell);
        let (client, types) = (kept.client.clone(), [element(&out), element(&ends)]);
        unsafe {
            inner::launch_unchecked(
                &client,
                cubes,
                units,
                kept.into_buffer_arg(),
                ends.into_buffer_arg(),
                out.into_buffer_arg(),
                self.steps,
                self.cell,
                self.cell_limit,
                types,
            );
        }
    }
}

/// The state before the first step, and its output as products read it.
#[cube(launch_unchecked)]
fn start<C: Float>(
    hidden: &[f32],
    cell: &[f32],
    all: &mut [f32],
    factor: &mut [C],
    hidden_at: usize,
    cell_at: usize,
    #[define(C)] _type: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < hidden.len() {
        all[hidden_at + at] = hidden[at];
        factor[at] = C::cast_from(hidden[at]);
    }
    if at < cell.len() {
        all[cell_at + at] = cell[at];
    }
}

/// The gates' functions, the cell, and what comes out of it: for the projection, or as the output. A unit a row's cell.
#[cube(launch_unchecked)]
fn gate<C: Float, I: Int>(
    gates: &[f32],
    product: &[C],
    ends: &[I],
    all: &mut [f32],
    next: &mut [C],
    mut kept: ComptimeOption<&mut [f32]>,
    step: usize,
    steps: usize,
    width: usize,
    hidden_at: usize,
    cell_at: usize,
    cell_limit: f32,
    output_limit: f32,
    #[comptime] projects: bool,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < ends.len() * width {
        let row = at / width;
        let column = at % width;
        let place = row * steps + step;
        if step < usize::cast_from(ends[row]) {
            let x = place * 4 * width + column;
            let h = row * 4 * width + column;
            let candidate = (gates[x] + f32::cast_from(product[h])).tanh();
            let input = sigmoid(gates[x + width] + f32::cast_from(product[h + width]));
            let forget = sigmoid(gates[x + 2 * width] + f32::cast_from(product[h + 2 * width]));
            let output = sigmoid(gates[x + 3 * width] + f32::cast_from(product[h + 3 * width]));
            let before = all[cell_at + at];
            #[comptime]
            if let ComptimeOption::Some(kept) = &mut kept {
                let to = place * 5 * width + column;
                kept[to] = candidate;
                kept[to + width] = input;
                kept[to + 2 * width] = forget;
                kept[to + 3 * width] = output;
                kept[to + 4 * width] = before;
            }
            let cell = clipped(candidate * input + before * forget, cell_limit);
            all[cell_at + at] = cell;
            let inner = output * cell.tanh();
            if comptime!(projects) {
                next[at] = C::cast_from(inner);
            } else {
                let hidden = clipped(inner, output_limit);
                all[place * width + column] = hidden;
                all[hidden_at + at] = hidden;
                next[at] = C::cast_from(hidden);
            }
        } else if comptime!(projects) {
            next[at] = C::cast_from(f32::new(0.0));
        } else {
            all[place * width + column] = f32::new(0.0);
        }
    }
}

/// The projected output. A unit a row's output.
#[cube(launch_unchecked)]
fn put<C: Float, I: Int>(
    product: &[C],
    ends: &[I],
    all: &mut [f32],
    factor: &mut [C],
    step: usize,
    steps: usize,
    width: usize,
    hidden_at: usize,
    limit: f32,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < ends.len() * width {
        let row = at / width;
        let place = (row * steps + step) * width + at % width;
        if step < usize::cast_from(ends[row]) {
            let hidden = clipped(f32::cast_from(product[at]), limit);
            all[place] = hidden;
            all[hidden_at + at] = hidden;
            factor[at] = C::cast_from(hidden);
        } else {
            all[place] = f32::new(0.0);
        }
    }
}

#[cube(launch_unchecked)]
fn before<C: Float, I: Int>(
    all: &[f32],
    first: &[f32],
    ends: &[I],
    out: &mut [C],
    steps: usize,
    width: usize,
    #[comptime] reversed: bool,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < ends.len() * steps * width {
        let row = at / (steps * width);
        let step = at / width % steps;
        let end = usize::cast_from(ends[row]);
        let mut found = f32::new(0.0);
        if step < end {
            let mut is_first = step == 0;
            let mut from = at - width;
            if comptime!(reversed) {
                is_first = step + 1 == end;
                from = at + width;
            }
            if is_first {
                found = first[row * width + at % width];
            } else {
                found = all[from];
            }
        }
        out[at] = C::cast_from(found);
    }
}

#[cube(launch_unchecked)]
fn inner<C: Float, I: Int>(
    kept: &[f32],
    ends: &[I],
    out: &mut [C],
    steps: usize,
    width: usize,
    limit: f32,
    #[define(C, I)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < ends.len() * steps * width {
        let place = at / width;
        let mut found = f32::new(0.0);
        if place % steps < usize::cast_from(ends[place / steps]) {
            let from = place * 5 * width + at % width;
            let cell = kept[from] * kept[from + width] + kept[from + 4 * width] * kept[from + 2 * width];
            found = kept[from + 3 * width] * clipped(cell, limit).tanh();
        }
        out[at] = C::cast_from(found);
    }
}
