//! What puts a kernel into Burn's lazy stream of operations.

use std::fmt;

use burn::backend::fusion::custom::{
    CustomOpIr, HandleContainer, Operation, OperationIr, OperationOutput, StreamId, TensorIr,
};
use burn::backend::fusion::{ExecutionError, FusionRuntime};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Cube};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, fusion::FusionCubeRuntime};
use cubecl::ir::ElemType;
use cubecl::prelude::CubeCount;

/// A tensor of a GPU whose values may be still to be computed; of integers, too.
pub(super) type Lazy = FloatTensor<Cube>;

/// A tensor of integers, if it is on a GPU.
pub(super) fn integers<const D: usize>(x: &Tensor<D, Int>) -> Option<Lazy> {
    let traced = || x.clone().try_into_primitive::<Autodiff<Cube>>().ok();
    x.clone().try_into_primitive::<Cube>().ok().or_else(traced)
}

/// Whether a tensor is on a GPU.
pub fn is_here<const D: usize>(x: &Tensor<D>) -> bool {
    constant(x).is_some()
}

/// A tensor of a GPU as one that gets no gradient.
pub(super) fn constant<const D: usize>(x: &Tensor<D>) -> Option<Lazy> {
    let traced = || Some(x.clone().try_into_primitive::<Autodiff<Cube>>().ok()?.into_primitive());
    x.clone().try_into_primitive::<Cube>().ok().or_else(traced)
}

/// Queues `run`, which computes tensors of `outputs` from `inputs`. It gets the inputs contiguous, and outputs to be filled. It may not hold a
/// [`Lazy`] itself: dropped by the thread that runs it, that would be freed out of order.
pub(super) fn queue<const I: usize, const O: usize>(
    name: &'static str,
    inputs: [Lazy; I],
    outputs: [(Shape, DType); O],
    run: impl Fn([CubeTensor; I], [CubeTensor; O]) + Send + Sync + 'static,
) -> [Lazy; O] {
    let client = inputs[0].client.clone();
    let outputs = outputs.map(|(shape, dtype)| TensorIr::uninit(client.create_empty_handle(), shape, dtype));
    let description = CustomOpIr::new(name, &inputs.map(Lazy::into_ir), &outputs);
    let operation = Queued { description: description.clone(), run };
    client.register(StreamId::current(), OperationIr::Custom(description), operation).outputs()
}

struct Queued<F, const I: usize, const O: usize> {
    description: CustomOpIr,
    run: F,
}

impl<F, const I: usize, const O: usize> fmt::Debug for Queued<F, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.description.fmt(f)
    }
}

impl<F, const I: usize, const O: usize> Operation<FusionCubeRuntime> for Queued<F, I, O>
where
    F: Fn([CubeTensor; I], [CubeTensor; O]) + Send + Sync,
{
    fn execute(
        &self,
        handles: &mut HandleContainer<<FusionCubeRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let (inputs, outputs) = self.description.as_fixed::<I, O>();
        let inputs = inputs.each_ref().map(|input| into_contiguous(handles.get_float_tensor::<CubeBackend>(input)));
        let made = outputs.each_ref().map(|output| empty(&inputs[0], output.shape.clone(), output.dtype));
        (self.run)(inputs, made.clone());
        for (output, tensor) in outputs.iter().zip(made) {
            handles.register_float_tensor::<CubeBackend>(&output.id, tensor);
        }
        Ok(())
    }
}

/// So many cubes, in as many dimensions as it takes: a dimension of WebGPU has at most 65,535.
pub(super) fn cubes(number: usize) -> CubeCount {
    let x = number.clamp(1, 32_768);
    CubeCount::Static(x as u32, number.div_ceil(x).max(1) as u32, 1)
}

pub(super) fn element(tensor: &CubeTensor) -> ElemType {
    burn::backend::cubecl::dtype_to_elem_type(tensor.dtype)
}

/// A contiguous tensor beside another, to be filled.
pub(super) fn empty(beside: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(beside.client.clone(), beside.device.clone(), shape, dtype)
}
