//! Loss scaling for float16 (arXiv 1710.03740, section 3.2): gradients of size 6e-8 and less are 0 in float16, so the loss is multiplied
//! by a large number before the backward pass and the gradients are divided by it after. The number is as large as goes: it is halved
//! where a gradient overflows, whose update is left out, and doubled after many steps without.

use serde::{Deserialize, Serialize};

use crate::metrics::losses::exact;
use crate::tasks::Batch;

/// The steps without an overflow after which the scale is doubled: PyTorch's `growth_interval`.
const GROWTH_INTERVAL: u64 = 2000;

/// The scale at hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    #[serde(with = "exact")]
    pub scale: f64,
    /// Steps without an overflow since the scale was changed.
    pub good_steps: u64,
}

impl LossScale {
    /// What a run begins with unless its recipe says otherwise: PaddleNLP's.
    pub const INITIAL: f64 = 32768.0;

    pub fn new(initial: f64) -> Self {
        Self { scale: initial, good_steps: 0 }
    }

    /// Scales the losses that a step learns from.
    pub fn apply<I, L>(&self, batches: &mut [Batch<I, L>]) {
        batches.iter_mut().flat_map(|batch| &mut batch.terms).for_each(|term| term.scale *= self.scale);
    }

    /// Takes note of whether a step's gradients were finite.
    pub fn update(&mut self, finite: bool) {
        self.good_steps = if finite { self.good_steps + 1 } else { 0 };
        if !finite {
            self.scale *= 0.5;
        } else if self.good_steps == GROWTH_INTERVAL {
            (self.scale, self.good_steps) = (self.scale * 2.0, 0);
        }
    }

    /// Whether there was an overflow at a scale that is none: it comes from the losses themselves, which no scale mends.
    pub fn is_exhausted(&self) -> bool {
        self.scale < 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_after_many_good_steps_and_falls_at_once() {
        let mut scale = LossScale::new(4.0);
        (0..GROWTH_INTERVAL - 1).for_each(|_| scale.update(true));
        assert_eq!(scale, LossScale { scale: 4.0, good_steps: GROWTH_INTERVAL - 1 });
        scale.update(true);
        assert_eq!(scale, LossScale { scale: 8.0, good_steps: 0 });
        scale.update(true);
        scale.update(false);
        assert_eq!(scale, LossScale { scale: 4.0, good_steps: 0 });
        assert!(!scale.is_exhausted());
        (0..3).for_each(|_| scale.update(false));
        assert!(scale.is_exhausted());
    }
}
