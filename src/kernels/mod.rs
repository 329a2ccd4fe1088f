//! Operations written out for the CPU, where Burn's CPU backend (flex) computes them on one thread, in many passes, or with slow
//! functions. On other devices, and in other float types, callers use the tensor operations that these stand for.
//!
//! Results do not depend on the number of threads: an element, or a row, is computed by one of them, in one order.

mod adagrad;
mod adam;
mod cross_entropy;
mod dropout;
mod functions;
mod gelu;
mod gru;
mod lstm;
mod matrix;
mod sequence;
mod softmax;
mod vector;

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use rayon::prelude::*;

pub use adagrad::Adagrad;
pub use adam::Adam;
pub use cross_entropy::cross_entropy_sum;
pub use dropout::Dropout;
pub use gelu::Gelu;
pub use gru::gru;
pub use lstm::{LstmInput, LstmOptions, lstm};
pub use softmax::Softmax;
use vector::vectorized;

/// Fewer elements than this are not worth another thread.
const PORTION: usize = 8192;

/// What a kernel's backward pass reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    Nothing,
    Input,
    Output,
}

/// An operation on the rows of a tensor: its output has the input's shape. Its functions, which have to be `#[inline(always)]` to run
/// as vector code, get whole rows of the last dimension, of which the first element is number `first` of the tensor.
pub trait RowKernel: Copy + Debug + Send + Sync + 'static {
    const KEEPS: Keeps;

    fn forward(self, first: usize, width: usize, x: &[f32], y: &mut [f32]);

    /// From what was kept and the gradient of the output to that of the input.
    fn backward(self, first: usize, width: usize, kept: &[f32], gradient: &[f32], out: &mut [f32]);
}

/// Runs a kernel where it can be run: on float32 tensors of the CPU backend.
pub fn apply<const D: usize, K: RowKernel>(kernel: K, x: &Tensor<D>) -> Option<Tensor<D>> {
    if x.dtype() != DType::F32 {
        return None;
    }
    if let Ok(plain) = x.clone().try_into_primitive::<Flex>() {
        return Some(Tensor::from_primitive::<Flex>(forward(kernel, &plain.to_contiguous())));
    }
    let traced = x.clone().try_into_primitive::<Autodiff<Flex>>().ok()?;
    let (input, node) = traced.into_parts();
    let input = input.to_contiguous();
    let output = forward(kernel, &input);
    let output = match RowOperation(kernel).prepare::<NoCheckpointing>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let kept = match K::KEEPS {
                Keeps::Nothing => None,
                Keeps::Input => Some(input),
                Keeps::Output => Some(output.clone()),
            };
            prepared.finish(kept, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(output))
}

type NoCheckpointing = burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;

#[derive(Debug)]
struct RowOperation<K>(K);

impl<K: RowKernel> Backward<Flex, 1> for RowOperation<K> {
    type State = Option<FlexTensor>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let kept = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, gradients, |gradient| {
            backward(self.0, kept.as_ref(), &gradient.to_contiguous())
        });
    }
}

fn forward<K: RowKernel>(kernel: K, x: &FlexTensor) -> FlexTensor {
    let (shape, width) = shape_of(x);
    let x = values(x);
    let mut y = vec![0.0; x.len()];
    let portion = portion(width);
    y.par_chunks_mut(portion).zip(x.par_chunks(portion)).enumerate().for_each(|(number, (y, x))| {
        run_forward(kernel, number * portion, width, x, y);
    });
    tensor(y, shape)
}

fn backward<K: RowKernel>(kernel: K, kept: Option<&FlexTensor>, gradient: &FlexTensor) -> FlexTensor {
    let (shape, width) = shape_of(gradient);
    let gradient = values(gradient);
    // A kernel that keeps nothing reads nothing.
    let kept = kept.map_or(gradient, values);
    let mut out = vec![0.0; gradient.len()];
    let portion = portion(width);
    let parts = out.par_chunks_mut(portion).zip(kept.par_chunks(portion)).zip(gradient.par_chunks(portion));
    parts.enumerate().for_each(|(number, ((out, kept), gradient))| {
        run_backward(kernel, number * portion, width, kept, gradient, out);
    });
    tensor(out, shape)
}

vectorized! {
    fn run_forward<'a, K: RowKernel>(kernel: K, first: usize, width: usize, x: &'a [f32], y: &'a mut [f32]) {
        kernel.forward(first, width, x, y);
    }

    fn run_backward<'a, K: RowKernel>(
        kernel: K, first: usize, width: usize, kept: &'a [f32], gradient: &'a [f32], out: &'a mut [f32],
    ) {
        kernel.backward(first, width, kept, gradient, out);
    }
}

/// Elements that are computed in one go: whole rows.
fn portion(width: usize) -> usize {
    PORTION.div_ceil(width.max(1)) * width.max(1)
}

fn shape_of(x: &FlexTensor) -> (Shape, usize) {
    let shape = x.layout().shape().clone();
    let width = shape.last().copied().unwrap_or(1);
    (shape, width)
}

/// The elements of a contiguous float32 tensor.
fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice().expect("callers make it contiguous and float32")
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

#[cfg(test)]
mod tests;
