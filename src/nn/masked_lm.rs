//! Masked language modelling: from a hidden state to a score for every entry of the vocabulary.

use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Tensor};

use super::encoder::activate;
use super::{layer_norm, linear};
use crate::recipe::HiddenAct;

/// What a [`MaskedLmHead`] is built from.
#[derive(Debug, Clone)]
pub struct MaskedLmConfig {
    pub hidden_size: usize,
    /// Width of the output embedding.
    pub embedding_size: usize,
    pub vocab_size: usize,
    pub hidden_act: HiddenAct,
    pub layer_norm_eps: f64,
}

/// A dense layer, its activation, a layer norm, and the product with an output embedding of its own (BERT's head, arXiv
/// 1810.04805, with the decoupled output embedding of RemBERT).
#[derive(Module, Debug)]
pub struct MaskedLmHead {
    dense: Linear,
    norm: LayerNorm,
    decoder: Linear,
    #[module(skip)]
    activation: HiddenAct,
}

impl MaskedLmHead {
    pub fn new(config: &MaskedLmConfig, device: &Device) -> Self {
        Self {
            dense: linear(config.hidden_size, config.embedding_size, device),
            norm: layer_norm(config.embedding_size, config.layer_norm_eps, device),
            decoder: linear(config.embedding_size, config.vocab_size, device),
            activation: config.hidden_act,
        }
    }

    /// `[.., hidden] -> [.., vocabulary]`.
    pub fn forward<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        let transformed = activate(self.dense.forward(hidden), self.activation); // [.., embedding]
        self.decoder.forward(self.norm.forward(transformed))
    }
}
