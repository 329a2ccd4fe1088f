//! Adagrad's update (Duchi et al. 2011) in one pass over a parameter, its gradient and the sum of squares.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::adam::{is_here, primitive, taken, values_mut};
use super::{PORTION, values, vectorized};

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Adagrad {
    pub learning_rate: f64,
    pub epsilon: f64,
}

impl Adagrad {
    /// Updates a parameter and its sum of squared gradients, both `[elements]`: in place, unless somebody else holds them. Says no
    /// where there is no kernel for the tensors, and leaves them alone.
    pub fn step(self, parameter: &mut Tensor<1>, gradient: &Tensor<1>, sum: &mut Tensor<1>) -> bool {
        if ![&*parameter, gradient, sum].into_iter().all(is_here) {
            return false;
        }
        let gradient = primitive(gradient.clone()).to_contiguous();
        let [mut p, mut s] = [&mut *parameter, &mut *sum].map(taken);
        let parts = values_mut(&mut p).par_chunks_mut(PORTION).zip(values(&gradient).par_chunks(PORTION));
        parts.zip(values_mut(&mut s).par_chunks_mut(PORTION)).for_each(|((parameter, gradient), sum)| {
            update(self, parameter, gradient, sum);
        });
        *parameter = Tensor::from_primitive::<Flex>(p);
        *sum = Tensor::from_primitive::<Flex>(s);
        true
    }
}

vectorized! {
    fn update<'a>(adagrad: Adagrad, parameter: &'a mut [f32], gradient: &'a [f32], sum: &'a mut [f32]) {
        let (rate, epsilon) = (adagrad.learning_rate as f32, adagrad.epsilon as f32);
        for ((parameter, gradient), sum) in parameter.iter_mut().zip(gradient).zip(sum) {
            *sum += gradient * gradient;
            *parameter -= rate * gradient / (sum.sqrt() + epsilon);
        }
    }
}
