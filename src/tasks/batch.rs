//! What goes through a model at once.

use burn::tensor::{Int, Tensor};

use super::Generation;
use crate::models::EncoderInput;
use crate::models::elmo::{Chunk, ElmoState};

/// What goes in.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of them a batch, and it only holds handles")]
pub enum Input {
    /// Rows of tokens, for an encoder.
    Tokens(EncoderInput),
    /// The next piece of streams of sentences, for a language model, and what it begins with.
    Stream { chunk: Chunk, start: StreamStart },
}

/// The state that a piece of streams begins with.
#[derive(Debug, Clone)]
pub enum StreamStart {
    /// Zeros, whatever the pieces before it have left.
    Zeros,
    /// What the pieces before it have left, once [`Batch::carry`] has said it; until then zeros.
    Carried(Option<ElmoState>),
}

impl Input {
    /// How many tokens are computed, padding included.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Tokens(input) => input.input_ids.dims().iter().product(),
            Self::Stream { chunk, .. } => 2 * chunk.forward_targets.dims().iter().product::<usize>(),
        }
    }
}

/// What a batch is to be compared with. A negative label is ignored.
#[derive(Debug, Clone)]
pub enum Labels {
    /// Nothing: the batch is only to be predicted.
    None,
    /// One class a row, `[batch]`.
    Classes(Tensor<1, Int>),
    /// One class a token, `[batch, seq]`.
    Tokens(Tensor<2, Int>),
    /// One class a word, where a row's classes are scored together: for each word the place of its first token in the row, and its
    /// class, both `[batch, words]`; and how many of them each row has.
    Rows { places: Tensor<2, Int>, classes: Tensor<2, Int>, lengths: Vec<usize> },
    /// The tokens that were hidden: their places in the batch's rows laid end to end, and what they were, both `[hidden]`; and, `[batch]`,
    /// 1 where a row's two pieces were exchanged.
    Masked { places: Tensor<1, Int>, tokens: Tensor<1, Int>, order: Option<Tensor<1, Int>> },
    /// The words after those of streams, forward and backward ones end to end: `[2 * batch * steps]`.
    Next(Tensor<1, Int>),
    /// First and last token of the answer, both `[batch]`; and, `[batch, seq]`, 1 for the tokens that it may be among. The libraries
    /// have it among all, padding too, so that their loss depends on how rows are put together: `None` is that.
    Spans { first: Tensor<1, Int>, last: Tensor<1, Int>, among: Option<Tensor<2, Int>> },
}

/// A micro-batch: rows of like length on one device.
#[derive(Debug, Clone)]
pub struct Batch {
    pub input: Input,
    pub labels: Labels,
    /// What the model itself has to write into the input before it learns from it, if anything.
    pub generate: Option<Generation>,
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

impl Batch {
    /// The rows of tokens.
    ///
    /// # Panics
    /// If the batch is a piece of streams, which whoever built it for an encoder has to see to.
    pub fn encoder_input(&self) -> &EncoderInput {
        match &self.input {
            Input::Tokens(input) => input,
            Input::Stream { .. } => panic!("an encoder reads rows of tokens"),
        }
    }

    /// Has a language model go on from what all streams side by side have left, of which this batch takes the rows that are its own.
    /// Where a piece begins with zeros, and in other models, nothing happens.
    pub fn carry(&mut self, left: Option<&ElmoState>) {
        if let Input::Stream { start: StreamStart::Carried(state), .. } = &mut self.input {
            let first = self.rows.first().copied().unwrap_or(0);
            *state = left.map(|left| left.rows(first..first + self.rows.len()));
        }
    }
}
