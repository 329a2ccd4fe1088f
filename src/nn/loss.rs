//! Losses as sums, so that whoever calls them can weigh rows and tokens right across micro-batches and devices.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Int, Tensor};

/// Cross-entropy summed over the rows of `logits` `[n, classes]` whose entry in `targets` `[n]` names a class; the libraries
/// mark rows to ignore by -100, or by a class beyond the last. The caller divides by the number of rows that count.
pub fn cross_entropy_sum(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(loss) = crate::kernels::cross_entropy_sum(&logits, &targets) {
        return loss;
    }
    let [_, classes] = logits.dims();
    let ignored = ignored(targets.clone(), classes); // [n]
    let targets = targets.mask_fill(ignored.clone(), 0).unsqueeze_dim::<2>(1); // [n, 1]
    let picked = log_softmax(logits, 1).gather(1, targets).squeeze_dim::<1>(1); // [n]
    picked.mask_fill(ignored, 0.0).sum().neg()
}

/// [`cross_entropy_sum`] over the rows that count, 0 if none does.
pub fn cross_entropy_mean(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [_, classes] = logits.dims();
    let counted = ignored(targets.clone(), classes).bool_not().float().sum().clamp_min(1.0); // [1]
    cross_entropy_sum(logits, targets) / counted
}

fn ignored(targets: Tensor<1, Int>, classes: usize) -> Tensor<1, Bool> {
    targets.clone().lower_elem(0).bool_or(targets.greater_equal_elem(classes as i64))
}
