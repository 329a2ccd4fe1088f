//! The LSTM of Paddle's fluid (`dynamic_lstm` behind a linear layer without bias, no peepholes), in one direction and in both.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor, module};

use super::lstm::{Clips, LstmState, Recurrence};
use super::per_token;

/// One layer in one direction. The four parts of a gates' row stand in fluid's order: candidate, input gate, forget gate, output
/// gate.
#[derive(Module, Debug)]
pub struct Lstm {
    /// `[input, 4 * hidden]`
    input: Param<Tensor<2>>,
    /// `[hidden, 4 * hidden]`
    recurrent: Param<Tensor<2>>,
    /// `[4 * hidden]`
    bias: Param<Tensor<1>>,
    /// Whether it reads from each row's last step to the first.
    #[module(skip)]
    reversed: bool,
}

impl Lstm {
    /// A layer whose values are still to be given by [`crate::weights::fill`].
    pub fn new(input: usize, hidden: usize, reversed: bool, device: &Device) -> Self {
        Self {
            input: Initializer::Zeros.init([input, 4 * hidden], device),
            recurrent: Initializer::Zeros.init([hidden, 4 * hidden], device),
            bias: Initializer::Zeros.init([4 * hidden], device),
            reversed,
        }
    }

    /// `[batch, steps, input] -> [batch, steps, hidden]`, from a state of zeros; behind a row's length it is 0.
    pub fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let recurrent = self.recurrent.val(); // [hidden, 4 * hidden]
        let zeros = Tensor::zeros([x.dims()[0], recurrent.dims()[0]], &x.device()); // [batch, hidden]
        let start = LstmState { hidden: zeros.clone(), cell: zeros };
        let gates_x = per_token(x, |x| module::linear(x, self.input.val(), Some(self.bias.val()))); // [batch, steps, 4 * hidden]
        let clips = Clips { cell: None, projection: None };
        Recurrence { recurrent, projection: None, clips, reversed: self.reversed }.over(gates_x, start, Some(lengths)).0
    }
}

/// A layer in both directions.
#[derive(Module, Debug)]
pub struct BiLstm {
    forward: Lstm,
    backward: Lstm,
}

impl BiLstm {
    /// A layer whose values are still to be given; `hidden` is the width of each direction.
    pub fn new(input: usize, hidden: usize, device: &Device) -> Self {
        Self { forward: Lstm::new(input, hidden, false, device), backward: Lstm::new(input, hidden, true, device) }
    }

    /// `[batch, steps, input] -> [batch, steps, 2 * hidden]`: what the layer that reads from the first step on knows at each, then
    /// what the one that reads from the row's last step knows there. Behind a row's length it is 0.
    pub fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        Tensor::cat(vec![self.forward.forward(x.clone(), lengths), self.backward.forward(x, lengths)], 2)
    }
}
