//! The kernels of layer normalisation.

use cubecl::prelude::*;

use super::super::dropout::is_dropped;
use super::super::rows::{LANES, ROWS, row_sum};

/// Rows that are summed for the gradients of gamma and beta before the sums are.
pub(super) const SLICE: usize = 128;

/// A row of a cube's units each: `(x + dropout(y) - mean) / deviation * gamma + beta`.
#[cube(launch_unchecked)]
pub(super) fn normalise_rows<Y: Float>(
    x: &[f32],
    y: ComptimeOption<&[Y]>,
    gamma: &[f32],
    beta: &[f32],
    out: &mut [f32],
    mut sum: ComptimeOption<&mut [f32]>,
    stats: &mut [f32],
    width: usize,
    epsilon: f32,
    seed: u32,
    second: u32,
    threshold: u32,
    scale: f32,
    #[define(Y)] _type: ElemType,
) {
    let mut shared = Shared::<[f32]>::new_slice(LANES * ROWS);
    let row = CUBE_POS * ROWS + UNIT_POS_Y as usize;
    let lane = UNIT_POS_X as usize;
    let is_there = row * width < x.len();
    // A unit behind the last row goes through the barriers, and over no column.
    let mut end = row * width;
    if is_there {
        end += width;
    }

    let mut total = f32::new(0.0);
    let mut at = row * width + lane;
    while at < end {
        let mut value = x[at];
        #[comptime]
        if let ComptimeOption::Some(y) = &y {
            if !is_dropped(at as u32, seed, second, threshold) {
                value += f32::cast_from(y[at]) * scale;
            }
        }
        out[at] = value;
        total += value;
        at += LANES;
    }
    let mean = row_sum(&mut shared, total) / width as f32;

    let mut squares = f32::new(0.0);
    let mut at = row * width + lane;
    while at < end {
        let apart = out[at] - mean;
        squares += apart * apart;
        at += LANES;
    }
    let variance = row_sum(&mut shared, squares) / width as f32;
    let inverse = f32::new(1.0) / (variance + epsilon).sqrt();

    let mut at = row * width + lane;
    while at < end {
        let value = out[at];
        #[comptime]
        if let ComptimeOption::Some(sum) = &mut sum {
            sum[at] = value;
        }
        let column = at - row * width;
        out[at] = (value - mean) * inverse * gamma[column] + beta[column];
        at += LANES;
    }
    if is_there && lane == 0 {
        stats[2 * row] = mean;
        stats[2 * row + 1] = inverse;
    }
}

/// From the gradient of the output to that of what was normalised, and through dropout to that of `y`.
#[cube(launch_unchecked)]
pub(super) fn differentiate_rows<G: Float, Y: Float>(
    gradient: &[G],
    input: &[f32],
    stats: &[f32],
    gamma: &[f32],
    x: &mut [f32],
    mut y: ComptimeOption<&mut [Y]>,
    width: usize,
    seed: u32,
    second: u32,
    threshold: u32,
    scale: f32,
    #[define(G, Y)] _types: [ElemType; 2],
) {
    let mut shared = Shared::<[f32]>::new_slice(LANES * ROWS);
    let row = CUBE_POS * ROWS + UNIT_POS_Y as usize;
    let lane = UNIT_POS_X as usize;
    let is_there = row * width < input.len();
    let mut end = row * width;
    let mut mean = f32::new(0.0);
    let mut inverse = f32::new(0.0);
    if is_there {
        end += width;
        mean = stats[2 * row];
        inverse = stats[2 * row + 1];
    }

    let mut total = f32::new(0.0);
    let mut along = f32::new(0.0);
    let mut at = row * width + lane;
    while at < end {
        let inner = f32::cast_from(gradient[at]) * gamma[at - row * width];
        total += inner;
        along += inner * (input[at] - mean) * inverse;
        at += LANES;
    }
    let total = row_sum(&mut shared, total) / width as f32;
    let along = row_sum(&mut shared, along) / width as f32;

    let mut at = row * width + lane;
    while at < end {
        let inner = f32::cast_from(gradient[at]) * gamma[at - row * width];
        let found = inverse * (inner - total - (input[at] - mean) * inverse * along);
        x[at] = found;
        #[comptime]
        if let ComptimeOption::Some(y) = &mut y {
            let mut through = found * scale;
            if is_dropped(at as u32, seed, second, threshold) {
                through = f32::new(0.0);
            }
            y[at] = Y::cast_from(through);
        }
        at += LANES;
    }
}

/// The sums over a slice of rows that the gradients of gamma and beta are made of, `[slices, 2, width]`.
#[cube(launch_unchecked)]
pub(super) fn sum_rows_of_slices<G: Float>(
    gradient: &[G],
    input: &[f32],
    stats: &[f32],
    sums: &mut [f32],
    rows: usize,
    width: usize,
    #[define(G)] _type: ElemType,
) {
    let mut shared = Shared::<[f32]>::new_slice(2 * LANES * ROWS);
    let (lane, level) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let column = CUBE_POS_X as usize * LANES + lane;
    let first = CUBE_POS_Y as usize * SLICE;
    let mut end = first + SLICE;
    if end > rows {
        end = rows;
    }
    let mut gamma = f32::new(0.0);
    let mut beta = f32::new(0.0);
    if column < width {
        let mut row = first + level;
        while row < end {
            let inner = f32::cast_from(gradient[row * width + column]);
            gamma += inner * (input[row * width + column] - stats[2 * row]) * stats[2 * row + 1];
            beta += inner;
            row += ROWS;
        }
    }
    shared[level * LANES + lane] = gamma;
    shared[(ROWS + level) * LANES + lane] = beta;
    sync_cube();
    if level == 0 && column < width {
        for other in 1..ROWS {
            gamma += shared[other * LANES + lane];
            beta += shared[(ROWS + other) * LANES + lane];
        }
        let place = CUBE_POS_Y as usize * 2 * width + column;
        sums[place] = gamma;
        sums[place + width] = beta;
    }
}

/// The slices' sums, summed: a unit a column.
#[cube(launch_unchecked)]
pub(super) fn sum_of_slices(sums: &[f32], gamma: &mut [f32], beta: &mut [f32], slices: usize, width: usize) {
    let column = ABSOLUTE_POS;
    if column < width {
        let mut of_gamma = f32::new(0.0);
        let mut of_beta = f32::new(0.0);
        for slice in 0..slices {
            of_gamma += sums[slice * 2 * width + column];
            of_beta += sums[(slice * 2 + 1) * width + column];
        }
        gamma[column] = of_gamma;
        beta[column] = of_beta;
    }
}
