//! Activations, softmax, dropout, losses, look-up: by Kiln's own [`crate::kernels`] where there is one for the device, else by Burn's
//! operations.

use std::cell::RefCell;

use burn::nn::{Dropout, Embedding};
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, activation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::precision::to_f32;
use crate::kernels::{self, Mask};

/// The exact GELU (arXiv 1606.08415), computed in float32, in the type of `x`. Written out, because the gradient of Burn 0.22.1's own is
/// that of the approximation by tanh: off by some thousandths.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if let Some(y) = kernels::gelu(&x) {
        return y;
    }
    let dtype: FloatDType = x.dtype().into();
    let x = to_f32(x);
    let twice_the_share = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0); // 2 Phi(x)
    (x.mul_scalar(0.5) * twice_the_share).cast(dtype)
}

/// Softmax over the last dimension.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(y) = kernels::apply(kernels::Softmax, &x) {
        return y;
    }
    activation::softmax(x, D - 1)
}

/// A linear layer on every token, `[batch, seq, input] -> [batch, seq, output]`, as one product of `[batch * seq, input]`. Left to
/// itself, Burn 0.22.1 makes a product of each row where `seq` is a multiple of 32, and so many gradients of the weight.
pub fn per_token(x: Tensor<3>, linear: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Tensor<3> {
    let [batch, seq, _] = x.dims();
    let y = linear(x.flatten(0, 1)); // [batch * seq, output]
    let [_, output] = y.dims();
    y.reshape([batch, seq, output])
}

thread_local! {
    /// What dropout takes its seeds from.
    static SEEDS: RefCell<ChaCha8Rng> = RefCell::new(ChaCha8Rng::seed_from_u64(0));
}

/// Makes what this thread drops out from here on a function of `seed`.
pub fn seed_dropout(device: &Device, seed: u64) {
    device.seed(seed); // for Burn's dropout, where Kiln has no kernel
    SEEDS.set(ChaCha8Rng::seed_from_u64(seed));
}

/// The next seed of this thread's generator. It comes from the host: a read from the device would wait for all its work.
pub fn dropout_seed() -> u64 {
    SEEDS.with_borrow_mut(|seeds| seeds.random())
}

/// What is dropped next: nothing where the probability is 0, or `x` is on a device without autodiff. What is dropped follows from
/// [`seed_dropout`].
pub(super) fn mask<const D: usize>(dropout: &Dropout, x: &Tensor<D>) -> Option<Mask> {
    let is_active = dropout.training.is_enabled() && x.device().is_autodiff() && dropout.prob > 0.0;
    is_active.then(|| Mask::new(dropout.prob, dropout_seed()))
}

/// Dropout by the module's probability, on autodiff devices only.
pub fn drop_out<const D: usize>(dropout: &Dropout, x: Tensor<D>) -> Tensor<D> {
    dropped(dropout, mask(dropout, &x), x)
}

/// Dropout of the elements of a mask; by the module where there is no kernel for it.
pub(super) fn dropped<const D: usize>(dropout: &Dropout, mask: Option<Mask>, x: Tensor<D>) -> Tensor<D> {
    match mask {
        Some(mask) => kernels::drop_out(&x, mask).unwrap_or_else(|| dropout.forward(x)),
        None => x,
    }
}

/// The rows of a table, `[batch, seq] -> [batch, seq, width]`. The row of `padding` is looked up like any other, and gets no
/// gradient from it: PyTorch's and Paddle's `padding_idx`.
pub fn look_up(table: &Embedding, ids: Tensor<2, Int>, padding: Option<usize>) -> Tensor<3> {
    if let Some(rows) = kernels::look_up(&table.weight.val(), &ids, padding) {
        return rows;
    }
    let rows = table.forward(ids.clone()); // [batch, seq, width]
    let Some(padding) = padding else { return rows };
    let is_padding = ids.equal_elem(padding as i64).unsqueeze_dim::<3>(2).expand(rows.dims()); // [batch, seq, width]
    rows.clone().mask_where(is_padding, rows.detach())
}

// Losses are sums, so that whoever calls them can weigh rows and tokens right across micro-batches and devices.

/// Cross-entropy summed over the rows of `logits` `[n, classes]` whose entry in `targets` `[n]` names a class; the libraries
/// mark rows to ignore by -100, or by a class beyond the last. The caller divides by the number of rows that count.
pub fn cross_entropy_sum(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(loss) = kernels::cross_entropy_sum(&logits, &targets) {
        return loss;
    }
    let [_, classes] = logits.dims();
    let ignored = ignored(targets.clone(), classes); // [n]
    let targets = targets.mask_fill(ignored.clone(), 0).unsqueeze_dim::<2>(1); // [n, 1]
    let picked = activation::log_softmax(logits, 1).gather(1, targets).squeeze_dim::<1>(1); // [n]
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
