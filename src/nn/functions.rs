//! Activations, softmax and dropout: on the CPU by Kiln's own [`crate::kernels`], elsewhere by Burn's operations.

use std::cell::RefCell;

use burn::nn::Dropout;
use burn::tensor::{Device, Tensor, activation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[cfg(feature = "flex")]
use crate::kernels;

/// Returns a kernel's output, if there is one for the tensor.
macro_rules! on_cpu {
    ($kernel:expr, $x:ident) => {
        #[cfg(feature = "flex")]
        if let Some(output) = kernels::apply($kernel, &$x) {
            return output;
        }
    };
}

/// The exact GELU (arXiv 1606.08415).
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    on_cpu!(kernels::Gelu, x);
    activation::gelu(x)
}

/// Softmax over the last dimension.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    on_cpu!(kernels::Softmax, x);
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

/// Dropout by the module's probability, on autodiff devices only. What is dropped follows from [`seed_dropout`].
pub fn drop_out<const D: usize>(dropout: &Dropout, x: Tensor<D>) -> Tensor<D> {
    if !dropout.training.is_enabled() || !x.device().is_autodiff() || dropout.prob == 0.0 {
        return x;
    }
    on_cpu!(kernels::Dropout::new(dropout.prob, dropout_seed()), x);
    dropout.forward(x)
}
