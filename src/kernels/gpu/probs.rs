//! From attention's scores to what its values are weighed by: the sum with the bias, softmax and dropout as one kernel, forward and
//! backward.

use burn::backend::Cube;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::dropout::{NOTHING, is_dropped};
use super::launch::{Lazy, constant, element, queue};
use super::rows::{LANES, ROWS, grid, row_max, row_sum};
use crate::kernels::Mask;
use crate::kernels::operation::{Operation, operate};

/// See [`crate::kernels::probs`].
pub fn probs(scores: &Tensor<4>, bias: &Tensor<4>, mask: Option<Mask>) -> Option<Tensor<4>> {
    let [_, heads, queries, keys] = scores.dims();
    let is_per_query = bias.dims()[2] > 1 || queries == 1;
    let probs = Probs { bias: constant(bias)?, rows: Rows { heads, queries, keys, is_per_query, mask } };
    operate(probs, [scores.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct Probs {
    /// `[batch, 1, query or 1, key]`
    bias: Lazy,
    rows: Rows,
}

/// What the launches have to know.
#[derive(Debug, Clone, Copy)]
struct Rows {
    heads: usize,
    queries: usize,
    keys: usize,
    is_per_query: bool,
    mask: Option<Mask>,
}

impl Operation<Cube> for Probs {
    /// Softmax's output, and the type of the scores.
    type Kept = (Lazy, DType);

    fn forward(&self, mut inputs: Vec<Lazy>, _: bool) -> (Lazy, Self::Kept) {
        let scores = inputs.remove(0);
        let ((like, dtype), rows) = ((scores.shape.clone(), scores.dtype), self.rows);
        let inputs = [scores, self.bias.clone()];
        let output: (Shape, DType) = (like, DType::F32);
        if rows.mask.is_none() {
            let [probs] = queue("kiln::probs", inputs, [output], move |[scores, bias], [probs]| {
                rows.launch(scores, bias, probs, None);
            });
            return (probs.clone(), (probs, dtype));
        }
        let outputs = [output.clone(), output];
        let [probs, dropped] =
            queue("kiln::dropped_probs", inputs, outputs, move |[scores, bias], [probs, dropped]| {
                rows.launch(scores, bias, probs, Some(dropped));
            });
        (dropped, (probs, dtype))
    }

    fn backward(&self, (probs, dtype): &Self::Kept, gradient: Lazy, _: &[bool]) -> Vec<Option<Lazy>> {
        let (output, rows) = ((probs.shape.clone(), *dtype), self.rows);
        let inputs = [probs.clone(), gradient];
        let [scores] = queue("kiln::probs_backward", inputs, [output], move |[probs, gradient], [scores]| {
            rows.launch_backward(probs, gradient, scores);
        });
        vec![Some(scores)]
    }
}

impl Rows {
    fn launch(&self, scores: CubeTensor, bias: CubeTensor, probs: CubeTensor, dropped: Option<CubeTensor>) {
        let rows = scores.meta.num_elements() / self.keys.max(1);
        let (client, types) = (scores.client.clone(), [element(&scores), element(&bias)]);
        let Mask { seed, threshold, scale } = self.mask.unwrap_or(NOTHING);
        let (count, units) = grid(rows);
        unsafe {
            forward_rows::launch_unchecked(
                &client,
                count,
                units,
                scores.into_buffer_arg(),
                bias.into_buffer_arg(),
                probs.into_buffer_arg(),
                dropped.map(CubeTensor::into_buffer_arg).into(),
                self.keys,
                self.queries,
                self.heads,
                seed[0],
                seed[1],
                threshold,
                scale,
                self.is_per_query,
                types,
            );
        }
    }

    fn launch_backward(&self, probs: CubeTensor, gradient: CubeTensor, scores: CubeTensor) {
        let rows = probs.meta.num_elements() / self.keys.max(1);
        let (client, types) = (probs.client.clone(), [element(&gradient), element(&scores)]);
        let Mask { seed, threshold, scale } = self.mask.unwrap_or(NOTHING);
        let (count, units) = grid(rows);
        unsafe {
            backward_rows::launch_unchecked(
                &client,
                count,
                units,
                probs.into_buffer_arg(),
                gradient.into_buffer_arg(),
                scores.into_buffer_arg(),
                self.keys,
                seed[0],
                seed[1],
                threshold,
                scale,
                types,
            );
        }
    }
}

/// A row of a cube's units each.
#[cube(launch_unchecked)]
fn forward_rows<S: Float, B: Float>(
    scores: &[S],
    bias: &[B],
    probs: &mut [f32],
    mut dropped: ComptimeOption<&mut [f32]>,
    keys: usize,
    queries: usize,
    heads: usize,
    seed: u32,
    second: u32,
    threshold: u32,
    scale: f32,
    #[comptime] is_per_query: bool,
    #[define(S, B)] _types: [ElemType; 2],
) {
    let mut shared = Shared::<[f32]>::new_slice(LANES * ROWS);
    let row = CUBE_POS * ROWS + UNIT_POS_Y as usize;
    let lane = UNIT_POS_X as usize;
    // A unit behind the last row goes through the barriers, and over no key.
    let mut end = row * keys;
    if row * keys < scores.len() {
        end += keys;
    }
    let batch = row / (queries * heads);
    let mut of_bias = batch;
    if is_per_query {
        of_bias = batch * queries + row % queries;
    }

    let mut top = f32::new(-3.0e38);
    let mut at = row * keys + lane;
    while at < end {
        let score = f32::cast_from(scores[at]) + f32::cast_from(bias[of_bias * keys + at - row * keys]);
        probs[at] = score;
        if score > top {
            top = score;
        }
        at += LANES;
    }
    let top = row_max(&mut shared, top);

    let mut total = f32::new(0.0);
    let mut at = row * keys + lane;
    while at < end {
        let power = (probs[at] - top).exp();
        probs[at] = power;
        total += power;
        at += LANES;
    }
    let inverse = f32::new(1.0) / row_sum(&mut shared, total);

    let mut at = row * keys + lane;
    while at < end {
        let prob = probs[at] * inverse;
        probs[at] = prob;
        #[comptime]
        if let ComptimeOption::Some(dropped) = &mut dropped {
            let mut kept = prob * scale;
            if is_dropped(at as u32, seed, second, threshold) {
                kept = f32::new(0.0);
            }
            dropped[at] = kept;
        }
        at += LANES;
    }
}

/// From the gradient of the output to that of the scores.
#[cube(launch_unchecked)]
fn backward_rows<G: Float, S: Float>(
    probs: &[f32],
    gradient: &[G],
    scores: &mut [S],
    keys: usize,
    seed: u32,
    second: u32,
    threshold: u32,
    scale: f32,
    #[define(G, S)] _types: [ElemType; 2],
) {
    let mut shared = Shared::<[f32]>::new_slice(LANES * ROWS);
    let row = CUBE_POS * ROWS + UNIT_POS_Y as usize;
    let lane = UNIT_POS_X as usize;
    let mut end = row * keys;
    if row * keys < probs.len() {
        end += keys;
    }

    let mut total = f32::new(0.0);
    let mut at = row * keys + lane;
    while at < end {
        if !is_dropped(at as u32, seed, second, threshold) {
            total += f32::cast_from(gradient[at]) * scale * probs[at];
        }
        at += LANES;
    }
    let total = row_sum(&mut shared, total);

    let mut at = row * keys + lane;
    while at < end {
        let mut through = f32::cast_from(gradient[at]) * scale;
        if is_dropped(at as u32, seed, second, threshold) {
            through = f32::new(0.0);
        }
        scores[at] = S::cast_from(probs[at] * (through - total));
        at += LANES;
    }
}
