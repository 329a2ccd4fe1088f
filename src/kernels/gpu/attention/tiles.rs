//! Tiles, which the kernels of attention are made of.
//!
//! Queries, keys, values, outputs and their gradients are `[batch * seq, heads * size]`. A cube of 8 x 8 units has a tile of queries, or of keys,
//! of one head, and walks over the tiles of the other; of a tile of scores a unit has as many rows as columns, and of a tile of heads, as
//! many rows, and every eighth column.

use cubecl::prelude::*;

/// Units on a side of a tile.
pub(super) const SIDE: usize = 8;
pub(super) const UNITS: usize = SIDE * SIDE;

/// Smaller than any score.
pub(super) const LOWEST: f32 = -1.0e30;

/// Where a cube's tile lies.
#[derive(CubeType)]
pub(super) struct Place {
    pub(super) batch: usize,
    /// Counted over the batch.
    pub(super) head: usize,
    /// The first column of the head.
    pub(super) column: usize,
    /// The tile's first query, or key.
    pub(super) first: usize,
}

#[cube]
pub(super) fn place(heads: usize, seq: usize, #[comptime] size: usize, #[comptime] block: usize) -> Place {
    let blocks = seq.div_ceil(block);
    let head = CUBE_POS / blocks;
    Place { batch: head / heads, head, column: head % heads * size, first: CUBE_POS % blocks * block }
}

/// The first row of a unit in a tile.
#[cube]
pub(super) fn unit_row(#[comptime] tile: usize) -> usize {
    UNIT_POS as usize / SIDE * tile
}

/// The first column of a unit, which has every eighth from there.
#[cube]
pub(super) fn unit_column() -> usize {
    UNIT_POS as usize % SIDE
}

/// Fills a tile `[block, padded]`, whose rows are one longer so that units read from different banks, with the head of some tokens; zeros
/// behind the last token.
#[cube]
pub(super) fn load<F: Float>(
    tile: &mut Shared<[f32]>,
    from: &[F],
    place: &Place,
    first: usize,
    hidden: usize,
    seq: usize,
    #[comptime] size: usize,
    #[comptime] padded: usize,
    #[comptime] block: usize,
) {
    let mut at = UNIT_POS as usize;
    while at < block * padded {
        let row = at / padded;
        let column = at % padded;
        let mut value = f32::new(0.0);
        if first + row < seq && column < size {
            value = f32::cast_from(from[(place.batch * seq + first + row) * hidden + place.column + column]);
        }
        tile[row * (padded + 1) + column] = value;
        at += UNITS;
    }
}

/// The unit's part of the products of the rows of two tiles, `a b^T`.
#[cube]
pub(super) fn products(
    a: &Shared<[f32]>,
    b: &Shared<[f32]>,
    #[comptime] size: usize,
    #[comptime] padded: usize,
    #[comptime] tile: usize,
) -> Array<f32> {
    let mut found = Array::<f32>::new(tile * tile);
    let row = unit_row(tile);
    let column = unit_column();
    #[unroll]
    for at in 0..tile * tile {
        found[at] = f32::new(0.0);
    }
    for inner in 0..size {
        #[unroll]
        for i in 0..tile {
            let left = a[(row + i) * (padded + 1) + inner];
            #[unroll]
            for j in 0..tile {
                found[i * tile + j] += left * b[(column + j * SIDE) * (padded + 1) + inner];
            }
        }
    }
    found
}

/// Adds the product of a tile of scores, or of its transpose, and a tile of heads.
#[cube]
pub(super) fn add_product(
    sums: &mut Array<f32>,
    scores: &Shared<[f32]>,
    heads: &Shared<[f32]>,
    #[comptime] is_transposed: bool,
    #[comptime] padded: usize,
    #[comptime] tile: usize,
) {
    let columns = comptime!(padded / SIDE);
    let block = comptime!(tile * SIDE);
    let row = unit_row(tile);
    let column = unit_column();
    for inner in 0..block {
        #[unroll]
        for i in 0..tile {
            let mut at = (row + i) * (block + 1) + inner;
            if is_transposed {
                at = inner * (block + 1) + row + i;
            }
            let score = scores[at];
            #[unroll]
            for c in 0..columns {
                sums[i * columns + c] += score * heads[inner * (padded + 1) + column + c * SIDE];
            }
        }
    }
}

/// Writes the unit's part of a tile of heads.
#[cube]
pub(super) fn store<F: Float>(
    to: &mut [F],
    sums: &Array<f32>,
    place: &Place,
    hidden: usize,
    seq: usize,
    #[comptime] size: usize,
    #[comptime] padded: usize,
    #[comptime] tile: usize,
) {
    let columns = comptime!(padded / SIDE);
    #[unroll]
    for i in 0..tile {
        let token = place.first + unit_row(tile) + i;
        #[unroll]
        for c in 0..columns {
            let column = unit_column() + c * SIDE;
            if token < seq && column < size {
                to[(place.batch * seq + token) * hidden + place.column + column] = F::cast_from(sums[i * columns + c]);
            }
        }
    }
}

#[cube]
pub(super) fn zeros(#[comptime] length: usize) -> Array<f32> {
    let mut all = Array::<f32>::new(length);
    #[unroll]
    for at in 0..length {
        all[at] = f32::new(0.0);
    }
    all
}

/// The score of a query and a key with its bias; lower than any behind the last key.
#[cube]
pub(super) fn biased<B: Float>(
    score: f32,
    bias: &[B],
    batch: usize,
    query: usize,
    key: usize,
    seq: usize,
    #[comptime] is_per_query: bool,
) -> f32 {
    let mut sum = f32::new(LOWEST);
    if query < seq && key < seq {
        let mut row = batch;
        if is_per_query {
            row = batch * seq + query;
        }
        sum = score + f32::cast_from(bias[row * seq + key]);
    }
    sum
}
