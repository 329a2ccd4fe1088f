//! Operations on the rows of a tensor, whose output has its shape: GELU, softmax, dropout.

use std::f32::consts::FRAC_1_SQRT_2;
use std::fmt::Debug;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, Tensor};
use rayon::prelude::*;

use super::functions::{erf, exp, max, sum};
use super::operation::{Operation, operate};
use super::{PORTION, tensor, values, vectorized};
use crate::kernels::mask::Mask;

/// What a kernel's backward pass reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    Nothing,
    Input,
    Output,
}

/// An operation on the rows of a tensor: its output has the input's shape. Its functions, which have to be `#[inline(always)]` to run
/// as vector code, get whole rows of the last dimension, of which the first element is number `first` of the tensor.
pub trait RowKernel: Copy + Debug + Send + Sync + 'static {
    const KEEPS: Keeps;

    fn forward(self, first: usize, width: usize, x: &[f32], y: &mut [f32]);

    /// From what was kept and the gradient of the output to that of the input.
    fn backward(self, first: usize, width: usize, kept: &[f32], gradient: &[f32], out: &mut [f32]);
}

/// Runs a kernel where it can be run: on float32 tensors of the CPU backend.
pub fn apply<const D: usize, K: RowKernel>(kernel: K, x: &Tensor<D>) -> Option<Tensor<D>> {
    operate(Rows(kernel), [x.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct Rows<K>(K);

impl<K: RowKernel> Operation for Rows<K> {
    type Kept = Option<FlexTensor>;

    fn forward(&self, inputs: Vec<FlexTensor>, _: bool) -> (FlexTensor, Self::Kept) {
        let (shape, width) = shape_of(&inputs[0]);
        let x = values(&inputs[0]);
        let mut y = vec![0.0; x.len()];
        let portion = portion(width);
        y.par_chunks_mut(portion).zip(x.par_chunks(portion)).enumerate().for_each(|(number, (y, x))| {
            run_forward(self.0, number * portion, width, x, y);
        });
        let output = tensor(y, shape);
        let kept = match K::KEEPS {
            Keeps::Nothing => None,
            Keeps::Input => inputs.into_iter().next(),
            Keeps::Output => Some(output.clone()),
        };
        (output, kept)
    }

    fn backward(&self, kept: &Self::Kept, gradient: &FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let (shape, width) = shape_of(gradient);
        let gradient = values(gradient);
        // A kernel that keeps nothing reads nothing.
        let kept = kept.as_ref().map_or(gradient, values);
        let mut out = vec![0.0; gradient.len()];
        let portion = portion(width);
        let parts = out.par_chunks_mut(portion).zip(kept.par_chunks(portion)).zip(gradient.par_chunks(portion));
        parts.enumerate().for_each(|(number, ((out, kept), gradient))| {
            run_backward(self.0, number * portion, width, kept, gradient, out);
        });
        vec![Some(tensor(out, shape))]
    }
}

vectorized! {
    fn run_forward<'a, K: RowKernel>(kernel: K, first: usize, width: usize, x: &'a [f32], y: &'a mut [f32]) {
        kernel.forward(first, width, x, y);
    }

    fn run_backward<'a, K: RowKernel>(
        kernel: K, first: usize, width: usize, kept: &'a [f32], gradient: &'a [f32], out: &'a mut [f32],
    ) {
        kernel.backward(first, width, kept, gradient, out);
    }
}

/// Elements that are computed in one go: whole rows.
fn portion(width: usize) -> usize {
    PORTION.div_ceil(width.max(1)) * width.max(1)
}

pub(super) fn shape_of(x: &FlexTensor) -> (Shape, usize) {
    let shape = x.layout().shape().clone();
    let width = shape.last().copied().unwrap_or(1);
    (shape, width)
}

/// The exact GELU (arXiv 1606.08415), `x / 2 * (1 + erf(x / sqrt 2))`.
#[derive(Debug, Clone, Copy)]
pub struct Gelu;

/// 1 / sqrt(2 pi)
const DENSITY: f32 = 0.398_942_3;

impl RowKernel for Gelu {
    const KEEPS: Keeps = Keeps::Input;

    #[inline(always)]
    fn forward(self, _: usize, _: usize, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2));
        }
    }

    #[inline(always)]
    fn backward(self, _: usize, _: usize, x: &[f32], gradient: &[f32], out: &mut [f32]) {
        for ((out, x), gradient) in out.iter_mut().zip(x).zip(gradient) {
            let share = 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2));
            *out = gradient * (share + x * DENSITY * exp(-0.5 * x * x));
        }
    }
}

/// Softmax over the last dimension.
#[derive(Debug, Clone, Copy)]
pub struct Softmax;

impl RowKernel for Softmax {
    const KEEPS: Keeps = Keeps::Output;

    #[inline(always)]
    fn forward(self, _: usize, width: usize, x: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks(width).zip(y.chunks_mut(width)) {
            let top = max(x);
            for (y, x) in y.iter_mut().zip(x) {
                *y = exp(x - top);
            }
            let scale = 1.0 / sum(y, |y| y);
            for y in y.iter_mut() {
                *y *= scale;
            }
        }
    }

    #[inline(always)]
    fn backward(self, _: usize, width: usize, y: &[f32], gradient: &[f32], out: &mut [f32]) {
        let rows = y.chunks(width).zip(gradient.chunks(width)).zip(out.chunks_mut(width));
        for ((y, gradient), out) in rows {
            for ((out, y), gradient) in out.iter_mut().zip(y).zip(gradient) {
                *out = y * gradient;
            }
            let total = sum(out, |product| product);
            for (out, y) in out.iter_mut().zip(y) {
                *out -= y * total;
            }
        }
    }
}

/// Dropout by a [`Mask`]: threads share the work, and the backward pass makes the mask again instead of keeping it.
#[derive(Debug, Clone, Copy)]
pub struct Dropout(pub Mask);

impl Dropout {
    #[inline(always)]
    fn run(self, first: usize, x: &[f32], y: &mut [f32]) {
        for (at, (y, x)) in y.iter_mut().zip(x).enumerate() {
            *y = if self.0.is_dropped(first + at) { 0.0 } else { x * self.0.scale };
        }
    }
}

impl RowKernel for Dropout {
    const KEEPS: Keeps = Keeps::Nothing;

    #[inline(always)]
    fn forward(self, first: usize, _: usize, x: &[f32], y: &mut [f32]) {
        self.run(first, x, y);
    }

    #[inline(always)]
    fn backward(self, first: usize, _: usize, _: &[f32], gradient: &[f32], out: &mut [f32]) {
        self.run(first, gradient, out);
    }
}
