//! Each kernel against the tensor operations it stands for, forward and backward.

mod products;

use burn::optim::{AdamWConfig, Optimizer as _};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::*;
use crate::kernels::{Adam, Decay, Mask};

/// float32 rounding over a row of some hundred elements.
const ROUNDING: f64 = 2e-6;

fn device() -> Device {
    Device::flex().autodiff()
}

fn numbers<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let numbers = Normal::new(0.0, 2.0).unwrap().sample_iter(ChaCha8Rng::seed_from_u64(seed));
    let numbers: Vec<f32> = numbers.take(shape.iter().product()).collect();
    Tensor::from_data(TensorData::new(numbers, shape), &device())
}

fn difference<const D: usize>(one: Tensor<D>, other: Tensor<D>) -> f64 {
    (one - other).abs().max().into_scalar::<f32>().into()
}

/// The output and the input's gradient of both ways, the output weighed so that gradients differ.
fn compare<const D: usize>(
    shape: [usize; D],
    kernel: impl Fn(Tensor<D>) -> Tensor<D>,
    reference: impl Fn(Tensor<D>) -> Tensor<D>,
) {
    let weights = numbers(shape, 7);
    let run = |of: &dyn Fn(Tensor<D>) -> Tensor<D>| {
        let x = numbers(shape, 3).require_grad();
        let y = of(x.clone());
        let gradients = (y.clone() * weights.clone()).sum().backward();
        (y.inner(), x.grad(&gradients).expect("x is a leaf"))
    };
    let ((y, dx), (right, right_dx)) = (run(&kernel), run(&reference));
    assert!(difference(y, right) < ROUNDING);
    assert!(difference(dx, right_dx) < ROUNDING);
}

#[test]
fn gelu_is_burns() {
    // More rows than one portion, and rows that fill no vector.
    compare([3, 101, 67], |x| apply(Gelu, &x).unwrap(), activation::gelu);
    let transposed = |of: fn(Tensor<2>) -> Tensor<2>| move |x: Tensor<2>| of(x.transpose()).transpose();
    compare([5, 7], transposed(|x| apply(Gelu, &x).unwrap()), transposed(activation::gelu));
}

#[test]
fn softmax_is_burns() {
    compare([4, 2, 33, 35], |x| apply(Softmax, &x).unwrap(), |x| activation::softmax(x, 3));
}

#[test]
fn a_hidden_score_gets_no_share_at_all() {
    let scores = Tensor::<2>::from_data([[1.0, -1e4, 1.0]], &device());
    assert_eq!(apply(Softmax, &scores).unwrap().to_data().try_to_vec::<f32>().unwrap(), [0.5, 0.0, 0.5]);
}

#[test]
fn cross_entropy_is_burns_and_passes_over_what_is_ignored() {
    let targets = Tensor::<1, Int>::from_data([0, -100, 35, 36, 17], &device());
    let counted = Tensor::<1, Int>::from_data([0, 2, 4], &device());
    let run = |of: &dyn Fn(Tensor<2>) -> Tensor<1>| {
        let x = numbers([5, 36], 3).require_grad();
        let loss = of(x.clone());
        let gradients = loss.clone().mul_scalar(0.3).backward();
        (loss.inner(), x.grad(&gradients).expect("x is a leaf"))
    };
    let (loss, dx) = run(&|x| cross_entropy_sum(&x, &targets).unwrap());
    let (right, right_dx) = run(&|x| {
        let picked = activation::log_softmax(x.select(0, counted.clone()), 1);
        let targets = Tensor::<2, Int>::from_data([[0], [35], [17]], &device());
        picked.gather(1, targets).sum().neg()
    });
    assert!(difference(loss, right) < 10.0 * ROUNDING, "a sum of three losses of about 5");
    assert!(difference(dx, right_dx) < ROUNDING);
}

/// A seed's mask is the same forwards and backwards, drops as much as it should, and another seed's is another.
#[test]
fn dropout_drops_a_share_and_scales_the_rest() {
    let masked = |seed| {
        let x = Tensor::<2>::ones([300, 200], &device()).require_grad();
        let y = apply(Dropout(Mask::new(0.25, seed)), &x).unwrap();
        let gradients = y.clone().sum().backward();
        let [y, dx] = [y.inner(), x.grad(&gradients).expect("x is a leaf")];
        let [y, dx] = [y, dx].map(|tensor| tensor.into_data().try_to_vec::<f32>().unwrap());
        assert_eq!(y, dx);
        y
    };
    let y = masked(1 + (2 << 32));
    let dropped = y.iter().filter(|y| **y == 0.0).count();
    // Four standard deviations of 60,000 draws.
    assert!(dropped.abs_diff(15_000) < 425, "{dropped} of 60000");
    assert!(y.iter().all(|y| *y == 0.0 || *y == 4.0 / 3.0));
    assert_eq!(y, masked(1 + (2 << 32)));
    let same = |other: Vec<f32>| y.iter().zip(other).filter(|(one, other)| **one == *other).count();
    // Two masks that have nothing to do with each other agree in 0.25^2 + 0.75^2 of the places.
    assert!(same(masked(2 + (2 << 32))).abs_diff(37_500) < 500 && same(masked(1 + (3 << 32))).abs_diff(37_500) < 500);
}

/// A layer norm by plain operations.
fn plain_norm(x: Tensor<3>, gamma: &Tensor<1>, beta: &Tensor<1>) -> Tensor<3> {
    let apart = x.clone() - x.mean_dim(2); // [.., width]
    let deviation = (apart.clone().square().mean_dim(2) + 1e-5).sqrt(); // [.., 1]
    apart / deviation * gamma.clone().unsqueeze() + beta.clone().unsqueeze()
}

type Normed<'a> = &'a dyn Fn([&Tensor<3>; 2], [&Tensor<1>; 2]) -> Tensor<3>;

/// The output of a norm of two terms, and the gradients of these, of gamma and of beta.
fn normed(shape: [usize; 3], of: Normed) -> Vec<Vec<f32>> {
    let terms = [1, 2].map(|seed| numbers(shape, seed).require_grad());
    let parameters = [3, 4].map(|seed| numbers([shape[2]], seed).require_grad());
    let y = of(terms.each_ref(), parameters.each_ref());
    let gradients = (y.clone() * numbers(shape, 5)).sum().backward();
    let of_terms = terms.iter().map(|term| term.grad(&gradients).map(list).unwrap_or_default());
    let of_parameters = parameters.iter().map(|parameter| list(parameter.grad(&gradients).unwrap()));
    [list(y)].into_iter().chain(of_terms).chain(of_parameters).collect()
}

fn list<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}

/// Rows that fill no block, and rows with a tail or of nothing else.
#[test]
fn norms_are_the_plain_operations() {
    let mask = Mask::new(0.3, 5 << 20);
    let kernels: [Normed; 3] = [
        &|[x, _], parameters| norm(x, parameters, 1e-5).unwrap(),
        &|terms, parameters| add_norm(terms, None, parameters, 1e-5).unwrap(),
        &|terms, parameters| add_norm(terms, Some(mask), parameters, 1e-5).unwrap(),
    ];
    let plain: [Normed; 3] = [
        &|[x, _], [gamma, beta]| plain_norm(x.clone(), gamma, beta),
        &|[x, y], [gamma, beta]| plain_norm(x.clone() + y.clone(), gamma, beta),
        &|[x, y], [gamma, beta]| plain_norm(x.clone() + apply(Dropout(mask), y).unwrap(), gamma, beta),
    ];
    for shape in [[5, 27, 70], [1, 32, 64], [2, 1, 7], [1, 1, 1]] {
        for (kernel, plain) in kernels.iter().zip(plain) {
            for (found, right) in normed(shape, kernel).into_iter().zip(normed(shape, plain)) {
                assert_eq!(found.len(), right.len());
                let size = right.iter().fold(1.0_f32, |size, x| size.max(x.abs()));
                let worst = found.iter().zip(&right).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
                assert!(worst < 4.0 * ROUNDING as f32 * size, "{shape:?}: off by {worst}, of {size}");
            }
        }
    }
}

/// Where nothing is learnt, nothing is kept, and the output is the same.
#[test]
fn norms_of_inference_are_those_of_training() {
    let [x, y] = [1, 2].map(|seed| numbers([40, 50], seed));
    let parameters = [3, 4].map(|seed| numbers([50], seed));
    let trained = add_norm([&x.clone().require_grad(), &y], None, parameters.each_ref(), 1e-5).unwrap();
    let [gamma, beta] = parameters.map(Tensor::inner);
    assert_eq!(list(trained), list(add_norm([&x.inner(), &y.inner()], None, [&gamma, &beta], 1e-5).unwrap()));
}

/// Rows that are looked up often, once and never, in many blocks; one of them is padding.
#[test]
fn look_ups_are_burns() {
    let (shape, padding) = ([3, 211], 7);
    let ids: Vec<i64> = (0..633).map(|at| if at % 5 == 0 { padding } else { at * at * 31 % 400 }).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &device());
    let run = |of: &dyn Fn(&Tensor<2>) -> Tensor<3>| {
        let table = numbers([450, 70], 3).require_grad();
        let rows = of(&table);
        let gradients = (rows.clone() * numbers([3, 211, 70], 4)).sum().backward();
        (rows, table.grad(&gradients).unwrap())
    };
    for padding in [None, Some(padding as usize)] {
        let (rows, gradient) = run(&|table| look_up(table, &ids, padding).unwrap());
        let (right_rows, right) = run(&|table| {
            let rows = table.clone().select(0, ids.clone().flatten::<1>(0, 1)).reshape([3, 211, 70]);
            let Some(padding) = padding else { return rows };
            let is_padding = ids.clone().equal_elem(padding as i64).unsqueeze_dim::<3>(2).expand([3, 211, 70]);
            rows.clone().mask_where(is_padding, rows.detach())
        });
        assert_eq!(list(rows), list(right_rows));
        assert!(difference(gradient, right) < 10.0 * ROUNDING, "sums of up to some ten");
    }
}

/// What is computed must not depend on the machine: blocks and the order of sums are fixed.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let mask = Mask::new(0.1, 9 << 33);
    let ids: Vec<i64> = (0..900).map(|at| at * 7919 % 300).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [30, 30]), &device());
    let run = || {
        let mut found =
            normed([9, 101, 130], &|terms, parameters| add_norm(terms, Some(mask), parameters, 1e-5).unwrap());
        let table = numbers([300, 130], 6).require_grad();
        let rows = look_up(&table, &ids, Some(3)).unwrap(); // [30, 30, 130]
        let y = apply(Softmax, &apply(Gelu, &rows).unwrap()).unwrap();
        let gradients = (y.clone() * rows).sum().backward();
        let gradient = table.grad(&gradients).unwrap().flatten::<1>(0, 1); // [39_000]
        let number = |value| Tensor::<1>::from_floats([value], &device()).inner();
        let [mean, square] = [0, 1].map(|_| gradient.zeros_like());
        let numbers = Adam { learning_rate: 1e-2, betas: [0.9, 0.999], epsilon: 1e-8, time: 1 };
        let norm = norm_of_all(vec![gradient.clone(), number(2.0), mean.clone()]);
        let tensors = vec![[table.inner().flatten(0, 1), mean, square, gradient]];
        let updated = optimizers::adam(numbers, Decay { kept: 0.9, l2: 0.1 }, number(0.5), tensors);
        found.extend([list(y), list(norm)]);
        found.extend(updated.into_iter().flatten().map(list));
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        found.into_iter().map(bits).collect::<Vec<Vec<u32>>>()
    };
    let [one, two, three] =
        [1, 2, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run));
    assert!(one == two && one == three);
}

/// Adam's update of one parameter.
fn updated(numbers: Adam, tensors: [Tensor<1>; 4]) -> [Tensor<1>; 3] {
    let factor = tensors[0].ones_like().narrow(0, 0, 1); // [1]
    let mut updated = adam(numbers, Decay { kept: 1.0, l2: 0.0 }, factor, vec![tensors]);
    updated.pop().unwrap()
}

#[test]
fn adam_is_burns() {
    let plain = |shape, seed| numbers::<1>(shape, seed).inner();
    let rule = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.0).build();
    let mut parameter = plain([20_000], 1);
    let (mut right, mut state) = (parameter.clone(), None);
    let [mut mean, mut square] = [0, 1].map(|_| parameter.zeros_like());
    for time in 1..=3 {
        let gradient = plain([20_000], 10 + time as u64);
        (right, state) = rule.step(1e-2, right, gradient.clone(), state);
        let numbers = Adam { learning_rate: 1e-2, betas: [0.9, 0.999], epsilon: 1e-8, time };
        [parameter, mean, square] = updated(numbers, [parameter, mean, square, gradient]);
    }
    // Burn takes 1 - 0.999 in float32, which is off by 5e-5 of it: a part in 40,000 of an update of 0.01.
    assert!(difference(parameter, right) < 2e-6);
}

#[test]
fn adagrad_is_the_formula() {
    let plain = |seed| numbers::<1>([20_000], seed).inner();
    let mut parameter = plain(1);
    let (mut right, mut right_sum) = (parameter.clone(), parameter.ones_like());
    let mut sum = right_sum.clone();
    for time in 1..=3 {
        let gradient = plain(10 + time);
        right_sum = right_sum + gradient.clone().square();
        right = right - gradient.clone().div(right_sum.clone().sqrt()).mul_scalar(0.2);
        assert!(Adagrad { learning_rate: 0.2, epsilon: 0.0 }.step(&mut parameter, &gradient, &mut sum));
    }
    assert!(difference(parameter, right) < ROUNDING && difference(sum, right_sum) < 1e-5, "sums of some tens");
}

/// Nothing is copied, unless others hold a parameter: they keep what they have.
#[test]
fn adam_updates_in_place_and_leaves_other_handles_alone() {
    let place = |tensor: &Tensor<1>| {
        let primitive = tensor.clone().try_into_primitive::<burn::backend::Flex>().unwrap();
        primitive.bytes().as_ptr().addr()
    };
    let parameter = numbers::<1>([10], 1).inner();
    let gradient = parameter.ones_like();
    let [mean, square] = [0, 1].map(|_| parameter.zeros_like());
    let places = [&parameter, &mean, &square].map(place);
    let adam = |time| Adam { learning_rate: 0.5, betas: [0.9, 0.999], epsilon: 1e-8, time };
    let after = updated(adam(1), [parameter, mean, square, gradient.clone()]);
    assert_eq!(after.each_ref().map(place), places);
    let [parameter, mean, square] = after;
    let (held, before) = (parameter.clone(), parameter.to_data());
    let [parameter, mean, square] = updated(adam(2), [parameter, mean, square, gradient]);
    assert_eq!([&mean, &square].map(place), places[1..]);
    assert_eq!(held.to_data(), before);
    assert!((difference(parameter, held) - 0.5).abs() < 1e-6);
}

/// Half precision is computed by Burn.
#[test]
fn other_float_types_have_no_kernel() {
    let x = Tensor::<1>::from_data(TensorData::from([1.0f32, 2.0]), &Device::flex()).cast(burn::tensor::DType::F64);
    assert!(apply(Gelu, &x).is_none());
}

/// What a function gives on some threads.
fn on_threads<T: Send>(threads: usize, of: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(of)
}

/// The output of a function of some tensors, and their gradients, the output weighed so that these differ.
fn run<const N: usize>(
    of: impl Fn(&[Tensor<2>; N]) -> Tensor<2>,
    inputs: &[Tensor<2>; N],
    weights: &Tensor<2>,
) -> Vec<Vec<f32>> {
    let inputs = inputs.clone().map(|input| input.detach().require_grad());
    let output = of(&inputs);
    let gradients = (output.clone() * weights.clone()).sum().backward();
    let gradients = inputs.iter().map(|input| input.grad(&gradients).expect("an input is a leaf"));
    [output.inner()].into_iter().chain(gradients).map(|tensor| tensor.into_data().try_to_vec().unwrap()).collect()
}

fn assert_close(ours: Vec<Vec<f32>>, right: Vec<Vec<f32>>, what: &str) {
    for (ours, right) in ours.into_iter().zip(right) {
        let size = right.iter().fold(1.0_f32, |size, x| size.max(x.abs()));
        let worst = ours.iter().zip(&right).map(|(ours, right)| (ours - right).abs()).fold(0.0, f32::max);
        assert!(ours.len() == right.len() && worst <= 2e-6 * size, "{what}: off by {worst}, of {size}");
    }
}

#[test]
fn attention_does_not_depend_on_the_number_of_threads() {
    let (batch, heads, seq, size) = (3, 2, 290, 24);
    let inputs = [1, 2, 3].map(|seed| numbers([batch * seq, heads * size], seed) * 0.2);
    let weights = numbers([batch * seq, heads * size], 7);
    let bias = (0..batch * seq).map(|at| if at % seq >= 100 + at / seq * 70 { -1e4 } else { 0.0 });
    let bias = Tensor::<4>::from_data(TensorData::new(bias.collect::<Vec<f32>>(), [batch, 1, 1, seq]), &device());
    let of = |inputs: &[Tensor<2>; 3]| attention(inputs.each_ref(), heads, &bias, Some(Mask::new(0.1, 5))).unwrap();
    let one = on_threads(1, || run(of, &inputs, &weights));
    for threads in [2, 3] {
        assert!(on_threads(threads, || run(of, &inputs, &weights)) == one, "{threads} threads");
    }
}

/// Rows with their padding and without: the same numbers of their tokens, forward and backward.
#[test]
fn attention_does_not_need_the_padding() {
    let (lengths, heads, seq, size) = ([40, 3, 17], 2, 40, 24);
    let is_token = |place: &usize| place % seq < lengths[place / seq];
    let bias: Vec<f32> = (0..3 * seq).map(|place| if is_token(&place) { 0.0 } else { -1e4 }).collect();
    let bias = Tensor::<4>::from_data(TensorData::new(bias, [3, 1, 1, seq]), &device());
    let places: Vec<i64> = (0..3 * seq).filter(is_token).map(|place| place as i64).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::from(places.as_slice()), &device());
    let tokens = |x: &Tensor<2>| x.clone().select(0, places.clone());
    let all = [1, 2, 3].map(|seed| numbers([3 * seq, heads * size], seed) * 0.3);
    let weights = numbers([3 * seq, heads * size], 7);
    for mask in [None, Some(Mask::new(0.1, 5))] {
        let of = |inputs: &[Tensor<2>; 3]| attention(inputs.each_ref(), heads, &bias, mask).unwrap();
        let padded = run(|inputs| tokens(&of(inputs)), &all, &tokens(&weights));
        let packed = run(of, &all.each_ref().map(tokens), &tokens(&weights));
        let width = heads * size;
        for (tensor, (padded, packed)) in padded.into_iter().zip(packed).enumerate() {
            // Gradients of all places, and the output of the tokens alone.
            let kept = (0..3 * seq).filter(is_token).flat_map(|place| padded[place * width..][..width].to_vec());
            let padded: Vec<f32> = if tensor == 0 { padded } else { kept.collect() };
            assert_close(vec![packed], vec![padded], &format!("{mask:?}"));
        }
    }
}
