//! Attention of queries to keys in tiles: no tensor of `[batch, heads, query, key]` is ever in memory. The scores are made twice more in the
//! backward pass, from each query's largest score and sum of exponentials (FlashAttention, arXiv 2205.14135 and 2307.08691).

mod backward;
mod forward;
mod tiles;

use backward::{by_keys, by_queries, sums_of_products};
use burn::backend::Cube;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use forward::attend;
use tiles::{SIDE, UNITS};

use super::dropout::NOTHING;
use super::launch::{Lazy, constant, cubes, element, empty, queue};
use crate::kernels::Mask;
use crate::kernels::operation::{Operation, operate};

/// Heads that fit with their tiles into the 32 KiB which a cube shares everywhere.
const WIDEST: usize = 128;
/// Bytes of scores, were they in memory as float32, from which tiles are taken.
const LARGE: usize = 256 << 20;

/// Whether attention in tiles is to be preferred. It computes on the general units of a GPU, and the products of the plain way on its tensor
/// cores, where there are any: so the plain way is taken until its memory, several tensors of scores a layer, is what limits a batch. Not
/// measured on a card.
pub fn pays([batch, heads, seq]: [usize; 3]) -> bool {
    batch * heads * seq * seq * size_of::<f32>() >= LARGE
}

/// See [`crate::kernels::attention`].
pub fn attention(
    [query, key, value]: [&Tensor<2>; 3],
    heads: usize,
    bias: &Tensor<4>,
    mask: Option<Mask>,
) -> Option<Tensor<2>> {
    let [_, hidden] = query.dims();
    let [batch, _, queries, seq] = bias.dims();
    let size = hidden / heads;
    // Scaling the query costs less than scaling the scores, and gives the same sums.
    let query = &query.clone().div_scalar((size as f64).sqrt());
    if size > WIDEST || [key, value].iter().any(|other| other.dtype() != query.dtype()) {
        return None;
    }
    let is_per_query = queries > 1 || seq == 1;
    let shape = Tiled { batch, heads, seq, size, is_per_query, mask };
    let inputs = [query, key, value].map(|input| input.clone().into_dispatch());
    operate(Attention { bias: constant(bias)?, tiled: shape }, inputs)
}

#[derive(Debug, Clone)]
struct Attention {
    /// `[batch, 1, query or 1, key]`
    bias: Lazy,
    tiled: Tiled,
}

/// What the launches have to know.
#[derive(Debug, Clone, Copy)]
struct Tiled {
    batch: usize,
    heads: usize,
    seq: usize,
    /// The width of a head.
    size: usize,
    is_per_query: bool,
    mask: Option<Mask>,
}

impl Operation<Cube> for Attention {
    /// Queries, keys, values, the output, and of each query the largest score and the inverse sum of exponentials,
    /// `[batch, heads, seq, 2]`.
    type Kept = [Lazy; 5];

    fn forward(&self, inputs: Vec<Lazy>, _: bool) -> (Lazy, Self::Kept) {
        let [query, key, value]: [Lazy; 3] = inputs.try_into().expect("three inputs");
        let tiled = self.tiled;
        let outputs =
            [(query.shape.clone(), query.dtype), (Shape::from([tiled.batch, tiled.heads, tiled.seq, 2]), DType::F32)];
        let inputs = [query.clone(), key.clone(), value.clone(), self.bias.clone()];
        let [output, sums] = queue("kiln::attention", inputs, outputs, move |inputs, outputs| {
            tiled.forward(inputs, outputs);
        });
        (output.clone(), [query, key, value, output, sums])
    }

    fn backward(&self, kept: &Self::Kept, gradient: Lazy, _: &[bool]) -> Vec<Option<Lazy>> {
        let [query, key, value, output, sums] = kept.clone();
        let (tiled, like) = (self.tiled, (query.shape.clone(), query.dtype));
        let inputs = [query, key, value, self.bias.clone(), output, sums, gradient];
        let outputs =
            queue("kiln::attention_backward", inputs, [like.clone(), like.clone(), like], move |inputs, outputs| {
                tiled.backward(inputs, outputs)
            });
        outputs.into_iter().map(Some).collect()
    }
}

impl Tiled {
    /// The width of a head in a tile: a multiple of the units on a side.
    fn padded(&self) -> usize {
        self.size.next_multiple_of(SIDE)
    }

    /// Queries, and keys, of a tile: so many that three tiles of heads and one of scores fit into 32 KiB.
    fn block(&self) -> usize {
        if self.padded() <= 64 { 4 * SIDE } else { 2 * SIDE }
    }

    fn count(&self) -> usize {
        self.batch * self.heads * self.seq.div_ceil(self.block())
    }

    fn forward(&self, [query, key, value, bias]: [CubeTensor; 4], [output, sums]: [CubeTensor; 2]) {
        let (client, types) = (query.client.clone(), [element(&query), element(&bias)]);
        let Mask { seed, threshold, scale } = self.mask.unwrap_or(NOTHING);
        unsafe {
            attend::launch_unchecked(
                &client,
                cubes(self.count()),
                CubeDim::new_1d(UNITS as u32),
                query.into_buffer_arg(),
                key.into_buffer_arg(),
                value.into_buffer_arg(),
                bias.into_buffer_arg(),
                output.into_buffer_arg(),
                sums.into_buffer_arg(),
                self.count(),
                self.heads,
                self.seq,
                seed[0],
                seed[1],
                threshold,
                scale,
                self.size,
                self.padded(),
                self.block(),
                self.is_per_query,
                types,
            );
        }
    }

    fn backward(
        &self,
        [query, key, value, bias, output, sums, gradient]: [CubeTensor; 7],
        [of_query, of_key, of_value]: [CubeTensor; 3],
    ) {
        let (client, types) = (query.client.clone(), [element(&query), element(&bias), element(&gradient)]);
        let Mask { seed, threshold, scale } = self.mask.unwrap_or(NOTHING);
        let units = CubeDim::new_1d(UNITS as u32);
        let deltas = empty(&sums, Shape::from([self.batch, self.heads, self.seq]), DType::F32);
        unsafe {
            sums_of_products::launch_unchecked(
                &client,
                cubes((self.batch * self.heads * self.seq).div_ceil(UNITS)),
                units,
                output.into_buffer_arg(),
                gradient.clone().into_buffer_arg(),
                deltas.clone().into_buffer_arg(),
                self.heads,
                self.seq,
                self.size,
                [types[0], types[2]],
            );
            by_queries::launch_unchecked(
                &client,
                cubes(self.count()),
                units,
                query.clone().into_buffer_arg(),
                key.clone().into_buffer_arg(),
                value.clone().into_buffer_arg(),
                bias.clone().into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                deltas.clone().into_buffer_arg(),
                gradient.clone().into_buffer_arg(),
                of_query.into_buffer_arg(),
                self.count(),
                self.heads,
                self.seq,
                seed[0],
                seed[1],
                threshold,
                scale,
                self.size,
                self.padded(),
                self.block(),
                self.is_per_query,
                types,
            );
            by_keys::launch_unchecked(
                &client,
                cubes(self.count()),
                units,
                query.into_buffer_arg(),
                key.into_buffer_arg(),
                value.into_buffer_arg(),
                bias.into_buffer_arg(),
                sums.into_buffer_arg(),
                deltas.into_buffer_arg(),
                gradient.into_buffer_arg(),
                of_key.into_buffer_arg(),
                of_value.into_buffer_arg(),
                self.count(),
                self.heads,
                self.seq,
                seed[0],
                seed[1],
                threshold,
                scale,
                self.size,
                self.padded(),
                self.block(),
                self.is_per_query,
                types,
            );
        }
    }
}
