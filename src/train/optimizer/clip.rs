//! Gradients that are too large are scaled down.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

use crate::{device, kernels};

/// What is done to gradients before an update.
pub enum Clip {
    /// All are multiplied with this.
    All(f64),
    /// All are multiplied with this number on their device, `[1]`.
    AllOnDevice(Box<Tensor<1>>),
    /// Each is scaled down to this norm if its own is larger.
    Each(f64),
}

impl Clip {
    /// What gradients of a loss that is multiplied with `loss_scale` are to be multiplied with, `[1]`; each with the same.
    pub fn factor(&self, loss_scale: f64, device: &Device) -> Tensor<1> {
        let number = |number: f64| Tensor::from_floats([(number / loss_scale) as f32], device);
        match self {
            Self::AllOnDevice(scale) => scale.as_ref().clone().div_scalar(loss_scale),
            Self::All(scale) => number(*scale),
            Self::Each(_) => number(1.0),
        }
    }

    /// A gradient `[elements]` by itself, before it is multiplied with the factor of all. `norm` `[1]` is that of the whole parameter's
    /// gradient, of which this one may be a part.
    pub fn each(&self, gradient: Tensor<1>, norm: Option<Tensor<1>>) -> Tensor<1> {
        let Self::Each(maximum) = self else { return gradient };
        let norm = norm.unwrap_or_else(|| norm_of(&gradient)); // [1]
        gradient * norm.recip().mul_scalar(*maximum).clamp_max(1.0)
    }

    /// A gradient `[elements]` times [`Self::factor`].
    pub fn all(&self, gradient: Tensor<1>, loss_scale: f64) -> Tensor<1> {
        let factor = match self {
            Self::AllOnDevice(_) => {
                let factor = self.factor(loss_scale, &gradient.device()); // [1]
                return gradient * factor;
            }
            Self::All(scale) => scale / loss_scale,
            Self::Each(_) => 1.0 / loss_scale,
        };
        if factor == 1.0 { gradient } else { gradient.mul_scalar(factor) }
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

/// The Euclidean norm of a gradient `[elements]`, `[1]`.
fn norm_of(gradient: &Tensor<1>) -> Tensor<1> {
    let has_kernel = kernels::updates_together(gradient);
    let norm = has_kernel.then(|| kernels::norm_of_all(vec![gradient.clone()])).flatten();
    norm.unwrap_or_else(|| gradient.clone().square().sum().sqrt())
}

/// The Euclidean norm of all gradients together.
pub fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> Norm {
    let mut visitor = Visitor { gradients, together: Vec::new(), square_sums: Vec::new() };
    model.visit(&mut visitor);
    if let Some(norm) = kernels::norm_of_all(visitor.together) {
        return match device::is_gpu(&norm.device()) {
            true => Norm::OnDevice(Box::new(norm)),
            false => Norm::Read(norm.into_scalar::<f32>().into()),
        };
    }
    if visitor.square_sums.is_empty() {
        return Norm::default();
    }
    let sums = Tensor::cat(visitor.square_sums, 0); // [tensors]
    Norm::Read(sums.into_data().iter::<f64>().sum::<f64>().sqrt())
}

struct Visitor<'a> {
    gradients: &'a GradientsParams,
    /// Gradients with a kernel for their norm, `[elements]`.
    together: Vec<Tensor<1>>,
    /// Of the others, `[1]`.
    square_sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Visitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
        let gradient = gradient.flatten::<1>(0, D - 1); // [elements]
        if kernels::updates_together(&gradient) {
            self.together.push(gradient);
        } else {
            self.square_sums.push(gradient.square().sum());
        }
    }
}
