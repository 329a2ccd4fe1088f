//! Masked language modelling: from a hidden state to a score for every entry of the vocabulary.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear};
use burn::tensor::{Device, Tensor};

use super::encoder::activate;
use super::precision::{mixed, product_of_rows, to_compute, to_f32};
use super::{HiddenAct, LayerNorm, linear};

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
        let transformed = self.norm.forward(activate(mixed(&self.dense, hidden), self.activation)); // [tokens, width]
        match &self.decoder {
            Some(decoder) => mixed(decoder, transformed),
            None => {
                let words = words.expect("a family without an output embedding has a word embedding to tie");
                to_f32(product_of_rows(to_compute(transformed), words, self.bias.as_ref().map(Param::val)))
            }
        }
    }
}
