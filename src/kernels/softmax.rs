//! Softmax over the last dimension.

use super::functions::{exp, max, sum};
use super::{Keeps, RowKernel};

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
