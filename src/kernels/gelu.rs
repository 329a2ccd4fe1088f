//! The exact GELU (arXiv 1606.08415), `x / 2 * (1 + erf(x / sqrt 2))`.

use std::f32::consts::FRAC_1_SQRT_2;

use super::functions::{erf, exp};
use super::{Keeps, RowKernel};

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
