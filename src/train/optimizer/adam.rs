//! Adam (arXiv 1412.6980), and AdamW (arXiv 1711.05101), which differs in what the caller does with weight decay.

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::Tensor;

use super::State;

/// Running mean of the gradient.
const MEAN: &str = "exp_avg";
/// Running mean of its square.
const SQUARE: &str = "exp_avg_sq";
pub const WORDS: &[&str] = &[MEAN, SQUARE];

/// The update is Burn's own, without decay; on the CPU, Kiln's kernel.
pub struct Adam {
    burn: AdamW,
    #[cfg(feature = "flex")]
    kernel: crate::kernels::Adam,
}

impl Adam {
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
