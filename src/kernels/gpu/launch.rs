//! What puts a kernel into Burn's lazy stream of operations.

use std::fmt;

use burn::backend::fusion::custom::{CustomOpIr, HandleContainer, Operation, OperationIr, StreamId, TensorIr};
use burn::backend::fusion::{ExecutionError, FusionRuntime};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Cube};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, fusion::FusionCubeRuntime};
use cubecl::ir::ElemType;
use cubecl::prelude::{CubeCount, CubeDim};

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
    let like = outputs.clone();
    let made = register(name, inputs.into(), outputs.into(), move |inputs| {
        let inputs: [CubeTensor; I] = array(inputs);
        let made = like.clone().map(|(shape, dtype)| empty(&inputs[0], shape, dtype));
        run(inputs, made.clone());
        made.into()
    });
    array(made)
}

/// Queues `run`, which computes a tensor from any number of inputs, as [`queue`] does.
pub(super) fn queue_many(
    name: &'static str,
    inputs: Vec<Lazy>,
    (shape, dtype): (Shape, DType),
    run: impl Fn(Vec<CubeTensor>, CubeTensor) + Send + Sync + 'static,
) -> Lazy {
    let output = (shape.clone(), dtype);
    let made = register(name, inputs, vec![output], move |inputs| {
        let made = empty(&inputs[0], shape.clone(), dtype);
        run(inputs, made.clone());
        vec![made]
    });
    let [made] = array(made);
    made
}

/// Queues `run`, which changes the tensors of `updated` and reads the others, as [`queue`] does, and gives back what they became. They are
/// changed in place unless somebody else holds them.
pub(super) fn queue_update(
    name: &'static str,
    updated: Vec<Lazy>,
    read: Vec<Lazy>,
    run: impl Fn(Vec<CubeTensor>, Vec<CubeTensor>) + Send + Sync + 'static,
) -> Vec<Lazy> {
    let outputs: Vec<_> = updated.iter().map(|tensor| (tensor.shape.clone(), tensor.dtype)).collect();
    let count = updated.len();
    register(name, updated.into_iter().chain(read).collect(), outputs, move |mut inputs| {
        let read = inputs.split_off(count);
        let updated: Vec<_> =
            inputs.into_iter().map(|tensor| if tensor.can_mut() { tensor } else { tensor.copy() }).collect();
        run(updated.clone(), read);
        updated
    })
}

fn array<T: fmt::Debug, const N: usize>(items: Vec<T>) -> [T; N] {
    items.try_into().expect("as many as were asked for")
}

fn register(
    name: &'static str,
    inputs: Vec<Lazy>,
    outputs: Vec<(Shape, DType)>,
    run: impl Fn(Vec<CubeTensor>) -> Vec<CubeTensor> + Send + Sync + 'static,
) -> Vec<Lazy> {
    let client = inputs[0].client.clone();
    let uninit = |(shape, dtype)| TensorIr::uninit(client.create_empty_handle(), shape, dtype);
    let outputs: Vec<TensorIr> = outputs.into_iter().map(uninit).collect();
    let inputs: Vec<TensorIr> = inputs.into_iter().map(Lazy::into_ir).collect();
    let description = CustomOpIr::new(name, &inputs, &outputs);
    let operation = Queued { description: description.clone(), run };
    client.register(StreamId::current(), OperationIr::Custom(description), operation)
}

struct Queued<F> {
    description: CustomOpIr,
    run: F,
}

impl<F> fmt::Debug for Queued<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.description.fmt(f)
    }
}

impl<F: Fn(Vec<CubeTensor>) -> Vec<CubeTensor> + Send + Sync> Operation<FusionCubeRuntime> for Queued<F> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<FusionCubeRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let CustomOpIr { inputs, outputs, .. } = &self.description;
        let inputs = inputs.iter().map(|input| into_contiguous(handles.get_float_tensor::<CubeBackend>(input)));
        let made = (self.run)(inputs.collect());
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

/// So many units of a kernel that takes one for each element, and no notice of its cube.
pub(super) fn units(number: usize) -> (CubeCount, CubeDim) {
    const UNITS: usize = 256;
    (cubes(number.div_ceil(UNITS)), CubeDim::new_1d(UNITS as u32))
}

pub(super) fn element(tensor: &CubeTensor) -> ElemType {
    burn::backend::cubecl::dtype_to_elem_type(tensor.dtype)
}

/// A contiguous tensor beside another, to be filled.
pub(super) fn empty(beside: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(beside.client.clone(), beside.device.clone(), shape, dtype)
}
