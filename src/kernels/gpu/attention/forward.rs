//! The forward kernel of attention in tiles.

use cubecl::prelude::*;

use super::super::dropout::is_dropped;
use super::tiles::{LOWEST, SIDE, add_product, biased, load, place, products, store, unit_column, unit_row, zeros};

/// A tile of queries: their outputs; and the largest score and the inverse of the sum of exponentials of each, apart from each other, for
/// of a row that sees nothing the sum of both logarithms, of size 1e4, would lose the digits.
#[cube(launch_unchecked)]
pub(super) fn attend<F: Float, B: Float>(
    query: &[F],
    key: &[F],
    value: &[F],
    bias: &[B],
    output: &mut [F],
    sums: &mut [f32],
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
    #[define(F, B)] _types: [ElemType; 2],
) {
    if CUBE_POS >= count {
        terminate!();
    }
    let tile = comptime!(block / SIDE);
    let columns = comptime!(padded / SIDE);
    let mut of_queries = Shared::<[f32]>::new_slice(block * (padded + 1));
    let mut of_keys = Shared::<[f32]>::new_slice(block * (padded + 1));
    let mut scores = Shared::<[f32]>::new_slice(block * (block + 1));
    // Of each query: the largest score, what the sums so far are to be multiplied by, and the sum of exponentials.
    let mut tops = Shared::<[f32]>::new_slice(block);
    let mut corrections = Shared::<[f32]>::new_slice(block);
    let mut totals = Shared::<[f32]>::new_slice(block);
    let mut parts = Shared::<[f32]>::new_slice(block * SIDE);

    let hidden = heads * size;
    let unit = UNIT_POS as usize;
    let row = unit_row(tile);
    let column = unit_column();
    let here = place(heads, seq, size, block);
    load::<F>(&mut of_queries, query, &here, here.first, hidden, seq, size, padded, block);
    if unit < block {
        tops[unit] = f32::new(LOWEST);
        totals[unit] = f32::new(0.0);
    }
    let mut found = zeros(tile * columns);

    for number in 0..seq.div_ceil(block) {
        let first = number * block;
        load::<F>(&mut of_keys, key, &here, first, hidden, seq, size, padded, block);
        sync_cube();
        let mut powers = products(&of_queries, &of_keys, size, padded, tile);
        #[unroll]
        for i in 0..tile {
            #[unroll]
            for j in 0..tile {
                let score = biased::<B>(
                    powers[i * tile + j],
                    bias,
                    here.batch,
                    here.first + row + i,
                    first + column + j * SIDE,
                    seq,
                    is_per_query,
                );
                powers[i * tile + j] = score;
                scores[(row + i) * (block + 1) + column + j * SIDE] = score;
            }
        }
        sync_cube();
        // The keys are read; their place takes the values.
        load::<F>(&mut of_keys, value, &here, first, hidden, seq, size, padded, block);
        if unit < block {
            let before = tops[unit];
            let mut top = before;
            for other in 0..block {
                let score = scores[unit * (block + 1) + other];
                if score > top {
                    top = score;
                }
            }
            tops[unit] = top;
            corrections[unit] = (before - top).exp();
        }
        sync_cube();
        #[unroll]
        for i in 0..tile {
            let top = tops[row + i];
            let from = (here.head * seq + here.first + row + i) * seq + first;
            let mut part = f32::new(0.0);
            #[unroll]
            for j in 0..tile {
                let other = column + j * SIDE;
                let mut power = (powers[i * tile + j] - top).exp();
                part += power;
                if is_dropped((from + other) as u32, seed, second, threshold) {
                    power = f32::new(0.0);
                }
                scores[(row + i) * (block + 1) + other] = power * scale;
            }
            parts[(row + i) * SIDE + column] = part;
        }
        sync_cube();
        #[unroll]
        for i in 0..tile {
            let correction = corrections[row + i];
            #[unroll]
            for c in 0..columns {
                found[i * columns + c] *= correction;
            }
        }
        add_product(&mut found, &scores, &of_keys, false, padded, tile);
        if unit < block {
            let mut total = totals[unit] * corrections[unit];
            for part in 0..SIDE {
                total += parts[unit * SIDE + part];
            }
            totals[unit] = total;
        }
        sync_cube();
    }

    #[unroll]
    for i in 0..tile {
        let total = totals[row + i];
        #[unroll]
        for c in 0..columns {
            found[i * columns + c] /= total;
        }
    }
    store::<F>(output, &found, &here, hidden, seq, size, padded, tile);
    if unit < block && here.first + unit < seq {
        let at = 2 * (here.head * seq + here.first + unit);
        sums[at] = tops[unit];
        sums[at + 1] = f32::new(1.0) / totals[unit];
    }
}
