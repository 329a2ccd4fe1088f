//! Rows of a table, whose gradient is summed row by row in a fixed order.
//!
//! Burn's gradient of a look-up walks over all tokens with one unit a column. Here the tokens are summed in two stages: those of the same
//! row within a chunk of tokens, and then the chunks' sums. Each sum is one unit's, in the tokens' order: the result is always the same.

use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{self, DType, Shape, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Lazy, cubes, element, empty, integers, queue};
use crate::kernels::operation::{Operation, operate};

/// Tokens that the first stage sums.
const CHUNK: usize = 64;
const UNITS: usize = 256;
/// What stands for "no row is padding".
const NO_PADDING: i32 = -1;

/// See [`crate::nn::look_up`]; `None` where there is no kernel for the tensors.
pub fn look_up(table: &Tensor<2>, ids: &Tensor<2, tensor::Int>, padding: Option<usize>) -> Option<Tensor<3>> {
    let [batch, seq] = ids.dims();
    let [rows, width] = table.dims();
    let ids = integers(&ids.clone().reshape([batch * seq]))?; // [tokens]
    let look_up = LookUp { ids, rows, padding: padding.map_or(NO_PADDING, |row| row as i32) };
    let found: Tensor<2> = operate(look_up, [table.clone().into_dispatch()])?; // [batch * seq, width]
    Some(found.reshape([batch, seq, width]))
}

#[derive(Debug, Clone)]
struct LookUp {
    /// `[tokens]`
    ids: Lazy,
    rows: usize,
    padding: i32,
}

impl Operation<Cube> for LookUp {
    type Kept = ();

    fn forward(&self, mut inputs: Vec<Lazy>, _: bool) -> (Lazy, ()) {
        (Cube::float_select(inputs.remove(0), 0, self.ids.clone()), ())
    }

    fn backward(&self, (): &(), gradient: Lazy, _: &[bool]) -> Vec<Option<Lazy>> {
        let (padding, width) = (self.padding, gradient.shape[1]);
        let table = (Shape::from([self.rows, width]), DType::F32);
        let [table] =
            queue("kiln::embedding_gradient", [self.ids.clone(), gradient], [table], move |inputs, [table]| {
                sum(inputs, table, padding);
            });
        vec![Some(table)]
    }
}

fn sum([ids, gradient]: [CubeTensor; 2], table: CubeTensor, padding: i32) {
    let (tokens, width) = (gradient.meta.shape()[0], gradient.meta.shape()[1]);
    let (client, types) = (gradient.client.clone(), [element(&ids), element(&gradient)]);
    let units = CubeDim::new_1d(UNITS as u32);
    let sums = empty(&gradient, [tokens, width].into(), DType::F32);
    unsafe {
        zero::launch_unchecked(
            &client,
            cubes(table.meta.num_elements().div_ceil(UNITS)),
            units,
            table.clone().into_buffer_arg(),
        );
        sum_in_chunks::launch_unchecked(
            &client,
            cubes(tokens),
            units,
            ids.clone().into_buffer_arg(),
            gradient.into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            width,
            padding,
            types,
        );
        sum_of_chunks::launch_unchecked(
            &client,
            cubes(tokens),
            units,
            ids.into_buffer_arg(),
            sums.into_buffer_arg(),
            table.into_buffer_arg(),
            width,
            padding,
            types[0],
        );
    }
}

#[cube(launch_unchecked)]
fn zero(table: &mut [f32]) {
    if ABSOLUTE_POS < table.len() {
        table[ABSOLUTE_POS] = f32::new(0.0);
    }
}

/// A cube a token: the first of its id in its chunk gets the sum of the chunk's tokens of this id.
#[cube(launch_unchecked)]
fn sum_in_chunks<I: Int, G: Float>(
    ids: &[I],
    gradient: &[G],
    sums: &mut [f32],
    width: usize,
    padding: i32,
    #[define(I, G)] _types: [ElemType; 2],
) {
    let token = CUBE_POS;
    let tokens = ids.len();
    if token < tokens {
        let id = i32::cast_from(ids[token]);
        let start = token - token % CHUNK;
        let mut end = start + CHUNK;
        if end > tokens {
            end = tokens;
        }
        let mut is_first = id != padding;
        for earlier in start..token {
            if i32::cast_from(ids[earlier]) == id {
                is_first = false;
            }
        }
        if is_first {
            let mut column = UNIT_POS as usize;
            while column < width {
                let mut sum = f32::cast_from(gradient[token * width + column]);
                for other in token + 1..end {
                    if i32::cast_from(ids[other]) == id {
                        sum += f32::cast_from(gradient[other * width + column]);
                    }
                }
                sums[token * width + column] = sum;
                column += CUBE_DIM as usize;
            }
        }
    }
}

/// A cube a token: the first of its id adds the chunks' sums to the table's row, which is zero before.
#[cube(launch_unchecked)]
fn sum_of_chunks<I: Int>(
    ids: &[I],
    sums: &[f32],
    table: &mut [f32],
    width: usize,
    padding: i32,
    #[define(I)] _type: ElemType,
) {
    let tokens = ids.len();
    let unit = UNIT_POS as usize;
    // Every unit goes through every barrier: a cube behind the last token looks at the last one, and adds nothing.
    let mut token = CUBE_POS;
    if token >= tokens {
        token = tokens - 1;
    }
    let id = i32::cast_from(ids[token]);
    let mut seen = Shared::<[u32]>::new_slice(1usize);
    let mut places = Shared::<[u32]>::new_slice(UNITS);
    if unit == 0 {
        seen[0] = 0;
    }
    sync_cube();
    let mut earlier = unit;
    while earlier < token {
        if i32::cast_from(ids[earlier]) == id {
            seen[0] = 1;
        }
        earlier += UNITS;
    }
    sync_cube();
    let is_head = CUBE_POS < tokens && id != padding && seen[0] == 0;
    let chunks = tokens.div_ceil(CHUNK);
    for round in 0..chunks.div_ceil(UNITS) {
        let first = round * UNITS;
        // The first token of this id in the unit's chunk.
        let mut place = tokens;
        if is_head && first + unit < chunks {
            let begin = (first + unit) * CHUNK;
            let mut end = begin + CHUNK;
            if end > tokens {
                end = tokens;
            }
            for back in begin..end {
                let other = end - 1 - (back - begin);
                if i32::cast_from(ids[other]) == id {
                    place = other;
                }
            }
        }
        places[unit] = place as u32;
        sync_cube();
        if is_head {
            let mut here = chunks - first;
            if here > UNITS {
                here = UNITS;
            }
            let mut column = unit;
            while column < width {
                let mut sum = f32::new(0.0);
                for number in 0..here {
                    let place = places[number] as usize;
                    if place < tokens {
                        sum += sums[place * width + column];
                    }
                }
                table[id as usize * width + column] += sum;
                column += UNITS;
            }
        }
        sync_cube();
    }
}
