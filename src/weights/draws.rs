//! The values of parameters that no checkpoint holds.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};
use sha2::{Digest, Sha256};

use crate::nn::{Role, Spread};

/// How values that no checkpoint holds are made: weights and tables from the seed and the parameter's name alone, so that
/// they are the same on every device and with any part of the checkpoint missing.
#[derive(Debug, Clone, Copy)]
pub struct Initialisation {
    pub seed: u64,
    pub spread: Spread,
}

/// Random numbers for a parameter, one after the other.
pub(super) struct Draws {
    generator: ChaCha8Rng,
    distribution: Sampled,
}

enum Sampled {
    Even(Uniform<f64>),
    Normal(Normal<f64>),
}

impl Draws {
    /// Those of a parameter; none if its block's own constant is to stay, or if the size is no number, which a configuration's check
    /// finds.
    pub(super) fn new(initialisation: Initialisation, role: Role, name: &str, shape: &[usize]) -> Option<Self> {
        let spread = match (role.spread, shape) {
            (Some(spread), _) => spread,
            (None, [] | [_]) => return None,
            (None, _) => initialisation.spread,
        };
        let even = |limit: f64| Some(Sampled::Even(Uniform::new_inclusive(-limit, limit).ok()?));
        let distribution = match (spread, shape) {
            (Spread::Uniform(limit), _) => even(limit),
            // The fans are `Initializer._compute_fans` of Paddle.
            (Spread::Xavier, [rows, columns, inner @ ..]) => {
                let fans = (rows + columns / role.parts) * inner.iter().product::<usize>();
                even((6.0 / fans as f64).sqrt())
            }
            (Spread::Xavier, _) => None,
            (Spread::Normal(range), _) => Some(Sampled::Normal(Normal::new(0.0, range).ok()?)),
        }?;
        Some(Self { generator: generator(initialisation.seed, name), distribution })
    }

    /// The next numbers.
    pub(super) fn take(&mut self, count: usize) -> Vec<f32> {
        let Self { generator, distribution } = self;
        match distribution {
            Sampled::Even(uniform) => (0..count).map(|_| uniform.sample(generator) as f32).collect(),
            Sampled::Normal(normal) => (0..count).map(|_| normal.sample(generator) as f32).collect(),
        }
    }
}

/// All numbers of a parameter, if it has any of [`Draws`].
pub(super) fn draw(initialisation: Initialisation, role: Role, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
    Some(Draws::new(initialisation, role, name, shape)?.take(shape.iter().product()))
}

/// Random numbers for a parameter, from the seed and its name alone.
fn generator(seed: u64, name: &str) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}
