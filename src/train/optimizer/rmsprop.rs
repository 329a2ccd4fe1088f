//! RMSProp (Hinton's lecture 6e, 2012): steps shrink with the root of the running mean of squared gradients.

use burn::tensor::Tensor;

use super::State;

/// The running mean of the squares.
const SQUARE: &str = "square_avg";
pub const WORDS: &[&str] = &[SQUARE];

pub struct RmsProp {
    /// Decay of the running mean.
    pub rho: f64,
    pub epsilon: f64,
    /// Whether epsilon is added under the root (Paddle, TensorFlow) or to it (PyTorch).
    pub epsilon_in_root: bool,
}

impl RmsProp {
    /// `[elements] -> [elements]`
    pub fn step(&self, rate: f64, value: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
        let square = state.take(SQUARE, &gradient, 0.0); // [elements]
        let square = square.mul_scalar(self.rho) + gradient.clone().square().mul_scalar(1.0 - self.rho); // [elements]
        let root = match self.epsilon_in_root {
            true => square.clone().add_scalar(self.epsilon).sqrt(),
            false => square.clone().sqrt().add_scalar(self.epsilon),
        }; // [elements]
        state.time += 1;
        state.put(SQUARE, square);
        value - (gradient / root).mul_scalar(rate)
    }
}
