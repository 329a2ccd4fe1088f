//! Operations written out for the CPU, where Burn's CPU backend (flex) computes them on one thread, in many passes, or with slow
//! functions.
//!
//! Results do not depend on the number of threads: an element, or a row, is computed by one of them, in one order.

mod attention;
mod buffers;
mod cross_entropy;
mod functions;
mod gru;
#[cfg(target_arch = "x86_64")]
pub mod int8;
mod linear;
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
use burn::tensor::{Bytes, DType, Shape};

pub use attention::{attention, is_here};
pub use cross_entropy::cross_entropy_sum;
pub use gru::gru;
pub use linear::linear;
pub use look_up::look_up;
pub use lstm::lstm;
pub use norm::{add_norm, norm};
pub use optimizers::{Adagrad, adam, norm_of_all, updates_together};
pub use rows::{Dropout, Gelu, Softmax, apply};
use vector::vectorized;

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
