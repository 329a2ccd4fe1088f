//! All steps of a GRU as one operation, forward and backward, as [`super::lstm`] is for the LSTM.

mod rows;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use rayon::prelude::*;

use self::rows::{Back, Forth};
use super::matrix::{Factor, Matrix, Packed, Threads, multiply};
use super::operation::{Operation, operate};
use super::sequence::{Sequences, Share};
use super::{tensor, values};

/// See [`crate::kernels::gru`].
pub fn gru(gates: &Tensor<3>, recurrent: &Tensor<2>, lengths: &[usize], reversed: bool) -> Option<Tensor<3>> {
    let ([batch, steps, _], [hidden, _]) = (gates.dims(), recurrent.dims());
    let gru = Gru { hidden, sequences: Sequences { batch, steps, lengths: Some(lengths.to_vec()), reversed } };
    operate(gru, [gates.clone().into_dispatch(), recurrent.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct Gru {
    hidden: usize,
    sequences: Sequences,
}

/// What the forward pass leaves.
#[derive(Debug)]
struct Pass {
    recurrent: FlexTensor,
    /// The gates after their functions, `[batch, steps, 3 * hidden]`: update, reset, candidate.
    gates: Vec<f32>,
    /// What the reset gate leaves of the state, `[batch, steps, hidden]`.
    reset: Vec<f32>,
    /// `[batch, steps, hidden]`
    output: FlexTensor,
}

/// The weights as the steps' products read them: forward, or turned round for the way back.
struct Weights {
    /// `[hidden, 2 * hidden]`, or the other way round.
    of_gates: Packed,
    /// `[hidden, hidden]`, or the other way round.
    of_candidate: Packed,
}

impl Gru {
    fn share(&self) -> Share {
        Share::new(self.sequences.batch, 3 * self.hidden * self.hidden)
    }

    fn weights(&self, recurrent: &FlexTensor, turned: bool) -> Weights {
        let hidden = self.hidden;
        let (of_gates, of_candidate) = values(recurrent).split_at(2 * hidden * hidden);
        let of_gates = Packed::whole(of_gates, hidden, 2 * hidden, turned);
        Weights { of_gates, of_candidate: Packed::whole(of_candidate, hidden, hidden, turned) }
    }
}

impl Operation for Gru {
    type Kept = Pass;

    fn forward(&self, mut inputs: Vec<FlexTensor>, keep: bool) -> (FlexTensor, Pass) {
        let Self { hidden, sequences: Sequences { batch, steps, .. } } = *self;
        let recurrent = inputs.remove(1);
        let (inputs, rows, weights) = (values(&inputs[0]), self.share().rows, self.weights(&recurrent, false));
        let kept = if keep { steps.max(1) } else { 1 };
        let mut gates = vec![0.0; batch * kept * 3 * hidden];
        let mut reset = vec![0.0; batch * kept * hidden];
        let mut output = vec![0.0; batch * steps * hidden];
        let parts = gates.par_chunks_mut(rows * kept * 3 * hidden).zip(reset.par_chunks_mut(rows * kept * hidden));
        let parts = parts.zip(output.par_chunks_mut(rows * steps.max(1) * hidden)).enumerate();
        parts.for_each(|(number, ((gates, reset), output))| {
            let state = vec![0.0; reset.len() / kept];
            let (weights, first) = (&weights, number * rows);
            Forth { gru: self, inputs, weights, first, kept, state, gates, reset, output }.run();
        });
        let output = tensor(output, [batch, steps, hidden]);
        (output.clone(), Pass { recurrent, gates, reset, output })
    }

    fn backward(&self, pass: &Pass, gradient: &FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let Self { hidden, sequences: Sequences { batch, steps, .. } } = *self;
        let (rows, turned) = (self.share().rows, self.weights(&pass.recurrent, true));
        let gradient = values(gradient);
        let mut gates = vec![0.0; batch * steps * 3 * hidden];
        gates.par_chunks_mut((rows * steps * 3 * hidden).max(1)).enumerate().for_each(|(number, gates)| {
            let [flowing, reset] = [(); 2].map(|()| vec![0.0; gates.len() / (steps * 3)]);
            let (weights, first) = (&turned, number * rows);
            Back { gru: self, pass, weights, first, gradient, flowing, reset, gates }.run();
        });
        let recurrent = wanted[1].then(|| {
            let zeros = vec![0.0; batch * hidden];
            let before = self.sequences.befores(values(&pass.output), steps * hidden, &zeros, hidden);
            let mut out = vec![0.0; 3 * hidden * hidden];
            let (of_gates, of_candidate) = out.split_at_mut(2 * hidden * hidden);
            let all = batch * steps;
            for (out, left, offset, columns) in
                [(of_gates, &before, 0, 2 * hidden), (of_candidate, &pass.reset, 2 * hidden, hidden)]
            {
                let left = Factor::new(left, Matrix::whole(all, hidden)).transposed();
                let right = Factor::new(&gates, Matrix { offset, rows: all, columns, stride: 3 * hidden });
                multiply(out, Matrix::whole(hidden, columns), false, left, right, Threads::Many);
            }
            tensor(out, [hidden, 3 * hidden])
        });
        vec![Some(tensor(gates, [batch, steps, 3 * hidden])), recurrent]
    }
}
