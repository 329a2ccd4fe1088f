//! Masked language modelling: from a hidden state to a score for every entry of the vocabulary.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear};
use burn::tensor::{Device, Int, Tensor};

use super::encoder::activate;
use super::functions::cross_entropy_sum;
use super::precision::{linear_cross_entropy_sum, mixed, product_of_rows, to_compute, to_f32};
use super::{HiddenAct, LayerNorm, linear};
use crate::kernels::LinearWeight;

/// What a [`MaskedLmHead`] is built from.
#[derive(Debug, Clone)]
pub struct MaskedLmConfig {
    pub hidden_size: usize,
    /// Width of the output embedding, if it is the head's own: RemBERT's. Else the word embedding serves.
    pub own_embedding_size: Option<usize>,
    pub vocab_size: usize,
    pub hidden_act: HiddenAct,
    pub layer_norm_eps: f64,
}

/// BERT's head (arXiv 1810.04805): a dense layer, its activation, a layer norm, the product with the output embedding, and a bias.
#[derive(Module, Debug)]
pub struct MaskedLmHead {
    dense: Linear,
    norm: LayerNorm,
    /// The output embedding with its bias, if it is the head's own.
    decoder: Option<Linear>,
    /// The bias alone, `[vocabulary]`, if the output embedding is the word embedding.
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    activation: HiddenAct,
}

impl MaskedLmHead {
    pub fn new(config: &MaskedLmConfig, device: &Device) -> Self {
        let width = config.own_embedding_size.unwrap_or(config.hidden_size);
        let tied = config.own_embedding_size.is_none();
        Self {
            dense: linear(config.hidden_size, width, device),
            norm: LayerNorm::new(width, config.layer_norm_eps, device),
            decoder: (!tied).then(|| linear(width, config.vocab_size, device)),
            bias: tied.then(|| Initializer::Zeros.init([config.vocab_size], device)),
            activation: config.hidden_act,
        }
    }

    /// How many entries the vocabulary has.
    pub fn vocabulary(&self) -> usize {
        match (&self.decoder, &self.bias) {
            (Some(decoder), _) => decoder.weight.lazy_shape()[1],
            (None, bias) => bias.as_ref().map_or(0, |bias| bias.lazy_shape()[0]),
        }
    }

    /// `[tokens, hidden] -> [tokens, vocabulary]`; `words` is the word embedding, `[vocabulary, hidden]`, for a head without its own.
    ///
    /// # Panics
    /// If there is neither.
    pub fn forward(&self, hidden: Tensor<2>, words: Option<Tensor<2>>) -> Tensor<2> {
        self.logits(self.transformed(hidden), words)
    }

    /// [`cross_entropy_sum`] of the logits that [`Self::forward`] gives, without them where there is a kernel for it.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn loss_sum(&self, hidden: Tensor<2>, words: Option<Tensor<2>>, targets: Tensor<1, Int>) -> Tensor<1> {
        let transformed = self.transformed(hidden); // [tokens, width]
        let bias = self.decoder.as_ref().map_or(self.bias.as_ref(), |decoder| decoder.bias.as_ref());
        let loss = match (&self.decoder, &words, bias.map(Param::val)) {
            (Some(decoder), _, Some(bias)) => {
                let weight = decoder.weight.val(); // [width, vocabulary]
                linear_cross_entropy_sum(&transformed, LinearWeight::Weight(&weight), &bias, &targets)
            }
            (None, Some(words), Some(bias)) => {
                linear_cross_entropy_sum(&transformed, LinearWeight::Rows(words), &bias, &targets)
            }
            _ => None,
        };
        loss.unwrap_or_else(|| cross_entropy_sum(self.logits(transformed, words), targets))
    }

    /// `[tokens, hidden] -> [tokens, width]`
    fn transformed(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.norm.forward(activate(mixed(&self.dense, hidden), self.activation))
    }

    /// `[tokens, width] -> [tokens, vocabulary]`
    fn logits(&self, transformed: Tensor<2>, words: Option<Tensor<2>>) -> Tensor<2> {
        match &self.decoder {
            Some(decoder) => mixed(decoder, transformed),
            None => {
                let words = words.expect("a family without an output embedding has a word embedding to tie");
                to_f32(product_of_rows(to_compute(transformed), words, self.bias.as_ref().map(Param::val)))
            }
        }
    }
}
