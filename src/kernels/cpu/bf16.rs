//! Products of bf16, from float32 to float32: both factors are rounded to bf16, to the nearest and ties to even; their products are exact in
//! float32, in which they are added up. An element's sum has one order, whoever computes it.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps,
};
use std::cell::RefCell;
use std::mem::transmute;
use std::ops::Range;

use rayon::prelude::*;

use super::buffers::filled;
use super::matrix::{Factor, Target};
use super::vectorized;

/// Columns of a panel: three vectors of 16.
const PANEL: usize = 16 * VECTORS;
const VECTORS: usize = 3;
/// Rows whose sums are held in registers: 8 by 3 vectors.
const ROWS: usize = 8;
/// The least rows of a task: a panel is put in order for each.
const LEAST_ROWS: usize = 128;
/// Pairs of a line that are rounded in one go, before they are put in their places.
const PIECE: usize = 32;

thread_local! {
    /// A panel.
    static PACKED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Whether this processor multiplies bf16 in vectors of 512 bits.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// `left * right`, to each row of which the bias is added.
///
/// # Panics
/// If they do not fit, or the processor does not multiply bf16.
pub fn product(left: Factor, right: Factor, bias: Option<&[f32]>) -> Vec<f32> {
    let ((rows, inner), (inner_too, columns)) = (left.dims(), right.dims());
    assert!(inner == inner_too && bias.is_none_or(|bias| bias.len() == columns));
    assert!(is_available());
    let left = row_pairs(left);
    let panels = columns.div_ceil(PANEL);
    // Where there are few panels, rows are shared out too.
    let parts = (4 * rayon::current_num_threads()).div_ceil(panels.max(1)).min(rows / LEAST_ROWS).max(1);
    let bounds = |part: usize| rows.div_ceil(ROWS) * part / parts * ROWS;
    let fill = |out: &mut [_]| {
        let out = Target::new(out);
        (0..panels * parts).into_par_iter().for_each(|task| {
            let (panel, part) = (task % panels, task / panels);
            let first = panel * PANEL;
            let columns = first..(first + PANEL).min(columns);
            let range = bounds(part)..bounds(part + 1).min(rows);
            PACKED.with_borrow_mut(|packed| {
                panel_pairs(right, columns.clone(), packed);
                // SAFETY: the processor has the instructions, and no other task has these columns of these rows.
                unsafe { multiply(&left, range, packed, columns, bias, [inner.div_ceil(2), right.dims().1], &out) };
            });
        });
    };
    // SAFETY: all columns of all rows are written.
    unsafe { filled(rows * columns, fill) }
}

/// Some columns of some rows; sizes are the pairs of a row and the columns of the output.
///
/// # Safety
/// The processor has the instructions, and nobody else reads or writes these outputs meanwhile.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply(
    left: &[u32],
    rows: Range<usize>,
    packed: &[u32],
    columns: Range<usize>,
    bias: Option<&[f32]>,
    [pairs, stride]: [usize; 2],
    out: &Target,
) {
    let bias = bias.map(|bias| &bias[columns.clone()]).unwrap_or_default();
    for start in rows.clone().step_by(ROWS) {
        let count = (rows.end - start).min(ROWS);
        let left = &left[start * pairs..][..count * pairs];
        let mut sums = [[0.0; PANEL]; ROWS];
        match count {
            8 => tile::<8>(left, packed, &mut sums),
            7 => tile::<7>(left, packed, &mut sums),
            6 => tile::<6>(left, packed, &mut sums),
            5 => tile::<5>(left, packed, &mut sums),
            4 => tile::<4>(left, packed, &mut sums),
            3 => tile::<3>(left, packed, &mut sums),
            2 => tile::<2>(left, packed, &mut sums),
            _ => tile::<1>(left, packed, &mut sums),
        }
        for (row, sums) in (start..start + count).zip(&mut sums) {
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum += bias;
            }
            // SAFETY: as above.
            unsafe { out.write(row * stride + columns.start, &sums[..columns.len()]) };
        }
    }
}

/// The sums of `R` rows `[R, pairs]` and a panel `[pairs, PANEL]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn tile<const R: usize>(left: &[u32], packed: &[u32], out: &mut [[f32; PANEL]; ROWS]) {
    let pairs = packed.len() / PANEL;
    assert_eq!(left.len(), R * pairs);
    let (left, packed) = (left.as_ptr(), packed.as_ptr());
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; R];
    for pair in 0..pairs {
        // SAFETY: the panel has so many pairs, each of three vectors, and so has every row.
        unsafe {
            let right: [__m512i; VECTORS] =
                std::array::from_fn(|vector| _mm512_loadu_si512(packed.add(pair * PANEL + 16 * vector).cast()));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_epi32((*left.add(row * pairs + pair)).cast_signed());
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = dot(*sum, value, right);
                }
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            // SAFETY: it is as long as a vector.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
        }
    }
}

/// `sum` and the two products of each pair.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot(sum: __m512, left: __m512i, right: __m512i) -> __m512 {
    // SAFETY: any bits are 32 numbers of 16 bits each.
    let [left, right] = [left, right].map(|pairs| unsafe { transmute::<__m512i, __m512bh>(pairs) });
    _mm512_dpbf16_ps(sum, left, right)
}

/// A left factor in pairs of neighbours of a row, `[rows, inner / 2]`; where the inner size is odd, the last has a 0.
fn row_pairs(left: Factor) -> Vec<u32> {
    /// Rows that are written together: as many numbers of a line as a cache takes at once.
    const TILE: usize = 16;
    let (rows, inner) = left.dims();
    let pairs = inner.div_ceil(2);
    let mut out = vec![0; rows * pairs];
    out.par_chunks_mut((TILE * pairs).max(1)).enumerate().for_each(|(tile, out)| {
        let range = tile * TILE..(tile * TILE + TILE).min(rows);
        match left.is_transposed() {
            true => pack_across(left, range, [1, pairs], out),
            false => pack_along(left, range, [1, pairs], out),
        }
    });
    out
}

/// A panel of a right factor, `[inner / 2, PANEL]`. Where it has fewer columns, anything may stand behind them.
fn panel_pairs(right: Factor, columns: Range<usize>, out: &mut Vec<u32>) {
    out.resize(right.dims().0.div_ceil(2) * PANEL, 0);
    match right.is_transposed() {
        true => pack_along(right, columns, [PANEL, 1], out),
        false => pack_across(right, columns, [PANEL, 1], out),
    }
}

/// bf16 in the upper half of 32 bits.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // The mantissa of a NaN may be all in the lower half.
    (if x.is_nan() { bits | 0x0040_0000 } else { nearest }) & 0xffff_0000
}

/// Two numbers, the first in the lower half.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    rounded(first) >> 16 | rounded(second)
}

vectorized! {
    /// Pairs of neighbours of some lines of a factor; the steps are those from pair to pair and from line to line.
    fn pack_along<'a>(factor: Factor<'a>, lines: Range<usize>, steps: [usize; 2], out: &'a mut [u32]) {
        let mut some = [0; PIECE];
        for (number, line) in lines.enumerate() {
            let line = factor.line(line);
            let mut at = number * steps[1];
            for piece in line.chunks(2 * PIECE) {
                let (whole, rest) = piece.as_chunks::<2>();
                for (out, [first, second]) in some.iter_mut().zip(whole) {
                    *out = pair(*first, *second);
                }
                if let [first] = rest {
                    some[whole.len()] = pair(*first, 0.0);
                }
                for pair in &some[..piece.len().div_ceil(2)] {
                    out[at] = *pair;
                    at += steps[0];
                }
            }
        }
    }

    /// Pairs of the numbers of two lines, and of the next two, of some places in them; the steps are those from pair to pair of lines and
    /// from place to place.
    fn pack_across<'a>(factor: Factor<'a>, places: Range<usize>, steps: [usize; 2], out: &'a mut [u32]) {
        const NOTHING: [f32; PANEL] = [0.0; PANEL];
        let mut some = [0; PANEL];
        let (count, inner) = (places.len(), factor.lines());
        for (number, line) in (0..inner).step_by(2).enumerate() {
            let first = &factor.line(line)[places.clone()];
            let second = if line + 1 < inner { &factor.line(line + 1)[places.clone()] } else { &NOTHING[..count] };
            for ((out, first), second) in some.iter_mut().zip(first).zip(second) {
                *out = pair(*first, *second);
            }
            let out = &mut out[number * steps[0]..];
            if steps[1] == 1 {
                out[..count].copy_from_slice(&some[..count]);
            } else {
                for (place, pair) in some[..count].iter().enumerate() {
                    out[place * steps[1]] = *pair;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::Matrix;
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        for x in [0.0, -1.5, 1.003_906_3, 1.003_906_2, 1.011_718_8, 3.0e38, f32::MAX, f32::INFINITY, 1e-40, f32::NAN] {
            let found = f32::from_bits(rounded(x));
            let expected = half::bf16::from_f32(x).to_f32();
            assert!(found == expected || found.is_nan() && expected.is_nan(), "{x}: {found}, not {expected}");
        }
        assert!(f32::from_bits(rounded(f32::from_bits(0x7f80_0001))).is_nan());
    }

    /// Small whole numbers are exact in bf16, and so are their sums in any order: every way round, every number of rows, columns and threads.
    #[test]
    fn products_of_small_whole_numbers_are_exact() {
        if !is_available() {
            return;
        }
        let number = |at: usize| (at * 7919 % 255) as f32 - 127.0;
        for (rows, inner, columns) in [(1, 3, 5), (7, 37, 50), (9, 64, 48), (300, 77, 100), (20, 130, 333), (3, 0, 2)] {
            let left: Vec<f32> = (0..rows * inner).map(number).collect();
            let right: Vec<f32> = (0..inner * columns).map(|at| number(at + 5)).collect();
            let bias: Vec<f32> = (0..columns).map(|column| column as f32).collect();
            for (left_turned, right_turned) in [(false, false), (true, false), (false, true), (true, true)] {
                let factor = |values, rows, columns, turned| match turned {
                    true => Factor::new(values, Matrix::whole(columns, rows)).transposed(),
                    false => Factor::new(values, Matrix::whole(rows, columns)),
                };
                let at = |turned, [row, column]: [usize; 2], [rows, columns]: [usize; 2]| match turned {
                    true => column * rows + row,
                    false => row * columns + column,
                };
                let sum = |row, column| -> f32 {
                    let products = (0..inner).map(|k| {
                        left[at(left_turned, [row, k], [rows, inner])]
                            * right[at(right_turned, [k, column], [inner, columns])]
                    });
                    products.sum::<f32>() + bias[column]
                };
                let expected: Vec<f32> = (0..rows * columns).map(|at| sum(at / columns, at % columns)).collect();
                for threads in [1, 2, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let found = pool.install(|| {
                        let left = factor(&left, rows, inner, left_turned);
                        product(left, factor(&right, inner, columns, right_turned), Some(&bias))
                    });
                    assert_eq!(found, expected, "{rows} x {inner} x {columns}, {left_turned} {right_turned}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        if !is_available() {
            return;
        }
        let one =
            |x: f32| product(Factor::new(&[x], Matrix::whole(1, 1)), Factor::new(&[1.0], Matrix::whole(1, 1)), None)[0];
        assert!(one(f32::NAN).is_nan());
        assert_eq!(one(f32::NEG_INFINITY), f32::NEG_INFINITY);
    }
}
