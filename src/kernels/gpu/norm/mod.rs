//! Layer normalisation (arXiv 1607.06450) of `x`, or of `x + dropout(y)`, in one pass forward and three kernels backward.

mod rows;

use burn::backend::Cube;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use self::rows::{SLICE, differentiate_rows, normalise_rows, sum_of_slices, sum_rows_of_slices};

use super::dropout::NOTHING;
use super::launch::{Lazy, cubes, element, queue};
use super::rows::{LANES, ROWS, grid};
use crate::kernels::Mask;
use crate::kernels::operation::{Operation, operate};

/// See [`crate::kernels::norm`].
pub fn norm<const D: usize>(x: &Tensor<D>, [gamma, beta]: [&Tensor<1>; 2], epsilon: f64) -> Option<Tensor<D>> {
    is_f32(&[x.dtype(), gamma.dtype(), beta.dtype()])?;
    let inputs = [x.clone().into_dispatch(), gamma.clone().into_dispatch(), beta.clone().into_dispatch()];
    operate(Norm { epsilon: epsilon as f32 }, inputs)
}

/// See [`crate::kernels::add_norm`].
pub fn add_norm<const D: usize>(
    [x, y]: [&Tensor<D>; 2],
    mask: Option<Mask>,
    [gamma, beta]: [&Tensor<1>; 2],
    epsilon: f64,
) -> Option<Tensor<D>> {
    is_f32(&[x.dtype(), gamma.dtype(), beta.dtype()])?;
    let [x, y] = [x, y].map(|term| term.clone().into_dispatch());
    operate(
        AddNorm { mask, epsilon: epsilon as f32 },
        [x, y, gamma.clone().into_dispatch(), beta.clone().into_dispatch()],
    )
}

/// `y` may have any type.
fn is_f32(types: &[DType]) -> Option<()> {
    types.iter().all(|dtype| *dtype == DType::F32).then_some(())
}

/// What the backward pass reads: what was normalised, of each row the mean and the inverse deviation `[rows, 2]`, and
/// gamma `[width]`.
type Kept = [Lazy; 3];

#[derive(Debug, Clone)]
struct Norm {
    epsilon: f32,
}

impl Operation<Cube> for Norm {
    type Kept = Kept;

    fn forward(&self, inputs: Vec<Lazy>, _: bool) -> (Lazy, Kept) {
        let [x, gamma, beta] = inputs.try_into().expect("three inputs");
        let epsilon = self.epsilon;
        let (shape, stats) = shapes(&x);
        let [out, stats] = queue(
            "kiln::norm",
            [x.clone(), gamma.clone(), beta],
            [shape, stats],
            move |[x, gamma, beta], [out, stats]| {
                normalise(x, None, [gamma, beta], [out, stats], epsilon);
            },
        );
        (out, [x, stats, gamma])
    }

    fn backward(&self, kept: &Kept, gradient: Lazy, wanted: &[bool]) -> Vec<Option<Lazy>> {
        let x = wanted[0].then(|| to_input(kept, gradient.clone()));
        let [gamma, beta] = to_parameters(kept, gradient, wanted[1] || wanted[2]);
        vec![x, gamma, beta]
    }
}

#[derive(Debug, Clone)]
struct AddNorm {
    mask: Option<Mask>,
    epsilon: f32,
}

impl Operation<Cube> for AddNorm {
    /// And the type of `y`.
    type Kept = (Kept, DType);

    fn forward(&self, inputs: Vec<Lazy>, _: bool) -> (Lazy, Self::Kept) {
        let [x, y, gamma, beta] = inputs.try_into().expect("four inputs");
        let Self { mask, epsilon } = *self;
        let ((shape, stats), dtype) = (shapes(&x), y.dtype);
        let [out, sum, stats] = queue(
            "kiln::add_norm",
            [x, y, gamma.clone(), beta],
            [shape.clone(), shape, stats],
            move |[x, y, gamma, beta], [out, sum, stats]| {
                normalise(x, Some((y, sum, mask)), [gamma, beta], [out, stats], epsilon);
            },
        );
        (out, ([sum, stats, gamma], dtype))
    }

    fn backward(&self, (kept, dtype): &Self::Kept, gradient: Lazy, wanted: &[bool]) -> Vec<Option<Lazy>> {
        let mask = self.mask;
        let (x, y) = match mask {
            None if *dtype == DType::F32 => {
                let x = to_input(kept, gradient.clone());
                (x.clone(), x)
            }
            _ => {
                let [sum, stats, gamma] = kept.clone();
                let outputs = [(sum.shape.clone(), DType::F32), (sum.shape.clone(), *dtype)];
                let inputs = [gradient.clone(), sum, stats, gamma];
                let [x, y] = queue("kiln::add_norm_backward", inputs, outputs, move |inputs, [x, y]| {
                    differentiate(inputs, x, Some((y, mask)));
                });
                (x, y)
            }
        };
        let [gamma, beta] = to_parameters(kept, gradient, wanted[2] || wanted[3]);
        vec![Some(x), Some(y), gamma, beta]
    }
}

/// Of the output, and of the rows' means and inverse deviations.
fn shapes(x: &Lazy) -> ((Shape, DType), (Shape, DType)) {
    let [rows, _] = rows_of(&x.shape);
    ((x.shape.clone(), DType::F32), (Shape::from([rows, 2]), DType::F32))
}

/// Rows, and their width.
fn rows_of(shape: &Shape) -> [usize; 2] {
    let width = shape.last().copied().unwrap_or(1);
    [shape.num_elements() / width.max(1), width]
}

/// The gradient of what was normalised.
fn to_input([input, stats, gamma]: &Kept, gradient: Lazy) -> Lazy {
    let output = (input.shape.clone(), DType::F32);
    let inputs = [gradient, input.clone(), stats.clone(), gamma.clone()];
    let [x] = queue("kiln::norm_backward", inputs, [output], |inputs, [x]| differentiate(inputs, x, None));
    x
}

/// The gradients of gamma and beta.
fn to_parameters([input, stats, gamma]: &Kept, gradient: Lazy, is_wanted: bool) -> [Option<Lazy>; 2] {
    if !is_wanted {
        return [None, None];
    }
    let [rows, width] = rows_of(&input.shape);
    let sums = (Shape::from([rows.div_ceil(SLICE), 2, width]), DType::F32);
    let inputs = [gradient, input.clone(), stats.clone()];
    let [sums] = queue("kiln::norm_slices", inputs, [sums], |inputs, [sums]| slices(inputs, sums));
    let output = (gamma.shape.clone(), DType::F32);
    let [gamma, beta] = queue("kiln::norm_parameters", [sums], [output.clone(), output], |[sums], outputs| {
        sum_slices(sums, outputs);
    });
    [Some(gamma), Some(beta)]
}

type Added = (CubeTensor, CubeTensor, Option<Mask>);

/// `y`, the place of the sum and the mask are there where something is added.
fn normalise(
    x: CubeTensor,
    added: Option<Added>,
    [gamma, beta]: [CubeTensor; 2],
    [out, stats]: [CubeTensor; 2],
    epsilon: f32,
) {
    let [rows, width] = rows_of(x.meta.shape());
    let (y, sum, mask) = match added {
        Some((y, sum, mask)) => (Some(y), Some(sum), mask),
        None => (None, None, None),
    };
    let types = y.as_ref().map_or(element(&x), element);
    let Mask { seed, threshold, scale } = mask.unwrap_or(NOTHING);
    let client = x.client.clone();
    let (count, units) = grid(rows);
    unsafe {
        normalise_rows::launch_unchecked(
            &client,
            count,
            units,
            x.into_buffer_arg(),
            y.map(CubeTensor::into_buffer_arg).into(),
            gamma.into_buffer_arg(),
            beta.into_buffer_arg(),
            out.into_buffer_arg(),
            sum.map(CubeTensor::into_buffer_arg).into(),
            stats.into_buffer_arg(),
            width,
            epsilon,
            seed[0],
            seed[1],
            threshold,
            scale,
            types,
        );
    }
}

fn differentiate(
    [gradient, input, stats, gamma]: [CubeTensor; 4],
    x: CubeTensor,
    added: Option<(CubeTensor, Option<Mask>)>,
) {
    let [rows, width] = rows_of(input.meta.shape());
    let (y, mask) = match added {
        Some((y, mask)) => (Some(y), mask),
        None => (None, None),
    };
    let types = [element(&gradient), y.as_ref().map_or(element(&x), element)];
    let Mask { seed, threshold, scale } = mask.unwrap_or(NOTHING);
    let client = input.client.clone();
    let (count, units) = grid(rows);
    unsafe {
        differentiate_rows::launch_unchecked(
            &client,
            count,
            units,
            gradient.into_buffer_arg(),
            input.into_buffer_arg(),
            stats.into_buffer_arg(),
            gamma.into_buffer_arg(),
            x.into_buffer_arg(),
            y.map(CubeTensor::into_buffer_arg).into(),
            width,
            seed[0],
            seed[1],
            threshold,
            scale,
            types,
        );
    }
}

fn slices([gradient, input, stats]: [CubeTensor; 3], sums: CubeTensor) {
    let [rows, width] = rows_of(input.meta.shape());
    let (client, types) = (input.client.clone(), element(&gradient));
    unsafe {
        sum_rows_of_slices::launch_unchecked(
            &client,
            CubeCount::Static(width.div_ceil(LANES) as u32, rows.div_ceil(SLICE) as u32, 1),
            CubeDim::new_2d(LANES as u32, ROWS as u32),
            gradient.into_buffer_arg(),
            input.into_buffer_arg(),
            stats.into_buffer_arg(),
            sums.into_buffer_arg(),
            rows,
            width,
            types,
        );
    }
}

fn sum_slices(sums: CubeTensor, [gamma, beta]: [CubeTensor; 2]) {
    let (slices, width) = (sums.meta.shape()[0], sums.meta.shape()[2]);
    let client = sums.client.clone();
    unsafe {
        sum_of_slices::launch_unchecked(
            &client,
            cubes(width.div_ceil(LANES)),
            CubeDim::new_1d(LANES as u32),
            sums.into_buffer_arg(),
            gamma.into_buffer_arg(),
            beta.into_buffer_arg(),
            slices,
            width,
        );
    }
}
