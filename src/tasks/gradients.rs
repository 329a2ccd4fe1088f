//! Sums of gradients, and who sees them while they come about.

use std::collections::HashSet;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Sees the gradients of a block while its last backward pass goes on, and may take out those that will not change any more.
pub trait BackwardHook<M> {
    /// The sum over the batches before the last one, which is still without the last one's gradients.
    fn begin(&mut self, earlier: GradientsParams);

    /// `of_last` has all gradients of the last batch but those of the parameters `missing`.
    fn ready(&mut self, model: &M, missing: &HashSet<ParamId>, of_last: &mut GradientsParams);
}

/// Adds gradients to a sum, parameter by parameter.
pub fn add<M: Module>(model: &M, sum: &mut GradientsParams, more: GradientsParams) {
    model.visit(&mut Adder { sum, more });
}

struct Adder<'a> {
    sum: &'a mut GradientsParams,
    more: GradientsParams,
}

impl ModuleVisitor for Adder<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(sum) = added(self.sum.remove::<D>(param.id), self.more.remove::<D>(param.id)) {
            self.sum.register(param.id, sum);
        }
    }
}

/// The sum of two gradients of a parameter; what one of the two lacks is the other's.
pub fn added<const D: usize>(left: Option<Tensor<D>>, right: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (left, right) => left.or(right),
    }
}
