//! The sum over all paths, and its gradient by hand: left to Burn, each step would keep and differentiate half a dozen tensors of
//! `[batch, labels, labels]`, instead of one.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

use super::rows_that;

/// The logarithm of the sum of exp(score) over all paths, `[batch]`, of `transitions` `[2 + labels, labels]` and `emissions`
/// `[batch, steps, labels]`; a row of length 0 counts as one of length 1.
pub fn log_sum_of_paths(transitions: Tensor<2>, emissions: Tensor<3>, lengths: &[usize]) -> Tensor<1> {
    let paths = Paths::of(transitions.clone().detach(), emissions.clone().detach(), lengths);
    if !emissions.device().is_autodiff() {
        return paths.log_sum;
    }
    // The gradient is the probabilities: of a label at a step, and of a transition. This function of both tensors has it too, and
    // the value 0.
    let (edges, nodes) = paths.probabilities(lengths);
    let by_emissions = (emissions * nodes).sum_dims_squeeze::<1, _>(&[1, 2]); // [batch]
    let by_transitions = (transitions.unsqueeze::<3>() * edges).sum_dims_squeeze::<1, _>(&[1, 2]); // [batch]
    let linear = by_emissions + by_transitions; // [batch]
    paths.log_sum + linear.clone() - linear.detach()
}

/// What one pass over the steps finds.
struct Paths {
    /// `[batch]`
    log_sum: Tensor<1>,
    /// How probable each last label is, `[batch, labels]`.
    last: Tensor<2>,
    /// For each step but the first: how probable each label before it is, given the label at it, `[batch, from, to]`.
    before: Vec<Tensor<3>>,
}

impl Paths {
    fn of(transitions: Tensor<2>, emissions: Tensor<3>, lengths: &[usize]) -> Self {
        let [_, steps, labels] = emissions.dims();
        let between = transitions.clone().narrow(0, 2, labels).unsqueeze::<3>(); // [1, from, to]
        let emitted = |step: usize| emissions.clone().narrow(1, step, 1).squeeze_dim::<2>(1); // [batch, labels]
        // Of the paths that end with each label, [batch, labels].
        let mut sums = transitions.clone().narrow(0, 0, 1) + emitted(0);
        let mut before = Vec::with_capacity(steps - 1);
        for step in 1..steps {
            let scores = sums.clone().unsqueeze_dim::<3>(2) + between.clone(); // [batch, from, to]
            let most = scores.clone().max_dim(1); // [batch, 1, to]
            let exponentials = (scores - most.clone()).exp(); // [batch, from, to]
            let total = exponentials.clone().sum_dim(1); // [batch, 1, to]
            before.push(exponentials * total.clone().recip());
            let next = (most + total.log()).squeeze_dim::<2>(1) + emitted(step); // [batch, to]
            sums = match ended(lengths, step, &next) {
                Some(ended) => next.mask_where(ended, sums),
                None => next,
            };
        }
        let scores = sums + transitions.narrow(0, 1, 1); // [batch, labels]
        let most = scores.clone().max_dim(1); // [batch, 1]
        let log_sum = most.clone() + (scores.clone() - most).exp().sum_dim(1).log(); // [batch, 1]
        Self { log_sum: log_sum.squeeze_dim::<1>(1), last: softmax(scores, 1), before }
    }

    /// How probable each transition is, summed over the steps, `[batch, 2 + labels, labels]`; and each label at each step, `[batch,
    /// steps, labels]`.
    fn probabilities(&self, lengths: &[usize]) -> (Tensor<3>, Tensor<3>) {
        let [batch, labels] = self.last.dims();
        let mut edges = Tensor::<3>::zeros([batch, labels, labels], &self.last.device()); // [batch, from, to]
        let mut nodes = Vec::with_capacity(self.before.len() + 1);
        let mut here = self.last.clone(); // [batch, labels]
        for (index, before) in self.before.iter().enumerate().rev() {
            let mut pairs = before.clone() * here.clone().unsqueeze_dim::<3>(1); // [batch, from, to]
            let mut previous = pairs.clone().sum_dim(2).squeeze_dim::<2>(2); // [batch, from]
            let mut node = here.clone(); // [batch, labels]
            if let Some(ended) = ended(lengths, index + 1, &here) {
                pairs = pairs.mask_fill(ended.clone().unsqueeze_dim::<3>(2).expand([batch, labels, labels]), 0.0);
                previous = previous.mask_where(ended.clone(), here);
                node = node.mask_fill(ended, 0.0);
            }
            edges = edges + pairs;
            nodes.push(node);
            here = previous;
        }
        nodes.push(here.clone());
        nodes.reverse();
        let [first, last] = [here, self.last.clone()].map(|end| end.unsqueeze_dim::<3>(1)); // [batch, 1, labels]
        (Tensor::cat(vec![first, last, edges], 1), Tensor::stack(nodes, 1))
    }
}

/// Which rows have no step of this number, as wide as `like` `[batch, labels]`; none if all have.
fn ended(lengths: &[usize], step: usize, like: &Tensor<2>) -> Option<Tensor<2, Bool>> {
    lengths.iter().any(|&length| length <= step).then(|| {
        let rows = rows_that(lengths, |length| length <= step, &like.device()); // [batch]
        rows.unsqueeze_dim::<2>(1).expand(like.dims())
    })
}
