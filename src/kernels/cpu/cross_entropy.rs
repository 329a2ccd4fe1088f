//! Cross-entropy over many classes, in one pass over the logits and one over their gradient.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

use super::buffers::{Place, Size, fill, write, zeros};
use super::functions::{exp, max, sum};
use super::operation::{Operation, operate};
use super::rows::shape_of;
use super::{tensor, values, vectorized};

/// See [`crate::nn::cross_entropy_sum`]; `None` where there is no kernel for the tensors.
pub fn cross_entropy_sum(logits: &Tensor<2>, targets: &Tensor<1, Int>) -> Option<Tensor<1>> {
    operate(CrossEntropy { targets: targets.clone() }, [logits.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct CrossEntropy {
    targets: Tensor<1, Int>,
}

/// What was found of each row of the logits.
#[derive(Debug)]
struct Rows {
    logits: FlexTensor,
    /// The class that is right; `None` for rows that are ignored.
    targets: Vec<Option<usize>>,
    /// The logarithm of the sum of all e^logit.
    normalisers: Vec<f32>,
}

impl Operation for CrossEntropy {
    type Kept = Rows;

    fn forward(&self, mut inputs: Vec<FlexTensor>, _: bool) -> (FlexTensor, Rows) {
        let logits = inputs.remove(0);
        let (_, classes) = shape_of(&logits);
        let targets = targets_of(&self.targets, classes);
        let of_row = |(row, target): (&[f32], &Option<usize>)| {
            let Some(target) = *target else { return (0.0, 0.0) };
            let normaliser = log_sum_exp(row);
            (normaliser, normaliser - row[target])
        };
        let rows = values(&logits).par_chunks(classes.max(1)).zip(&targets);
        let (normalisers, losses): (_, Vec<f32>) = rows.map(of_row).unzip();
        let loss = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() as f32;
        (tensor(vec![loss], [1]), Rows { logits, targets, normalisers })
    }

    fn backward(&self, kept: &Rows, gradient: &FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let Rows { logits, targets, normalisers } = kept;
        let (scale, (shape, classes)) = (values(gradient)[0], shape_of(logits));
        let logits = values(logits);
        let [out] = write([Size { length: logits.len(), portion: classes }], |row, [out]| {
            let Some(target) = targets[row] else { return [zeros(out)] };
            let out = shares(&logits[row * classes..][..classes], normalisers[row], scale, out);
            out[target] -= scale;
            [out]
        });
        vec![Some(tensor(out, shape))]
    }
}

/// The class that is right of each row; `None` for rows that are ignored.
pub(super) fn targets_of(targets: &Tensor<1, Int>, classes: usize) -> Vec<Option<usize>> {
    let targets = targets.to_data();
    targets.iter::<i64>().map(|target| usize::try_from(target).ok().filter(|target| *target < classes)).collect()
}

vectorized! {
    fn log_sum_exp<'a>(logits: &'a [f32]) -> f32 {
        let top = max(logits);
        top + sum(logits, |logit| exp(logit - top)).ln()
    }

    fn shares<'a, 'b>(logits: &'a [f32], normaliser: f32, scale: f32, out: &'b mut [Place]) -> &'b mut [f32] {
        fill(out, [logits], |_, [logit]: [f32; 1]| scale * exp(logit - normaliser))
    }
}
