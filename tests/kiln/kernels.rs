//! Each kernel against the plain operations that it stands for, forward and backward, on the device under test.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use kiln::device::is_gpu;
use kiln::kernels::{self, Adam, Decay, Mask};

use crate::device;
use crate::parity::coarseness;

/// Of sums of some hundred products.
const ROUNDING: f32 = 2e-5;

fn autodiff() -> Device {
    device().autodiff()
}

/// Numbers from -1 to 1.
pub fn numbers<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(next).collect();
    Tensor::from_data(TensorData::new(values, shape), &autodiff())
}

pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// What a GPU has a kernel for; `None` on a CPU, where there is nothing to compare then.
pub fn found<T>(output: Option<T>) -> Option<T> {
    assert!(output.is_some() || !is_gpu(&device()), "a GPU has this kernel");
    output
}

/// The output of a function of some tensors, and their gradients, the output weighed so that these differ.
fn run<const N: usize, const D: usize>(
    of: impl Fn(&[Tensor<D>; N], &Tensor<1>, &Tensor<1>) -> Option<Tensor<D>>,
    terms: [Tensor<D>; N],
    width: usize,
) -> Option<Vec<f32>> {
    let terms = terms.map(|term| term.detach().require_grad());
    let gamma = (numbers([width], 3) + 1.5).detach().require_grad();
    let beta = numbers([width], 4).require_grad();
    let output = of(&terms, &gamma, &beta)?;
    let weights = numbers(output.dims(), 5);
    let gradients = (output.clone() * weights).sum().backward();
    let of_terms = terms.iter().flat_map(|term| values(term.grad(&gradients).unwrap()));
    let all = of_terms.chain(values(gamma.grad(&gradients).unwrap())).chain(values(beta.grad(&gradients).unwrap()));
    Some(values(output).into_iter().chain(all).collect())
}

pub fn compare(found: &[f32], right: &[f32], what: &str) {
    assert_eq!(found.len(), right.len());
    let size = right.iter().fold(1.0_f32, |size, x| size.max(x.abs()));
    let worst = found.iter().zip(right).map(|(found, right)| (found - right).abs()).fold(0.0_f32, f32::max);
    let allowed = coarseness() as f32 * ROUNDING * size;
    assert!(worst <= allowed && found.iter().all(|x| x.is_finite()), "{what}: off by {worst}, of {size}");
}

fn plain_norm(x: Tensor<2>, gamma: &Tensor<1>, beta: &Tensor<1>) -> Tensor<2> {
    let apart = x.clone() - x.mean_dim(1); // [rows, width]
    let variance = apart.clone().square().mean_dim(1); // [rows, 1]
    apart / (variance + 1e-5).sqrt() * gamma.clone().unsqueeze() + beta.clone().unsqueeze()
}

#[test]
fn layer_norms_are_the_plain_operations() {
    for shape in [[1, 7], [13, 128], [300, 48], [129, 768], [9, 1152]] {
        let (x, y, width) = (numbers(shape, 1), numbers(shape, 2), shape[1]);
        let ours = |[x]: &[Tensor<2>; 1], gamma: &Tensor<1>, beta: &Tensor<1>| kernels::norm(x, [gamma, beta], 1e-5);
        let Some(ours) = found(run(ours, [x.clone()], width)) else { return };
        let right = run(|[x], gamma, beta| Some(plain_norm(x.clone(), gamma, beta)), [x.clone()], width).unwrap();
        compare(&ours, &right, &format!("{shape:?}"));

        for mask in [None, Some(Mask::new(0.1, 77 << 20))] {
            let ours = |[x, y]: &[Tensor<2>; 2], gamma: &Tensor<1>, beta: &Tensor<1>| {
                kernels::add_norm([x, y], mask, [gamma, beta], 1e-5)
            };
            let ours = found(run(ours, [x.clone(), y.clone()], width)).unwrap();
            let right = |[x, y]: &[Tensor<2>; 2], gamma: &Tensor<1>, beta: &Tensor<1>| {
                let dropped = mask.map_or(Some(y.clone()), |mask| kernels::drop_out(y, mask))?;
                Some(plain_norm(x.clone() + dropped, gamma, beta))
            };
            compare(&ours, &run(right, [x.clone(), y.clone()], width).unwrap(), &format!("a sum, {shape:?}, {mask:?}"));
        }
    }
}

/// The mask is the CPU's, bit for bit.
#[test]
fn dropout_drops_the_same_elements_on_every_device() {
    let seed = 0x1234_5678_90ab_cdef;
    let x = numbers([37, 129], 5).require_grad();
    let Some(y) = found(kernels::drop_out(&x, Mask::new(0.1, seed))) else { return };
    let gradients = y.clone().sum().backward();
    let hash = |mut x: u32| {
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        x ^ (x >> 16)
    };
    let (threshold, scale) = ((0.1 * f64::from(u32::MAX)) as u32, (1.0 / 0.9) as f32);
    let kept = (0..37 * 129).map(|at| hash(hash(at ^ seed as u32).wrapping_add((seed >> 32) as u32)) >= threshold);
    let kept: Vec<f32> = kept.map(|kept| if kept { scale } else { 0.0 }).collect();
    assert_eq!(values(x.grad(&gradients).unwrap()), kept);
    let right: Vec<f32> = values(x).iter().zip(&kept).map(|(x, kept)| x * kept).collect();
    assert_eq!(values(y), right);
    assert!(kept.iter().filter(|kept| **kept == 0.0).count() > 400);
}

/// Ids once and often, within a chunk of tokens and across many, all of them padding, and no padding.
#[test]
fn a_tables_gradient_is_the_sum_over_its_rows() {
    let cases = [
        (3, 50, 7, 33, Some(1)),
        (1, 1, 5, 300, None),
        (16, 64, 1000, 128, Some(0)),
        (5, 67, 2, 64, None),
        (2, 40, 1, 16, Some(0)),
        (40, 500, 3, 8, Some(2)),
    ];
    for (batch, seq, rows, width, padding) in cases {
        let ids: Vec<i32> = (0..batch * seq).map(|at| ((at * 7919 + at * at * 31) % rows) as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [batch, seq]), &autodiff());
        let gradient = |of: &dyn Fn(&Tensor<2>) -> Option<Tensor<3>>| {
            let table = numbers([rows, width], 3).require_grad();
            let rows = of(&table)?; // [batch, seq, width]
            let gradients = (rows.clone() * numbers([batch, seq, width], 4)).sum().backward();
            let gradient = table.grad(&gradients).unwrap();
            Some([values(rows), values(gradient)].concat())
        };
        let Some(ours) = found(gradient(&|table| kernels::look_up(table, &ids, padding))) else { return };
        let again = gradient(&|table| kernels::look_up(table, &ids, padding)).unwrap();
        assert_eq!(ours, again, "the order of the sums is fixed");
        let right = gradient(&|table| {
            let rows = table.clone().select(0, ids.clone().flatten::<1>(0, 1)).reshape([batch, seq, width]);
            let Some(padding) = padding else { return Some(rows) };
            let is_padding = ids.clone().equal_elem(padding as i64).unsqueeze_dim::<3>(2).expand([batch, seq, width]);
            Some(rows.clone().mask_where(is_padding, rows.detach()))
        });
        compare(&ours, &right.unwrap(), &format!("{batch} x {seq} of {rows}, padding {padding:?}"));
    }
}

/// Softmax of scores and bias, with what the mask drops, times the values: by plain operations.
fn plain_probs(scores: Tensor<4>, bias: &Tensor<4>, mask: Option<Mask>) -> Tensor<4> {
    let probs = softmax(scores + bias.clone(), 3); // [batch, heads, query, key]
    mask.map_or(probs.clone(), |mask| kernels::drop_out(&probs, mask).unwrap())
}

/// `[batch, 1, queries, keys]` of which a third hides its key, and each row its last ones; the last row hides all.
fn bias(batch: usize, queries: usize, keys: usize) -> Tensor<4> {
    let hidden = |at: usize| {
        let (row, key) = (at / (queries * keys), at % keys);
        let is_last = at >= (batch * queries - 1) * keys && batch * queries > 1;
        at * 31 % 7 < 2 || key + 2 * (row + 1) > keys || is_last
    };
    let values: Vec<f32> = (0..batch * queries * keys).map(|at| if hidden(at) { -1e4 } else { 0.0 }).collect();
    Tensor::from_data(TensorData::new(values, [batch, 1, queries, keys]), &autodiff())
}

#[test]
fn what_values_are_weighed_by_is_the_softmax_of_the_scores() {
    for ([batch, heads, queries, keys], per_query) in
        [([2, 3, 5, 5], false), ([1, 2, 1, 1], false), ([2, 4, 33, 33], true), ([3, 2, 48, 160], false)]
    {
        let scores = numbers([batch, heads, queries, keys], 6) * 4.0;
        let bias = bias(batch, if per_query { queries } else { 1 }, keys);
        for mask in [None, Some(Mask::new(0.1, 99 << 30))] {
            let run = |of: &dyn Fn(&Tensor<4>) -> Option<Tensor<4>>| {
                let scores = scores.clone().detach().require_grad();
                let probs = of(&scores)?;
                let gradients = (probs.clone() * numbers([batch, heads, queries, keys], 7)).sum().backward();
                Some([values(probs), values(scores.grad(&gradients).unwrap())].concat())
            };
            let Some(ours) = found(run(&|scores| kernels::probs(scores, &bias, mask))) else { return };
            let right = run(&|scores| Some(plain_probs(scores.clone(), &bias, mask))).unwrap();
            compare(&ours, &right, &format!("{batch} x {heads} x {queries} x {keys}, {mask:?}"));
        }
    }
}

#[test]
fn attention_in_tiles_is_that_of_whole_matrices() {
    for ([batch, heads, seq, size], per_query) in [
        ([2, 3, 5, 8], false),
        ([1, 1, 1, 4], false),
        ([2, 2, 33, 12], true),
        ([2, 4, 70, 64], false),
        ([1, 2, 65, 128], true),
        ([3, 2, 48, 16], false),
        ([2, 1, 300, 8], false), // more queries than are taken at a time
        ([1, 1, 270, 8], true),
    ] {
        let bias = bias(batch, if per_query { seq } else { 1 }, seq);
        let inputs: [Tensor<2>; 3] = [11, 12, 13].map(|seed| numbers([batch * seq, heads * size], seed));
        for mask in [None, Some(Mask::new(0.2, 55 << 25))] {
            let run = |of: &dyn Fn([&Tensor<2>; 3]) -> Option<Tensor<2>>| {
                let inputs = inputs.clone().map(|input| input.detach().require_grad());
                let output = of(inputs.each_ref())?;
                let gradients = (output.clone() * numbers([batch * seq, heads * size], 14)).sum().backward();
                let of_inputs = inputs.iter().flat_map(|input| values(input.grad(&gradients).unwrap()));
                Some(values(output).into_iter().chain(of_inputs).collect::<Vec<f32>>())
            };
            let ours = run(&|inputs| kernels::attention(inputs, heads, &bias, mask));
            let Some(ours) = found(ours) else { return };
            let right = run(&|inputs| {
                let split = |x: &Tensor<2>| x.clone().reshape([batch, seq, heads, size]).swap_dims(1, 2);
                let [query, key, value] = inputs.map(split); // [batch, heads, seq, size]
                let scores = query.matmul(key.transpose()) / (size as f32).sqrt(); // [batch, heads, query, key]
                let probs = plain_probs(scores, &bias, mask);
                Some(probs.matmul(value).swap_dims(1, 2).reshape([batch * seq, heads * size]))
            });
            compare(&ours, &right.unwrap(), &format!("{batch} x {heads} x {seq} x {size}, {mask:?}"));
        }
    }
}

#[test]
fn gelu_is_the_plain_operations_and_keeps_the_type() {
    let plain = |x: Tensor<2>| x.clone() * 0.5 * ((x * std::f32::consts::FRAC_1_SQRT_2).erf() + 1.0);
    let run = |of: &dyn Fn(Tensor<2>) -> Option<Tensor<2>>, dtype: FloatDType| {
        let x = (numbers([33, 47], 21) * 5.0).detach().require_grad();
        let y = of(x.clone().cast(dtype))?;
        assert_eq!(FloatDType::from(y.dtype()), dtype);
        let y = y.cast(FloatDType::F32);
        let gradients = (y.clone() * numbers([33, 47], 22)).sum().backward();
        Some([values(y), values(x.grad(&gradients).unwrap())].concat())
    };
    let right = run(&|x| Some(plain(x)), FloatDType::F32).unwrap();
    if !is_gpu(&device()) {
        return;
    }
    let ours = run(&|x| found(kernels::gelu(&x)), FloatDType::F32).unwrap();
    compare(&ours, &right, "f32");
    if device().supports_dtype(burn::tensor::DType::F16) {
        let ours = run(&|x| kernels::gelu(&x), FloatDType::F16).unwrap();
        let worst = ours.iter().zip(&right).map(|(ours, right)| (ours - right).abs()).fold(0.0, f32::max);
        assert!(worst < 5.0 / 1024.0, "f16: off by {worst}"); // a unit in the last place of 5 each way
    }
}

/// Flat tensors of many sizes, more than a launch has buffers for.
fn flat(seed: u32) -> Vec<Tensor<1>> {
    let sizes = [1, 7, 300, 4099, 64, 256, 20_000];
    let tensor = |number: usize| numbers([sizes[number % sizes.len()]], seed + number as u32).inner();
    (0..75).map(tensor).collect()
}

#[test]
fn the_norm_of_all_gradients_is_that_of_one_long_vector() {
    let gradients = flat(30);
    if !gradients.iter().all(kernels::updates_together) {
        assert!(!is_gpu(&device()), "a GPU has this kernel");
        return;
    }
    let right =
        gradients.iter().flat_map(|gradient| values(gradient.clone())).map(|x| f64::from(x).powi(2)).sum::<f64>();
    let ours = values(kernels::norm_of_all(gradients).unwrap())[0];
    assert!((f64::from(ours) / right.sqrt() - 1.0).abs() < 1e-6, "{ours}, {}", right.sqrt());
}

/// And who holds a parameter or a mean too keeps what it was.
#[test]
fn adams_updates_together_are_those_of_the_formula() {
    let [parameters, means, gradients] = [100, 200, 300].map(flat);
    if !parameters.iter().all(kernels::updates_together) {
        return;
    }
    let squares: Vec<Tensor<1>> = flat(400).into_iter().map(|square| square.abs()).collect();
    let held = (parameters[4].clone(), values(parameters[4].clone()));
    let all = [&parameters, &means, &squares, &gradients];
    let before: Vec<[Vec<f32>; 4]> =
        (0..parameters.len()).map(|number| all.map(|tensors| values(tensors[number].clone()))).collect();
    let adam = Adam { learning_rate: 1e-2, betas: [0.9, 0.999], epsilon: 1e-8, time: 3 };
    let decay = Decay { kept: 0.99, l2: 0.01 };
    let factor = Tensor::from_floats([0.5], &device());
    let gradients = gradients.into_iter().zip(parameters.into_iter().zip(means.into_iter().zip(squares)));
    let tensors =
        gradients.map(|(gradient, (parameter, (mean, square)))| [parameter, mean, square, gradient]).collect();
    let after = kernels::adam(adam, decay, factor, tensors);
    assert_eq!(after.len(), before.len());
    for (number, (after, before)) in after.into_iter().zip(before).enumerate() {
        let after = after.map(values);
        for at in 0..before[0].len() {
            let [value, mean, square, gradient] = before.each_ref().map(|values| f64::from(values[at]));
            let gradient = gradient * 0.5 + value * decay.l2;
            let mean = 0.9 * mean + 0.1 * gradient;
            let square = 0.999 * square + 0.001 * gradient * gradient;
            let (first, second) = (mean / (1.0 - 0.9_f64.powi(3)), square / (1.0 - 0.999_f64.powi(3)));
            let value = value * decay.kept - 1e-2 * first / (second.sqrt() + 1e-8);
            for (ours, right) in after.each_ref().map(|values| values[at]).into_iter().zip([value, mean, square]) {
                assert!(
                    (f64::from(ours) - right).abs() <= 1e-5 * right.abs().max(0.1),
                    "{number}, {at}: {ours}, {right}"
                );
            }
        }
    }
    assert_eq!(values(held.0), held.1);
}
