//! Weights in int8.

use rayon::prelude::*;

use super::super::vectorized;
use super::PANEL;
use super::rows::nearest;

/// A weight `[input, output]` and its bias.
pub struct Weight {
    pub input: usize,
    pub output: usize,
    /// Panel after panel, `[input / 4, PANEL, 4]`: four inputs of an output side by side, each 128 above its value.
    pub packed: Vec<u8>,
    /// What the outputs of each panel are multiplied with, and what is added to them; 0 behind the last output.
    pub scales: Vec<[f32; PANEL]>,
    pub biases: Vec<[f32; PANEL]>,
}

impl Weight {
    pub fn new(values: &[f32], [input, output]: [usize; 2], bias: Option<&[f32]>) -> Self {
        assert!(values.len() == input * output && bias.is_none_or(|bias| bias.len() == output));
        let (quads, panels) = (input.div_ceil(4), output.div_ceil(PANEL));
        let mut packed = vec![0; panels * quads * PANEL * 4];
        let parts = packed.par_chunks_exact_mut(quads * PANEL * 4).enumerate();
        let scales =
            parts.map(|(panel, packed)| pack(values, output, panel * PANEL, packed.as_chunks_mut().0)).collect();
        let bias = |panel| bias.map_or([0.0; PANEL], |bias| part(bias, panel * PANEL));
        Self { input, output, packed, scales, biases: (0..panels).map(bias).collect() }
    }

    pub fn quads(&self) -> usize {
        self.input.div_ceil(4)
    }
}

/// A row's outputs of the panel that begins at `first`.
#[inline(always)]
fn part(row: &[f32], first: usize) -> [f32; PANEL] {
    let rest = &row[first..];
    rest.first_chunk().copied().unwrap_or_else(|| {
        let mut part = [0.0; PANEL];
        part[..rest.len()].copy_from_slice(rest);
        part
    })
}

vectorized! {
    /// Writes the panel that begins at output `first`, and gives its scales.
    fn pack<'a>(values: &'a [f32], outputs: usize, first: usize, packed: &'a mut [[u8; 4 * PANEL]]) -> [f32; PANEL] {
        let mut largest = [0.0_f32; PANEL];
        for row in values.chunks_exact(outputs) {
            for (largest, value) in largest.iter_mut().zip(part(row, first)) {
                *largest = if value.abs() > *largest { value.abs() } else { *largest };
            }
        }
        let scales = largest.map(|largest| largest / 127.0);
        for (quad, rows) in packed.iter_mut().zip(values.chunks(4 * outputs)) {
            let mut words = [0x8080_8080_u32; PANEL];
            for (number, row) in rows.chunks_exact(outputs).enumerate() {
                for ((word, value), scale) in words.iter_mut().zip(part(row, first)).zip(scales) {
                    let steps = if scale > 0.0 { nearest(value / scale) } else { 0 };
                    // Flips the bit that 128 adds.
                    *word ^= (steps.cast_unsigned() & 0xff) << (8 * number);
                }
            }
            for (bytes, word) in quad.as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = word.to_le_bytes();
            }
        }
        scales
    }
}
