//! Gradients that are too large are scaled down.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::device;

/// What is done to gradients before an update.
pub enum Clip {
    Nothing,
    /// All are multiplied with this.
    All(f64),
    /// All are multiplied with this number on their device, `[1]`.
    AllOnDevice(Box<Tensor<1>>),
    /// Each is scaled down to this norm if its own is larger.
    Each(f64),
}

impl Clip {
    pub fn apply(&self, gradient: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Nothing | Self::All(1.0) => gradient,
            Self::All(scale) => gradient.mul_scalar(*scale),
            Self::AllOnDevice(scale) => gradient * scale.as_ref().clone(),
            Self::Each(maximum) => {
                let norm = gradient.clone().square().sum().sqrt(); // [1]
                gradient * norm.recip().mul_scalar(*maximum).clamp_max(1.0)
            }
        }
    }
}

/// A norm of gradients: a number, or on a GPU, where a read would wait for all work that is queued, a tensor `[1]`.
#[derive(Debug, Clone)]
pub enum Norm {
    Read(f64),
    OnDevice(Box<Tensor<1>>),
}

impl Default for Norm {
    fn default() -> Self {
        Self::Read(0.0)
    }
}

impl Norm {
    /// What is still to be read, `[1]`.
    pub fn on_device(&self) -> Option<Tensor<1>> {
        match self {
            Self::Read(_) => None,
            Self::OnDevice(norm) => Some(norm.as_ref().clone()),
        }
    }

    /// What all gradients are multiplied with, so that their norm is at most `maximum`: PyTorch's `clip_grad_norm_`.
    pub fn clip(self, maximum: f64) -> Clip {
        match self {
            Self::Read(norm) => Clip::All((maximum / (norm + 1e-6)).min(1.0)),
            Self::OnDevice(norm) => {
                Clip::AllOnDevice(Box::new(norm.add_scalar(1e-6).recip().mul_scalar(maximum).clamp_max(1.0))) // [1]
            }
        }
    }
}

/// The Euclidean norm of all gradients together.
pub fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> Norm {
    let mut visitor = SquareSums { gradients, sums: Vec::new() };
    model.visit(&mut visitor);
    let Some(first) = visitor.sums.first() else { return Norm::default() };
    let on_gpu = device::is_gpu(&first.device());
    let sums = Tensor::cat(visitor.sums, 0); // [tensors]
    match on_gpu {
        true => Norm::OnDevice(Box::new(sums.sum().sqrt())),
        false => Norm::Read(sums.into_data().iter::<f64>().sum::<f64>().sqrt()),
    }
}

struct SquareSums<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for SquareSums<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.sums.extend(self.gradients.get::<D>(param.id).map(|gradient| gradient.square().sum()));
    }
}
