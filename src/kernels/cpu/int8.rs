//! Products of int8 for inference: weights with a scale for each output, activations with one for each row, found when they come. The sums
//! are exact whole numbers, and so do not depend on how the work is shared out. A thread takes some rows through all that is done to them, so
//! that what is between is in its cache.

mod rows;
mod tile;
mod weight;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::module::{Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{DType, Device, Tensor};

use self::rows::Rows;
use self::tile::product;
use self::weight::Weight;
use super::buffers::{Each, Size, write};
use super::rows::Gelu;
use super::{tensor, values};

/// Outputs of a panel: three vectors of 16.
const PANEL: usize = 16 * VECTORS;
const VECTORS: usize = 3;

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

/// A tensor of this backend without a graph, float32 and contiguous.
fn primitive<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    let is_f32 = x.dtype() == DType::F32;
    is_f32.then(|| x.clone().try_into_primitive::<Flex>().ok())?.map(|x| x.to_contiguous())
}

/// The weight of a layer, made when it is first asked for.
fn held(layer: &Linear) -> Option<Arc<Weight>> {
    let found = WEIGHTS.read().unwrap_or_else(PoisonError::into_inner).get(&layer.weight.id).cloned();
    if found.is_some() {
        return found;
    }
    let weight = layer.weight.val(); // [input, output]
    let bias = match layer.bias.as_ref().map(Param::val) {
        Some(bias) => Some(primitive(&bias)?),
        None => None,
    };
    let made = Arc::new(Weight::new(values(&primitive(&weight)?), weight.dims(), bias.as_ref().map(values)));
    WEIGHTS.write().unwrap_or_else(PoisonError::into_inner).insert(layer.weight.id, made.clone());
    Some(made)
}

/// See [`crate::kernels::int8_linears`].
pub fn linears<const N: usize>(x: &Tensor<2>, layers: [&Linear; N]) -> Option<[Tensor<2>; N]> {
    let x = primitive(x)?;
    let mut weights = Vec::new();
    for layer in layers {
        weights.push(held(layer)?);
    }
    let weights: [Arc<Weight>; N] = weights.try_into().ok()?;
    let [rows, _] = x.layout().shape().dims();
    let outputs = products(values(&x), weights.each_ref().map(|weight| &**weight));
    let mut widths = weights.iter().map(|weight| weight.output);
    Some(outputs.map(|y| of_values(y, [rows, widths.next().expect("there are as many")])))
}

/// See [`crate::kernels::int8_feed_forward`].
pub fn feed_forward(x: &Tensor<2>, [inner, outer]: [&Linear; 2]) -> Option<Tensor<2>> {
    let x = primitive(x)?;
    let (inner, outer) = (held(inner)?, held(outer)?);
    let [rows, _] = x.layout().shape().dims();
    Some(of_values(fed_forward(values(&x), &inner, &outer), [rows, outer.output]))
}

fn of_values(values: Vec<f32>, dims: [usize; 2]) -> Tensor<2> {
    Tensor::from_primitive::<Flex>(tensor(values, dims))
}

/// What a thread writes to again and again.
#[derive(Default)]
struct Space {
    rows: Rows,
    inner: Vec<f32>,
    inner_rows: Rows,
}

thread_local! {
    static SPACE: RefCell<Space> = RefCell::default();
}

/// No function of an output.
#[derive(Clone, Copy)]
struct AsItIs;

impl Each<1> for AsItIs {
    #[inline(always)]
    fn at(&self, _: usize, [y]: [f32; 1]) -> f32 {
        y
    }
}

/// Rows that a thread takes at once: few enough to stay in its cache, and for each thread to have some.
fn block(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).next_multiple_of(8).clamp(8, 64)
}

/// `x * weight + bias` of each weight, `[rows, input] -> [rows, output]`.
fn products<const N: usize>(x: &[f32], weights: [&Weight; N]) -> [Vec<f32>; N] {
    let width = weights[0].input;
    let count = check(x, width);
    let block = block(count);
    let sizes = weights.map(|weight| Size { length: count * weight.output, portion: block * weight.output });
    write(sizes, |number, places| {
        SPACE.with_borrow_mut(|Space { rows, .. }| {
            rows.set(x.chunks(block * width).nth(number).unwrap_or_default(), width);
            let mut weights = weights.iter();
            places.map(|places| product(rows, weights.next().expect("there are as many"), AsItIs, places))
        })
    })
}

/// [`products`] of `outer` and the GELU of those of `inner`.
fn fed_forward(x: &[f32], inner: &Weight, outer: &Weight) -> Vec<f32> {
    let count = check(x, inner.input);
    let block = block(count);
    let size = Size { length: count * outer.output, portion: block * outer.output };
    let [output] = write([size], |number, [places]| {
        SPACE.with_borrow_mut(|space| {
            let x = x.chunks(block * inner.input).nth(number).unwrap_or_default();
            space.rows.set(x, inner.input);
            space.inner.clear();
            space.inner.reserve(x.len() / inner.input * inner.output);
            let places_of_inner = &mut space.inner.spare_capacity_mut()[..x.len() / inner.input * inner.output];
            let activated = product(&space.rows, inner, Gelu, places_of_inner);
            space.inner_rows.set(activated, outer.input);
            [product(&space.inner_rows, outer, AsItIs, places)]
        })
    });
    output
}

/// How many rows there are.
fn check(x: &[f32], width: usize) -> usize {
    assert!(x.len().is_multiple_of(width) && is_available());
    x.len() / width
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
            let held = Weight::new(&weight, [input, output], Some(&bias));
            let expected: Vec<f32> = (0..rows * output)
                .map(|at| {
                    let (row, column) = (at / output, at % output);
                    let products = (0..input).map(|inner| x[row * input + inner] * weight[inner * output + column]);
                    products.sum::<f32>() + bias[column]
                })
                .collect();
            for threads in [1, 2, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let [found] = pool.install(|| products(&x, [&held]));
                assert_eq!(found, expected, "{rows} x {input} x {output}");
            }
        }
    }

    #[test]
    fn rows_and_outputs_of_zeros_stay_zero() {
        if !is_available() {
            return;
        }
        let held = Weight::new(&[0.0; 12], [4, 3], None);
        assert_eq!(products(&[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0], [&held])[0], [0.0; 6]);
    }

    /// Whatever stands in a thread's workspace, and whichever rows it takes together.
    #[test]
    fn a_feed_forward_is_its_two_products_with_a_gelu_between() {
        if !is_available() {
            return;
        }
        let number = |at: usize| (at * 7919 % 2047) as f32 / 1023.0 - 1.0;
        let numbers = |count: usize, from: usize| (from..from + count).map(number).collect::<Vec<f32>>();
        for (rows, input, inner, output) in [(300, 20, 100, 20), (9, 64, 50, 48), (1, 3, 5, 7)] {
            let x = numbers(rows * input, 3);
            let (one, other) = (numbers(input * inner, 5), numbers(inner * output, 7));
            let (one, other) = (
                Weight::new(&one, [input, inner], Some(&x[..1].repeat(inner))),
                Weight::new(&other, [inner, output], None),
            );
            let [between] = products(&x, [&one]);
            let between: Vec<f32> = between.iter().map(|y| Gelu.at(0, [*y])).collect();
            let [expected, again] = products(&between, [&other, &other]);
            assert_eq!(expected, again);
            for threads in [1, 2, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(
                    pool.install(|| fed_forward(&x, &one, &other)),
                    expected,
                    "{rows} x {input} x {inner} x {output}"
                );
            }
        }
    }
}
