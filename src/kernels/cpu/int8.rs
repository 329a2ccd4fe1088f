//! Products of int8 for inference: weights with a scale for each output, activations with one for each row, found when they come. The sums
//! are exact whole numbers, and so do not depend on how the work is shared out.

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::module::ParamId;
use burn::tensor::{DType, Device, Tensor};
use rayon::prelude::*;

use super::buffers::filled;
use super::matrix::Target;
use super::{tensor, values, vectorized};

/// Outputs of a panel: three vectors of 16.
const PANEL: usize = 16 * VECTORS;
const VECTORS: usize = 3;
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
    assert!(x.len().is_multiple_of(weight.input) && bias.is_none_or(|bias| bias.len() == weight.output));
    assert!(is_available());
    let rows = Rows::new(x, weight.input);
    let count = rows.scales.len();
    let panels = weight.output.div_ceil(PANEL);
    let fill = |out: &mut [_]| {
        let out = Target::new(out);
        (0..panels * count.div_ceil(BLOCK)).into_par_iter().for_each(|task| {
            let (block, panel) = (task / panels, task % panels);
            let range = block * BLOCK..((block + 1) * BLOCK).min(count);
            // SAFETY: the processor has the instructions, and no other task has this panel's outputs of these rows.
            unsafe { part(&rows, range, weight, panel, bias, &out) };
        });
    };
    // SAFETY: every panel of every block is written.
    unsafe { filled(count * weight.output, fill) }
}

/// A panel's outputs of some rows.
///
/// # Safety
/// The processor has the instructions, and nobody else reads or writes these outputs meanwhile.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn part(rows: &Rows, range: Range<usize>, weight: &Weight, panel: usize, bias: Option<&[f32]>, out: &Target) {
    let quads = weight.quads();
    let packed = &weight.packed[panel * quads * PANEL * 4..][..quads * PANEL * 4];
    let first = panel * PANEL;
    let columns = first..(first + PANEL).min(weight.output);
    let (scales, bias) = (&weight.scales[columns.clone()], bias.map(|bias| &bias[columns]));
    for start in range.clone().step_by(ROWS) {
        let count = (range.end - start).min(ROWS);
        let values = &rows.values[start * quads * 4..][..count * quads * 4];
        let sums = match count {
            8 => all(tile::<8>(values, packed)),
            7 => all(tile::<7>(values, packed)),
            6 => all(tile::<6>(values, packed)),
            5 => all(tile::<5>(values, packed)),
            4 => all(tile::<4>(values, packed)),
            3 => all(tile::<3>(values, packed)),
            2 => all(tile::<2>(values, packed)),
            _ => all(tile::<1>(values, packed)),
        };
        for (row, sums) in (start..start + count).zip(&sums) {
            let mut outputs = [0.0; PANEL];
            let (scale, shift) = (rows.scales[row], rows.shifts[row]);
            for ((output, sum), of_weight) in outputs.iter_mut().zip(sums).zip(scales) {
                *output = (sum - shift) as f32 * (scale * of_weight);
            }
            for (output, bias) in outputs.iter_mut().zip(bias.unwrap_or_default()) {
                *output += bias;
            }
            // SAFETY: as above.
            unsafe { out.write(row * weight.output + first, &outputs[..scales.len()]) };
        }
    }
}

/// The sums of fewer rows as those of [`ROWS`].
fn all<const R: usize>(sums: [[i32; PANEL]; R]) -> [[i32; PANEL]; ROWS] {
    let mut padded = [[0; PANEL]; ROWS];
    padded[..R].copy_from_slice(&sums);
    padded
}

/// The sums of `R` rows and a panel of as many quads.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn tile<const R: usize>(values: &[i8], packed: &[u8]) -> [[i32; PANEL]; R] {
    let quads = packed.len() / (4 * PANEL);
    assert_eq!(values.len(), R * quads * 4);
    let (values, packed) = (values.as_ptr().cast::<i32>(), packed.as_ptr());
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; R];
    for quad in 0..quads {
        // SAFETY: the panel has so many quads, each of three vectors, and so has every row.
        unsafe {
            let weights: [__m512i; VECTORS] =
                std::array::from_fn(|vector| _mm512_loadu_si512(packed.add((quad * PANEL + 16 * vector) * 4).cast()));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_epi32(values.add(row * quads + quad).read_unaligned());
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = _mm512_dpbusd_epi32(*sum, weights, value);
                }
            }
        }
    }
    let mut out = [[0; PANEL]; R];
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            // SAFETY: it is as long as a vector.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) };
        }
    }
    out
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
