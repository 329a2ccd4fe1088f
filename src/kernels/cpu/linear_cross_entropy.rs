//! Cross-entropy over a large vocabulary together with the linear layer that makes its logits: some entries of the vocabulary at a time, so
//! that there never are logits of all. The backward pass makes them again, which is one product more and memory less.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

use super::buffers::{Place, filled};
use super::cross_entropy::targets_of;
use super::functions::{exp, max, sum};
use super::linear::{add_rows, factor, product_values};
use super::matrix::{Factor, Target};
use super::operation::{Operation, operate};
use super::{tensor, values, vectorized};
use crate::kernels::Products;

/// Entries of the vocabulary that there are logits of at once.
const CHUNK: usize = 1024;
/// Groups of chunks whose gradients of the input are added up apart, and then in the groups' order, whatever the number of threads.
const GROUPS: usize = 32;

/// See [`crate::kernels::linear_cross_entropy_sum`]; where `turned`, the weight is `[vocabulary, width]`.
pub fn linear_cross_entropy_sum(
    x: &Tensor<2>,
    weight: &Tensor<2>,
    bias: &Tensor<1>,
    turned: bool,
    targets: &Tensor<1, Int>,
    products: Products,
) -> Option<Tensor<1>> {
    let [x, weight] = [x, weight].map(|matrix| matrix.clone().into_dispatch());
    let operation = LinearCrossEntropy { targets: targets.clone(), turned, products };
    operate(operation, [x, weight, bias.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct LinearCrossEntropy {
    targets: Tensor<1, Int>,
    turned: bool,
    products: Products,
}

/// What the backward pass reads.
#[derive(Debug)]
struct Pass {
    /// The input `[tokens, width]`, the weight and the bias.
    inputs: Vec<FlexTensor>,
    /// The entry that is right; `None` for tokens that are ignored.
    targets: Vec<Option<usize>>,
    /// The logarithm of the sum of all e^logit, of each token.
    normalisers: Vec<f32>,
}

/// What a chunk has of a token.
#[derive(Debug, Clone, Copy)]
struct Share {
    /// The largest logit.
    top: f32,
    /// The sum of e^(logit - top).
    sum: f32,
    /// The logit of the entry that is right, if the chunk has it.
    target: Option<f32>,
}

impl LinearCrossEntropy {
    /// The weight, `[width, vocabulary]`.
    fn weight<'a>(&self, weight: &'a FlexTensor) -> Factor<'a> {
        if self.turned { factor(weight).transposed() } else { factor(weight) }
    }

    /// The logits of a chunk, `[tokens, chunk]`.
    fn logits(&self, inputs: &[FlexTensor], chunk: &Range<usize>) -> Vec<f32> {
        let weight = self.weight(&inputs[1]).columns(chunk.clone());
        product_values(self.products, factor(&inputs[0]), weight, Some(&values(&inputs[2])[chunk.clone()]))
    }

    /// The gradients of a chunk's part of the weight and of the bias are written; that of the input, `[tokens, width]`, is given.
    ///
    /// # Safety
    /// Nobody else reads or writes these parts meanwhile.
    unsafe fn differentiate(
        &self,
        pass: &Pass,
        chunk: &Range<usize>,
        scale: f32,
        [of_weight, of_bias]: [&Target; 2],
    ) -> Vec<f32> {
        let Pass { inputs, targets, normalisers } = pass;
        let mut shares = self.logits(inputs, chunk);
        for ((shares, target), normaliser) in shares.chunks_mut(chunk.len()).zip(targets).zip(normalisers) {
            // A token that is ignored has no share in any gradient.
            let scale = if target.is_some() { scale } else { 0.0 };
            to_shares(shares, *normaliser, scale);
            if let Some(target) = target.filter(|target| chunk.contains(target)) {
                shares[target - chunk.start] -= scale;
            }
        }
        let shares_of = Factor::new(&shares, super::matrix::Matrix::whole(targets.len(), chunk.len())); // [tokens, chunk]
        let (x, weight) = (factor(&inputs[0]), self.weight(&inputs[1]));
        let product = |left, right| product_values(self.products, left, right, None);
        let mut sums = vec![0.0; chunk.len()];
        add_rows(&shares, chunk.len(), 0, &mut sums);
        let (width, vocabulary) = weight.dims();
        // SAFETY: as above; the columns of a chunk, or its rows where the weight is turned, are no other chunk's.
        unsafe {
            of_bias.write(chunk.start, &sums);
            if self.turned {
                of_weight.write(chunk.start * width, &product(shares_of.transposed(), x));
            } else {
                for (row, found) in product(x.transposed(), shares_of).chunks(chunk.len()).enumerate() {
                    of_weight.write(row * vocabulary + chunk.start, found);
                }
            }
        }
        product(shares_of, weight.columns(chunk.clone()).transposed())
    }
}

impl Operation for LinearCrossEntropy {
    type Kept = Pass;

    fn forward(&self, inputs: Vec<FlexTensor>, _: bool) -> (FlexTensor, Pass) {
        let vocabulary = values(&inputs[2]).len();
        let targets = targets_of(&self.targets, vocabulary);
        let of_chunk = |chunk: &Range<usize>| -> Vec<Share> {
            let logits = self.logits(&inputs, chunk);
            let of_token = |(logits, target): (&[f32], &Option<usize>)| {
                let (top, sum) = top_and_sum(logits);
                Share {
                    top,
                    sum,
                    target: target.filter(|target| chunk.contains(target)).map(|target| logits[target - chunk.start]),
                }
            };
            logits.chunks(chunk.len()).zip(&targets).map(of_token).collect()
        };
        let shares: Vec<Vec<Share>> = chunks(vocabulary).par_iter().map(of_chunk).collect();
        let mut loss = 0.0;
        let mut normaliser = |(token, target): (usize, &Option<usize>)| {
            if target.is_none() {
                return 0.0;
            }
            let shares = || shares.iter().map(|shares| shares[token]);
            let top = shares()
                .map(|share| share.top)
                .fold(f32::NEG_INFINITY, |top, other| if other > top { other } else { top });
            let total: f64 = shares().map(|share| f64::from(share.sum) * f64::from(share.top - top).exp()).sum();
            let normaliser = f64::from(top) + total.ln();
            loss += normaliser - f64::from(shares().find_map(|share| share.target).unwrap_or(f32::NAN));
            normaliser as f32
        };
        let normalisers = targets.iter().enumerate().map(&mut normaliser).collect();
        (tensor(vec![loss as f32], [1]), Pass { inputs, targets, normalisers })
    }

    fn backward(&self, pass: &Pass, gradient: &FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let scale = values(gradient)[0];
        let (width, vocabulary) = self.weight(&pass.inputs[1]).dims();
        let chunks = chunks(vocabulary);
        let of_groups = chunks.len().div_ceil(GROUPS).max(1);
        let mut of_x = vec![0.0; pass.targets.len() * width];
        let mut of_bias = Vec::new();
        let fill_both = |of_weight: &mut [Place], of_bias: &mut [Place]| {
            let targets = [Target::new(of_weight), Target::new(of_bias)];
            let of_group = |chunks: &[Range<usize>]| {
                let mut found = vec![0.0; pass.targets.len() * width];
                for chunk in chunks {
                    // SAFETY: no other thread has this chunk.
                    let of_chunk = unsafe { self.differentiate(pass, chunk, scale, targets.each_ref()) };
                    add(&of_chunk, &mut found);
                }
                found
            };
            chunks.par_chunks(of_groups).map(of_group).collect::<Vec<_>>()
        };
        let mut groups = Vec::new();
        // SAFETY: the chunks are the whole vocabulary.
        let of_weight = unsafe {
            filled(width * vocabulary, |of_weight| {
                of_bias = filled(vocabulary, |of_bias| groups = fill_both(of_weight, of_bias));
            })
        };
        groups.iter().for_each(|group| add(group, &mut of_x));
        let shape = if self.turned { [vocabulary, width] } else { [width, vocabulary] };
        let of_x = tensor(of_x, [pass.targets.len(), width]);
        vec![Some(of_x), Some(tensor(of_weight, shape)), Some(tensor(of_bias, [vocabulary]))]
    }
}

fn chunks(vocabulary: usize) -> Vec<Range<usize>> {
    (0..vocabulary).step_by(CHUNK).map(|first| first..(first + CHUNK).min(vocabulary)).collect()
}

vectorized! {
    /// The largest logit, and the sum of e^(logit - top).
    fn top_and_sum<'a>(logits: &'a [f32]) -> (f32, f32) {
        let top = max(logits);
        (top, sum(logits, |logit| exp(logit - top)))
    }

    /// From logits to their shares in the gradient.
    fn to_shares<'a>(logits: &'a mut [f32], normaliser: f32, scale: f32) {
        for logit in logits.iter_mut() {
            *logit = scale * exp(*logit - normaliser);
        }
    }

    fn add<'a>(found: &'a [f32], sums: &'a mut [f32]) {
        for (sum, found) in sums.iter_mut().zip(found) {
            *sum += found;
        }
    }
}
