//! Activations, softmax and dropout: on the CPU by Kiln's own [`crate::kernels`], elsewhere by Burn's operations.

use burn::nn::Dropout;
use burn::tensor::{Distribution, Tensor, activation};

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

/// Dropout by the module's probability, on autodiff devices only. What is dropped follows from the device's generator.
pub fn drop_out<const D: usize>(dropout: &Dropout, x: Tensor<D>) -> Tensor<D> {
    if !dropout.training.is_enabled() || !x.device().is_autodiff() || dropout.prob == 0.0 {
        return x;
    }
    on_cpu!(kernels::Dropout::new(dropout.prob, seed(&x)), x);
    dropout.forward(x)
}

/// Two words of the device's generator.
#[cfg(feature = "flex")]
fn seed<const D: usize>(x: &Tensor<D>) -> [u32; 2] {
    let device = x.device().inner();
    // Whole numbers of 24 bits, which a float32 holds exactly.
    let words = Tensor::<1>::random([2], Distribution::Uniform(0.0, f64::from(1 << 24)), &device).into_data(); // [2]
    let mut words = words.iter::<f64>().map(|word| word as u32);
    [words.next().unwrap_or_default(), words.next().unwrap_or_default()]
}
