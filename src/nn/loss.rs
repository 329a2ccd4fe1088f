//! Losses as sums, so that whoever calls them can weigh rows and tokens right across micro-batches and devices.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

/// Cross-entropy summed over the rows of `logits` `[n, classes]` whose entry in `targets` `[n]` is not negative
/// (the libraries' -100 marks a row to ignore). The caller divides by the number of rows that count.
pub fn cross_entropy_sum(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let ignored = targets.clone().lower_elem(0); // [n]
    let classes = targets.mask_fill(ignored.clone(), 0).unsqueeze_dim::<2>(1); // [n, 1]
    let picked = log_softmax(logits, 1).gather(1, classes).squeeze_dim::<1>(1); // [n]
    picked.mask_fill(ignored, 0.0).sum().neg()
}
