//! Dropout by a [`Mask`]: one kernel, forward and backward, and nothing kept.

use burn::backend::Cube;
use burn::tensor::{DType, Tensor};
use cubecl::prelude::*;

use super::launch::{Lazy, element, queue, units};
use crate::kernels::Mask;
use crate::kernels::operation::{Operation, operate};

/// A mask that drops nothing.
pub(super) const NOTHING: Mask = Mask { seed: [0; 2], threshold: 0, scale: 1.0 };

pub fn drop_out<const D: usize>(x: &Tensor<D>, mask: Mask) -> Option<Tensor<D>> {
    operate(DropOut(mask), [x.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct DropOut(Mask);

impl Operation<Cube> for DropOut {
    type Kept = ();

    fn forward(&self, mut inputs: Vec<Lazy>, _: bool) -> (Lazy, ()) {
        (run(inputs.remove(0), self.0), ())
    }

    fn backward(&self, (): &(), gradient: Lazy, _: &[bool]) -> Vec<Option<Lazy>> {
        vec![Some(run(gradient, self.0))]
    }
}

pub(super) fn run(x: Lazy, Mask { seed, threshold, scale }: Mask) -> Lazy {
    let like: (_, DType) = (x.shape.clone(), x.dtype);
    let [y] = queue("kiln::dropout", [x], [like], move |[x], [y]| {
        let (count, units) = units(x.meta.num_elements());
        let (client, float) = (x.client.clone(), element(&x));
        unsafe {
            drop_out_kernel::launch_unchecked(
                &client,
                count,
                units,
                x.into_buffer_arg(),
                y.into_buffer_arg(),
                seed[0],
                seed[1],
                threshold,
                scale,
                float,
            );
        }
    });
    y
}

/// `Mask::is_dropped`, which every device has to compute alike.
#[cube]
pub(super) fn is_dropped(element: u32, seed: u32, second: u32, threshold: u32) -> bool {
    mix(mix(element ^ seed) + second) < threshold
}

/// A round of the hash "lowbias32" (Chris Wellons).
#[cube]
fn mix(x: u32) -> u32 {
    let x = (x ^ (x >> 16)) * 0x7feb_352d;
    let x = (x ^ (x >> 15)) * 0x846c_a68b;
    x ^ (x >> 16)
}

#[cube(launch_unchecked)]
fn drop_out_kernel<F: Float>(
    x: &[F],
    y: &mut [F],
    seed: u32,
    second: u32,
    threshold: u32,
    scale: f32,
    #[define(F)] _type: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < x.len() {
        let mut kept = f32::cast_from(x[at]) * scale;
        if is_dropped(at as u32, seed, second, threshold) {
            kept = f32::new(0.0);
        }
        y[at] = F::cast_from(kept);
    }
}
