//! Sums and maxima over the rows of a tensor, a row by some units of a cube. All units of the cube have to come by.

use cubecl::prelude::*;

/// Units that share a row.
pub(super) const LANES: usize = 32;
/// Rows of a cube.
pub(super) const ROWS: usize = 8;

/// The sum of `value` over the units of a row, which all get it.
#[cube]
pub(super) fn row_sum(shared: &mut Shared<[f32]>, value: f32) -> f32 {
    let at = UNIT_POS as usize;
    let lane = UNIT_POS_X as usize;
    shared[at] = value;
    sync_cube();
    let steps = comptime!(LANES.ilog2() as usize);
    #[unroll]
    for step in 0..steps {
        let half = comptime!(LANES >> (step + 1));
        if lane < half {
            shared[at] += shared[at + half];
        }
        sync_cube();
    }
    let sum = shared[at - lane];
    sync_cube();
    sum
}

/// The largest `value` of the units of a row, which all get it.
#[cube]
pub(super) fn row_max(shared: &mut Shared<[f32]>, value: f32) -> f32 {
    let at = UNIT_POS as usize;
    let lane = UNIT_POS_X as usize;
    shared[at] = value;
    sync_cube();
    let steps = comptime!(LANES.ilog2() as usize);
    #[unroll]
    for step in 0..steps {
        let half = comptime!(LANES >> (step + 1));
        if lane < half && shared[at + half] > shared[at] {
            shared[at] = shared[at + half];
        }
        sync_cube();
    }
    let max = shared[at - lane];
    sync_cube();
    max
}
