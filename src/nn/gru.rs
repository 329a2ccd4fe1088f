//! The gated recurrent unit (arXiv 1406.1078) of Paddle's fluid (`dynamic_gru`), in one direction and in both.
//!
//! For the gates u (update) and r (reset) and the candidate c of a step, with x its input after a linear layer:
//! `u, r = sigmoid(x_ur + h W_ur + b_ur)`, `c = tanh(x_c + (r * h) W_c + b_c)`, `h' = (1 - u) * h + u * c`.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear};
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device, Tensor};

use super::{linear, reverse_within, steps_of, zero_beyond};

/// One layer in one direction.
#[derive(Module, Debug)]
pub struct Gru {
    /// `[input, 3 * hidden]`, for u, r and c.
    input: Linear,
    /// `[hidden, 3 * hidden]`, as fluid has it: not three blocks of columns, but the numbers of W_ur `[hidden, 2 * hidden]`, then
    /// those of W_c `[hidden, hidden]`.
    recurrent: Param<Tensor<2>>,
    /// `[3 * hidden]`
    bias: Param<Tensor<1>>,
}

impl Gru {
    /// A layer whose values are still to be given.
    pub fn new(input: usize, hidden: usize, device: &Device) -> Self {
        Self {
            input: linear(input, 3 * hidden, device),
            recurrent: Initializer::Zeros.init([hidden, 3 * hidden], device),
            bias: Initializer::Zeros.init([3 * hidden], device),
        }
    }

    /// `[batch, steps, input] -> [batch, steps, hidden]`, from the first step to the last.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, _, _] = x.dims();
        let device = x.device();
        let recurrent = self.recurrent.val(); // [hidden, 3 * hidden]
        let [hidden, _] = recurrent.dims();
        let recurrent = recurrent.flatten::<1>(0, 1); // [3 * hidden * hidden]
        let of_gates = recurrent.clone().narrow(0, 0, 2 * hidden * hidden).reshape([hidden, 2 * hidden]);
        let of_candidate = recurrent.narrow(0, 2 * hidden * hidden, hidden * hidden).reshape([hidden, hidden]);

        // All steps at once, and the steps outermost, so that each is one piece.
        let x = self.input.forward(x.swap_dims(0, 1)) + self.bias.val().unsqueeze::<3>(); // [steps, batch, 3 * hidden]
        let mut state = Tensor::<2>::zeros([batch, hidden], &device); // [batch, hidden]
        let mut states = Vec::new();
        for x in steps_of(x) {
            let for_gates = x.clone().narrow(1, 0, 2 * hidden) + state.clone().matmul(of_gates.clone());
            let gates = sigmoid(for_gates); // [batch, 2 * hidden]
            let update = gates.clone().narrow(1, 0, hidden); // [batch, hidden]
            let reset = gates.narrow(1, hidden, hidden); // [batch, hidden]
            let for_candidate = (reset * state.clone()).matmul(of_candidate.clone()); // [batch, hidden]
            let candidate = tanh(x.narrow(1, 2 * hidden, hidden) + for_candidate); // [batch, hidden]
            state = state.clone() + update * (candidate - state);
            states.push(state.clone());
        }
        Tensor::stack::<3>(states, 1) // [batch, steps, hidden]
    }
}

/// A layer in both directions.
#[derive(Module, Debug)]
pub struct BiGru {
    forward: Gru,
    backward: Gru,
}

impl BiGru {
    /// A layer whose values are still to be given; `hidden` is the width of each direction.
    pub fn new(input: usize, hidden: usize, device: &Device) -> Self {
        Self { forward: Gru::new(input, hidden, device), backward: Gru::new(input, hidden, device) }
    }

    /// `[batch, steps, input] -> [batch, steps, 2 * hidden]`: what the layer that reads from the first step on knows at each, then
    /// what the one that reads from the row's last step knows there. Behind a row's length it is 0.
    pub fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let backward = reverse_within(self.backward.forward(reverse_within(x.clone(), lengths)), lengths);
        zero_beyond(Tensor::cat(vec![self.forward.forward(x), backward], 2), lengths)
    }
}
