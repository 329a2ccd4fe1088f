//! Gradients that are too large are scaled down.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// What is done to gradients before an update.
pub enum Clip {
    Nothing,
    /// All are multiplied with this.
    All(f64),
    /// Each is scaled down to this norm if its own is larger.
    Each(f64),
}

impl Clip {
    pub fn apply(&self, gradient: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Nothing | Self::All(1.0) => gradient,
            Self::All(scale) => gradient.mul_scalar(*scale),
            Self::Each(maximum) => {
                let norm = gradient.clone().square().sum().sqrt(); // [1]
                gradient * norm.recip().mul_scalar(*maximum).clamp_max(1.0)
            }
        }
    }
}

/// The Euclidean norm of all gradients together.
pub fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> f64 {
    let mut visitor = SquareSums { gradients, sums: Vec::new() };
    model.visit(&mut visitor);
    if visitor.sums.is_empty() {
        return 0.0;
    }
    // One read from the device, however many tensors there are.
    Tensor::cat(visitor.sums, 0).into_data().iter::<f64>().sum::<f64>().sqrt()
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
