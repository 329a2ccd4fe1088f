//! The gated recurrent unit (arXiv 1406.1078) of Paddle's fluid (`dynamic_gru`), in one direction and in both.
//!
//! For the gates u (update) and r (reset) and the candidate c of a step, with x its input after a linear layer:
//! `u, r = sigmoid(x_ur + h W_ur + b_ur)`, `c = tanh(x_c + (r * h) W_c + b_c)`, `h' = (1 - u) * h + u * c`.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear};
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device, Tensor};

use super::precision::{mixed, to_compute, to_f32};
use super::sequences::{reverse_within, steps_of, zero_beyond};
use super::{linear, per_token};
use crate::kernels;

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
    /// Whether it reads from each row's last step to the first.
    #[module(skip)]
    reversed: bool,
}

impl Gru {
    /// A layer whose values are still to be given.
    pub fn new(input: usize, hidden: usize, reversed: bool, device: &Device) -> Self {
        Self {
            input: linear(input, 3 * hidden, device),
            recurrent: Initializer::Zeros.init([hidden, 3 * hidden], device),
            bias: Initializer::Zeros.init([3 * hidden], device),
            reversed,
        }
    }

    /// `[batch, steps, input] -> [batch, steps, hidden]`, from a state of zeros; behind a row's length it is 0.
    pub fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let gates = per_token(x, |x| mixed(&self.input, x)) + self.bias.val().unsqueeze::<3>(); // [batch, steps, 3 * hidden]
        let recurrent = to_compute(self.recurrent.val()); // [hidden, 3 * hidden]
        kernels::gru(&gates, &recurrent, lengths, self.reversed)
            .unwrap_or_else(|| step_by_step(gates, recurrent, lengths, self.reversed))
    }
}

/// The steps by tensor operations, `[batch, steps, 3 * hidden] -> [batch, steps, hidden]`: [`Gru::forward`] behind its linear layer.
fn step_by_step(gates: Tensor<3>, recurrent: Tensor<2>, lengths: &[usize], reversed: bool) -> Tensor<3> {
    let turned = |x| if reversed { reverse_within(x, lengths) } else { x };
    let ([batch, _, _], [hidden, _]) = (gates.dims(), recurrent.dims());
    let mut state = Tensor::<2>::zeros([batch, hidden], &gates.device()); // [batch, hidden]
    let recurrent = recurrent.flatten::<1>(0, 1); // [3 * hidden * hidden]
    let of_gates = recurrent.clone().narrow(0, 0, 2 * hidden * hidden).reshape([hidden, 2 * hidden]);
    let of_candidate = recurrent.narrow(0, 2 * hidden * hidden, hidden * hidden).reshape([hidden, hidden]);
    let mut states = Vec::new();
    for x in steps_of(turned(gates).swap_dims(0, 1)) {
        let for_gates = x.clone().narrow(1, 0, 2 * hidden) + to_f32(to_compute(state.clone()).matmul(of_gates.clone()));
        let gates = sigmoid(for_gates); // [batch, 2 * hidden]
        let update = gates.clone().narrow(1, 0, hidden); // [batch, hidden]
        let reset = gates.narrow(1, hidden, hidden); // [batch, hidden]
        let for_candidate = to_f32(to_compute(reset * state.clone()).matmul(of_candidate.clone())); // [batch, hidden]
        let candidate = tanh(x.narrow(1, 2 * hidden, hidden) + for_candidate); // [batch, hidden]
        state = state.clone() + update * (candidate - state);
        states.push(state.clone());
    }
    zero_beyond(turned(Tensor::stack::<3>(states, 1)), lengths) // [batch, steps, hidden]
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
        Self { forward: Gru::new(input, hidden, false, device), backward: Gru::new(input, hidden, true, device) }
    }

    /// `[batch, steps, input] -> [batch, steps, 2 * hidden]`: what the layer that reads from the first step on knows at each, then
    /// what the one that reads from the row's last step knows there. Behind a row's length it is 0.
    pub fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        Tensor::cat(vec![self.forward.forward(x.clone(), lengths), self.backward.forward(x, lengths)], 2)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    /// Most devices have a kernel that runs the steps; where there is none, tensor operations do, and this is where they are tested.
    /// With 37 rows, threads share
    /// them out.
    #[test]
    fn tensor_operations_and_the_kernel_give_the_same() {
        let device = Device::flex().autodiff();
        device.seed(3);
        let normal = Distribution::Normal(0.0, 0.8);
        for (rows, reversed) in [(4, false), (4, true), (37, false), (37, true)] {
            let lengths: Vec<usize> = (0..rows).map(|row| row * 5 % 7).collect();
            let gates = Tensor::<3>::random([rows, 6, 15], normal, &device);
            let recurrent = Tensor::<2>::random([5, 15], normal, &device);
            let run = |by_kernel: bool| {
                let (gates, recurrent) = (gates.clone().require_grad(), recurrent.clone().require_grad());
                let output = match by_kernel {
                    true => kernels::gru(&gates, &recurrent, &lengths, reversed).unwrap(),
                    false => step_by_step(gates.clone(), recurrent.clone(), &lengths, reversed),
                };
                let gradients = output.clone().powi_scalar(2).sum().backward();
                let values = |tensor: Tensor<3>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
                let of_recurrent = recurrent.grad(&gradients).unwrap().unsqueeze::<3>();
                [values(output), values(gates.grad(&gradients).unwrap()), values(of_recurrent)]
            };
            let (kernel, plain) = (run(true), run(false));
            for (what, (kernel, plain)) in ["output", "gates", "weights"].into_iter().zip(kernel.iter().zip(&plain)) {
                let largest = plain.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                let worst = kernel.iter().zip(plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(
                    largest > 0.1 && worst < 1e-5 * largest,
                    "{what} of {rows} rows, reversed {reversed}: {worst:e}"
                );
            }
            let untracked = kernels::gru(&gates, &recurrent, &lengths, reversed).unwrap();
            assert_eq!(untracked.into_data().iter::<f32>().collect::<Vec<_>>(), kernel[0]);
        }
    }
}
