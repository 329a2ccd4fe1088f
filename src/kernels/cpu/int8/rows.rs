//! Activations in int8.

use super::super::vectorized;

/// Rows, each with a scale of its own.
#[derive(Default)]
pub struct Rows {
    /// `[rows, 4 * quads]`
    pub values: Vec<i8>,
    pub scales: Vec<f32>,
    /// 128 times the sum of each row: what the weights' shift adds to every product.
    pub shifts: Vec<i32>,
}

impl Rows {
    /// Takes the rows of `x` in place of what was there.
    pub fn set(&mut self, x: &[f32], width: usize) {
        let stride = width.next_multiple_of(4);
        self.values.clear();
        self.values.resize(x.len() / width * stride, 0);
        let found = x.chunks_exact(width).zip(self.values.chunks_exact_mut(stride));
        let found = found.map(|(x, values)| quantise(x, values));
        (self.scales, self.shifts) = found.unzip();
    }
}

vectorized! {
    /// Writes a row in steps of its scale; that, and its shift.
    fn quantise<'a>(x: &'a [f32], values: &'a mut [i8]) -> (f32, i32) {
        let mut lanes = [0.0_f32; 16];
        let (blocks, rest) = x.as_chunks::<16>();
        for block in blocks {
            for (lane, x) in lanes.iter_mut().zip(block) {
                *lane = if x.abs() > *lane { x.abs() } else { *lane };
            }
        }
        let largest = lanes.iter().copied().chain(rest.iter().map(|x| x.abs())).fold(0.0_f32, f32::max);
        if largest == 0.0 {
            return (0.0, 0);
        }
        let steps = 127.0 / largest;
        let mut sum = 0;
        for (value, x) in values.iter_mut().zip(x) {
            let whole = nearest(x * steps);
            sum += whole;
            *value = whole as i8;
        }
        (largest / 127.0, 128 * sum)
    }
}

/// The nearest whole number of one that is not large.
#[inline(always)]
pub fn nearest(x: f32) -> i32 {
    // Adding this rounds to a whole number, which then stands in the low bits (1.5 * 2^23).
    (x + 12_582_912.0).to_bits() as i32 - 0x4b40_0000
}
