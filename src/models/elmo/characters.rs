//! AllenAI's character network: from the bytes of a word to its vector (arXiv 1602.02410).

use burn::module::Module;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{Embedding, Initializer, Linear};
use burn::tensor::activation::{relu, sigmoid, tanh};
use burn::tensor::{Device, Int, Tensor};

use super::config::{CharacterActivation, CharacterConfig};
use crate::nn::{embedding, linear, look_up, mixed};

/// Characters to vectors, convolutions with their maximum over the word, highway layers, a projection.
#[derive(Module, Debug)]
pub struct CharacterEncoder {
    characters: Embedding,
    /// Of each width over the characters of a word, without padding.
    convolutions: Vec<Conv1d>,
    highways: Vec<Highway>,
    projection: Linear,
    #[module(skip)]
    activation: CharacterActivation,
}

impl CharacterEncoder {
    /// A network to vectors of `size` whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &CharacterConfig, size: usize, device: &Device) -> Self {
        let filters = config.filter_count();
        let convolution = |&(width, count): &(usize, usize)| {
            Conv1dConfig::new(config.embedding_dim, count, width).with_initializer(Initializer::Zeros).init(device)
        };
        Self {
            characters: embedding(config.n_characters, config.embedding_dim, device),
            convolutions: config.filters.iter().map(convolution).collect(),
            highways: (0..config.n_highway).map(|_| Highway::new(filters, device)).collect(),
            projection: linear(filters, size, device),
            activation: config.activation,
        }
    }

    /// `[batch, words, characters] -> [batch, words, size]`.
    pub fn forward(&self, ids: Tensor<3, Int>) -> Tensor<3> {
        let [batch, words, count] = ids.dims();
        let characters = look_up(&self.characters, ids.reshape([batch * words, count]), None); // [words, characters, dim]
        let characters = characters.swap_dims(1, 2); // [words, dim, characters]
        let found: Vec<Tensor<2>> = self
            .convolutions
            .iter()
            .map(|convolution| {
                let largest = convolution.forward(characters.clone()).max_dim(2).squeeze_dim::<2>(2); // [words, count]
                match self.activation {
                    CharacterActivation::Relu => relu(largest),
                    CharacterActivation::Tanh => tanh(largest),
                }
            })
            .collect();
        let found = Tensor::cat(found, 1); // [words, filters]
        let found = self.highways.iter().fold(found, |x, highway| highway.forward(x)); // [words, filters]
        let projected = mixed(&self.projection, found); // [words, size]
        let [_, size] = projected.dims();
        projected.reshape([batch, words, size])
    }
}

/// A highway layer (arXiv 1505.00387): `g * relu(W x + b) + (1 - g) * x` with `g = sigmoid(V x + c)`. bilm-tf calls W transform and
/// V carry, though what V opens is the way of the transformed.
#[derive(Module, Debug)]
struct Highway {
    transform: Linear,
    carry: Linear,
}

impl Highway {
    fn new(size: usize, device: &Device) -> Self {
        Self { transform: linear(size, size, device), carry: linear(size, size, device) }
    }

    /// `[words, size] -> [words, size]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let gate = sigmoid(mixed(&self.carry, x.clone())); // [words, size]
        let transformed = relu(mixed(&self.transform, x.clone())); // [words, size]
        x.clone() + gate * (transformed - x)
    }
}
