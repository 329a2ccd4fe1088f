//! Cross-entropy over many classes, in one pass over the logits and one over their gradient.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Int, Shape, Tensor};
use rayon::prelude::*;

use super::functions::{exp, max, sum};
use super::{NoCheckpointing, shape_of, tensor, values, vectorized};

/// See [`crate::nn::cross_entropy_sum`]; `None` where there is no kernel for the tensors.
pub fn cross_entropy_sum(logits: &Tensor<2>, targets: &Tensor<1, Int>) -> Option<Tensor<1>> {
    if logits.dtype() != DType::F32 {
        return None;
    }
    if let Ok(plain) = logits.clone().try_into_primitive::<Flex>() {
        let rows = Rows::new(&plain.to_contiguous(), targets);
        return Some(Tensor::from_primitive::<Flex>(tensor(vec![rows.loss()], Shape::new([1]))));
    }
    let traced = logits.clone().try_into_primitive::<Autodiff<Flex>>().ok()?;
    let (logits, node) = traced.into_parts();
    let logits = logits.to_contiguous();
    let rows = Rows::new(&logits, targets);
    let loss = tensor(vec![rows.loss()], Shape::new([1]));
    let loss = match CrossEntropy.prepare::<NoCheckpointing>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish((logits, Arc::new(rows)), loss),
        OpsKind::UnTracked(prepared) => prepared.finish(loss),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(loss))
}

#[derive(Debug)]
struct CrossEntropy;

impl Backward<Flex, 1> for CrossEntropy {
    type State = (FlexTensor, Arc<Rows>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (logits, rows) = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, gradients, |gradient| {
            rows.gradient(&logits, values(&gradient.to_contiguous())[0])
        });
    }
}

/// What was found of each row of the logits.
#[derive(Debug)]
struct Rows {
    /// The class that is right; `None` for rows that are ignored.
    targets: Vec<Option<usize>>,
    /// The logarithm of the sum of all e^logit.
    normalisers: Vec<f32>,
    losses: Vec<f32>,
}

impl Rows {
    fn new(logits: &FlexTensor, targets: &Tensor<1, Int>) -> Self {
        let (_, classes) = shape_of(logits);
        let targets: Vec<Option<usize>> = targets
            .to_data()
            .iter::<i64>()
            .map(|target| usize::try_from(target).ok().filter(|target| *target < classes))
            .collect();
        let of_row = |(row, target): (&[f32], &Option<usize>)| {
            let Some(target) = *target else { return (0.0, 0.0) };
            let normaliser = log_sum_exp(row);
            (normaliser, normaliser - row[target])
        };
        let rows = values(logits).par_chunks(classes.max(1)).zip(&targets);
        let (normalisers, losses) = rows.map(of_row).unzip();
        Self { targets, normalisers, losses }
    }

    fn loss(&self) -> f32 {
        self.losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() as f32
    }

    fn gradient(&self, logits: &FlexTensor, scale: f32) -> FlexTensor {
        let (shape, classes) = shape_of(logits);
        let logits = values(logits);
        let mut out = vec![0.0; logits.len()];
        let rows = out.par_chunks_mut(classes.max(1)).zip(logits.par_chunks(classes.max(1)));
        rows.zip(self.targets.par_iter().zip(&self.normalisers)).for_each(|((out, logits), (target, normaliser))| {
            let Some(target) = *target else { return };
            shares(logits, *normaliser, scale, out);
            out[target] -= scale;
        });
        tensor(out, shape)
    }
}

vectorized! {
    fn log_sum_exp<'a>(logits: &'a [f32]) -> f32 {
        let top = max(logits);
        top + sum(logits, |logit| exp(logit - top)).ln()
    }

    fn shares<'a>(logits: &'a [f32], normaliser: f32, scale: f32, out: &'a mut [f32]) {
        for (out, logit) in out.iter_mut().zip(logits) {
            *out = scale * exp(logit - normaliser);
        }
    }
}
