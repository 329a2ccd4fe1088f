//! All steps of a GRU as one operation, as [`super::lstm`] is for the LSTM: a step is two matrix products and two kernels each way.

mod backward;
mod forward;

use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape, Tensor};

use super::launch::{Lazy, queue};
use super::steps::ends;
use crate::kernels::operation::{Operation, operate};

/// See [`crate::kernels::gru`].
pub fn gru(gates: &Tensor<3>, recurrent: &Tensor<2>, lengths: &[usize], reversed: bool) -> Option<Tensor<3>> {
    let ([batch, steps, _], [hidden, _]) = (gates.dims(), recurrent.dims());
    if gates.dtype() != DType::F32 || batch * steps == 0 {
        return None;
    }
    let ends = ends(Some(lengths), [batch, steps], &gates.device())?;
    let gru = Gru { layer: Layer { batch, steps, hidden, reversed }, ends };
    operate(gru, [gates.clone().into_dispatch(), recurrent.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct Gru {
    layer: Layer,
    /// `[batch]`
    ends: Lazy,
}

/// What the launches have to know.
#[derive(Debug, Clone, Copy)]
struct Layer {
    batch: usize,
    steps: usize,
    hidden: usize,
    reversed: bool,
}

/// What the forward pass leaves.
#[derive(Debug)]
struct Pass {
    /// See [`split`].
    weights: [Lazy; 2],
    /// Where a row has not ended: update gate, reset gate, candidate, and the state before the step, `[batch, steps, 4 * hidden]`.
    kept: Option<Lazy>,
}

/// The weights of the gates, `[hidden, 2 * hidden]`, and of the candidate, `[hidden, hidden]`.
fn split(recurrent: Lazy, hidden: usize) -> [Lazy; 2] {
    let numbers = Cube::float_reshape(recurrent, [3 * hidden * hidden].into());
    let middle = 2 * hidden * hidden;
    let part = |from: usize, to: usize| Cube::float_slice(numbers.clone(), &[(from..to).into()]);
    let (of_gates, of_candidate) = (part(0, middle), part(middle, 3 * hidden * hidden));
    [
        Cube::float_reshape(of_gates, [hidden, 2 * hidden].into()),
        Cube::float_reshape(of_candidate, [hidden, hidden].into()),
    ]
}

impl Operation<Cube> for Gru {
    type Kept = Pass;

    fn forward(&self, inputs: Vec<Lazy>, keep: bool) -> (Lazy, Pass) {
        let [gates, recurrent]: [Lazy; 2] = inputs.try_into().expect("two inputs");
        let layer @ Layer { batch, steps, hidden, .. } = self.layer;
        let weights = split(recurrent, hidden);
        let [of_gates, of_candidate] = weights.clone();
        let inputs = [gates, of_gates, of_candidate, self.ends.clone()];
        let output = (Shape::from([batch, steps, hidden]), DType::F32);
        if !keep {
            let [output] = queue("kiln::gru", inputs, [output], move |inputs, [output]| {
                layer.forward(inputs, output, None);
            });
            return (output, Pass { weights, kept: None });
        }
        let kept = (Shape::from([batch, steps, 4 * hidden]), DType::F32);
        let [output, kept] = queue("kiln::gru_kept", inputs, [output, kept], move |inputs, [output, kept]| {
            layer.forward(inputs, output, Some(kept));
        });
        (output, Pass { weights, kept: Some(kept) })
    }

    fn backward(&self, pass: &Pass, gradient: Lazy, wanted: &[bool]) -> Vec<Option<Lazy>> {
        let layer @ Layer { batch, steps, hidden, .. } = self.layer;
        let kept = pass.kept.clone().expect("a tracked operation keeps it");
        let [of_gates, of_candidate] = pass.weights.clone();
        let dtype = of_gates.dtype;
        let gradient = Cube::float_cast(gradient, FloatDType::F32);
        let gates = (Shape::from([batch, steps, 3 * hidden]), DType::F32);
        let inputs = [gradient, of_gates, of_candidate, kept.clone(), self.ends.clone()];
        let [gates] =
            queue("kiln::gru_backward", inputs, [gates], move |inputs, [gates]| layer.backward(inputs, gates));
        let recurrent = wanted[1].then(|| {
            let factor = (Shape::from([batch * steps, hidden]), dtype);
            let outputs = [factor.clone(), factor];
            let [before, left] =
                queue("kiln::gru_factors", [kept, self.ends.clone()], outputs, move |inputs, outputs| {
                    layer.factors(inputs, outputs);
                });
            let all = Cube::float_reshape(gates.clone(), [batch * steps, 3 * hidden].into());
            let all = Cube::float_cast(all, dtype.into());
            let all_steps = |factor: Lazy, from: usize, to: usize| {
                let part = Cube::float_slice(all.clone(), &[(0..batch * steps).into(), (from..to).into()]);
                let sum = Cube::float_matmul(Cube::float_transpose(factor), part);
                Cube::float_reshape(sum, [hidden * (to - from)].into())
            };
            let parts = vec![all_steps(before, 0, 2 * hidden), all_steps(left, 2 * hidden, 3 * hidden)];
            Cube::float_reshape(Cube::float_cat(parts, 0), [hidden, 3 * hidden].into())
        });
        vec![wanted[0].then_some(gates), recurrent]
    }
}
