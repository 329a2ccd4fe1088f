//! What goes through a model at once.

use burn::tensor::{Device, Int, Tensor};

use crate::models::EncoderInput;

/// What a batch is to be compared with. A negative label is ignored.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of them a batch, and it only holds handles")]
pub enum Labels {
    /// Nothing: the batch is only to be predicted.
    None,
    /// One class a row, `[batch]`.
    Classes(Tensor<1, Int>),
    /// One class a token, `[batch, seq]`.
    Tokens(Tensor<2, Int>),
    /// First and last token of the answer, both `[batch]`.
    Spans(Tensor<1, Int>, Tensor<1, Int>),
}

/// A micro-batch: rows of like length on one device.
#[derive(Debug, Clone)]
pub struct Batch {
    pub input: EncoderInput,
    pub labels: Labels,
    /// Which rows of their data set these are.
    pub rows: Vec<usize>,
    /// How many labels count (rows, tokens or spans): what the loss is a sum over.
    pub weight: usize,
    /// What the summed loss is multiplied with before the backward pass: one over all the labels of the optimizer's step.
    pub scale: f64,
    /// Tokens that are no padding.
    pub tokens: usize,
}

impl Batch {
    /// The batch on another device.
    pub fn to_device(self, device: &Device) -> Self {
        let labels = match self.labels {
            Labels::None => Labels::None,
            Labels::Classes(classes) => Labels::Classes(classes.to_device(device)),
            Labels::Tokens(tokens) => Labels::Tokens(tokens.to_device(device)),
            Labels::Spans(start, end) => Labels::Spans(start.to_device(device), end.to_device(device)),
        };
        let input = EncoderInput {
            input_ids: self.input.input_ids.to_device(device),
            attention_mask: self.input.attention_mask.map(|mask| mask.to_device(device)),
            position_ids: self.input.position_ids.map(|positions| positions.to_device(device)),
        };
        Self { input, labels, ..self }
    }
}
