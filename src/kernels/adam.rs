//! Adam's update (arXiv 1412.6980) in one pass over a parameter, its gradient and both moments.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::{PORTION, values, vectorized};

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    pub learning_rate: f64,
    pub betas: [f64; 2],
    pub epsilon: f64,
    /// How many updates there have been, with this one.
    pub time: usize,
}

impl Adam {
    /// Updates a parameter and its running means of the gradient and of its square, all `[elements]`: in place, unless somebody
    /// else holds them. Says no where there is no kernel for the tensors, and leaves them alone.
    pub fn step(self, parameter: &mut Tensor<1>, gradient: &Tensor<1>, moments: [&mut Tensor<1>; 2]) -> bool {
        let [mean, square] = moments;
        if ![&*parameter, gradient, mean, square].into_iter().all(is_here) {
            return false;
        }
        let gradient = primitive(gradient.clone()).to_contiguous();
        let [mut p, mut m, mut s] = [&mut *parameter, &mut *mean, &mut *square].map(taken);
        self.run(values_mut(&mut p), values(&gradient), values_mut(&mut m), values_mut(&mut s));
        *parameter = Tensor::from_primitive::<Flex>(p);
        *mean = Tensor::from_primitive::<Flex>(m);
        *square = Tensor::from_primitive::<Flex>(s);
        true
    }

    fn run(self, parameter: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let moments = mean.par_chunks_mut(PORTION).zip(square.par_chunks_mut(PORTION));
        let parts = parameter.par_chunks_mut(PORTION).zip(gradient.par_chunks(PORTION)).zip(moments);
        parts.for_each(|((parameter, gradient), (mean, square))| {
            update(self, parameter, gradient, mean, square);
        });
    }
}

vectorized! {
    fn update<'a>(
        adam: Adam, parameter: &'a mut [f32], gradient: &'a [f32], mean: &'a mut [f32], square: &'a mut [f32],
    ) {
        let time = i32::try_from(adam.time).unwrap_or(i32::MAX);
        let [beta_1, beta_2] = adam.betas.map(|beta| beta as f32);
        let [rest_1, rest_2] = adam.betas.map(|beta| (1.0 - beta) as f32);
        let [correction_1, correction_2] = adam.betas.map(|beta| (1.0 / (1.0 - beta.powi(time))) as f32);
        let (rate, epsilon) = (adam.learning_rate as f32, adam.epsilon as f32);
        let moments = mean.iter_mut().zip(square);
        for ((parameter, gradient), (mean, square)) in parameter.iter_mut().zip(gradient).zip(moments) {
            *mean = beta_1 * *mean + rest_1 * gradient;
            *square = beta_2 * *square + rest_2 * gradient * gradient;
            *parameter -= rate * (*mean * correction_1) / ((*square * correction_2).sqrt() + epsilon);
        }
    }
}

pub(super) fn is_here(tensor: &Tensor<1>) -> bool {
    tensor.dtype() == DType::F32 && tensor.clone().try_into_primitive::<Flex>().is_ok()
}

/// What stands in `place`, of which no handle stays behind, contiguous.
pub(super) fn taken(place: &mut Tensor<1>) -> FlexTensor {
    let empty = Tensor::empty([0], &place.device());
    primitive(std::mem::replace(place, empty)).to_contiguous()
}

/// The elements of a contiguous tensor; a copy of them if somebody else holds them too.
pub(super) fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let offsets = tensor.layout().contiguous_offsets();
    let (start, end) = offsets.expect("`taken` makes it contiguous");
    &mut tensor.storage_mut()[start..end]
}

pub(super) fn primitive(tensor: Tensor<1>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("it is a float32 tensor of this backend, which was asked before")
}
