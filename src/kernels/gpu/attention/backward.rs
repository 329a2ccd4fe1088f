//! The backward kernels of attention in tiles.

use cubecl::prelude::*;

use super::super::dropout::is_dropped;
use super::tiles::{Place, SIDE, add_product, biased, load, place, products, store, unit_column, unit_row, zeros};

/// Of each query and head, the sum of the products of output and gradient, `[batch, heads, seq]`.
#[cube(launch_unchecked)]
pub(super) fn sums_of_products<F: Float, G: Float>(
    output: &[F],
    gradient: &[G],
    deltas: &mut [f32],
    heads: usize,
    seq: usize,
    #[comptime] size: usize,
    #[define(F, G)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < deltas.len() {
        let head = at / seq;
        let from = (head / heads * seq + at % seq) * heads * size + head % heads * size;
        let mut sum = f32::new(0.0);
        for column in 0..size {
            sum += f32::cast_from(output[from + column]) * f32::cast_from(gradient[from + column]);
        }
        deltas[at] = sum;
    }
}

/// The unit's part of the probabilities of a tile, from its scores.
#[cube]
fn probabilities<B: Float>(
    scores: &mut Array<f32>,
    bias: &[B],
    sums: &[f32],
    here: &Place,
    first_query: usize,
    first_key: usize,
    seq: usize,
    #[comptime] is_per_query: bool,
    #[comptime] tile: usize,
) {
    #[unroll]
    for i in 0..tile {
        let query = first_query + unit_row(tile) + i;
        #[unroll]
        for j in 0..tile {
            let key = first_key + unit_column() + j * SIDE;
            let mut prob = f32::new(0.0);
            if query < seq && key < seq {
                let score = biased::<B>(scores[i * tile + j], bias, here.batch, query, key, seq, is_per_query);
                let at = 2 * (here.head * seq + query);
                prob = (score - sums[at]).exp() * sums[at + 1];
            }
            scores[i * tile + j] = prob;
        }
    }
}

/// From the gradients of what a tile's values are weighed by, through dropout and softmax, to those of its scores.
#[cube]
fn through_softmax(
    scores: &mut Shared<[f32]>,
    flowing: &Array<f32>,
    probs: &Array<f32>,
    deltas: &[f32],
    here: &Place,
    first_query: usize,
    first_key: usize,
    seq: usize,
    seed: u32,
    second: u32,
    threshold: u32,
    scale: f32,
    #[comptime] tile: usize,
) {
    let block = comptime!(tile * SIDE);
    let row = unit_row(tile);
    let column = unit_column();
    #[unroll]
    for i in 0..tile {
        let query = first_query + row + i;
        let at = here.head * seq + query;
        let mut delta = f32::new(0.0);
        if query < seq {
            delta = deltas[at];
        }
        #[unroll]
        for j in 0..tile {
            let other = column + j * SIDE;
            let mut through = flowing[i * tile + j] * scale;
            if is_dropped((at * seq + first_key + other) as u32, seed, second, threshold) {
                through = f32::new(0.0);
            }
            scores[(row + i) * (block + 1) + other] = probs[i * tile + j] * (through - delta);
        }
    }
}

/// A tile of queries: the gradients of the queries.
#[cube(launch_unchecked)]
pub(super) fn by_queries<F: Float, B: Float, G: Float>(
    query: &[F],
    key: &[F],
    value: &[F],
    bias: &[B],
    sums: &[f32],
    deltas: &[f32],
    gradient: &[G],
    of_query: &mut [F],
    count: usize,
    heads: usize,
    seq: usize,
    seed: u32,
    second: u32,
    threshold: u32,
    scale: f32,
    #[comptime] size: usize,
    #[comptime] padded: usize,
    #[comptime] block: usize,
    #[comptime] is_per_query: bool,
    #[define(F, B, G)] _types: [ElemType; 3],
) {
    if CUBE_POS >= count {
        terminate!();
    }
    let tile = comptime!(block / SIDE);
    let columns = comptime!(padded / SIDE);
    let mut queries = Shared::<[f32]>::new_slice(block * (padded + 1));
    let mut gradients = Shared::<[f32]>::new_slice(block * (padded + 1));
    let mut others = Shared::<[f32]>::new_slice(block * (padded + 1));
    let mut scores = Shared::<[f32]>::new_slice(block * (block + 1));

    let hidden = heads * size;
    let here = place(heads, seq, size, block);
    load::<F>(&mut queries, query, &here, here.first, hidden, seq, size, padded, block);
    load::<G>(&mut gradients, gradient, &here, here.first, hidden, seq, size, padded, block);
    let mut found = zeros(tile * columns);

    for number in 0..seq.div_ceil(block) {
        let first = number * block;
        load::<F>(&mut others, value, &here, first, hidden, seq, size, padded, block);
        sync_cube();
        let flowing = products(&gradients, &others, size, padded, tile);
        sync_cube();
        load::<F>(&mut others, key, &here, first, hidden, seq, size, padded, block);
        sync_cube();
        let mut probs = products(&queries, &others, size, padded, tile);
        probabilities::<B>(&mut probs, bias, sums, &here, here.first, first, seq, is_per_query, tile);
        through_softmax(
            &mut scores,
            &flowing,
            &probs,
            deltas,
            &here,
            here.first,
            first,
            seq,
            seed,
            second,
            threshold,
            scale,
            tile,
        );
        sync_cube();
        add_product(&mut found, &scores, &others, false, padded, tile);
        sync_cube();
    }
    store::<F>(of_query, &found, &here, hidden, seq, size, padded, tile);
}

/// A tile of keys: the gradients of the keys and the values.
#[cube(launch_unchecked)]
pub(super) fn by_keys<F: Float, B: Float, G: Float>(
    query: &[F],
    key: &[F],
    value: &[F],
    bias: &[B],
    sums: &[f32],
    deltas: &[f32],
    gradient: &[G],
    of_key: &mut [F],
    of_value: &mut [F],
    count: usize,
    heads: usize,
    seq: usize,
    seed: u32,
    second: u32,
    threshold: u32,
    scale: f32,
    #[comptime] size: usize,
    #[comptime] padded: usize,
    #[comptime] block: usize,
    #[comptime] is_per_query: bool,
    #[define(F, B, G)] _types: [ElemType; 3],
) {
    if CUBE_POS >= count {
        terminate!();
    }
    let tile = comptime!(block / SIDE);
    let columns = comptime!(padded / SIDE);
    let mut keys = Shared::<[f32]>::new_slice(block * (padded + 1));
    let mut values = Shared::<[f32]>::new_slice(block * (padded + 1));
    let mut others = Shared::<[f32]>::new_slice(block * (padded + 1));
    let mut scores = Shared::<[f32]>::new_slice(block * (block + 1));

    let hidden = heads * size;
    let row = unit_row(tile);
    let column = unit_column();
    let here = place(heads, seq, size, block);
    load::<F>(&mut keys, key, &here, here.first, hidden, seq, size, padded, block);
    load::<F>(&mut values, value, &here, here.first, hidden, seq, size, padded, block);
    let mut by_key = zeros(tile * columns);
    let mut by_value = zeros(tile * columns);

    for number in 0..seq.div_ceil(block) {
        let first = number * block;
        load::<F>(&mut others, query, &here, first, hidden, seq, size, padded, block);
        sync_cube();
        let mut probs = products(&others, &keys, size, padded, tile);
        probabilities::<B>(&mut probs, bias, sums, &here, first, here.first, seq, is_per_query, tile);
        #[unroll]
        for i in 0..tile {
            let from = (here.head * seq + first + row + i) * seq + here.first;
            #[unroll]
            for j in 0..tile {
                let other = column + j * SIDE;
                let mut kept = probs[i * tile + j] * scale;
                if is_dropped((from + other) as u32, seed, second, threshold) {
                    kept = f32::new(0.0);
                }
                scores[(row + i) * (block + 1) + other] = kept;
            }
        }
        sync_cube();
        load::<G>(&mut others, gradient, &here, first, hidden, seq, size, padded, block);
        sync_cube();
        add_product(&mut by_value, &scores, &others, true, padded, tile);
        let flowing = products(&others, &values, size, padded, tile);
        sync_cube();
        through_softmax(
            &mut scores,
            &flowing,
            &probs,
            deltas,
            &here,
            first,
            here.first,
            seq,
            seed,
            second,
            threshold,
            scale,
            tile,
        );
        load::<F>(&mut others, query, &here, first, hidden, seq, size, padded, block);
        sync_cube();
        add_product(&mut by_key, &scores, &others, true, padded, tile);
        sync_cube();
    }
    store::<F>(of_key, &by_key, &here, hidden, seq, size, padded, tile);
    store::<F>(of_value, &by_value, &here, hidden, seq, size, padded, tile);
}
