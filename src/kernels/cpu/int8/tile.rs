//! Products of some rows and a weight.

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_storeu_ps,
    _mm512_sub_epi32,
};

use super::super::buffers::{Each, Place};
use super::rows::Rows;
use super::weight::Weight;
use super::{PANEL, VECTORS, is_available};

/// Numbers of a vector.
const LANES: usize = 16;
/// Rows whose sums are held in registers: 8 by 3 vectors.
const ROWS: usize = 8;

/// Writes a function of `rows * weight + bias`, `[rows, output]`.
pub fn product<'a>(rows: &Rows, weight: &Weight, each: impl Each<1> + Copy, places: &'a mut [Place]) -> &'a mut [f32] {
    let (count, quads) = (rows.scales.len(), weight.quads());
    assert!(is_available() && rows.values.len() == count * quads * 4);
    assert_eq!(places.len(), count * weight.output);
    for (panel, packed) in weight.packed.chunks_exact(quads * PANEL * 4).enumerate() {
        for start in (0..count).step_by(ROWS) {
            let count = ROWS.min(count - start);
            let tile = Tile {
                rows,
                weight,
                start,
                panel,
                values: &rows.values[start * quads * 4..][..count * quads * 4],
                packed,
            };
            // SAFETY: the processor has the instructions.
            unsafe {
                match count {
                    8 => tile.write::<8>(each, places),
                    7 => tile.write::<7>(each, places),
                    6 => tile.write::<6>(each, places),
                    5 => tile.write::<5>(each, places),
                    4 => tile.write::<4>(each, places),
                    3 => tile.write::<3>(each, places),
                    2 => tile.write::<2>(each, places),
                    _ => tile.write::<1>(each, places),
                }
            }
        }
    }
    // SAFETY: every panel of every row is written.
    unsafe { places.assume_init_mut() }
}

/// Some rows from `start` on, and a panel.
struct Tile<'a> {
    rows: &'a Rows,
    weight: &'a Weight,
    start: usize,
    panel: usize,
    /// Of the rows alone, and of the panel.
    values: &'a [i8],
    packed: &'a [u8],
}

impl Tile<'_> {
    /// Writes the panel's outputs of `R` rows. Their sums are in registers until they are outputs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn write<const R: usize>(&self, each: impl Each<1> + Copy, places: &mut [Place]) {
        let Self { rows, weight, start, panel, values, packed } = *self;
        let quads = packed.len() / (4 * PANEL);
        assert_eq!(values.len(), R * quads * 4);
        let (values, packed) = (values.as_ptr().cast::<i32>(), packed.as_ptr());
        let mut sums = [[_mm512_setzero_si512(); VECTORS]; R];
        for quad in 0..quads {
            // SAFETY: the panel has so many quads, each of three vectors, and so has every row.
            unsafe {
                let mut weights = [_mm512_setzero_si512(); VECTORS];
                for (vector, weights) in weights.iter_mut().enumerate() {
                    *weights = _mm512_loadu_si512(packed.add((quad * PANEL + LANES * vector) * 4).cast());
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_epi32(values.add(row * quads + quad).read_unaligned());
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm512_dpbusd_epi32(*sum, weights, value);
                    }
                }
            }
        }

        let first = panel * PANEL;
        let width = PANEL.min(weight.output - first);
        let (scales, biases) = (&weight.scales[panel], &weight.biases[panel]);
        for (row, sums) in (start..).zip(sums) {
            let places = &mut places[row * weight.output + first..][..width];
            let (scale, shift) = (_mm512_set1_ps(rows.scales[row]), _mm512_set1_epi32(rows.shifts[row]));
            for (vector, sum) in sums.into_iter().enumerate() {
                let scale = _mm512_mul_ps(scale, load(scales, vector));
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, shift)), scale);
                let mut outputs = [0.0_f32; LANES];
                // SAFETY: they are as many as a vector's.
                unsafe { _mm512_storeu_ps(outputs.as_mut_ptr(), _mm512_add_ps(product, load(biases, vector))) };
                for output in &mut outputs {
                    *output = each.at(0, [*output]);
                }
                store(&outputs, places, vector);
            }
        }
    }
}

/// A vector of a panel.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(panel: &[f32; PANEL], vector: usize) -> __m512 {
    let numbers = &panel[vector * LANES..][..LANES];
    // SAFETY: they are as many as a vector's.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

/// Writes what of a vector of a panel there are places for.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(numbers: &[f32; LANES], places: &mut [Place], vector: usize) {
    let left = places.len().saturating_sub(vector * LANES).min(LANES);
    let mask = ((1_u32 << left) - 1) as u16;
    let place = places.as_mut_ptr().wrapping_add(vector * LANES).cast();
    // SAFETY: the numbers are as many as a vector's, and as many are written as there are places left.
    unsafe { _mm512_mask_storeu_ps(place, mask, _mm512_loadu_ps(numbers.as_ptr())) }
}
