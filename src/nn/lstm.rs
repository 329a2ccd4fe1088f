//! An LSTM whose output is projected (arXiv 1402.1128), with clipping: one layer in one direction of ELMo's language model.
//!
//! References: `lstmp` of Paddle's fluid, which Baidu's ELMo uses, and `LstmCellWithProjection` of AllenNLP 2.10.1.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, module};

#[cfg(feature = "flex")]
use crate::kernels;

/// What an [`LstmProjection`] is built from.
#[derive(Debug, Clone, Copy)]
pub struct LstmConfig {
    pub input_size: usize,
    /// Width of the cell.
    pub cell_size: usize,
    /// Width of the output, which is also what goes back into the gates.
    pub projection_size: usize,
    pub clips: Clips,
}

/// The largest size of a number in the cell and in the projected output; none means no limit. What is cut off gets no gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clips {
    pub cell: Option<f64>,
    pub projection: Option<f64>,
}

/// What one step hands to the next.
#[derive(Debug, Clone)]
pub struct LstmState {
    /// The projected output, `[batch, projection]`.
    pub hidden: Tensor<2>,
    /// The cell, `[batch, cell]`.
    pub cell: Tensor<2>,
}

impl LstmState {
    /// The same numbers, without the graph that they came from.
    pub fn detach(self) -> Self {
        Self { hidden: self.hidden.detach(), cell: self.cell.detach() }
    }
}

/// The layer. The four parts of a gates' row stand in Baidu's order: candidate, input gate, forget gate, output gate.
#[derive(Module, Debug)]
pub struct LstmProjection {
    /// `[input, 4 * cell]`
    input: Param<Tensor<2>>,
    /// `[projection, 4 * cell]`
    recurrent: Param<Tensor<2>>,
    /// `[4 * cell]`
    bias: Param<Tensor<1>>,
    /// `[cell, projection]`
    projection: Param<Tensor<2>>,
    #[module(skip)]
    clips: Clips,
}

impl LstmProjection {
    /// A layer whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &LstmConfig, device: &Device) -> Self {
        let LstmConfig { input_size, cell_size, projection_size, clips } = *config;
        let zeros = |rows, columns| Initializer::Zeros.init([rows, columns], device);
        Self {
            input: zeros(input_size, 4 * cell_size),
            recurrent: zeros(projection_size, 4 * cell_size),
            bias: Initializer::Zeros.init([4 * cell_size], device),
            projection: zeros(cell_size, projection_size),
            clips,
        }
    }

    /// What a sequence begins with: zeros.
    pub fn start(&self, batch: usize, device: &Device) -> LstmState {
        let [cell, projection] = self.projection.lazy_shape().dims();
        LstmState { hidden: Tensor::zeros([batch, projection], device), cell: Tensor::zeros([batch, cell], device) }
    }

    /// `[batch, steps, input] -> [batch, steps, projection]`, and the state after the last step.
    ///
    /// With `lengths`, a row ends there: its state is that of its last step (of the start, if it has none), and its outputs
    /// are 0 from there on, as AllenNLP's packed sequences give them.
    pub fn forward(&self, x: Tensor<3>, start: LstmState, lengths: Option<&[usize]>) -> (Tensor<3>, LstmState) {
        let gates_x = module::linear(x, self.input.val(), Some(self.bias.val())); // [batch, steps, 4 * cell]
        let (recurrent, projection) = (self.recurrent.val(), self.projection.val());
        #[cfg(feature = "flex")]
        if let Some(output) = run_on_cpu(&gates_x, &recurrent, &projection, &start, self.clips, lengths) {
            return output;
        }
        run(gates_x, recurrent, projection, start, self.clips, lengths)
    }
}

/// [`run`] by Kiln's own kernel, if there is one for the tensors.
#[cfg(feature = "flex")]
fn run_on_cpu(
    gates: &Tensor<3>,
    recurrent: &Tensor<2>,
    projection: &Tensor<2>,
    start: &LstmState,
    clips: Clips,
    lengths: Option<&[usize]>,
) -> Option<(Tensor<3>, LstmState)> {
    let LstmState { hidden, cell } = start;
    let input = kernels::LstmInput { gates, recurrent, projection, hidden, cell };
    let (cell_clip, projection_clip) = (clips.cell, clips.projection);
    let options = kernels::LstmOptions { cell_clip, projection_clip, lengths: lengths.map(<[usize]>::to_vec) };
    let (outputs, hidden, cell) = kernels::lstm(&input, options)?;
    Some((outputs, LstmState { hidden, cell }))
}

/// The steps one after the other; `gates_x` `[batch, steps, 4 * cell]` is what the inputs and the bias give to the gates.
fn run(
    gates_x: Tensor<3>,
    recurrent: Tensor<2>,
    projection: Tensor<2>,
    start: LstmState,
    clips: Clips,
    lengths: Option<&[usize]>,
) -> (Tensor<3>, LstmState) {
    let device = gates_x.device();
    let mut state = start;
    let mut outputs = Vec::with_capacity(gates_x.dims()[1]);
    // The steps outermost, so that each is one piece.
    for (step, gates) in steps_of(gates_x.swap_dims(0, 1)).into_iter().enumerate() {
        let gates = gates + state.hidden.clone().matmul(recurrent.clone()); // [batch, 4 * cell]
        let next = step_of(gates, projection.clone(), state.cell.clone(), clips);
        let ended = lengths.filter(|lengths| lengths.iter().any(|length| *length <= step));
        let (output, kept) = match ended {
            None => (next.hidden.clone(), next),
            Some(lengths) => {
                let ended = ended_rows(lengths, step, &device); // [batch, 1]
                let output = next.hidden.clone().mask_fill(ended.clone().expand(next.hidden.dims()), 0.0);
                (output, next.unless(ended, state))
            }
        };
        outputs.push(output);
        state = kept;
    }
    (Tensor::stack(outputs, 1), state)
}

/// One step: the gates `[batch, 4 * cell]` and the cell before it, `[batch, cell]`.
fn step_of(gates: Tensor<2>, projection: Tensor<2>, cell: Tensor<2>, clips: Clips) -> LstmState {
    let width = gates.dims()[1] / 4;
    let part = |number: usize| gates.clone().narrow(1, number * width, width); // [batch, cell]
    let candidate = tanh(part(0)) * sigmoid(part(1));
    let cell = clipped(candidate + cell * sigmoid(part(2)), clips.cell); // [batch, cell]
    let hidden = sigmoid(part(3)) * tanh(cell.clone()); // [batch, cell]
    LstmState { hidden: clipped(hidden.matmul(projection), clips.projection), cell }
}

fn clipped(x: Tensor<2>, limit: Option<f64>) -> Tensor<2> {
    match limit {
        Some(limit) => x.clamp(-limit, limit),
        None => x,
    }
}

impl LstmState {
    /// This state, but for the rows that have ended (`[batch, 1]`), which keep the one they had.
    fn unless(self, ended: Tensor<2, Bool>, before: Self) -> Self {
        let of = |now: Tensor<2>, before| now.clone().mask_where(ended.clone().expand(now.dims()), before);
        Self { hidden: of(self.hidden, before.hidden), cell: of(self.cell, before.cell) }
    }
}

/// Which rows have no step of this number, `[batch, 1]`.
fn ended_rows(lengths: &[usize], step: usize, device: &Device) -> Tensor<2, Bool> {
    let ended: Vec<bool> = lengths.iter().map(|length| *length <= step).collect();
    Tensor::from_data(TensorData::new(ended, [lengths.len(), 1]), device)
}

/// The steps of `[steps, batch, width]`, each `[batch, width]`. By halves: the gradient of a part is as large as the whole, so that
/// cutting off one step after the other would cost the square of their number.
pub fn steps_of(x: Tensor<3>) -> Vec<Tensor<2>> {
    match x.dims()[0] {
        1 => vec![x.squeeze_dim::<2>(0)],
        steps => {
            let half = steps / 2;
            let mut all = steps_of(x.clone().narrow(0, 0, half));
            all.extend(steps_of(x.narrow(0, half, steps - half)));
            all
        }
    }
}

/// The first `lengths` steps of each row of `x` `[batch, steps, width]` the other way round; what follows stays.
pub fn reverse_within(x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    let [batch, steps, width] = x.dims();
    let from = |step: usize, length: usize| if step < length { length - 1 - step } else { step };
    let rows = lengths.iter().enumerate();
    let order = rows.flat_map(|(row, &length)| (0..steps).map(move |step| (row * steps + from(step, length)) as i64));
    let order: Vec<i64> = order.collect();
    let order = Tensor::<1, Int>::from_data(TensorData::from(order.as_slice()), &x.device()); // [batch * steps]
    x.reshape([batch * steps, width]).select(0, order).reshape([batch, steps, width])
}

/// `x` `[batch, steps, width]` with 0 where a row has ended.
pub fn zero_beyond(x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    let [batch, steps, width] = x.dims();
    let beyond: Vec<bool> = lengths.iter().flat_map(|&length| (0..steps).map(move |step| step >= length)).collect();
    let beyond = Tensor::<3, Bool>::from_data(TensorData::new(beyond, [batch, steps, 1]), &x.device());
    x.mask_fill(beyond.expand([batch, steps, width]), 0.0)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    const CLIPS: Clips = Clips { cell: Some(0.4), projection: Some(0.3) };

    /// Every number that a way to run the steps gives: outputs, state, and the gradients of a sum of them.
    fn numbers(
        run: impl Fn(Tensor<3>, Tensor<2>, Tensor<2>, LstmState) -> (Tensor<3>, LstmState),
        made: &(Tensor<3>, [Tensor<2>; 4]),
    ) -> Vec<f32> {
        let gates = made.0.clone().require_grad();
        let [recurrent, projection, hidden, cell] = made.1.clone().map(Tensor::require_grad);
        let state = LstmState { hidden: hidden.clone(), cell: cell.clone() };
        let (outputs, end) = run(gates.clone(), recurrent.clone(), projection.clone(), state);
        let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        let mut found = values(outputs.clone().flatten::<2>(0, 1));
        found.extend([end.hidden.clone(), end.cell.clone()].into_iter().flat_map(values));
        let sum = (outputs.clone() * outputs).sum() + end.hidden.sum() + end.cell.powi_scalar(3).sum();
        let gradients = sum.backward();
        found.extend(values(gates.grad(&gradients).unwrap().flatten::<2>(0, 1)));
        found.extend(
            [recurrent, projection, hidden, cell]
                .into_iter()
                .flat_map(|tensor| values(tensor.grad(&gradients).unwrap())),
        );
        found
    }

    /// On a CPU a kernel runs the steps; elsewhere tensor operations do, and this is where they are tested.
    #[test]
    fn tensor_operations_and_the_kernel_give_the_same() {
        let device = Device::flex().autodiff();
        device.seed(3);
        let (batch, steps, size, cell) = (4, 6, 5, 7);
        let normal = Distribution::Normal(0.0, 0.8);
        let matrix = |rows, columns| Tensor::<2>::random([rows, columns], normal, &device);
        let gates = Tensor::<3>::random([batch, steps, 4 * cell], normal, &device);
        let made = (gates, [matrix(size, 4 * cell), matrix(cell, size), matrix(batch, size), matrix(batch, cell)]);
        let free = Clips { cell: None, projection: None };
        for (clips, lengths) in
            [(CLIPS, None), (free, None), (CLIPS, Some(&[6, 1, 0, 4][..])), (free, Some(&[3, 2, 3, 1]))]
        {
            let plain = numbers(|x, r, p, start| run(x, r, p, start, clips, lengths), &made);
            let kernel = numbers(|x, r, p, start| run_on_cpu(&x, &r, &p, &start, clips, lengths).unwrap(), &made);
            assert_eq!(plain.len(), kernel.len());
            let worst = plain.iter().zip(&kernel).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Sums of up to 24 products of numbers below 3, in another order.
            assert!(worst < 2e-5, "{clips:?} {lengths:?}: {worst:e}");
        }
    }
}
