//! The norm of all gradients, and Adam's update of all parameters, in few launches: a kernel takes as many tensors as it may have buffers, and
//! its units walk over one after the other.

use burn::backend::Cube;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Lazy, cubes, empty, queue_many, queue_update};
use crate::kernels::{Adam, Decay};

const UNITS: usize = 256;
/// Elements that a unit has at least.
const PORTION: usize = 16;
/// Cubes of a launch at most, enough for any device.
const CUBES: usize = 1024;
/// Buffers of a launch at most: a kernel's text grows with them.
const BUFFERS: usize = 32;

/// Whether a tensor is one that [`norm_of_all`] and [`adam`] take.
pub fn updates_together(tensor: &Tensor<1>) -> bool {
    tensor.dtype() == DType::F32 && tensor.clone().try_into_primitive::<Cube>().is_ok()
}

/// See [`crate::kernels::norm_of_all`].
pub fn norm_of_all(gradients: Vec<Tensor<1>>) -> Tensor<1> {
    let output = (Shape::from([1]), DType::F32);
    let gradients = gradients.into_iter().map(lazy).collect();
    Tensor::from_primitive::<Cube>(queue_many("kiln::norm_of_all", gradients, output, launch_norm))
}

/// See [`crate::kernels::adam`].
pub fn adam(adam: Adam, decay: Decay, factor: Tensor<1>, tensors: Vec<[Tensor<1>; 4]>) -> Vec<[Tensor<1>; 3]> {
    let (mut updated, mut read) = (Vec::new(), vec![lazy(factor)]);
    for [parameter, mean, square, gradient] in tensors {
        updated.extend([parameter, mean, square].map(lazy));
        read.push(lazy(gradient));
    }
    let updated = queue_update("kiln::adam", updated, read, move |updated, read| {
        let (factor, gradients) = (&read[0], &read[1..]);
        let size = tensors_of_a_launch(factor, 4);
        for (updated, gradients) in updated.chunks(3 * size).zip(gradients.chunks(size)) {
            launch_adam(adam, decay, factor, updated, gradients);
        }
    });
    let (parameters, _) = updated.as_chunks::<3>();
    parameters.iter().map(|updated| updated.clone().map(Tensor::from_primitive::<Cube>)).collect()
}

fn lazy(tensor: Tensor<1>) -> Lazy {
    tensor.try_into_primitive::<Cube>().expect("`updates_together` was asked before")
}

/// Tensors for which a launch has buffers, `buffers` for each and one for all.
fn tensors_of_a_launch(tensor: &CubeTensor, buffers: usize) -> usize {
    let bindings = tensor.client.properties().hardware.max_bindings as usize;
    ((bindings.min(BUFFERS) - 1) / buffers).max(1)
}

/// Cubes that share the elements of the largest of some tensors.
fn cubes_for(tensors: &[CubeTensor]) -> usize {
    let largest = tensors.iter().map(|tensor| tensor.meta.num_elements()).max().unwrap_or(0);
    largest.div_ceil(UNITS * PORTION).clamp(1, CUBES)
}

fn buffers<'a>(tensors: impl IntoIterator<Item = &'a CubeTensor>) -> SequenceArg<Box<[f32]>> {
    tensors.into_iter().map(|tensor| tensor.clone().into_buffer_arg()).collect()
}

fn launch_norm(gradients: Vec<CubeTensor>, norm: CubeTensor) {
    let launches: Vec<_> = gradients.chunks(tensors_of_a_launch(&norm, 1)).collect();
    let counts: Vec<usize> = launches.iter().map(|gradients| cubes_for(gradients)).collect();
    let parts = empty(&norm, Shape::from([counts.iter().sum::<usize>()]), DType::F32);
    let (client, units) = (norm.client.clone(), CubeDim::new_1d(UNITS as u32));
    let mut first = 0;
    for (gradients, count) in launches.into_iter().zip(counts) {
        let (gradients, parts) = (buffers(gradients), parts.clone().into_buffer_arg());
        unsafe { sum_squares::launch_unchecked(&client, cubes(count), units, gradients, parts, first, count * UNITS) };
        first += count;
    }
    unsafe { root_of_sum::launch_unchecked(&client, cubes(1), units, parts.into_buffer_arg(), norm.into_buffer_arg()) };
}

/// `updated` has three tensors a parameter: itself, and its running means of the gradient and of its square.
fn launch_adam(adam: Adam, decay: Decay, factor: &CubeTensor, updated: &[CubeTensor], gradients: &[CubeTensor]) {
    let count = cubes_for(gradients);
    let [correction_1, correction_2] = adam.corrections();
    unsafe {
        update::launch_unchecked(
            &factor.client,
            cubes(count),
            CubeDim::new_1d(UNITS as u32),
            buffers(updated.iter().step_by(3)),
            buffers(updated.iter().skip(1).step_by(3)),
            buffers(updated.iter().skip(2).step_by(3)),
            buffers(gradients),
            factor.clone().into_buffer_arg(),
            count * UNITS,
            decay.kept as f32,
            decay.l2 as f32,
            adam.learning_rate as f32,
            adam.epsilon as f32,
            adam.betas[0] as f32,
            (1.0 - adam.betas[0]) as f32,
            adam.betas[1] as f32,
            (1.0 - adam.betas[1]) as f32,
            correction_1 as f32,
            correction_2 as f32,
        );
    }
}

/// The sum of `value` over the units of a cube, which the first one gets.
#[cube]
fn cube_sum(value: f32) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(UNITS);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let steps = comptime!(UNITS.ilog2() as usize);
    #[unroll]
    for step in 0..steps {
        let half = comptime!(UNITS >> (step + 1));
        if unit < half {
            shared[unit] += shared[unit + half];
        }
        sync_cube();
    }
    shared[unit]
}

/// A sum of squares a cube, written behind the `first` parts.
#[cube(launch_unchecked)]
fn sum_squares(gradients: &Sequence<Box<[f32]>>, parts: &mut [f32], first: usize, units: usize) {
    let mut sum = f32::new(0.0);
    #[unroll]
    for number in 0..gradients.len() {
        let gradient = gradients.index(number);
        let mut at = ABSOLUTE_POS;
        while at < gradient.len() {
            sum += gradient[at] * gradient[at];
            at += units;
        }
    }
    let sum = cube_sum(sum);
    if UNIT_POS == 0 {
        parts[first + CUBE_POS] = sum;
    }
}

/// By one cube.
#[cube(launch_unchecked)]
fn root_of_sum(parts: &[f32], root: &mut [f32]) {
    let mut sum = f32::new(0.0);
    let mut at = UNIT_POS as usize;
    while at < parts.len() {
        sum += parts[at];
        at += UNITS;
    }
    let sum = cube_sum(sum);
    if UNIT_POS == 0 {
        root[0] = sum.sqrt();
    }
}

#[cube(launch_unchecked)]
fn update(
    parameters: &mut Sequence<Box<[f32]>>,
    means: &mut Sequence<Box<[f32]>>,
    squares: &mut Sequence<Box<[f32]>>,
    gradients: &Sequence<Box<[f32]>>,
    factor: &[f32],
    units: usize,
    kept: f32,
    l2: f32,
    rate: f32,
    epsilon: f32,
    beta_1: f32,
    rest_1: f32,
    beta_2: f32,
    rest_2: f32,
    correction_1: f32,
    correction_2: f32,
) {
    let factor = factor[0];
    #[unroll]
    for number in 0..gradients.len() {
        let gradient = gradients.index(number);
        let parameter = parameters.index_mut(number);
        let mean = means.index_mut(number);
        let square = squares.index_mut(number);
        let mut at = ABSOLUTE_POS;
        while at < gradient.len() {
            let value = parameter[at];
            let slope = gradient[at] * factor + value * l2;
            let first = beta_1 * mean[at] + rest_1 * slope;
            let second = beta_2 * square[at] + rest_2 * slope * slope;
            mean[at] = first;
            square[at] = second;
            parameter[at] = value * kept - rate * (first * correction_1) / ((second * correction_2).sqrt() + epsilon);
            at += units;
        }
    }
}
