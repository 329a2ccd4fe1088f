//! What runs an operation that Burn does not have, with a gradient of its own, on a backend that has kernels for it.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion};
use burn::tensor::{DispatchTensor, Tensor};

/// An operation of some tensors with one output.
pub(super) trait Operation<B: Backend>: Debug + Clone + Send + 'static {
    /// What the backward pass reads.
    type Kept: Debug + Send + Sync + 'static;

    /// The output, and what is kept; `keep` is whether there will be a backward pass.
    fn forward(&self, inputs: Vec<FloatTensor<B>>, keep: bool) -> (FloatTensor<B>, Self::Kept);

    /// The gradients of the inputs that are `wanted`, from that of the output.
    fn backward(&self, kept: &Self::Kept, gradient: FloatTensor<B>, wanted: &[bool]) -> Vec<Option<FloatTensor<B>>>;
}

/// Runs an operation if its inputs are tensors of the backend, with autodiff or without.
pub(super) fn operate<B: Backend, const N: usize, const D: usize>(
    operation: impl Operation<B>,
    inputs: [DispatchTensor; N],
) -> Option<Tensor<D>>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let inputs = inputs.map(Tensor::<1>::from_dispatch); // of any rank
    let plain = inputs.iter().map(|input| input.clone().try_into_primitive::<B>().ok());
    if let Some(plain) = plain.collect() {
        return Some(Tensor::from_primitive::<B>(operation.forward(plain, false).0));
    }
    let traced = inputs.into_iter().map(|input| input.try_into_primitive::<Autodiff<B>>().ok());
    let traced = traced.collect::<Option<Vec<_>>>()?;
    let nodes = std::array::from_fn(|number| traced[number].node());
    let inputs = traced.into_iter().map(|tensor| tensor.into_primitive()).collect();
    let traced: Traced<_> = Traced(operation.clone());
    let output = match Backward::<B, N>::prepare::<NoCheckpointing>(traced, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (output, kept) = operation.forward(inputs, true);
            prepared.finish(Arc::new(kept), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(operation.forward(inputs, false).0),
    };
    Some(Tensor::from_primitive::<Autodiff<B>>(output))
}

/// An operation in the graph.
#[derive(Debug)]
struct Traced<O>(O);

impl<B: Backend, O: Operation<B>, const N: usize> Backward<B, N> for Traced<O> {
    type State = Arc<O::Kept>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = self.0.backward(&ops.state, gradient, &wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}
