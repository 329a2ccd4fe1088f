//! Linear layers, and what is made of them, in all that products are computed in.

use burn::tensor::module;

use super::*;
use crate::kernels::{Activation, Products};

/// Products that stay whole, and that threads share out by columns, by rows and by both; with sums that are added up in one go and in
/// several.
const PRODUCTS: [[usize; 3]; 6] =
    [[5, 7, 3], [1, 40, 64], [300, 130, 257], [70, 600, 384], [1100, 70, 40], [17, 1100, 700]];

#[test]
fn linear_is_burns() {
    for [tokens, input, output] in PRODUCTS {
        let (x, bias, weights) = (numbers([tokens, input], 1), numbers([1, output], 2), numbers([tokens, output], 7));
        for turned in [false, true] {
            let weight = numbers(if turned { [output, input] } else { [input, output] }, 3);
            let straight = |weight: &Tensor<2>| if turned { weight.clone().transpose() } else { weight.clone() };
            let flat = |bias: &Tensor<2>| bias.clone().squeeze_dim::<1>(0);
            let what = format!("{tokens} x {input} x {output}, turned {turned}");

            let inputs = [x.clone(), weight.clone(), bias.clone()];
            let ours = |[x, weight, bias]: &[Tensor<2>; 3]| {
                linear(x, weight, Some(&flat(bias)), turned, Products::F32).unwrap()
            };
            let right =
                |[x, weight, bias]: &[Tensor<2>; 3]| module::linear(x.clone(), straight(weight), Some(flat(bias)));
            assert_close(run(ours, &inputs, &weights), run(right, &inputs, &weights), &what);

            let inputs = [x.clone(), weight];
            let ours = |[x, weight]: &[Tensor<2>; 2]| linear(x, weight, None, turned, Products::F32).unwrap();
            let right = |[x, weight]: &[Tensor<2>; 2]| module::linear(x.clone(), straight(weight), None);
            assert_close(run(ours, &inputs, &weights), run(right, &inputs, &weights), &what);
        }
    }
}

#[test]
fn linear_leaves_out_gradients_that_nobody_wants() {
    let (weight, x) = (numbers([5, 3], 2), numbers([4, 5], 1).require_grad());
    let y = linear(&x, &weight, Some(&numbers([3], 3)), false, Products::F32).unwrap();
    let gradients = y.sum().backward();
    assert!(weight.grad(&gradients).is_none());
    let right = weight.inner().sum_dim(1).transpose().expand([4, 5]);
    assert!(difference(x.grad(&gradients).unwrap(), right) < ROUNDING);
}

#[test]
fn linear_does_not_depend_on_the_number_of_threads() {
    for [tokens, input, output] in PRODUCTS {
        let inputs = [numbers([tokens, input], 1), numbers([input, output], 2), numbers([1, output], 3)];
        let weights = numbers([tokens, output], 7);
        for products in computed() {
            let of = |[x, weight, bias]: &[Tensor<2>; 3]| {
                linear(x, weight, Some(&bias.clone().squeeze_dim(0)), false, products).unwrap()
            };
            let one = on_threads(1, || run(of, &inputs, &weights));
            for threads in [2, 3, 7, 16] {
                let same = on_threads(threads, || run(of, &inputs, &weights)) == one;
                assert!(same, "{threads} threads, {tokens} x {input} x {output} in {products:?}");
            }
        }
    }
}

/// What this processor computes products in.
fn computed() -> Vec<Products> {
    [Products::F32].into_iter().chain(multiplies_bf16(&device()).then_some(Products::Bf16)).collect()
}

/// A product of bf16 is that of rounded factors, and so are its gradients.
#[test]
fn linear_in_bf16_is_the_product_of_rounded_factors() {
    if !multiplies_bf16(&device()) {
        return;
    }
    let rounded = |x: &Tensor<2>| x.clone().cast(DType::BF16).cast(DType::F32);
    for [tokens, input, output] in PRODUCTS {
        let (x, bias, weights) = (numbers([tokens, input], 1), numbers([1, output], 2), numbers([tokens, output], 7));
        for turned in [false, true] {
            let weight = numbers(if turned { [output, input] } else { [input, output] }, 3);
            let turn = |weight: Tensor<2>| if turned { weight.transpose() } else { weight };
            let of = |[x, weight, bias]: &[Tensor<2>; 3]| {
                linear(x, weight, Some(&bias.clone().squeeze_dim(0)), turned, Products::Bf16).unwrap()
            };
            let found = run(of, &[x.clone(), weight.clone(), bias.clone()], &weights);
            let [x, straight, gradient] = [rounded(&x), turn(rounded(&weight)), rounded(&weights)];
            let right = [
                x.clone().matmul(straight.clone()) + bias.clone(),
                gradient.clone().matmul(straight.transpose()),
                turn(x.transpose().matmul(gradient)),
                weights.clone().sum_dim(0),
            ];
            let right = right.map(|tensor| tensor.into_data().try_to_vec().unwrap());
            assert_close(found, right.to_vec(), &format!("{tokens} x {input} x {output}, turned {turned}"));
        }
    }
}

/// As one operation, and as three: the same bits, forward and backward.
#[test]
fn a_feed_forward_layer_is_its_three_operations() {
    for [tokens, hidden, inner] in [[5, 7, 3], [300, 130, 257]] {
        let shapes = [[tokens, hidden], [hidden, inner], [1, inner], [inner, hidden], [1, hidden]];
        let mut seed = 0;
        let inputs = shapes.map(|shape| {
            seed += 1;
            numbers(shape, seed) * 0.3
        });
        let weights = numbers([tokens, hidden], 7);
        let flat = |bias: &Tensor<2>| bias.clone().squeeze_dim::<1>(0);
        for products in computed() {
            for act in [Activation::Gelu, Activation::Relu] {
                let together = |[x, weight, bias, weight_too, bias_too]: &[Tensor<2>; 5]| {
                    let parameters = [(weight, &flat(bias)), (weight_too, &flat(bias_too))];
                    feed_forward(x, parameters, act, products).unwrap()
                };
                let apart = |[x, weight, bias, weight_too, bias_too]: &[Tensor<2>; 5]| {
                    let inner = linear(x, weight, Some(&flat(bias)), false, products).unwrap();
                    let inner = match act {
                        Activation::Gelu => apply(Gelu, &inner).unwrap(),
                        Activation::Relu => activation::relu(inner),
                    };
                    linear(&inner, weight_too, Some(&flat(bias_too)), false, products).unwrap()
                };
                let (found, right) = (run(together, &inputs, &weights), run(apart, &inputs, &weights));
                assert!(found == right, "{tokens} x {hidden} x {inner}, {act:?} in {products:?}");
            }
        }
    }
}

/// Over several chunks of the vocabulary, the last not full, with targets in each and some that are ignored; the bits do not depend on the number of
/// threads.
#[test]
fn cross_entropy_without_logits_is_that_of_the_logits() {
    let (tokens, width, vocabulary) = (37, 19, 2500);
    let ids: Vec<i64> = (0..tokens).map(|token| if token % 9 == 5 { -100 } else { token * 66 }).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::from(ids.as_slice()), &device());
    let weights = numbers([1, 1], 7);
    let flat = |bias: &Tensor<2>| bias.clone().squeeze_dim::<1>(0);
    for products in computed() {
        for turned in [false, true] {
            let shape = if turned { [vocabulary, width] } else { [width, vocabulary] };
            let inputs = [numbers([tokens as usize, width], 1), numbers(shape, 2), numbers([1, vocabulary], 3)];
            let ours = |[x, weight, bias]: &[Tensor<2>; 3]| {
                let loss = linear_cross_entropy_sum(x, weight, &flat(bias), turned, &targets, products);
                loss.unwrap().unsqueeze()
            };
            let right = |[x, weight, bias]: &[Tensor<2>; 3]| {
                let logits = linear(x, weight, Some(&flat(bias)), turned, products).unwrap();
                cross_entropy_sum(&logits, &targets).unwrap().unsqueeze()
            };
            let one = on_threads(1, || run(ours, &inputs, &weights));
            let worst = |found: &[Vec<f32>], right: Vec<Vec<f32>>| {
                let of_tensor = |(found, right): (&Vec<f32>, Vec<f32>)| {
                    let size = right.iter().fold(1.0_f32, |size, x| size.max(x.abs()));
                    found.iter().zip(&right).map(|(found, right)| (found - right).abs() / size).fold(0.0, f32::max)
                };
                found.iter().zip(right).map(of_tensor).fold(0.0, f32::max)
            };
            let off = worst(&one, run(right, &inputs, &weights));
            // Of logits up to 60, a rounding is some 3e-6 of a share. In bf16 a share that is a rounding of float32 apart may be rounded to the next number.
            let allowed = if products == Products::F32 { 1e-5 } else { 1e-4 };
            assert!(off <= allowed, "{products:?}, turned {turned}: off by {off:e}");
            for threads in [2, 3] {
                assert!(on_threads(threads, || run(ours, &inputs, &weights)) == one, "{threads} threads");
            }
        }
    }
}
