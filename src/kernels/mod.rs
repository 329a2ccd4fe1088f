//! Kernels of Kiln's own, where Burn's operations make many passes or launches: `cpu`'s for Burn's CPU backend (flex), `gpu`'s for all of its
//! GPU backends. A function gives `None` for tensors that it has no kernel for; the caller then takes the operations it stands for.

mod adam;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
mod mask;
#[cfg(any(feature = "flex", feature = "gpu"))]
mod operation;
mod recurrent;

use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor};

pub use adam::{Adam, Decay};
#[cfg(feature = "flex")]
pub use cpu::{Adagrad, Softmax, apply, cross_entropy_sum};
pub use mask::Mask;
pub use recurrent::{LstmInput, gru, log_sum_of_paths, lstm};

/// What the first of the backends' functions of a name gives that takes the tensors.
macro_rules! first_that_takes {
    ($name:ident($($input:ident),+)) => {{
        #[cfg(feature = "flex")]
        if let Some(output) = cpu::$name($($input),+) {
            return Some(output);
        }
        #[cfg(feature = "gpu")]
        if let Some(output) = gpu::$name($($input),+) {
            return Some(output);
        }
        let _ = ($($input),+);
        None
    }};
}

/// The exact GELU (arXiv 1606.08415), computed in float32, in the type of `x`.
pub fn gelu<const D: usize>(x: &Tensor<D>) -> Option<Tensor<D>> {
    #[cfg(feature = "flex")]
    if let Some(y) = cpu::apply(cpu::Gelu, x) {
        return Some(y);
    }
    #[cfg(feature = "gpu")]
    if let Some(y) = gpu::gelu(x) {
        return Some(y);
    }
    let _ = x;
    None
}

/// What a product of float32 factors is computed in, on the CPU backend. Its terms are added up in float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    F32,
    /// Factors are rounded to bf16: see [`multiplies_bf16`].
    Bf16,
}

/// Whether a device computes [`Products::Bf16`]: the CPU backend, on a processor that multiplies bf16.
pub fn multiplies_bf16(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return cpu::multiplies_bf16(device);
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// `x * weight + bias`, `[tokens, input] -> [tokens, output]`; `weight` is `[input, output]`.
pub fn linear(x: &Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>, products: Products) -> Option<Tensor<2>> {
    #[cfg(feature = "flex")]
    return cpu::linear(x, weight, bias, false, products);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (x, weight, bias, products);
        None
    }
}

/// [`linear`] with the rows of a table `[output, input]`, which is not turned for it.
pub fn linear_of_rows(
    x: &Tensor<2>,
    table: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    products: Products,
) -> Option<Tensor<2>> {
    #[cfg(feature = "flex")]
    return cpu::linear(x, table, bias, true, products);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (x, table, bias, products);
        None
    }
}

/// The weight of [`linear`], or the table of [`linear_of_rows`].
#[derive(Debug, Clone, Copy)]
pub enum LinearWeight<'a> {
    /// `[input, output]`
    Weight(&'a Tensor<2>),
    /// `[output, input]`
    Rows(&'a Tensor<2>),
}

/// Whether a device has [`linear_cross_entropy_sum`] and [`visible_lengths`]: the CPU backend.
pub fn is_cpu(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return cpu::is_here(&Tensor::<1>::zeros([1], device));
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// Cross-entropy of the logits that a linear layer makes of `x`, `[tokens, width] -> [1]`, summed over the tokens whose target is an entry of the
/// vocabulary. There never are logits of all entries at once.
pub fn linear_cross_entropy_sum(
    x: &Tensor<2>,
    weight: LinearWeight,
    bias: &Tensor<1>,
    targets: &Tensor<1, Int>,
    products: Products,
) -> Option<Tensor<1>> {
    #[cfg(feature = "flex")]
    return match weight {
        LinearWeight::Weight(weight) => cpu::linear_cross_entropy_sum(x, weight, bias, false, targets, products),
        LinearWeight::Rows(table) => cpu::linear_cross_entropy_sum(x, table, bias, true, targets, products),
    };
    #[cfg(not(feature = "flex"))]
    {
        let _ = (x, weight, bias, targets, products);
        None
    }
}

/// What stands between the two linear layers of a feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The exact GELU.
    Gelu,
    Relu,
}

/// A feed-forward layer, `[tokens, hidden] -> [tokens, hidden]`; the parameters are weight and bias of the first linear layer and of the second,
/// as [`linear`] has them. For the backward pass it keeps the activation's input alone.
pub fn feed_forward(
    x: &Tensor<2>,
    parameters: [(&Tensor<2>, &Tensor<1>); 2],
    activation: Activation,
    products: Products,
) -> Option<Tensor<2>> {
    #[cfg(feature = "flex")]
    return cpu::feed_forward(x, parameters, activation, products);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (x, parameters, activation, products);
        None
    }
}

/// Whether a device has [`int8_linears`]: the CPU backend, on a processor that multiplies int8.
pub fn computes_int8(device: &Device) -> bool {
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    return cpu::int8::is_on(device);
    #[cfg(not(all(feature = "flex", target_arch = "x86_64")))]
    {
        let _ = device;
        false
    }
}

/// [`linear`] of some layers of the same input in int8, without a gradient: their weights with a scale for each output, which are kept under
/// their parameters' ids, `x` with one for each token.
pub fn int8_linears<const N: usize>(x: &Tensor<2>, layers: [&Linear; N]) -> Option<[Tensor<2>; N]> {
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    return cpu::int8::linears(x, layers);
    #[cfg(not(all(feature = "flex", target_arch = "x86_64")))]
    {
        let _ = (x, layers);
        None
    }
}

/// Two layers in int8 with [`gelu`] between them.
pub fn int8_feed_forward(x: &Tensor<2>, layers: [&Linear; 2]) -> Option<Tensor<2>> {
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    return cpu::int8::feed_forward(x, layers);
    #[cfg(not(all(feature = "flex", target_arch = "x86_64")))]
    {
        let _ = (x, layers);
        None
    }
}

/// Dropout of the elements of a mask.
pub fn drop_out<const D: usize>(x: &Tensor<D>, mask: Mask) -> Option<Tensor<D>> {
    #[cfg(feature = "flex")]
    if let Some(y) = cpu::apply(cpu::Dropout(mask), x) {
        return Some(y);
    }
    #[cfg(feature = "gpu")]
    if let Some(y) = gpu::drop_out(x, mask) {
        return Some(y);
    }
    let _ = (x, mask);
    None
}

/// The rows of a table `[rows, width]`, `[batch, seq] -> [batch, seq, width]`. The row of `padding` gets no gradient.
pub fn look_up(table: &Tensor<2>, ids: &Tensor<2, Int>, padding: Option<usize>) -> Option<Tensor<3>> {
    first_that_takes!(look_up(table, ids, padding))
}

/// Layer norm over the last dimension of `x`.
pub fn norm<const D: usize>(x: &Tensor<D>, parameters: [&Tensor<1>; 2], epsilon: f64) -> Option<Tensor<D>> {
    first_that_takes!(norm(x, parameters, epsilon))
}

/// Layer norm over the last dimension of `x + dropout(y)`; without a mask, nothing is dropped. The parameters are gamma and beta.
pub fn add_norm<const D: usize>(
    terms: [&Tensor<D>; 2],
    mask: Option<Mask>,
    parameters: [&Tensor<1>; 2],
    epsilon: f64,
) -> Option<Tensor<D>> {
    first_that_takes!(add_norm(terms, mask, parameters, epsilon))
}

/// What attention weighs its values by: dropout of the softmax of `scores + bias`. The scores are `[batch, heads, query, key]`, the bias
/// `[batch, 1, query or 1, key]`, which gets no gradient.
pub fn probs(scores: &Tensor<4>, bias: &Tensor<4>, mask: Option<Mask>) -> Option<Tensor<4>> {
    #[cfg(feature = "gpu")]
    return gpu::probs(scores, bias, mask);
    #[cfg(not(feature = "gpu"))]
    {
        let _ = (scores, bias, mask);
        None
    }
}

/// How long each row is up to the last key that a query sees, where [`attention`] takes so many tokens of each row, without the padding behind.
pub fn visible_lengths(bias: &Tensor<4>) -> Option<Vec<usize>> {
    #[cfg(feature = "flex")]
    return cpu::visible_lengths(bias);
    #[cfg(not(feature = "flex"))]
    {
        let _ = bias;
        None
    }
}

/// Attention as a whole, of queries, keys and values `[batch * seq, heads * size]`, with [`probs`]'s bias and mask; scores are divided by the
/// root of `size`. It keeps no tensor of scores. See [`visible_lengths`].
pub fn attention(inputs: [&Tensor<2>; 3], heads: usize, bias: &Tensor<4>, mask: Option<Mask>) -> Option<Tensor<2>> {
    first_that_takes!(attention(inputs, heads, bias, mask))
}

/// Whether [`attention`] is to be preferred to products of whole matrices, for tensors of `x`'s device.
pub fn tiles_pay([batch, heads, seq]: [usize; 3], x: &Tensor<2>) -> bool {
    #[cfg(feature = "flex")]
    if cpu::is_here(x) {
        return true;
    }
    #[cfg(feature = "gpu")]
    if gpu::pays([batch, heads, seq]) && gpu::is_here(x) {
        return true;
    }
    let _ = (batch, heads, seq, x);
    false
}

/// Whether a parameter or its gradient, `[elements]`, is one that [`norm_of_all`] and [`adam`] take.
pub fn updates_together(tensor: &Tensor<1>) -> bool {
    #[cfg(feature = "flex")]
    if cpu::updates_together(tensor) {
        return true;
    }
    #[cfg(feature = "gpu")]
    if gpu::updates_together(tensor) {
        return true;
    }
    let _ = tensor;
    false
}

/// The Euclidean norm `[1]` of gradients of one device as a whole, each one that [`updates_together`]; `None` where there are none.
pub fn norm_of_all(gradients: Vec<Tensor<1>>) -> Option<Tensor<1>> {
    #[cfg(feature = "flex")]
    if gradients.first().is_some_and(cpu::updates_together) {
        return Some(cpu::norm_of_all(gradients));
    }
    #[cfg(feature = "gpu")]
    if gradients.first().is_some_and(gpu::updates_together) {
        return Some(gpu::norm_of_all(gradients));
    }
    let _ = gradients;
    None
}

/// The sums of squares of `values` that [`norm_of_all`] adds up on a CPU: one of each [`SUMMED`] numbers.
pub fn square_sums(values: &[f32]) -> Vec<f64> {
    #[cfg(feature = "flex")]
    return cpu::square_sums(values);
    #[cfg(not(feature = "flex"))]
    values.chunks(SUMMED).map(|values| values.iter().map(|value| f64::from(*value).powi(2)).sum()).collect()
}

/// Numbers whose squares are summed up at once.
pub const SUMMED: usize = 1 << 14;

/// Adam's update of some parameters, each one that [`updates_together`], with its running means of the gradient and of its square, and its
/// gradient, which is multiplied with `factor` `[1]`. Gives the parameters and means back, in place where nobody else holds them.
pub fn adam(adam: Adam, decay: Decay, factor: Tensor<1>, parameters: Vec<[Tensor<1>; 4]>) -> Vec<[Tensor<1>; 3]> {
    #[cfg(feature = "flex")]
    if cpu::updates_together(&factor) {
        return cpu::adam(adam, decay, factor, parameters);
    }
    #[cfg(feature = "gpu")]
    return gpu::adam(adam, decay, factor, parameters);
    #[cfg(not(feature = "gpu"))]
    {
        let _ = (adam, decay, factor, parameters);
        Vec::new() // for no parameters
    }
}
