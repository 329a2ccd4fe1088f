//! The updates of optimizers, each in one pass over a parameter, its gradient and what is kept of the gradients before.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::{PORTION, values, vectorized};
use crate::kernels::Adam;

impl Adam {
    /// Updates a parameter and its running means of the gradient and of its square, all `[elements]`: in place, unless somebody
    /// else holds them. Says no where there is no kernel for the tensors, and leaves them alone.
    pub fn step(self, parameter: &mut Tensor<1>, gradient: &Tensor<1>, [mean, square]: [&mut Tensor<1>; 2]) -> bool {
        step([parameter, mean, square], gradient, |[parameter, mean, square], gradient| {
            adam(self, parameter, gradient, mean, square);
        })
    }
}

/// The numbers of one update of Adagrad's (Duchi et al. 2011).
#[derive(Debug, Clone, Copy)]
pub struct Adagrad {
    pub learning_rate: f64,
    pub epsilon: f64,
}

impl Adagrad {
    /// Updates a parameter and its sum of squared gradients, as [`Adam::step`] does with its means.
    pub fn step(self, parameter: &mut Tensor<1>, gradient: &Tensor<1>, sum: &mut Tensor<1>) -> bool {
        step([parameter, sum], gradient, |[parameter, sum], gradient| adagrad(self, parameter, gradient, sum))
    }
}

/// Calls `update` with a part of each of the tensors, which are of one length with the gradient, after the other.
fn step<const N: usize>(
    mut tensors: [&mut Tensor<1>; N],
    gradient: &Tensor<1>,
    update: impl Fn([&mut [f32]; N], &[f32]) + Sync,
) -> bool {
    if !is_here(gradient) || !tensors.iter().all(|tensor| is_here(tensor)) {
        return false;
    }
    let gradient = primitive(gradient.clone()).to_contiguous();
    let mut taken = tensors.each_mut().map(|tensor| taken(tensor));
    let mut portions = taken.each_mut().map(|tensor| values_mut(tensor).chunks_mut(PORTION));
    let parts = values(&gradient).chunks(PORTION);
    let parts = parts.map(|part| (portions.each_mut().map(|portions| portions.next().unwrap_or_default()), part));
    parts.collect::<Vec<_>>().into_par_iter().for_each(|(parts, gradient)| update(parts, gradient));
    for (place, tensor) in tensors.into_iter().zip(taken) {
        *place = Tensor::from_primitive::<Flex>(tensor);
    }
    true
}

vectorized! {
    fn adam<'a>(
        adam: Adam, parameter: &'a mut [f32], gradient: &'a [f32], mean: &'a mut [f32], square: &'a mut [f32],
    ) {
        let [beta_1, beta_2] = adam.betas.map(|beta| beta as f32);
        let [rest_1, rest_2] = adam.betas.map(|beta| (1.0 - beta) as f32);
        let [correction_1, correction_2] = adam.corrections().map(|correction| correction as f32);
        let (rate, epsilon) = (adam.learning_rate as f32, adam.epsilon as f32);
        let moments = mean.iter_mut().zip(square);
        for ((parameter, gradient), (mean, square)) in parameter.iter_mut().zip(gradient).zip(moments) {
            *mean = beta_1 * *mean + rest_1 * gradient;
            *square = beta_2 * *square + rest_2 * gradient * gradient;
            *parameter -= rate * (*mean * correction_1) / ((*square * correction_2).sqrt() + epsilon);
        }
    }

    fn adagrad<'a>(adagrad: Adagrad, parameter: &'a mut [f32], gradient: &'a [f32], sum: &'a mut [f32]) {
        let (rate, epsilon) = (adagrad.learning_rate as f32, adagrad.epsilon as f32);
        for ((parameter, gradient), sum) in parameter.iter_mut().zip(gradient).zip(sum) {
            *sum += gradient * gradient;
            *parameter -= rate * gradient / (sum.sqrt() + epsilon);
        }
    }
}

fn is_here(tensor: &Tensor<1>) -> bool {
    tensor.dtype() == DType::F32 && tensor.clone().try_into_primitive::<Flex>().is_ok()
}

/// What stands in `place`, of which no handle stays behind, contiguous.
fn taken(place: &mut Tensor<1>) -> FlexTensor {
    let empty = Tensor::empty([0], &place.device());
    primitive(std::mem::replace(place, empty)).to_contiguous()
}

/// The elements of a contiguous tensor; a copy of them if somebody else holds them too.
fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let offsets = tensor.layout().contiguous_offsets();
    let (start, end) = offsets.expect("`taken` makes it contiguous");
    &mut tensor.storage_mut()[start..end]
}

fn primitive(tensor: Tensor<1>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("it is a float32 tensor of this backend, which was asked before")
}
