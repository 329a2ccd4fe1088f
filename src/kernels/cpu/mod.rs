//! Operations written out for the CPU, where Burn's CPU backend (flex) computes them on one thread, in many passes, or with slow
//! functions.
//!
//! Results do not depend on the number of threads: an element, or a row, is computed by one of them, in one order.

mod attention;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod buffers;
mod cross_entropy;
mod feed_forward;
mod functions;
mod gru;
#[cfg(target_arch = "x86_64")]
pub mod int8;
mod linear;
mod linear_cross_entropy;
mod look_up;
mod lstm;
mod matrix;
mod norm;
mod operation;
mod optimizers;
mod rows;
mod sequence;
mod vector;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Device, Shape, Tensor};

pub use attention::{attention, is_here, visible_lengths};
pub use cross_entropy::cross_entropy_sum;
pub use feed_forward::feed_forward;
pub use gru::gru;
pub use linear::linear;
pub use linear_cross_entropy::linear_cross_entropy_sum;
pub use look_up::look_up;
pub use lstm::lstm;
pub use norm::{add_norm, norm};
pub use optimizers::{Adagrad, adam, norm_of_all, square_sums, updates_together};
pub use rows::{Dropout, Gelu, Softmax, apply};
use vector::vectorized;

/// See [`crate::kernels::multiplies_bf16`].
pub fn multiplies_bf16(device: &Device) -> bool {
    #[cfg(target_arch = "x86_64")]
    return bf16::is_available() && is_here(&Tensor::<1>::zeros([1], device));
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = device;
        false
    }
}

/// Fewer elements than this are not worth another thread.
const PORTION: usize = 8192;

/// The elements of a contiguous float32 tensor.
fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice().expect("`operate` makes it contiguous and float32")
}

fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

#[cfg(test)]
mod tests;
