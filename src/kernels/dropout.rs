//! Dropout whose mask is a function of a seed and the element's number: the backward pass makes it again instead of keeping it,
//! and threads share the work.

use super::{Keeps, RowKernel};

#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    seed: [u32; 2],
    /// Elements whose number lies below are dropped.
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// Drops elements with probability `p` (below 1) and scales the others up by `1 / (1 - p)`.
    pub fn new(p: f64, seed: u64) -> Self {
        let seed = [seed as u32, (seed >> 32) as u32];
        Self { seed, threshold: (p * f64::from(u32::MAX)) as u32, scale: (1.0 / (1.0 - p)) as f32 }
    }

    /// Evenly spread over all numbers: a round of the hash "lowbias32" (Chris Wellons) on each half of the seed.
    #[inline(always)]
    fn number(self, element: usize) -> u32 {
        let hash = |mut x: u32| {
            x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
            x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
            x ^ (x >> 16)
        };
        hash(hash(element as u32 ^ self.seed[0]).wrapping_add(self.seed[1]))
    }

    #[inline(always)]
    fn run(self, first: usize, x: &[f32], y: &mut [f32]) {
        for (at, (y, x)) in y.iter_mut().zip(x).enumerate() {
            *y = if self.number(first + at) < self.threshold { 0.0 } else { x * self.scale };
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
