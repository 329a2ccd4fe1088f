//! Sums and maxima over the rows of a tensor, a row by some units of a cube. All units of the cube have to come by.

use cubecl::prelude::*;

use super::launch::cubes;

/// Units that share a row.
pub(super) const LANES: usize = 32;
/// Rows of a cube.
pub(super) const ROWS: usize = 8;

/// Cubes and their units for so many rows.
pub(super) fn grid(rows: usize) -> (CubeCount, CubeDim) {
    (cubes(rows.div_ceil(ROWS)), CubeDim::new_2d(LANES as u32, ROWS as u32))
}

/// The sum of `value` over the units of a row, which all get it.
#[cube]
pub(super) fn row_sum(shared: &mut Shared<[f32]>, value: f32) -> f32 {
    fold(shared, value, false)
}

/// The largest `value` of the units of a row, which all get it.
#[cube]
pub(super) fn row_max(shared: &mut Shared<[f32]>, value: f32) -> f32 {
    fold(shared, value, true)
}

#[cube]
fn fold(shared: &mut Shared<[f32]>, value: f32, #[comptime] is_max: bool) -> f32 {
    let at = UNIT_POS as usize;
    let lane = UNIT_POS_X as usize;
    shared[at] = value;
    sync_cube();
    let steps = comptime!(LANES.ilog2() as usize);
    #[unroll]
    for step in 0..steps {
        let half = comptime!(LANES >> (step + 1));
        if lane < half {
            let other = shared[at + half];
            if comptime!(!is_max) {
                shared[at] += other;
            } else if other > shared[at] {
                shared[at] = other;
            }
        }
        sync_cube();
    }
    let found = shared[at - lane];
    sync_cube();
    found
}
