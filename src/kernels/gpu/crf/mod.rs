//! The forward algorithm of a linear-chain CRF as one kernel, a row a cube, and its gradient as three: back through the steps, each row's sums
//! for the transitions, and the sums over the rows.

mod paths;

use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use self::paths::{UNITS, WIDEST, sum_paths, sum_rows, sum_steps, through_paths};
use super::launch::{Lazy, cubes, element, empty, queue, units};
use super::steps::ends;
use crate::kernels::operation::{Operation, operate};

/// See [`crate::kernels::log_sum_of_paths`].
pub fn log_sum_of_paths(transitions: &Tensor<2>, emissions: &Tensor<3>, lengths: &[usize]) -> Option<Tensor<1>> {
    let [batch, steps, labels] = emissions.dims();
    let is_f32 = transitions.dtype() == DType::F32 && emissions.dtype() == DType::F32;
    if !is_f32 || batch * steps == 0 || labels > WIDEST {
        return None;
    }
    // A row of length 0 counts as one of length 1.
    let lengths: Vec<usize> = lengths.iter().map(|&length| length.max(1)).collect();
    let ends = ends(Some(&lengths), [batch, steps], &emissions.device())?;
    let paths = Paths { rows: Rows { batch, steps, labels }, ends };
    operate(paths, [transitions.clone().into_dispatch(), emissions.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct Paths {
    rows: Rows,
    /// `[batch]`
    ends: Lazy,
}

/// What the launches have to know.
#[derive(Debug, Clone, Copy)]
struct Rows {
    batch: usize,
    steps: usize,
    labels: usize,
}

impl Operation<Cube> for Paths {
    /// Transitions, emissions, and the logarithms of the sums of the paths up to each label, without what that emits,
    /// `[batch, steps, labels]`; then the output.
    type Kept = [Lazy; 4];

    fn forward(&self, inputs: Vec<Lazy>, _: bool) -> (Lazy, Self::Kept) {
        let [transitions, emissions]: [Lazy; 2] = inputs.try_into().expect("two inputs");
        let rows = self.rows;
        let outputs = [(emissions.shape.clone(), DType::F32), (Shape::from([rows.batch]), DType::F32)];
        let inputs = [transitions.clone(), emissions.clone(), self.ends.clone()];
        let [sums, output] =
            queue("kiln::paths", inputs, outputs, move |inputs, outputs| rows.forward(inputs, outputs));
        (output.clone(), [transitions, emissions, sums, output])
    }

    fn backward(&self, kept: &Self::Kept, gradient: Lazy, wanted: &[bool]) -> Vec<Option<Lazy>> {
        let [transitions, emissions, sums, output] = kept.clone();
        let rows = self.rows;
        let gradient = Cube::float_cast(gradient, FloatDType::F32);
        let like = (emissions.shape.clone(), DType::F32);
        let inputs = [transitions.clone(), emissions.clone(), sums.clone(), output, gradient, self.ends.clone()];
        let [of_emissions] = queue("kiln::paths_backward", inputs, [like], move |inputs, [of_emissions]| {
            rows.backward(inputs, of_emissions);
        });
        let of_transitions = wanted[0].then(|| {
            let like = (transitions.shape.clone(), DType::F32);
            let inputs = [transitions, emissions, sums, of_emissions.clone(), self.ends.clone()];
            let [found] = queue("kiln::transitions_gradient", inputs, [like], move |inputs, [found]| {
                rows.sum(inputs, found);
            });
            found
        });
        vec![of_transitions, wanted[1].then_some(of_emissions)]
    }
}

impl Rows {
    fn forward(&self, [transitions, emissions, ends]: [CubeTensor; 3], [sums, output]: [CubeTensor; 2]) {
        let (client, types) = (emissions.client.clone(), element(&ends));
        unsafe {
            sum_paths::launch_unchecked(
                &client,
                cubes(self.batch),
                CubeDim::new_1d(UNITS as u32),
                transitions.into_buffer_arg(),
                emissions.into_buffer_arg(),
                ends.into_buffer_arg(),
                sums.into_buffer_arg(),
                output.into_buffer_arg(),
                self.steps,
                self.labels,
                types,
            );
        }
    }

    fn backward(
        &self,
        [transitions, emissions, sums, output, gradient, ends]: [CubeTensor; 6],
        of_emissions: CubeTensor,
    ) {
        let (client, types) = (emissions.client.clone(), element(&ends));
        unsafe {
            through_paths::launch_unchecked(
                &client,
                cubes(self.batch),
                CubeDim::new_1d(UNITS as u32),
                transitions.into_buffer_arg(),
                emissions.into_buffer_arg(),
                sums.into_buffer_arg(),
                output.into_buffer_arg(),
                gradient.into_buffer_arg(),
                ends.into_buffer_arg(),
                of_emissions.into_buffer_arg(),
                self.steps,
                self.labels,
                types,
            );
        }
    }

    /// Fills the gradient of the transitions.
    fn sum(&self, [transitions, emissions, sums, of_emissions, ends]: [CubeTensor; 5], out: CubeTensor) {
        let (client, types) = (emissions.client.clone(), element(&ends));
        let size = out.meta.num_elements();
        let of_rows = empty(&out, [self.batch, size].into(), DType::F32);
        let (of_steps, each) = (units(self.batch * size), units(size));
        unsafe {
            sum_steps::launch_unchecked(
                &client,
                of_steps.0,
                of_steps.1,
                transitions.into_buffer_arg(),
                emissions.into_buffer_arg(),
                sums.into_buffer_arg(),
                of_emissions.into_buffer_arg(),
                ends.into_buffer_arg(),
                of_rows.clone().into_buffer_arg(),
                self.steps,
                self.labels,
                types,
            );
            sum_rows::launch_unchecked(
                &client,
                each.0,
                each.1,
                of_rows.into_buffer_arg(),
                out.into_buffer_arg(),
                self.batch,
            );
        }
    }
}
