//! Operations on contiguous float32 tensors of the CPU backend.

use std::fmt::Debug;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, DispatchTensor, Tensor};

use crate::kernels::operation;

/// An operation of some tensors with one output. All of them are contiguous float32 tensors.
pub(super) trait Operation: Debug + Clone + Send + 'static {
    /// What the backward pass reads.
    type Kept: Debug + Send + Sync + 'static;

    /// The output, and what is kept; `keep` is whether there will be a backward pass.
    fn forward(&self, inputs: Vec<FlexTensor>, keep: bool) -> (FlexTensor, Self::Kept);

    /// The gradients of the inputs that are `wanted`, from that of the output.
    fn backward(&self, kept: &Self::Kept, gradient: &FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>>;
}

/// Runs an operation where it can be run: on float32 tensors of the CPU backend.
pub(super) fn operate<const N: usize, const D: usize>(
    operation: impl Operation,
    inputs: [DispatchTensor; N],
) -> Option<Tensor<D>> {
    let is_f32 = |input: &DispatchTensor| Tensor::<1>::from_dispatch(input.clone()).dtype() == DType::F32; // of any rank
    inputs.iter().all(is_f32).then(|| operation::operate(Contiguous(operation), inputs))?
}

/// Makes an operation's tensors contiguous.
#[derive(Debug, Clone)]
struct Contiguous<O>(O);

impl<O: Operation> operation::Operation<Flex> for Contiguous<O> {
    type Kept = O::Kept;

    fn forward(&self, inputs: Vec<FlexTensor>, keep: bool) -> (FlexTensor, Self::Kept) {
        self.0.forward(inputs.into_iter().map(|input| input.to_contiguous()).collect(), keep)
    }

    fn backward(&self, kept: &Self::Kept, gradient: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        self.0.backward(kept, &gradient.to_contiguous(), wanted)
    }
}
