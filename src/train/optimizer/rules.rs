//! The optimizers: Adam and AdamW, Adagrad, RMSProp, SGD.

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::Tensor;

use super::State;
use crate::recipe::{Optimizer as Recipe, OptimizerName};

/// How a gradient becomes an update. What is done to both before (clipping, decay, learning rates of their own) is the caller's.
pub enum Rule {
    Adam(Adam),
    Adagrad(Adagrad),
    RmsProp(RmsProp),
    Sgd,
}

impl Rule {
    pub fn new(recipe: &Recipe) -> Self {
        let &Recipe { betas, epsilon, initial_accumulator_value, rho, epsilon_in_root, .. } = recipe;
        match recipe.name {
            OptimizerName::AdamW | OptimizerName::Adam => Self::Adam(Adam::new(betas, epsilon)),
            OptimizerName::Adagrad => Self::Adagrad(Adagrad { initial_accumulator_value, epsilon }),
            OptimizerName::RmsProp => Self::RmsProp(RmsProp { rho, epsilon, epsilon_in_root }),
            OptimizerName::Sgd => Self::Sgd,
        }
    }

    /// What it remembers of a parameter beside the number of updates.
    pub fn words(&self) -> &'static [&'static str] {
        match self {
            Self::Adam(_) => Adam::MOMENTS,
            Self::Adagrad(_) => Adagrad::MOMENTS,
            Self::RmsProp(_) => RmsProp::MOMENTS,
            Self::Sgd => &[],
        }
    }

    /// One update of a parameter, `[elements] -> [elements]`.
    pub fn step(&self, rate: f64, value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
        match self {
            Self::Adam(rule) => rule.step(rate, value, gradient, state),
            Self::Adagrad(rule) => rule.step(rate, value, gradient, state),
            Self::RmsProp(rule) => rule.step(rate, value, gradient, state),
            Self::Sgd => {
                state.time += 1;
                value - gradient.mul_scalar(rate)
            }
        }
    }
}

/// Running mean of the gradient.
const MEAN: &str = "exp_avg";
/// Running mean of its square.
const SQUARE: &str = "exp_avg_sq";

/// Adam (arXiv 1412.6980), and AdamW (arXiv 1711.05101), which differs in what the caller does with weight decay. The update is
/// Burn's own, without decay; on the CPU, Kiln's kernel.
pub struct Adam {
    burn: AdamW,
    #[cfg(feature = "flex")]
    kernel: crate::kernels::Adam,
}

impl Adam {
    const MOMENTS: &[&str] = &[MEAN, SQUARE];

    pub fn new(betas: [f64; 2], epsilon: f64) -> Self {
        let config = AdamWConfig::new().with_beta_1(betas[0] as f32).with_beta_2(betas[1] as f32);
        Self {
            burn: config.with_epsilon(epsilon as f32).with_weight_decay(0.0).build(),
            #[cfg(feature = "flex")]
            kernel: crate::kernels::Adam { learning_rate: 0.0, betas, epsilon, time: 0 },
        }
    }

    /// `[elements] -> [elements]`
    pub fn step(&self, rate: f64, value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
        let (mean, square) = (state.take(MEAN, &gradient, 0.0), state.take(SQUARE, &gradient, 0.0));
        #[cfg(feature = "flex")]
        let (value, mean, square) = {
            let (mut value, mut mean, mut square) = (value, mean, square);
            let kernel = crate::kernels::Adam { learning_rate: rate, time: state.time + 1, ..self.kernel };
            if kernel.step(&mut value, &gradient, [&mut mean, &mut square]) {
                state.time += 1;
                state.put(MEAN, mean);
                state.put(SQUARE, square);
                return value;
            }
            (value, mean, square)
        };
        let momentum = AdaptiveMomentumState::new(state.time, mean, square);
        let (value, held) = self.burn.step(rate, value, gradient, Some(AdamWState { momentum }));
        if let Some(AdamWState { momentum }) = held {
            state.time = momentum.time;
            state.put(MEAN, momentum.moment_1);
            state.put(SQUARE, momentum.moment_2);
        }
        value
    }
}

/// The sum of the squares.
const SUM: &str = "sum";

/// Adagrad (Duchi et al. 2011): steps shrink with the root of the sum of all squared gradients.
pub struct Adagrad {
    pub initial_accumulator_value: f64,
    /// Added to the root; 0 where the sum begins above 0.
    pub epsilon: f64,
}

impl Adagrad {
    const MOMENTS: &[&str] = &[SUM];

    /// `[elements] -> [elements]`
    pub fn step(&self, rate: f64, value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
        let sum = state.take(SUM, &gradient, self.initial_accumulator_value); // [elements]
        #[cfg(feature = "flex")]
        let (value, sum) = {
            let (mut value, mut sum) = (value, sum);
            let kernel = crate::kernels::Adagrad { learning_rate: rate, epsilon: self.epsilon };
            if kernel.step(&mut value, &gradient, &mut sum) {
                state.time += 1;
                state.put(SUM, sum);
                return value;
            }
            (value, sum)
        };
        let sum = sum + gradient.clone().square(); // [elements]
        let step = gradient / sum.clone().sqrt().add_scalar(self.epsilon); // [elements]
        state.time += 1;
        state.put(SUM, sum);
        value - step.mul_scalar(rate)
    }
}

/// The running mean of the squares.
const SQUARE_AVG: &str = "square_avg";

/// RMSProp (Hinton's lecture 6e, 2012): steps shrink with the root of the running mean of squared gradients.
pub struct RmsProp {
    /// Decay of the running mean.
    pub rho: f64,
    pub epsilon: f64,
    /// Whether epsilon is added under the root (Paddle, TensorFlow) or to it (PyTorch).
    pub epsilon_in_root: bool,
}

impl RmsProp {
    const MOMENTS: &[&str] = &[SQUARE_AVG];

    /// `[elements] -> [elements]`
    pub fn step(&self, rate: f64, value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
        let square = state.take(SQUARE_AVG, &gradient, 0.0); // [elements]
        let square = square.mul_scalar(self.rho) + gradient.clone().square().mul_scalar(1.0 - self.rho); // [elements]
        let root = match self.epsilon_in_root {
            true => square.clone().add_scalar(self.epsilon).sqrt(),
            false => square.clone().sqrt().add_scalar(self.epsilon),
        }; // [elements]
        state.time += 1;
        state.put(SQUARE_AVG, square);
        value - (gradient / root).mul_scalar(rate)
    }
}
