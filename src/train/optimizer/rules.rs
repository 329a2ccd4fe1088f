//! The optimizers: Adam and AdamW, Adagrad, RMSProp, SGD. How a gradient becomes an update; what is done to both before (clipping,
//! decay, learning rates of their own) is the caller's.

use burn::optim::{AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::Tensor;

use super::State;
#[cfg(feature = "flex")]
use crate::kernels;
use crate::recipe::{Optimizer as Options, OptimizerName};

/// Running mean of the gradient.
pub const MEAN: &str = "exp_avg";
/// Running mean of its square.
pub const SQUARE: &str = "exp_avg_sq";
/// The sum of the squares.
const SUM: &str = "sum";
/// The running mean of the squares.
const SQUARE_AVG: &str = "square_avg";

/// What an optimizer remembers of a parameter beside the number of updates.
pub fn words(name: OptimizerName) -> &'static [&'static str] {
    match name {
        OptimizerName::AdamW | OptimizerName::Adam => &[MEAN, SQUARE],
        OptimizerName::Adagrad => &[SUM],
        OptimizerName::RmsProp => &[SQUARE_AVG],
        OptimizerName::Sgd => &[],
    }
}

/// One update of a parameter, `[elements] -> [elements]`.
pub fn step(options: &Options, rate: f64, value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
    state.time += 1;
    match options.name {
        OptimizerName::AdamW | OptimizerName::Adam => adam(options, rate, value, gradient, state),
        OptimizerName::Adagrad => adagrad(options, rate, value, gradient, state),
        OptimizerName::RmsProp => rms_prop(options, rate, value, gradient, state),
        OptimizerName::Sgd => value - gradient.mul_scalar(rate),
    }
}

/// Adam (arXiv 1412.6980), and AdamW (arXiv 1711.05101), which differs in what the caller does with weight decay: Burn's own, without
/// decay, where there is no kernel. `[elements] -> [elements]`
fn adam(options: &Options, rate: f64, value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
    let &Options { betas, epsilon, .. } = options;
    let config = AdamWConfig::new().with_beta_1(betas[0] as f32).with_beta_2(betas[1] as f32);
    let burn = config.with_epsilon(epsilon as f32).with_weight_decay(0.0).build();
    let (mean, square) = (state.take(MEAN, &gradient, 0.0), state.take(SQUARE, &gradient, 0.0)); // [elements]
    let momentum = AdaptiveMomentumState::new(state.time - 1, mean, square);
    let (updated, held) = burn.step(rate, value, gradient, Some(AdamWState { momentum }));
    if let Some(AdamWState { momentum }) = held {
        state.put(MEAN, momentum.moment_1);
        state.put(SQUARE, momentum.moment_2);
    }
    updated
}

/// Adagrad (Duchi et al. 2011): steps shrink with the root of the sum of all squared gradients. Epsilon is added to the root; it is 0
/// where the sum begins above 0. `[elements] -> [elements]`
fn adagrad(options: &Options, rate: f64, mut value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
    let mut sum = state.take(SUM, &gradient, options.initial_accumulator_value); // [elements]
    #[cfg(feature = "flex")]
    let is_done =
        kernels::Adagrad { learning_rate: rate, epsilon: options.epsilon }.step(&mut value, &gradient, &mut sum);
    #[cfg(not(feature = "flex"))]
    let is_done = false;
    if !is_done {
        sum = sum + gradient.clone().square(); // [elements]
        let step = gradient / sum.clone().sqrt().add_scalar(options.epsilon); // [elements]
        value = value - step.mul_scalar(rate);
    }
    state.put(SUM, sum);
    value
}

/// RMSProp (Hinton's lecture 6e, 2012): steps shrink with the root of the running mean of squared gradients, which decays by `rho`.
/// Epsilon is added under the root (Paddle, TensorFlow) or to it (PyTorch). `[elements] -> [elements]`
fn rms_prop(options: &Options, rate: f64, value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
    let &Options { rho, epsilon, epsilon_in_root, .. } = options;
    let square = state.take(SQUARE_AVG, &gradient, 0.0); // [elements]
    let square = square.mul_scalar(rho) + gradient.clone().square().mul_scalar(1.0 - rho); // [elements]
    let root = match epsilon_in_root {
        true => square.clone().add_scalar(epsilon).sqrt(),
        false => square.clone().sqrt().add_scalar(epsilon),
    }; // [elements]
    state.put(SQUARE_AVG, square);
    value - (gradient / root).mul_scalar(rate)
}
