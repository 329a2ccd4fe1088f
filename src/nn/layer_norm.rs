//! Layer normalisation (arXiv 1607.06450).

use burn::module::{Initializer, Module, Param};
use burn::nn::Dropout;
use burn::tensor::{Device, Tensor, module};

use super::functions::{dropped, mask};
use crate::kernels;

/// Over the last dimension: `(x - mean) / sqrt(variance + epsilon) * gamma + beta`.
#[derive(Module, Debug)]
pub struct LayerNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// With a gamma of ones and a beta of zeros.
    pub fn new(size: usize, epsilon: f64, device: &Device) -> Self {
        let [gamma, beta] = [Initializer::Ones, Initializer::Zeros].map(|values| values.init([size], device));
        Self { gamma, beta, epsilon }
    }

    /// `[.., size] -> [.., size]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let [gamma, beta] = [self.gamma.val(), self.beta.val()];
        kernels::norm(&x, [&gamma, &beta], self.epsilon)
            .unwrap_or_else(|| module::layer_norm(x, gamma, Some(beta), self.epsilon))
    }

    /// Of `x + dropout(y)`, which are `[.., size]`.
    pub fn of_sum<const D: usize>(&self, x: Tensor<D>, y: Tensor<D>, dropout: &Dropout) -> Tensor<D> {
        let [gamma, beta] = [self.gamma.val(), self.beta.val()];
        let mask = mask(dropout, &y);
        if let Some(normalised) = kernels::add_norm([&x, &y], mask, [&gamma, &beta], self.epsilon) {
            return normalised;
        }
        self.forward(x + dropped(dropout, mask, y))
    }
}
