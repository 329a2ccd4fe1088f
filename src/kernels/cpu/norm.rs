//! Layer normalisation (arXiv 1607.06450) of `x`, or of `x + dropout(y)`, in one pass over the rows forward and one backward.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, Tensor};

use super::buffers::{Place, RowPlaces, Size, write, zeros};
use super::functions::{sum, sum_of};
use super::operation::{Operation, operate};
use super::rows::shape_of;
use super::{tensor, values, vectorized};
use crate::kernels::Mask;

/// Rows that a thread takes, of which it sums the gradients of gamma and beta; the blocks' sums are then added in the blocks' order.
const BLOCK: usize = 32;

/// See [`crate::kernels::norm`].
pub fn norm<const D: usize>(x: &Tensor<D>, [gamma, beta]: [&Tensor<1>; 2], epsilon: f64) -> Option<Tensor<D>> {
    let inputs = [x.clone().into_dispatch(), gamma.clone().into_dispatch(), beta.clone().into_dispatch()];
    operate(Norm { mask: None, epsilon: epsilon as f32 }, inputs)
}

/// See [`crate::kernels::add_norm`].
pub fn add_norm<const D: usize>(
    [x, y]: [&Tensor<D>; 2],
    mask: Option<Mask>,
    [gamma, beta]: [&Tensor<1>; 2],
    epsilon: f64,
) -> Option<Tensor<D>> {
    let [x, y] = [x, y].map(|term| term.clone().into_dispatch());
    let [gamma, beta] = [gamma, beta].map(|parameter| parameter.clone().into_dispatch());
    operate(Norm { mask, epsilon: epsilon as f32 }, [x, y, gamma, beta])
}

/// Its inputs are `x`, then `y` if there is one, gamma and beta.
#[derive(Debug, Clone)]
struct Norm {
    mask: Option<Mask>,
    epsilon: f32,
}

/// What the backward pass reads.
#[derive(Debug)]
struct Pass {
    shape: Shape,
    /// The rows with a mean of 0 and a variance of 1.
    normalised: Vec<f32>,
    /// 1 / sigma of each row.
    inverse: Vec<f32>,
    /// `[width]`
    gamma: FlexTensor,
    has_y: bool,
}

impl Operation for Norm {
    type Kept = Pass;

    fn forward(&self, mut inputs: Vec<FlexTensor>, keep: bool) -> (FlexTensor, Pass) {
        let Self { mask, epsilon } = *self;
        let y = (inputs.len() == 4).then(|| inputs.remove(1));
        let (x, [gamma, beta]) = (values(&inputs[0]), [&inputs[1], &inputs[2]].map(values));
        let ((shape, width), y) = (shape_of(&inputs[0]), y.as_ref().map(values));
        let kept = if keep { x.len() } else { 0 };
        let sizes = [
            Size { length: x.len(), portion: BLOCK * width },
            Size { length: kept, portion: BLOCK * width },
            Size { length: kept / width.max(1), portion: BLOCK },
        ];
        let [output, normalised, inverse] = write(sizes, |number, places| {
            let first = number * BLOCK * width;
            let length = places[0].len();
            let added = y.map(|y| Added { y: &y[first..][..length], mask, first });
            normalise(&x[first..][..length], added, [gamma, beta], epsilon, places)
        });
        let pass = Pass { shape: shape.clone(), normalised, inverse, gamma: inputs[1].clone(), has_y: y.is_some() };
        (tensor(output, shape), pass)
    }

    fn backward(&self, pass: &Pass, gradient: &FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let Pass { shape, normalised, inverse, gamma, has_y } = pass;
        let (gradient, (_, width), gamma) = (values(gradient), shape_of(gamma), values(gamma));
        let mask = self.mask.filter(|_| *has_y);
        let sizes = [
            Size { length: gradient.len(), portion: BLOCK * width },
            Size { length: if mask.is_some() { gradient.len() } else { 0 }, portion: BLOCK * width },
            Size { length: inverse.len().div_ceil(BLOCK) * 2 * width, portion: 2 * width },
        ];
        let [x, y, sums] = write(sizes, |number, places| {
            let first = number * BLOCK * width;
            let length = places[0].len();
            let forward = Forward { normalised: &normalised[first..][..length], inverse: &inverse[number * BLOCK..] };
            differentiate(&gradient[first..][..length], forward, gamma, mask.map(|mask| (mask, first)), places)
        });
        let mut found = vec![Some(tensor(x, shape.clone()))];
        if *has_y {
            // Without a mask, both terms have the same gradient.
            found.push(if mask.is_some() { Some(tensor(y, shape.clone())) } else { found[0].clone() });
        }
        let sums = sum_of_blocks(&sums, 2 * width);
        let (gamma, beta) = sums.split_at(width);
        found.extend([gamma, beta].map(|sums| Some(tensor(sums.to_vec(), [width]))));
        found
    }
}

/// What is added to `x` in a block.
#[derive(Clone, Copy)]
struct Added<'a> {
    y: &'a [f32],
    mask: Option<Mask>,
    /// The number of the block's first element.
    first: usize,
}

/// What the forward pass kept of a block.
struct Forward<'a> {
    normalised: &'a [f32],
    inverse: &'a [f32],
}

vectorized! {
    /// A block of rows: the output, and unless their places are empty, the normalised rows and their 1 / sigma.
    fn normalise<'a, 'b>(
        x: &'a [f32], added: Option<Added<'a>>, parameters: [&'a [f32]; 2], epsilon: f32, places: [&'b mut [Place]; 3],
    ) -> [&'b mut [f32]; 3] {
        let [gamma, beta] = parameters;
        let width = gamma.len();
        let keeps = !places[1].is_empty();
        let [mut outputs, mut normalised, mut inverses] = places.map(RowPlaces::new);
        for (number, x) in x.chunks_exact(width).enumerate() {
            let at = number * width;
            let output = match added {
                None => outputs.fill(width, [x], |_, [x]: [f32; 1]| x),
                Some(Added { y, mask: None, .. }) => outputs.fill(width, [x, &y[at..]], |_, [x, y]: [f32; 2]| x + y),
                Some(Added { y, mask: Some(mask), first }) => {
                    outputs.fill(width, [x, &y[at..]], |column, [x, y]: [f32; 2]| x + mask.apply(first + at + column, y))
                }
            };
            let mean = sum(output, |x| x) / width as f32;
            let variance = sum(output, |x| (x - mean) * (x - mean)) / width as f32;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            if keeps {
                normalised.fill(width, [&*output], |_, [x]: [f32; 1]| (x - mean) * inverse);
                inverses.push(inverse);
            }
            for ((output, gamma), beta) in output.iter_mut().zip(gamma).zip(beta) {
                *output = (*output - mean) * inverse * gamma + beta;
            }
        }
        [outputs.finish(), normalised.finish(), inverses.finish()]
    }

    /// A block of rows: the gradient of `x`; that of `y` if there is a mask, whose block begins at an element's number; and the block's sums of the
    /// gradients of gamma and of beta.
    fn differentiate<'a, 'b>(
        gradient: &'a [f32], forward: Forward<'a>, gamma: &'a [f32], mask: Option<(Mask, usize)>, places: [&'b mut [Place]; 3],
    ) -> [&'b mut [f32]; 3] {
        let width = gamma.len();
        let [xs, ys, sums] = places;
        let [mut xs, mut ys] = [xs, ys].map(RowPlaces::new);
        let sums = zeros(sums);
        let (to_gamma, to_beta) = sums.split_at_mut(width);
        let rows = gradient.chunks_exact(width).zip(forward.normalised.chunks_exact(width)).zip(forward.inverse);
        for (number, ((gradient, normalised), inverse)) in rows.enumerate() {
            add_row(gradient, normalised, to_gamma, to_beta);
            let mean = sum_of([gradient, gamma], |[gradient, gamma]| gradient * gamma) / width as f32;
            let product = |[gradient, gamma, normalised]: [f32; 3]| gradient * gamma * normalised;
            let along = sum_of([gradient, gamma, normalised], product) / width as f32;
            let x = xs.fill(width, [gradient, normalised, gamma], |_, [gradient, normalised, gamma]: [f32; 3]| {
                (gradient * gamma - mean - normalised * along) * inverse
            });
            if let Some((mask, first)) = mask {
                ys.fill(width, [&*x], |column, [x]: [f32; 1]| mask.apply(first + number * width + column, x));
            }
        }
        [xs.finish(), ys.finish(), sums]
    }

    /// The sum of the blocks of so many numbers, in their order.
    fn sum_of_blocks<'a>(blocks: &'a [f32], width: usize) -> Vec<f32> {
        let mut sums = vec![0.0; width];
        for block in blocks.chunks_exact(width.max(1)) {
            for (sum, value) in sums.iter_mut().zip(block) {
                *sum += value;
            }
        }
        sums
    }
}

/// Adds a row's gradients of gamma and beta to their sums.
#[inline(always)]
fn add_row(gradient: &[f32], normalised: &[f32], to_gamma: &mut [f32], to_beta: &mut [f32]) {
    for (((gradient, normalised), to_gamma), to_beta) in gradient.iter().zip(normalised).zip(to_gamma).zip(to_beta) {
        *to_gamma += gradient * normalised;
        *to_beta += gradient;
    }
}
