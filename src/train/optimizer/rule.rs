//! The algorithms behind one door.

use burn::tensor::Tensor;

use super::State;
use super::adagrad::{self, Adagrad};
use super::adam::{self, Adam};
use super::rmsprop::{self, RmsProp};
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
            Self::Adam(_) => adam::WORDS,
            Self::Adagrad(_) => adagrad::WORDS,
            Self::RmsProp(_) => rmsprop::WORDS,
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
