//! The LSTM, with an output that may be projected (arXiv 1402.1128) and clipped, as in the layers of ELMo's language model.
//!
//! References: `lstmp` of Paddle's fluid, which Baidu's ELMo uses, and `LstmCellWithProjection` of AllenNLP 2.10.1.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Bool, Device, Tensor};

use super::per_token;
use super::precision::{product, to_compute, to_f32};
use super::sequences::{ended, steps_of};
use crate::kernels;

/// The largest size of a number in the cell and in the projected output; none means no limit. What is cut off gets no gradient.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
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

/// One layer in one direction. The four parts of a gates' row stand in Baidu's and fluid's order: candidate, input gate, forget gate,
/// output gate.
#[derive(Module, Debug)]
pub struct Lstm {
    /// `[input, 4 * cell]`
    input: Param<Tensor<2>>,
    /// `[output, 4 * cell]`
    recurrent: Param<Tensor<2>>,
    /// `[4 * cell]`
    bias: Param<Tensor<1>>,
    /// `[cell, output]`; without one, what comes out of the cell is the output.
    projection: Option<Param<Tensor<2>>>,
    #[module(skip)]
    clips: Clips,
    /// Whether it reads from each row's last step to the first.
    #[module(skip)]
    reversed: bool,
}

impl Lstm {
    /// A layer whose values are still to be given by [`crate::weights::fill`]. `projection` is the width of the output, which is also
    /// what goes back into the gates, where that is not the cell's.
    pub fn new(input: usize, cell: usize, projection: Option<usize>, clips: Clips, device: &Device) -> Self {
        let zeros = |rows, columns| Initializer::Zeros.init([rows, columns], device);
        Self {
            input: zeros(input, 4 * cell),
            recurrent: zeros(projection.unwrap_or(cell), 4 * cell),
            bias: Initializer::Zeros.init([4 * cell], device),
            projection: projection.map(|output| zeros(cell, output)),
            clips,
            reversed: false,
        }
    }

    /// What a sequence begins with: zeros.
    pub fn start(&self, batch: usize, device: &Device) -> LstmState {
        let [output, gates] = self.recurrent.lazy_shape().dims();
        LstmState { hidden: Tensor::zeros([batch, output], device), cell: Tensor::zeros([batch, gates / 4], device) }
    }

    /// `[batch, steps, input] -> [batch, steps, output]`, and the state after the last step.
    ///
    /// With `lengths`, a row ends there: its state is that of its last step (of the start, if it has none), and its outputs
    /// are 0 from there on, as AllenNLP's packed sequences give them.
    pub fn forward(&self, x: Tensor<3>, start: LstmState, lengths: Option<&[usize]>) -> (Tensor<3>, LstmState) {
        let gates_x = |x| to_f32(product(to_compute(x), self.input.val(), Some(self.bias.val())));
        let gates_x = per_token(x, gates_x); // [batch, steps, 4 * cell]
        let recurrent = to_compute(self.recurrent.val());
        let projection = self.projection.as_ref().map(|projection| to_compute(projection.val()));
        Recurrence { recurrent, projection, clips: self.clips, reversed: self.reversed }.over(gates_x, start, lengths)
    }
}

/// A layer in both directions: the LSTM of Paddle's fluid (`dynamic_lstm` behind a linear layer without bias, no peepholes).
#[derive(Module, Debug)]
pub struct BiLstm {
    forward: Lstm,
    backward: Lstm,
}

impl BiLstm {
    /// A layer whose values are still to be given; `hidden` is the width of each direction.
    pub fn new(input: usize, hidden: usize, device: &Device) -> Self {
        let layer = |reversed| Lstm { reversed, ..Lstm::new(input, hidden, None, Clips::default(), device) };
        Self { forward: layer(false), backward: layer(true) }
    }

    /// `[batch, steps, input] -> [batch, steps, 2 * hidden]`, from states of zeros: what the layer that reads from the first step on
    /// knows at each, then what the one that reads from the row's last step knows there. Behind a row's length it is 0.
    pub fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let start = self.forward.start(x.dims()[0], &x.device());
        let of = |layer: &Lstm| layer.forward(x.clone(), start.clone(), Some(lengths)).0; // [batch, steps, hidden]
        Tensor::cat(vec![of(&self.forward), of(&self.backward)], 2)
    }
}

/// What takes an LSTM from one step to the next.
struct Recurrence {
    /// `[output, 4 * cell]`
    recurrent: Tensor<2>,
    /// `[cell, output]`; without one, what comes out of the cell is the output.
    projection: Option<Tensor<2>>,
    clips: Clips,
    /// Whether the steps are taken from each row's last to its first. The outputs stand in the order of the input all the same.
    reversed: bool,
}

impl Recurrence {
    /// All steps: from what the inputs and the bias give to the gates, `[batch, steps, 4 * cell]`, to the outputs,
    /// `[batch, steps, output]`, and the state after the last step; `lengths` as in [`Lstm::forward`].
    fn over(&self, gates_x: Tensor<3>, start: LstmState, lengths: Option<&[usize]>) -> (Tensor<3>, LstmState) {
        self.by_kernel(&gates_x, &start, lengths).unwrap_or_else(|| self.step_by_step(gates_x, start, lengths))
    }

    /// By Kiln's own kernel, if there is one for the tensors.
    fn by_kernel(
        &self,
        gates: &Tensor<3>,
        start: &LstmState,
        lengths: Option<&[usize]>,
    ) -> Option<(Tensor<3>, LstmState)> {
        let (LstmState { hidden, cell }, projection) = (start, self.projection.as_ref());
        let input = kernels::LstmInput { gates, recurrent: &self.recurrent, projection, hidden, cell };
        let clips = [self.clips.cell, self.clips.projection];
        let (outputs, hidden, cell) = kernels::lstm(&input, clips, lengths, self.reversed)?;
        Some((outputs, LstmState { hidden, cell }))
    }

    /// By tensor operations.
    fn step_by_step(&self, gates_x: Tensor<3>, start: LstmState, lengths: Option<&[usize]>) -> (Tensor<3>, LstmState) {
        let device = gates_x.device();
        let mut parts: Vec<(usize, Tensor<2>)> = steps_of(gates_x.swap_dims(0, 1)).into_iter().enumerate().collect();
        if self.reversed {
            parts.reverse();
        }
        let mut state = start;
        let mut outputs = Vec::with_capacity(parts.len());
        for (step, gates) in parts {
            let gates = gates + to_f32(to_compute(state.hidden.clone()).matmul(self.recurrent.clone())); // [batch, 4 * cell]
            let next = self.step(gates, state.cell.clone());
            let (output, kept) = match lengths.filter(|lengths| lengths.iter().any(|length| *length <= step)) {
                None => (next.hidden.clone(), next),
                Some(lengths) => {
                    let ended = ended(lengths, step, &device); // [batch, 1]
                    let output = next.hidden.clone().mask_fill(ended.clone().expand(next.hidden.dims()), 0.0);
                    (output, next.unless(ended, state))
                }
            };
            outputs.push(output);
            state = kept;
        }
        if self.reversed {
            outputs.reverse();
        }
        (Tensor::stack(outputs, 1), state)
    }

    /// One step: the gates `[batch, 4 * cell]` and the cell before it, `[batch, cell]`.
    fn step(&self, gates: Tensor<2>, cell: Tensor<2>) -> LstmState {
        let width = gates.dims()[1] / 4;
        let part = |number: usize| gates.clone().narrow(1, number * width, width); // [batch, cell]
        let candidate = tanh(part(0)) * sigmoid(part(1));
        let cell = clipped(candidate + cell * sigmoid(part(2)), self.clips.cell); // [batch, cell]
        let inner = sigmoid(part(3)) * tanh(cell.clone()); // [batch, cell]
        let hidden = match &self.projection {
            Some(projection) => to_f32(to_compute(inner).matmul(projection.clone())), // [batch, output]
            None => inner,
        };
        LstmState { hidden: clipped(hidden, self.clips.projection), cell }
    }
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

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    const CLIPS: Clips = Clips { cell: Some(0.4), projection: Some(0.3) };
    const FREE: Clips = Clips { cell: None, projection: None };

    struct Case {
        clips: Clips,
        projects: bool,
        reversed: bool,
        lengths: Option<&'static [usize]>,
    }

    /// Every number that a way to run the steps gives: outputs, state, and the gradients of a sum of them.
    fn numbers(case: &Case, made: &(Tensor<3>, [Tensor<2>; 4]), by_kernel: bool) -> Vec<f32> {
        let gates = made.0.clone().require_grad();
        let [recurrent, projection, hidden, cell] = made.1.clone().map(Tensor::require_grad);
        let state = LstmState { hidden: hidden.clone(), cell: cell.clone() };
        let layer = Recurrence {
            recurrent: recurrent.clone(),
            projection: case.projects.then(|| projection.clone()),
            clips: case.clips,
            reversed: case.reversed,
        };
        let (outputs, end) = match by_kernel {
            true => layer.by_kernel(&gates, &state, case.lengths).unwrap(),
            false => layer.step_by_step(gates.clone(), state, case.lengths),
        };
        let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        let mut found = values(outputs.clone().flatten::<2>(0, 1));
        found.extend([end.hidden.clone(), end.cell.clone()].into_iter().flat_map(values));
        let sum = (outputs.clone() * outputs).sum() + end.hidden.sum() + end.cell.powi_scalar(3).sum();
        let gradients = sum.backward();
        found.extend(values(gates.grad(&gradients).unwrap().flatten::<2>(0, 1)));
        let wanted = [Some(recurrent), case.projects.then_some(projection), Some(hidden), Some(cell)];
        found.extend(wanted.into_iter().flatten().flat_map(|tensor| values(tensor.grad(&gradients).unwrap())));
        found
    }

    fn made(batch: usize, output: usize, cell: usize) -> (Tensor<3>, [Tensor<2>; 4]) {
        let device = Device::flex().autodiff();
        device.seed(3);
        let normal = Distribution::Normal(0.0, 0.8);
        let matrix = |rows, columns| Tensor::<2>::random([rows, columns], normal, &device);
        let gates = Tensor::<3>::random([batch, 6, 4 * cell], normal, &device);
        (gates, [matrix(output, 4 * cell), matrix(cell, output), matrix(batch, output), matrix(batch, cell)])
    }

    fn assert_alike(case: &Case, made: &(Tensor<3>, [Tensor<2>; 4])) {
        let (plain, kernel) = (numbers(case, made, false), numbers(case, made, true));
        assert_eq!(plain.len(), kernel.len());
        let off = |(a, b): (&f32, &f32)| (a - b).abs() / a.abs().max(1.0);
        let worst = plain.iter().zip(&kernel).map(off).fold(0.0, f32::max);
        let Case { clips, projects, reversed, lengths } = case;
        // Sums of products of numbers below 3, of 24 or of a row and a step each, in another order.
        assert!(worst < 2e-5, "{clips:?}, projects {projects}, reversed {reversed}, {lengths:?}: {worst:e}");
    }

    /// Most devices have a kernel that runs the steps; where there is none, tensor operations do, and this is where they are tested.
    #[test]
    fn tensor_operations_and_the_kernel_give_the_same() {
        let (projected, plain) = (made(4, 5, 7), made(4, 7, 7));
        for (clips, lengths) in
            [(CLIPS, None), (FREE, None), (CLIPS, Some(&[6, 1, 0, 4][..])), (FREE, Some(&[3, 2, 3, 1]))]
        {
            for (projects, reversed) in [(true, false), (true, true), (false, false), (false, true)] {
                let case = Case { clips, projects, reversed, lengths };
                assert_alike(&case, if projects { &projected } else { &plain });
            }
        }
    }

    /// So many rows that threads share them out: each has to find its own state, lengths and gradients.
    #[test]
    fn rows_that_are_shared_out_are_the_same() {
        const LENGTHS: [usize; 37] = {
            let mut lengths = [0; 37];
            let mut row = 0;
            while row < 37 {
                lengths[row] = row * 5 % 7;
                row += 1;
            }
            lengths
        };
        for reversed in [false, true] {
            let case = Case { clips: FREE, projects: true, reversed, lengths: Some(&LENGTHS) };
            assert_alike(&case, &made(37, 5, 7));
            assert_alike(&Case { projects: false, ..case }, &made(37, 7, 7));
        }
    }

    /// Where nothing needs a gradient nothing is kept, and the numbers are those of training.
    #[test]
    fn without_gradients_the_outputs_are_the_same() {
        let (gates, [recurrent, projection, hidden, cell]) = made(4, 5, 7);
        let lengths: Option<&[usize]> = Some(&[6, 1, 0, 4]);
        let run = |tracked: bool, plain: bool, reversed: bool| {
            let gates = if tracked { gates.clone().require_grad() } else { gates.clone() };
            let on = |tensor: &Tensor<2>| if plain { tensor.clone().inner() } else { tensor.clone() };
            let gates = if plain { gates.inner() } else { gates };
            let layer =
                Recurrence { recurrent: on(&recurrent), projection: Some(on(&projection)), clips: CLIPS, reversed };
            let start = LstmState { hidden: on(&hidden), cell: on(&cell) };
            let (outputs, end) = layer.by_kernel(&gates, &start, lengths).unwrap();
            let outputs = outputs.into_data().iter::<f32>().collect::<Vec<_>>();
            let state = [end.hidden, end.cell].map(|tensor| tensor.into_data().iter::<f32>().collect::<Vec<_>>());
            (outputs, state)
        };
        for reversed in [false, true] {
            let tracked = run(true, false, reversed);
            assert_eq!(tracked, run(false, false, reversed));
            assert_eq!(tracked, run(false, true, reversed));
        }
    }
}
