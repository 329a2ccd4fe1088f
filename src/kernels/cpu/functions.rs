//! Functions of one float32 that a compiler turns into vector instructions: no branch, no call, no table.

/// e^x to 1 unit in the last place or 2; 0 below -87, where float32 has no normal number.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding this rounds to an integer, which then stands in the low bits (1.5 * 2^23).
    const MAGIC: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + MAGIC;
    let whole = shifted - MAGIC;
    // ln 2 in two parts (Cody and Waite), so that the remainder is exact.
    let rest = clamped - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    // Cephes' polynomial (expf.c) on [-ln 2 / 2, ln 2 / 2].
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * rest + coefficient;
    }
    let fraction = p * rest * rest + rest + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { fraction * power }
}

/// The error function to some 4e-7: the rational approximation of Eigen and XLA on [-4, 4].
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let mut above = -2.726_142_3e-10;
    for coefficient in [2.770_681_4e-8, -2.101_024e-6, -5.692_506_5e-5, -7.349_906_3e-4, -2.954_6e-3, -1.609_603_3e-2] {
        above = above * square + coefficient;
    }
    let mut below = -1.456_607_2e-5;
    for coefficient in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474e-2] {
        below = below * square + coefficient;
    }
    x * above / below
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent to some 1e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Near 0 the formula below loses digits; the series does not.
    let square = x * x;
    let series = x * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0))));
    let power = exp(-2.0 * x.abs());
    let far = ((1.0 - power) / (1.0 + power)).copysign(x);
    if x.abs() < 0.15 { series } else { far }
}

/// Numbers that are summed side by side.
const LANES: usize = 16;

/// Sums in lanes, so that the additions can be done side by side: always in the same order.
#[inline(always)]
pub fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    sum_of([values], |[value]| of(value))
}

/// [`sum`] of a function of the elements of some rows that stand side by side.
///
/// # Panics
/// If a row is shorter than the first.
#[inline(always)]
pub fn sum_of<const N: usize>(rows: [&[f32]; N], of: impl Fn([f32; N]) -> f32) -> f32 {
    let rows = rows.map(|row| row[..rows[0].len()].as_chunks::<LANES>());
    let (blocks, rests) = (rows.map(|(blocks, _)| blocks), rows.map(|(_, rest)| rest));
    let mut lanes = [0.0_f32; LANES];
    for number in 0..blocks[0].len() {
        let blocks = blocks.map(|blocks| &blocks[number]);
        for lane in 0..LANES {
            lanes[lane] += of(blocks.map(|block| block[lane]));
        }
    }
    let rest = (0..rests[0].len()).map(|number| of(rests.map(|rest| rest[number])));
    lanes.iter().sum::<f32>() + rest.sum::<f32>()
}

/// The largest value; minus infinity if there is none.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = if block[lane] > lanes[lane] { block[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every approximation against float64, over the range where it is used and beyond.
    fn worst(of: fn(f32) -> f32, true_value: fn(f64) -> f64, range: std::ops::Range<i32>, relative: bool) -> f64 {
        let error = |x: f32| {
            let (found, right) = (f64::from(of(x)), true_value(f64::from(x)));
            (found - right).abs() / if relative { right.abs().max(1e-37) } else { 1.0 }
        };
        range.map(|x| error(x as f32 * 0.001)).fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        assert!(worst(exp, f64::exp, -86_900..88_000, true) < 2.0 * f64::from(f32::EPSILON));
        assert_eq!([exp(-1e4), exp(f32::NEG_INFINITY), exp(0.0)], [0.0, 0.0, 1.0]);
        assert!(exp(f32::NAN).is_nan(), "a loss that is no number has to be seen");
    }

    #[test]
    fn tanh_and_sigmoid_are_right_to_a_few_units() {
        assert!(worst(tanh, f64::tanh, -20_000..20_000, true) < 4e-7);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80_000..80_000, true) < 4e-7);
    }

    #[test]
    fn erf_is_right_to_5e_7() {
        // The Maclaurin series in float64, good to 1e-12 below 4.
        fn series(x: f64) -> f64 {
            let mut term = x;
            let mut sum = x;
            for n in 1..120 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        }
        assert!(worst(erf, series, -4_000..4_000, false) < 5e-7);
        assert!((erf(9.0) - 1.0).abs() < 5e-7);
    }

    #[test]
    fn sums_and_maxima_take_every_element() {
        let values: Vec<f32> = (0..37).map(|x| (x * 7 % 37) as f32).collect();
        assert_eq!(sum(&values, |x| x), 666.0);
        assert_eq!(sum_of([&values, &[2.0; 37]], |[x, factor]| x * factor), 1332.0);
        assert_eq!(max(&values), 36.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}
