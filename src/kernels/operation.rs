//! What runs an operation that Burn does not have, with a gradient of its own.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, DispatchTensor, Tensor};

/// An operation of some tensors with one output. All of them are contiguous float32 tensors of the CPU backend.
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
    let inputs = inputs.map(Tensor::<1>::from_dispatch); // of any rank
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return None;
    }
    let plain = inputs.iter().map(|input| Some(input.clone().try_into_primitive::<Flex>().ok()?.to_contiguous()));
    if let Some(plain) = plain.collect() {
        return Some(Tensor::from_primitive::<Flex>(operation.forward(plain, false).0));
    }
    let traced = inputs.into_iter().map(|input| input.try_into_primitive::<Autodiff<Flex>>().ok());
    let traced = traced.collect::<Option<Vec<_>>>()?;
    let nodes = std::array::from_fn(|number| traced[number].node());
    let inputs = traced.into_iter().map(|tensor| tensor.into_primitive().to_contiguous()).collect();
    let traced: Traced<_> = Traced(operation.clone());
    let output = match Backward::<Flex, N>::prepare::<NoCheckpointing>(traced, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (output, kept) = operation.forward(inputs, true);
            prepared.finish(Arc::new(kept), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(operation.forward(inputs, false).0),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(output))
}

/// An operation in the graph.
#[derive(Debug)]
struct Traced<O>(O);

impl<O: Operation, const N: usize> Backward<Flex, N> for Traced<O> {
    type State = Arc<O::Kept>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = self.0.backward(&ops.state, &gradient, &wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
