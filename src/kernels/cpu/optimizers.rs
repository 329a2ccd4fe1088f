//! The norm of all gradients, and the updates of optimizers: each in one pass over what it reads and what it writes.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::functions::sum;
use super::{tensor, values, vectorized};
use crate::kernels::{Adam, Decay, SUMMED};

/// Elements that a thread takes at a time.
const CHUNK: usize = SUMMED;

/// Whether a tensor is one that [`norm_of_all`] and [`adam`] take.
pub fn updates_together(tensor: &Tensor<1>) -> bool {
    tensor.dtype() == DType::F32 && tensor.clone().try_into_primitive::<Flex>().is_ok()
}

/// See [`crate::kernels::norm_of_all`]. The sums of chunks are added in the chunks' order.
pub fn norm_of_all(gradients: Vec<Tensor<1>>) -> Tensor<1> {
    let gradients: Vec<FlexTensor> = gradients.into_iter().map(contiguous).collect();
    let chunks: Vec<&[f32]> = gradients.iter().flat_map(|gradient| values(gradient).chunks(CHUNK)).collect();
    let sums: Vec<f64> = chunks.into_par_iter().map(sum_of_squares).collect();
    let norm = sums.into_iter().sum::<f64>().sqrt() as f32;
    Tensor::from_primitive::<Flex>(tensor(vec![norm], [1]))
}

/// See [`crate::kernels::square_sums`].
pub fn square_sums(values: &[f32]) -> Vec<f64> {
    values.chunks(CHUNK).map(sum_of_squares).collect()
}

/// See [`crate::kernels::adam`].
pub fn adam(adam: Adam, decay: Decay, factor: Tensor<1>, tensors: Vec<[Tensor<1>; 4]>) -> Vec<[Tensor<1>; 3]> {
    let factor = values(&contiguous(factor))[0];
    let (mut updated, gradients): (Vec<_>, Vec<_>) = tensors
        .into_iter()
        .map(|[parameter, mean, square, gradient]| ([parameter, mean, square].map(contiguous), contiguous(gradient)))
        .unzip();
    let chunks = updated.iter_mut().zip(&gradients).flat_map(|(updated, gradient)| chunks(updated, gradient));
    chunks.collect::<Vec<_>>().into_par_iter().for_each(|([parameter, mean, square], gradient)| {
        update(adam, decay, factor, parameter, gradient, mean, square);
    });
    updated.into_iter().map(|updated| updated.map(Tensor::from_primitive::<Flex>)).collect()
}

/// The numbers of one update of Adagrad's (Duchi et al. 2011).
#[derive(Debug, Clone, Copy)]
pub struct Adagrad {
    pub learning_rate: f64,
    pub epsilon: f64,
}

impl Adagrad {
    /// Updates a parameter and its sum of squared gradients, all `[elements]`: in place, unless somebody else holds them. Says no where there
    /// is no kernel for the tensors, and leaves them alone.
    pub fn step(self, parameter: &mut Tensor<1>, gradient: &Tensor<1>, sum: &mut Tensor<1>) -> bool {
        if ![&*parameter, gradient, &*sum].into_iter().all(updates_together) {
            return false;
        }
        let gradient = contiguous(gradient.clone());
        let mut updated = [&mut *parameter, &mut *sum].map(taken);
        let chunks: Vec<_> = chunks(&mut updated, &gradient).collect();
        chunks.into_par_iter().for_each(|([parameter, sum], gradient)| adagrad(self, parameter, gradient, sum));
        [*parameter, *sum] = updated.map(Tensor::from_primitive::<Flex>);
        true
    }
}

vectorized! {
    fn sum_of_squares<'a>(values: &'a [f32]) -> f64 {
        let mut total = 0.0;
        // In float32 for so few that no digits are lost.
        for values in values.chunks(1024) {
            total += f64::from(sum(values, |x| x * x));
        }
        total
    }

    fn update<'a>(
        adam: Adam,
        decay: Decay,
        factor: f32,
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        mean: &'a mut [f32],
        square: &'a mut [f32],
    ) {
        let [beta_1, beta_2] = adam.betas.map(|beta| beta as f32);
        let [rest_1, rest_2] = adam.betas.map(|beta| (1.0 - beta) as f32);
        let [correction_1, correction_2] = adam.corrections().map(|correction| correction as f32);
        let (rate, epsilon) = (adam.learning_rate as f32, adam.epsilon as f32);
        let (kept, l2) = (decay.kept as f32, decay.l2 as f32);
        let moments = mean.iter_mut().zip(square);
        for ((parameter, gradient), (mean, square)) in parameter.iter_mut().zip(gradient).zip(moments) {
            let slope = gradient * factor + *parameter * l2;
            *mean = beta_1 * *mean + rest_1 * slope;
            *square = beta_2 * *square + rest_2 * slope * slope;
            *parameter = *parameter * kept - rate * (*mean * correction_1) / ((*square * correction_2).sqrt() + epsilon);
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

/// Chunks of the same elements of some tensors and of a gradient.
fn chunks<'a, const N: usize>(
    tensors: &'a mut [FlexTensor; N],
    gradient: &'a FlexTensor,
) -> impl Iterator<Item = ([&'a mut [f32]; N], &'a [f32])> {
    let mut tensors = tensors.each_mut().map(|tensor| values_mut(tensor).chunks_mut(CHUNK));
    values(gradient)
        .chunks(CHUNK)
        .map(move |gradient| (tensors.each_mut().map(|tensor| tensor.next().expect("all are of one length")), gradient))
}

/// The elements of a contiguous tensor; a copy of them if somebody else holds them too.
fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let offsets = tensor.layout().contiguous_offsets();
    let (start, end) = offsets.expect("`contiguous` makes it so");
    &mut tensor.storage_mut()[start..end]
}

/// What stands in `place`, of which no handle stays behind.
fn taken(place: &mut Tensor<1>) -> FlexTensor {
    let empty = Tensor::empty([0], &place.device());
    contiguous(std::mem::replace(place, empty))
}

fn contiguous(tensor: Tensor<1>) -> FlexTensor {
    let primitive = tensor.try_into_primitive::<Flex>();
    primitive.expect("`updates_together` was asked before").to_contiguous()
}
