//! Products of int8 for inference: weights with a scale for each output, activations with one for each row, found when they come. The sums
//! are exact whole numbers, and so do not depend on how the work is shared out.

use std::arch::x86_64::{
    __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_sub_epi32,
};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::module::ParamId;
use burn::tensor::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{tensor, values, vectorized};

/// Outputs of a panel: three vectors of 16.
const PANEL: usize = 48;
/// Rows whose sums are held in registers: 8 by 3 vectors.
const ROWS: usize = 8;
/// Rows that go through a panel before the next panel is read.
const BLOCK: usize = 128;

/// Weights of models that compute in int8, by their parameters. A command that does opens one model and ends.
static WEIGHTS: LazyLock<RwLock<HashMap<ParamId, Arc<Weight>>>> = LazyLock::new(RwLock::default);

/// See [`crate::kernels::computes_int8`].
pub fn is_on(device: &Device) -> bool {
    is_available() && primitive(&Tensor::<1>::zeros([1], device)).is_some()
}

/// Whether this processor multiplies int8 in vectors of 512 bits.
fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
}

/// A weight `[input, output]`.
struct Weight {
    input: usize,
    output: usize,
    /// Panel after panel, `[input / 4, PANEL, 4]`: four inputs of an output side by side, each 128 above its value.
    packed: Vec<u8>,
    /// What each output is multiplied with.
    scales: Vec<f32>,
}

impl Weight {
    fn new(values: &[f32], input: usize, output: usize) -> Self {
        let quads = input.div_ceil(4);
        let mut largest = vec![0.0_f32; output];
        for row in values.chunks(output) {
            largest.iter_mut().zip(row).for_each(|(largest, value)| *largest = largest.max(value.abs()));
        }
        let scales: Vec<f32> = largest.iter().map(|largest| largest / 127.0).collect();
        let mut packed = vec![128; output.div_ceil(PANEL) * quads * PANEL * 4];
        packed.par_chunks_mut(quads * PANEL * 4).enumerate().for_each(|(panel, packed)| {
            let first = panel * PANEL;
            let width = PANEL.min(output - first);
            for (row, values) in values.chunks(output).enumerate() {
                let place = &mut packed[row / 4 * PANEL * 4 + row % 4..];
                for column in 0..width {
                    place[column * 4] =
                        (128 + i32::from(rounded(values[first + column], scales[first + column]))) as u8;
                }
            }
        });
        Self { input, output, packed, scales }
    }

    fn quads(&self) -> usize {
        self.input.div_ceil(4)
    }
}

/// A value in steps of a scale.
fn rounded(value: f32, scale: f32) -> i8 {
    if scale > 0.0 { (value / scale).round_ties_even() as i8 } else { 0 }
}

/// Rows in int8.
struct Rows {
    /// `[rows, 4 * quads]`
    values: Vec<i8>,
    scales: Vec<f32>,
    /// 128 times the sum of each row: what the weights' shift adds to every product.
    shifts: Vec<i32>,
}

impl Rows {
    fn new(x: &[f32], width: usize) -> Self {
        let stride = width.div_ceil(4) * 4;
        let rows = x.len() / width;
        let mut values = vec![0; rows * stride];
        let found = values
            .par_chunks_mut(stride)
            .zip(x.par_chunks(width))
            .with_min_len(16)
            .map(|(values, x)| quantise(x, values));
        let (scales, shifts) = found.unzip();
        Self { values, scales, shifts }
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
            // Adding this rounds to a whole number, which then stands in the low bits (1.5 * 2^23).
            let whole = (x * steps + 12_582_912.0).to_bits() as i32 - 0x4b40_0000;
            sum += whole;
            *value = whole as i8;
        }
        (largest / 127.0, 128 * sum)
    }
}

/// See [`crate::kernels::int8_linear`].
pub fn linear(x: &Tensor<2>, id: ParamId, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Option<Tensor<2>> {
    let [rows, _] = x.dims();
    let [input, output] = weight.dims();
    let x = primitive(x)?;
    let held = WEIGHTS.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    let weight = match held {
        Some(held) => held,
        None => {
            let made = Arc::new(Weight::new(values(&primitive(weight)?), input, output));
            WEIGHTS.write().unwrap_or_else(PoisonError::into_inner).insert(id, made.clone());
            made
        }
    };
    let bias = match bias {
        Some(bias) => Some(primitive(bias)?),
        None => None,
    };
    let y = product(values(&x), &weight, bias.as_ref().map(values));
    Some(Tensor::from_primitive::<Flex>(tensor(y, [rows, output])))
}

/// A tensor of this backend without a graph, float32 and contiguous.
fn primitive<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    let is_f32 = x.dtype() == DType::F32;
    is_f32.then(|| x.clone().try_into_primitive::<Flex>().ok())?.map(|x| x.to_contiguous())
}

/// `x * weight + bias`, `[rows, input] -> [rows, output]`.
fn product(x: &[f32], weight: &Weight, bias: Option<&[f32]>) -> Vec<f32> {
    assert!(
        x.len().is_multiple_of(weight.input) && bias.is_none_or(|bias| bias.len() == weight.output) && is_available()
    );
    let rows = Rows::new(x, weight.input);
    let count = rows.scales.len();
    let mut out: Vec<f32> = Vec::with_capacity(count * weight.output);
    let target = Target(out.as_mut_ptr());
    let panels = weight.output.div_ceil(PANEL);
    (0..panels * count.div_ceil(BLOCK)).into_par_iter().for_each(|task| {
        let (block, panel) = (task / panels, task % panels);
        // SAFETY: the processor has the instructions; a task writes the columns of its panel in the rows of its block, which lie within
        // the capacity and which no other task has.
        unsafe { part(&rows, block * BLOCK..((block + 1) * BLOCK).min(count), weight, panel, bias, &target) };
    });
    // SAFETY: every element of every block and panel has been written.
    unsafe { out.set_len(count * weight.output) };
    out
}

struct Target(*mut f32);

// SAFETY: no element has two writers.
unsafe impl Sync for Target {}

/// A panel's outputs of some rows.
///
/// # Safety
/// The processor has the instructions, the rows are there, and nobody else writes these columns of theirs.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn part(rows: &Rows, range: Range<usize>, weight: &Weight, panel: usize, bias: Option<&[f32]>, target: &Target) {
    let quads = weight.quads();
    let packed = weight.packed[panel * quads * PANEL * 4..][..quads * PANEL * 4].as_ptr();
    let (first, mut row) = (panel * PANEL, range.start);
    while row < range.end {
        let left = (range.end - row).min(ROWS);
        let values = rows.values[row * quads * 4..][..left * quads * 4].as_ptr().cast::<i32>();
        // SAFETY: as many rows of as many quads are there.
        unsafe {
            let sums = match left {
                8 => pad(tile::<8>(values, packed, quads)),
                7 => pad(tile::<7>(values, packed, quads)),
                6 => pad(tile::<6>(values, packed, quads)),
                5 => pad(tile::<5>(values, packed, quads)),
                4 => pad(tile::<4>(values, packed, quads)),
                3 => pad(tile::<3>(values, packed, quads)),
                2 => pad(tile::<2>(values, packed, quads)),
                _ => pad(tile::<1>(values, packed, quads)),
            };
            for (number, sums) in sums.iter().enumerate().take(left) {
                let number = row + number;
                let (scale, shift) = (_mm512_set1_ps(rows.scales[number]), _mm512_set1_epi32(rows.shifts[number]));
                for (vector, sum) in sums.iter().enumerate() {
                    let column = first + 16 * vector;
                    if column >= weight.output {
                        break;
                    }
                    let mask =
                        if weight.output - column >= 16 { u16::MAX } else { (1 << (weight.output - column)) - 1 };
                    let scale = _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(mask, weight.scales.as_ptr().add(column)));
                    let sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(*sum, shift));
                    let value = match bias {
                        Some(bias) => {
                            _mm512_fmadd_ps(sum, scale, _mm512_maskz_loadu_ps(mask, bias.as_ptr().add(column)))
                        }
                        None => _mm512_mul_ps(sum, scale),
                    };
                    _mm512_mask_storeu_ps(target.0.add(number * weight.output + column), mask, value);
                }
            }
        }
        row += left;
    }
}

/// The sums of fewer rows as those of all.
#[inline]
#[target_feature(enable = "avx512f")]
fn pad<const R: usize>(sums: [[__m512i; 3]; R]) -> [[__m512i; 3]; ROWS] {
    let mut all = [[_mm512_setzero_si512(); 3]; ROWS];
    all[..R].copy_from_slice(&sums);
    all
}

/// The sums of some rows and a panel.
///
/// # Safety
/// There are `R` rows of so many quads, and a panel of as many.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const R: usize>(values: *const i32, packed: *const u8, quads: usize) -> [[__m512i; 3]; R] {
    let mut sums = [[_mm512_setzero_si512(); 3]; R];
    for quad in 0..quads {
        // SAFETY: see above.
        unsafe {
            let weights: [__m512i; 3] =
                std::array::from_fn(|vector| _mm512_loadu_si512(packed.add((quad * PANEL + 16 * vector) * 4).cast()));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_epi32(values.add(row * quads + quad).read_unaligned());
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = _mm512_dpbusd_epi32(*sum, weights, value);
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers up to 127 are exact in int8, for any size and any number of threads.
    #[test]
    fn products_of_small_whole_numbers_are_exact() {
        if !is_available() {
            return;
        }
        for (rows, input, output) in [(1, 3, 5), (7, 37, 50), (9, 64, 48), (300, 20, 100)] {
            // The largest of each row of the one and each column of the other is 127.
            let number = |at: usize, first: bool| if first { 127.0 } else { (at * 7919 % 255) as f32 - 127.0 };
            let x: Vec<f32> = (0..rows * input).map(|at| number(at, at % input == 0)).collect();
            let weight: Vec<f32> = (0..input * output).map(|at| number(at, at < output)).collect();
            let bias: Vec<f32> = (0..output).map(|column| column as f32).collect();
            let held = Weight::new(&weight, input, output);
            let expected: Vec<f32> = (0..rows * output)
                .map(|at| {
                    let (row, column) = (at / output, at % output);
                    let products = (0..input).map(|inner| x[row * input + inner] * weight[inner * output + column]);
                    products.sum::<f32>() + bias[column]
                })
                .collect();
            for threads in [1, 2, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(pool.install(|| product(&x, &held, Some(&bias))), expected, "{rows} x {input} x {output}");
            }
        }
    }

    #[test]
    fn rows_and_outputs_of_zeros_stay_zero() {
        if !is_available() {
            return;
        }
        let held = Weight::new(&[0.0; 12], 4, 3);
        assert_eq!(product(&[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0], &held, None), [0.0; 6]);
    }
}
