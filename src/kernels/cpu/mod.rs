//! Operations written out for the CPU, where Burn's CPU backend (flex) computes them on one thread, in many passes, or with slow
//! functions.
//!
//! Results do not depend on the number of threads: an element, or a row, is computed by one of them, in one order.

mod cross_entropy;
mod functions;
mod gru;
mod lstm;
mod matrix;
mod operation;
mod optimizers;
mod rows;
mod sequence;
mod vector;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

pub use cross_entropy::cross_entropy_sum;
pub use gru::gru;
pub use lstm::lstm;
pub use optimizers::Adagrad;
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
