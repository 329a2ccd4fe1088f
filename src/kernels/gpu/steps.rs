//! What the kernels of recurrent layers share: a step is products of matrices, which are Burn's, and kernels of one unit an element.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Lazy, integers};

/// The steps in the order in which they are taken.
pub(super) fn order(steps: usize, reversed: bool) -> impl DoubleEndedIterator<Item = usize> {
    (0..steps).map(move |number| if reversed { steps - 1 - number } else { number })
}

/// Where each row ends, `[batch]`, on a GPU.
pub(super) fn ends(lengths: Option<&[usize]>, [batch, steps]: [usize; 2], device: &Device) -> Option<Lazy> {
    let end = |row| lengths.map_or(steps, |lengths: &[usize]| lengths[row]) as i64;
    let ends: Vec<i64> = (0..batch).map(end).collect();
    integers(&Tensor::<1, Int>::from_data(TensorData::from(ends.as_slice()), device))
}

/// The matrix product, into a tensor that is there.
pub(super) fn multiply(left: &CubeTensor, right: &CubeTensor, out: &CubeTensor) {
    let dtype: DType = out.dtype;
    let done = matmul(left.clone(), right.clone(), Some(out.clone()), MatmulStrategy::default(), dtype);
    done.expect("one of Burn's kernels multiplies any two matrices");
}

/// A matrix with rows for columns; nothing is copied.
pub(super) fn turned(mut matrix: CubeTensor) -> CubeTensor {
    matrix.meta.swap(0, 1);
    matrix
}

#[cube]
pub(super) fn sigmoid(x: f32) -> f32 {
    let power = (-x.abs()).exp(); // of no large number
    let mut above = f32::new(1.0);
    if x < 0.0 {
        above = power;
    }
    above / (f32::new(1.0) + power)
}

/// Cut off at a size. What is not a number stays so.
#[cube]
pub(super) fn clipped(x: f32, limit: f32) -> f32 {
    let mut found = x;
    if x > limit {
        found = limit;
    }
    if x < -limit {
        found = -limit;
    }
    found
}
