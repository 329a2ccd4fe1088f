//! All steps of an LSTM as one operation: a step is one matrix product and one kernel each way, two of each where the output is projected.
//! The weights' gradients are one product over all steps.

mod backward;
mod forward;

use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape, Tensor};

use super::launch::{Lazy, queue};
use super::steps::ends;
use crate::kernels::LstmInput;
use crate::kernels::operation::{Operation, operate};

/// See [`crate::kernels::lstm`].
pub fn lstm(
    input: &LstmInput,
    clips: [Option<f64>; 2],
    lengths: Option<&[usize]>,
    reversed: bool,
) -> Option<(Tensor<3>, Tensor<2>, Tensor<2>)> {
    let &LstmInput { gates, recurrent, projection, hidden, cell } = input;
    let [batch, steps, _] = gates.dims();
    let [cell_limit, output_limit] = clips.map(|clip| clip.map_or(f32::MAX, |limit| limit as f32));
    let is_f32 = [gates.dtype(), hidden.dtype(), cell.dtype()].iter().all(|dtype| *dtype == DType::F32);
    let is_alike = projection.is_none_or(|projection| projection.dtype() == recurrent.dtype());
    if !is_f32 || !is_alike || batch * steps == 0 {
        return None;
    }
    let layer = Layer {
        batch,
        steps,
        cell: cell.dims()[1],
        output: hidden.dims()[1],
        projects: projection.is_some(),
        cell_limit,
        output_limit,
        reversed,
    };
    let lstm = Lstm { layer, ends: ends(lengths, [batch, steps], &gates.device())? };
    let gates = gates.clone().into_dispatch();
    let [recurrent, first_hidden, first_cell] = [recurrent, hidden, cell].map(|matrix| matrix.clone().into_dispatch());
    let all: Tensor<1> = match projection.map(|projection| projection.clone().into_dispatch()) {
        Some(projection) => operate(lstm, [gates, recurrent, first_hidden, first_cell, projection]),
        None => operate(lstm, [gates, recurrent, first_hidden, first_cell]),
    }?;
    let part = |from: usize, size: usize| all.clone().narrow(0, from, size);
    let outputs = part(0, layer.hidden_at()).reshape([batch, steps, layer.output]);
    let hidden = part(layer.hidden_at(), batch * layer.output).reshape([batch, layer.output]);
    Some((outputs, hidden, part(layer.cell_at(), batch * layer.cell).reshape([batch, layer.cell])))
}

#[derive(Debug, Clone)]
struct Lstm {
    layer: Layer,
    /// `[batch]`
    ends: Lazy,
}

/// What the launches have to know.
#[derive(Debug, Clone, Copy)]
struct Layer {
    batch: usize,
    steps: usize,
    /// Widths.
    cell: usize,
    output: usize,
    projects: bool,
    cell_limit: f32,
    output_limit: f32,
    reversed: bool,
}

/// What the forward pass leaves.
#[derive(Debug)]
struct Pass {
    recurrent: Lazy,
    projection: Option<Lazy>,
    first_hidden: Lazy,
    /// Outputs `[batch, steps, output]`, then the state after the last step, `[batch, output]` and `[batch, cell]`: one tensor, so that
    /// one operation has their gradients.
    all: Lazy,
    /// Where a row has not ended: candidate, input gate, forget gate, output gate, and the cell before the step,
    /// `[batch, steps, 5 * cell]`.
    kept: Option<Lazy>,
}

impl Layer {
    /// Where the state begins in [`Pass::all`].
    fn hidden_at(&self) -> usize {
        self.batch * self.steps * self.output
    }

    fn cell_at(&self) -> usize {
        self.hidden_at() + self.batch * self.output
    }

    fn all(&self) -> Shape {
        [self.cell_at() + self.batch * self.cell].into()
    }
}

impl Operation<Cube> for Lstm {
    type Kept = Pass;

    fn forward(&self, mut inputs: Vec<Lazy>, keep: bool) -> (Lazy, Pass) {
        let projection = inputs.get(4).cloned();
        inputs.truncate(4);
        let [gates, recurrent, first_hidden, first_cell]: [Lazy; 4] = inputs.try_into().expect("four inputs");
        let layer = self.layer;
        // Without a projection its place is taken by what is not read there.
        let second = projection.clone().unwrap_or_else(|| recurrent.clone());
        let inputs = [gates, recurrent.clone(), second, first_hidden.clone(), first_cell, self.ends.clone()];
        let all = (layer.all(), DType::F32);
        let (all, kept) = if keep {
            let kept = (Shape::from([layer.batch, layer.steps, 5 * layer.cell]), DType::F32);
            let [all, kept] = queue("kiln::lstm_kept", inputs, [all, kept], move |inputs, [all, kept]| {
                layer.forward(inputs, all, Some(kept));
            });
            (all, Some(kept))
        } else {
            let [all] = queue("kiln::lstm", inputs, [all], move |inputs, [all]| layer.forward(inputs, all, None));
            (all, None)
        };
        (all.clone(), Pass { recurrent, projection, first_hidden, all, kept })
    }

    fn backward(&self, pass: &Pass, gradient: Lazy, wanted: &[bool]) -> Vec<Option<Lazy>> {
        let layer @ Layer { batch, steps, cell, output, .. } = self.layer;
        let kept = pass.kept.clone().expect("a tracked operation keeps it");
        let (recurrent, projection) = (pass.recurrent.clone(), pass.projection.clone());
        let second = projection.clone().unwrap_or_else(|| recurrent.clone());
        let gradient = Cube::float_cast(gradient, FloatDType::F32);
        let inputs = [gradient, recurrent.clone(), second, pass.all.clone(), kept.clone(), self.ends.clone()];
        let outputs = [vec![batch, steps, 4 * cell], vec![batch * (output + cell)], layer.projected()];
        let outputs = outputs.map(|shape| (Shape::from(shape), DType::F32));
        let [gates, state, projected] =
            queue("kiln::lstm_backward", inputs, outputs, move |inputs, outputs| layer.backward(inputs, outputs));

        let (rows, dtype) = (batch * steps, recurrent.dtype);
        let all_steps = |factor: Lazy, x: Lazy, width: usize| {
            let x = Cube::float_cast(Cube::float_reshape(x, [rows, width].into()), dtype.into());
            Cube::float_matmul(Cube::float_transpose(factor), x)
        };
        let of_recurrent = wanted[1].then(|| {
            let inputs = [pass.all.clone(), pass.first_hidden.clone(), self.ends.clone()];
            let before = (Shape::from([rows, output]), dtype);
            let [before] =
                queue("kiln::lstm_before", inputs, [before], move |inputs, [before]| layer.before(inputs, before));
            all_steps(before, gates.clone(), 4 * cell)
        });
        let of_projection = wanted.get(4).is_some_and(|wanted| *wanted).then(|| {
            let inner = (Shape::from([rows, cell]), dtype);
            let [inner] = queue("kiln::lstm_inner", [kept, self.ends.clone()], [inner], move |inputs, [inner]| {
                layer.inner(inputs, inner);
            });
            all_steps(inner, projected, output)
        });
        let part = |from: usize, width: usize| {
            let part = Cube::float_slice(state.clone(), &[(from..from + batch * width).into()]);
            Cube::float_reshape(part, [batch, width].into())
        };
        let first_hidden = wanted[2].then(|| part(0, output));
        let first_cell = wanted[3].then(|| part(batch * output, cell));
        vec![wanted[0].then_some(gates), of_recurrent, first_hidden, first_cell, of_projection]
    }
}
