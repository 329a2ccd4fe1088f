//! Mixed precision (arXiv 1710.03740): the large matrix products of a model in half precision. Weights, what goes from layer to layer,
//! normalisation, softmax and losses stay float32, and so do the gradients of weights. Without gradients, an encoder's linear layers in int8.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, FloatDType, Tensor, module};

use crate::kernels;

/// The devices whose products are not float32. As with Burn's own types of a device, it is said once, before its first model.
static COMPUTE_DTYPES: RwLock<Vec<(Device, FloatDType)>> = RwLock::new(Vec::new());

/// Has the matrix products of all models on a device computed in a type.
pub fn set_compute_dtype(device: &Device, dtype: FloatDType) {
    let device = device.clone().inner();
    let mut dtypes = COMPUTE_DTYPES.write().unwrap_or_else(PoisonError::into_inner);
    dtypes.retain(|(other, _)| *other != device);
    dtypes.push((device, dtype));
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

/// `x * weight + bias` in the type of `x`, `[tokens, input] -> [tokens, output]`; `weight` is `[input, output]`, both are float32.
pub fn product(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let dtype: FloatDType = x.dtype().into();
    let (weight, bias) = (weight.cast(dtype), bias.map(|bias| bias.cast(dtype)));
    kernels::linear(&x, &weight, bias.as_ref()).unwrap_or_else(|| module::linear(x, weight, bias))
}

/// [`product`] with the rows of a table, `[output, input]`.
pub fn product_of_rows(x: Tensor<2>, table: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let dtype: FloatDType = x.dtype().into();
    let (table, bias) = (table.cast(dtype), bias.map(|bias| bias.cast(dtype)));
    kernels::linear_of_rows(&x, &table, bias.as_ref()).unwrap_or_else(|| module::linear(x, table.transpose(), bias))
}

/// A linear layer in the type of its input, `[tokens, input] -> [tokens, output]`.
pub fn apply(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    product(x, layer.weight.val(), layer.bias.as_ref().map(Param::val))
}

/// A linear layer of an encoder: [`apply`], or in int8.
pub fn compute(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    if !INT8.load(Ordering::Relaxed) {
        return apply(layer, x);
    }
    let bias = layer.bias.as_ref().map(Param::val);
    let found = kernels::int8_linear(&x, layer.weight.id, &layer.weight.val(), bias.as_ref());
    found.unwrap_or_else(|| apply(layer, x))
}

/// A linear layer whose product is computed as its device computes products, from float32 to float32, `[tokens, input] -> [tokens, output]`.
pub fn mixed(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    to_f32(apply(layer, to_compute(x)))
}
