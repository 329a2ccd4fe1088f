//! Operations on the rows of a tensor, whose output has its shape: GELU, ReLU, softmax, dropout.

use std::f32::consts::FRAC_1_SQRT_2;
use std::fmt::Debug;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, Tensor};

use super::buffers::{Each, Place, RowPlaces, Size, fill, write};
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
/// as vector code, get whole rows of the last dimension, of which the first element is number `first` of the tensor, and write all places.
pub trait RowKernel: Copy + Debug + Send + Sync + 'static {
    const KEEPS: Keeps;

    fn forward<'a>(self, first: usize, width: usize, x: &[f32], y: &'a mut [Place]) -> &'a mut [f32];

    /// From what was kept and the gradient of the output to that of the input.
    fn backward<'a>(
        self,
        first: usize,
        width: usize,
        kept: &[f32],
        gradient: &[f32],
        out: &'a mut [Place],
    ) -> &'a mut [f32];
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
        let output = tensor(forward(self.0, width, values(&inputs[0])), shape);
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
        vec![Some(tensor(backward(self.0, width, kept, gradient), shape))]
    }
}

/// A kernel's output.
pub(super) fn forward(kernel: impl RowKernel, width: usize, x: &[f32]) -> Vec<f32> {
    let portion = portion(width);
    let [y] = write([Size { length: x.len(), portion }], |number, [y]| {
        let first = number * portion;
        [run_forward(kernel, first, width, &x[first..][..y.len()], y)]
    });
    y
}

/// The gradient of a kernel's input.
pub(super) fn backward(kernel: impl RowKernel, width: usize, kept: &[f32], gradient: &[f32]) -> Vec<f32> {
    let portion = portion(width);
    let [out] = write([Size { length: gradient.len(), portion }], |number, [out]| {
        let (first, length) = (number * portion, out.len());
        let [kept, gradient] = [kept, gradient].map(|values| &values[first..][..length]);
        [run_backward(kernel, first, width, kept, gradient, out)]
    });
    out
}

vectorized! {
    fn run_forward<'a, 'b, K: RowKernel>(
        kernel: K, first: usize, width: usize, x: &'a [f32], y: &'b mut [Place],
    ) -> &'b mut [f32] {
        kernel.forward(first, width, x, y)
    }

    fn run_backward<'a, 'b, K: RowKernel>(
        kernel: K, first: usize, width: usize, kept: &'a [f32], gradient: &'a [f32], out: &'b mut [Place],
    ) -> &'b mut [f32] {
        kernel.backward(first, width, kept, gradient, out)
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

impl Each<1> for Gelu {
    #[inline(always)]
    fn at(&self, _: usize, [x]: [f32; 1]) -> f32 {
        0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
    }
}

impl Each<2> for Gelu {
    #[inline(always)]
    fn at(&self, _: usize, [x, gradient]: [f32; 2]) -> f32 {
        let share = 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2));
        gradient * (share + x * DENSITY * exp(-0.5 * x * x))
    }
}

impl RowKernel for Gelu {
    const KEEPS: Keeps = Keeps::Input;

    #[inline(always)]
    fn forward<'a>(self, _: usize, _: usize, x: &[f32], y: &'a mut [Place]) -> &'a mut [f32] {
        fill(y, [x], self)
    }

    #[inline(always)]
    fn backward<'a>(self, _: usize, _: usize, x: &[f32], gradient: &[f32], out: &'a mut [Place]) -> &'a mut [f32] {
        fill(out, [x, gradient], self)
    }
}

/// `max(x, 0)`, with the gradient 0 at 0.
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl RowKernel for Relu {
    const KEEPS: Keeps = Keeps::Input;

    #[inline(always)]
    fn forward<'a>(self, _: usize, _: usize, x: &[f32], y: &'a mut [Place]) -> &'a mut [f32] {
        // What is no number stays none.
        fill(y, [x], |_, [x]: [f32; 1]| if x < 0.0 { 0.0 } else { x })
    }

    #[inline(always)]
    fn backward<'a>(self, _: usize, _: usize, x: &[f32], gradient: &[f32], out: &'a mut [Place]) -> &'a mut [f32] {
        fill(out, [x, gradient], |_, [x, gradient]: [f32; 2]| if x > 0.0 { gradient } else { 0.0 })
    }
}

/// Softmax over the last dimension.
#[derive(Debug, Clone, Copy)]
pub struct Softmax;

impl RowKernel for Softmax {
    const KEEPS: Keeps = Keeps::Output;

    #[inline(always)]
    fn forward<'a>(self, _: usize, width: usize, x: &[f32], y: &'a mut [Place]) -> &'a mut [f32] {
        let mut rows = RowPlaces::new(y);
        for x in x.chunks(width) {
            let top = max(x);
            let y = rows.fill(width, [x], |_, [x]: [f32; 1]| exp(x - top));
            let scale = 1.0 / sum(y, |y| y);
            for y in y.iter_mut() {
                *y *= scale;
            }
        }
        rows.finish()
    }

    #[inline(always)]
    fn backward<'a>(self, _: usize, width: usize, y: &[f32], gradient: &[f32], out: &'a mut [Place]) -> &'a mut [f32] {
        let mut rows = RowPlaces::new(out);
        for (y, gradient) in y.chunks(width).zip(gradient.chunks(width)) {
            let out = rows.fill(width, [y, gradient], |_, [y, gradient]: [f32; 2]| y * gradient);
            let total = sum(out, |product| product);
            for (out, y) in out.iter_mut().zip(y) {
                *out -= y * total;
            }
        }
        rows.finish()
    }
}

/// Dropout by a [`Mask`]: threads share the work, and the backward pass makes the mask again instead of keeping it.
#[derive(Debug, Clone, Copy)]
pub struct Dropout(pub Mask);

impl RowKernel for Dropout {
    const KEEPS: Keeps = Keeps::Nothing;

    #[inline(always)]
    fn forward<'a>(self, first: usize, _: usize, x: &[f32], y: &'a mut [Place]) -> &'a mut [f32] {
        fill(y, [x], |at, [x]: [f32; 1]| self.0.apply(first + at, x))
    }

    #[inline(always)]
    fn backward<'a>(
        self,
        first: usize,
        width: usize,
        _: &[f32],
        gradient: &[f32],
        out: &'a mut [Place],
    ) -> &'a mut [f32] {
        self.forward(first, width, gradient, out)
    }
}
