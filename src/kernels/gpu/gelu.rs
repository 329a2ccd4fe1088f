//! GELU, forward and backward from its input.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::backend::Cube;
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Lazy, element, queue, units};
use crate::kernels::operation::{Operation, operate};

/// 1 / sqrt(2 pi)
const DENSITY: f32 = 0.398_942_3;

/// See [`crate::kernels::gelu`].
pub fn gelu<const D: usize>(x: &Tensor<D>) -> Option<Tensor<D>> {
    operate(Gelu, [x.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct Gelu;

impl Operation<Cube> for Gelu {
    /// The input.
    type Kept = Lazy;

    fn forward(&self, mut inputs: Vec<Lazy>, _: bool) -> (Lazy, Lazy) {
        let x = inputs.remove(0);
        let output = (x.shape.clone(), x.dtype);
        let [y] = queue("kiln::gelu", [x.clone()], [output], |[x], [y]| launch(x, None, y));
        (y, x)
    }

    fn backward(&self, x: &Lazy, gradient: Lazy, _: &[bool]) -> Vec<Option<Lazy>> {
        let output = (x.shape.clone(), x.dtype);
        let inputs = [x.clone(), gradient];
        let [of_x] = queue("kiln::gelu_backward", inputs, [output], |[x, gradient], [y]| launch(x, Some(gradient), y));
        vec![Some(of_x)]
    }
}

/// The function of `x`, or with a gradient, what it becomes on the way back.
fn launch(x: CubeTensor, gradient: Option<CubeTensor>, y: CubeTensor) {
    let client = x.client.clone();
    let (count, units) = units(x.meta.num_elements());
    let types = [element(&x), gradient.as_ref().map_or(element(&x), element)];
    unsafe {
        gelu_kernel::launch_unchecked(
            &client,
            count,
            units,
            x.into_buffer_arg(),
            gradient.map(CubeTensor::into_buffer_arg).into(),
            y.into_buffer_arg(),
            types,
        );
    }
}

#[cube(launch_unchecked)]
fn gelu_kernel<F: Float, G: Float>(
    x: &[F],
    gradient: ComptimeOption<&[G]>,
    y: &mut [F],
    #[define(F, G)] _types: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < x.len() {
        let value = f32::cast_from(x[at]);
        let share = f32::new(0.5) * (f32::new(1.0) + Erf::erf(value * FRAC_1_SQRT_2));
        let mut found = value * share;
        #[comptime]
        if let ComptimeOption::Some(gradient) = &gradient {
            let density = (value * value * f32::new(-0.5)).exp() * DENSITY;
            found = f32::cast_from(gradient[at]) * (share + value * density);
        }
        y[at] = F::cast_from(found);
    }
}
