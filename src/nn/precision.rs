//! Mixed precision (arXiv 1710.03740): the large matrix products of a model in half precision. Weights, what goes from layer to layer,
//! normalisation, softmax and losses stay float32, and so do the gradients of weights. Without gradients, an encoder's linear layers in int8.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, FloatDType, Int, Tensor, module};

use crate::kernels::{self, Activation, LinearWeight, Products};

/// The devices whose products are not float32. As with Burn's own types of a device, it is said once, before its first model.
static COMPUTE_DTYPES: RwLock<Vec<(Device, FloatDType)>> = RwLock::new(Vec::new());

/// Has the matrix products of all models on a device computed in a type.
pub fn set_compute_dtype(device: &Device, dtype: FloatDType) {
    let device = device.clone().inner();
    let mut dtypes = COMPUTE_DTYPES.write().unwrap_or_else(PoisonError::into_inner);
    dtypes.retain(|(other, _)| *other != device);
    dtypes.push((device, dtype));
}

/// Whether the CPU backend multiplies bf16 where a device computes in halves, for the whole process; said once, before the first model.
/// Its tensors stay float32.
static BF16: AtomicBool = AtomicBool::new(false);

/// Has the large matrix products of models computed in bf16 by the CPU backend.
pub fn set_bf16_products() {
    BF16.store(true, Ordering::Relaxed);
}

fn products() -> Products {
    if BF16.load(Ordering::Relaxed) { Products::Bf16 } else { Products::F32 }
}

/// Whether the CPU backend computes the linear layers of encoders in int8, for the whole process; said once, before the first model.
static INT8: AtomicBool = AtomicBool::new(false);

/// Has the linear layers of encoders computed in int8 by the CPU backend, where there are no gradients.
pub fn set_int8() {
    INT8.store(true, Ordering::Relaxed);
}

fn compute_dtype(device: Device) -> FloatDType {
    let dtypes = COMPUTE_DTYPES.read().unwrap_or_else(PoisonError::into_inner);
    if dtypes.is_empty() {
        return FloatDType::F32;
    }
    let device = device.inner();
    dtypes.iter().find(|(other, _)| *other == device).map_or(FloatDType::F32, |(_, dtype)| *dtype)
}

/// A tensor in the type that its device computes products in.
pub fn to_compute<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dtype = compute_dtype(x.device());
    x.cast(dtype)
}

/// A tensor in float32, where sums, norms and losses are computed.
pub fn to_f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(FloatDType::F32)
}

/// `x * weight + bias` as its device computes products, `[tokens, input] -> [tokens, output]`; `x` is in the type that [`to_compute`] gives,
/// `weight` is `[input, output]`, it and the bias are float32.
pub fn product(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    product_in(products(), x, weight, bias)
}

fn product_in(products: Products, x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let dtype: FloatDType = x.dtype().into();
    let (weight, bias) = (weight.cast(dtype), bias.map(|bias| bias.cast(dtype)));
    kernels::linear(&x, &weight, bias.as_ref(), products).unwrap_or_else(|| module::linear(x, weight, bias))
}

/// [`product`] with the rows of a table, `[output, input]`.
pub fn product_of_rows(x: Tensor<2>, table: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let dtype: FloatDType = x.dtype().into();
    let (table, bias) = (table.cast(dtype), bias.map(|bias| bias.cast(dtype)));
    kernels::linear_of_rows(&x, &table, bias.as_ref(), products())
        .unwrap_or_else(|| module::linear(x, table.transpose(), bias))
}

/// Whether a device computes by the CPU's kernels: [`linear_cross_entropy_sum`], and attention of rows without padding.
pub fn has_cpu_kernels(device: &Device) -> bool {
    compute_dtype(device.clone()) == FloatDType::F32 && kernels::is_cpu(device)
}

/// Cross-entropy of the logits of a linear layer, `[tokens, width] -> [1]`, from float32 to float32, without the logits of all entries.
pub fn linear_cross_entropy_sum(
    x: &Tensor<2>,
    weight: LinearWeight,
    bias: &Tensor<1>,
    targets: &Tensor<1, Int>,
) -> Option<Tensor<1>> {
    let is_computed = compute_dtype(x.device()) == FloatDType::F32;
    is_computed.then(|| kernels::linear_cross_entropy_sum(x, weight, bias, targets, products()))?
}

/// A linear layer in float32, `[tokens, input] -> [tokens, output]`.
pub fn apply(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    product_in(Products::F32, x, layer.weight.val(), layer.bias.as_ref().map(Param::val))
}

/// A linear layer as its device computes products, [`product`].
fn of_layer(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    product(x, layer.weight.val(), layer.bias.as_ref().map(Param::val))
}

/// A linear layer of an encoder: its [`product`], or in int8.
pub fn compute(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    let [y] = compute_all([layer], x);
    y
}

/// [`compute`] of some layers of the same input.
pub fn compute_all<const N: usize>(layers: [&Linear; N], x: Tensor<2>) -> [Tensor<2>; N] {
    let found = if INT8.load(Ordering::Relaxed) { kernels::int8_linears(&x, layers) } else { None };
    found.unwrap_or_else(|| layers.map(|layer| of_layer(layer, x.clone())))
}

/// Two linear layers of an encoder and the activation between them, `[tokens, hidden] -> [tokens, hidden]`, where one operation computes them.
pub fn compute_both(layers: [&Linear; 2], activation: Activation, x: &Tensor<2>) -> Option<Tensor<2>> {
    if INT8.load(Ordering::Relaxed) {
        return (activation == Activation::Gelu).then(|| kernels::int8_feed_forward(x, layers))?;
    }
    let [first, second] = layers.map(|layer| Some((layer.weight.val(), layer.bias.as_ref()?.val())));
    let (first, second) = (first?, second?);
    kernels::feed_forward(x, [(&first.0, &first.1), (&second.0, &second.1)], activation, products())
}

/// A linear layer whose product is computed as its device computes products, from float32 to float32, `[tokens, input] -> [tokens, output]`.
pub fn mixed(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    to_f32(of_layer(layer, to_compute(x)))
}
