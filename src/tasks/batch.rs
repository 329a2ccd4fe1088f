//! What goes through a model at once.

use burn::tensor::{Int, Tensor};

use crate::models::EncoderInput;

/// What a batch is to be compared with. A negative label is ignored.
#[derive(Debug, Clone)]
pub enum Labels {
    /// Nothing: the batch is only to be predicted.
    None,
    /// One class a row, `[batch]`.
    Classes(Tensor<1, Int>),
    /// One class a token, `[batch, seq]`.
    Tokens(Tensor<2, Int>),
    /// The tokens that were hidden: their places in the batch's rows laid end to end, and what they were, both `[hidden]`; and, `[batch]`,
    /// 1 where a row's two pieces were exchanged.
    Masked { places: Tensor<1, Int>, tokens: Tensor<1, Int>, order: Option<Tensor<1, Int>> },
    /// First and last token of the answer, both `[batch]`; and, `[batch, seq]`, 1 for the tokens that it may be among. The libraries
    /// have it among all, padding too, so that their loss depends on how rows are put together: `None` is that.
    Spans { first: Tensor<1, Int>, last: Tensor<1, Int>, among: Option<Tensor<2, Int>> },
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
    /// The same for sentence order: how many rows have a label of it, and what its summed loss is multiplied with.
    pub order_weight: usize,
    pub order_scale: f64,
    /// Tokens that are no padding.
    pub tokens: usize,
}
