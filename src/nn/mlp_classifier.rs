//! RoBERTa's classifier of whole rows.

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Tensor};

use super::{drop_out, dropout, linear};

/// A layer, tanh and an output layer on the first token, each behind a dropout (`RobertaClassificationHead` of transformers).
#[derive(Module, Debug)]
pub struct MlpClassifier {
    dense: Linear,
    out_proj: Linear,
    dropout: Dropout,
}

impl MlpClassifier {
    /// A classifier whose values are still to be given by `weights::fill`.
    pub fn new(hidden_size: usize, classes: usize, probability: f64, device: &Device) -> Self {
        Self {
            dense: linear(hidden_size, hidden_size, device),
            out_proj: linear(hidden_size, classes, device),
            dropout: dropout(probability),
        }
    }

    /// `[batch, seq, hidden] -> [batch, classes]`.
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<2> {
        let first = hidden.narrow(1, 0, 1).squeeze_dim::<2>(1); // [batch, hidden]
        let inner = tanh(self.dense.forward(drop_out(&self.dropout, first))); // [batch, hidden]
        self.out_proj.forward(drop_out(&self.dropout, inner))
    }
}
