//! Adagrad (Duchi et al. 2011): steps shrink with the root of the sum of all squared gradients.

use burn::tensor::Tensor;

use super::State;

/// The sum of the squares.
const SUM: &str = "sum";
pub const WORDS: &[&str] = &[SUM];

pub struct Adagrad {
    pub initial_accumulator_value: f64,
    /// Added to the root; 0 where the sum begins above 0.
    pub epsilon: f64,
}

impl Adagrad {
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
