//! ELMo's mixture of layers (arXiv 1802.05365, equation 1).

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};

use super::{HasRoles, Roles};

/// `scale * sum(softmax(layer_weights)[k] * layer k)`.
///
/// AllenNLP calls them scalar_parameters and gamma; Baidu, ELMo_w and ELMo_gamma. bilm-tf and Baidu add 1/n to each weight before
/// the softmax, which a softmax does not notice.
#[derive(Module, Debug)]
pub struct ScalarMix {
    /// `[layers]`, at first 0: the mean.
    layer_weights: Param<Tensor<1>>,
    /// `[1]`, at first 1.
    scale: Param<Tensor<1>>,
}

impl HasRoles for ScalarMix {
    fn add_roles(&self, roles: &mut Roles) {
        roles.set(self, |role| role.is_new = true);
        roles.set(&self.layer_weights, |role| role.mixes = true);
    }
}

impl ScalarMix {
    /// The mean of `layers` layers.
    pub fn new(layers: usize, device: &Device) -> Self {
        Self { layer_weights: Initializer::Zeros.init([layers], device), scale: Initializer::Ones.init([1], device) }
    }

    /// The mixture of as many layers as it was made for, all of one shape.
    pub fn forward<const D: usize>(&self, layers: &[Tensor<D>]) -> Tensor<D> {
        let shares = softmax(self.layer_weights.val(), 0) * self.scale.val(); // [layers]
        let share = |number: usize| shares.clone().narrow(0, number, 1).reshape([1; D]); // [1, .., 1]
        let mut sum = layers[0].clone() * share(0);
        for (number, layer) in layers.iter().enumerate().skip(1) {
            sum = sum + layer.clone() * share(number);
        }
        sum
    }
}
