//! Which elements a dropout drops.

/// A function of a seed and an element's number, the same on every device, so that nothing of it has to be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mask {
    pub seed: [u32; 2],
    /// Elements whose number lies below are dropped.
    pub threshold: u32,
    pub scale: f32,
}

impl Mask {
    /// Drops elements with probability `p` (below 1) and scales the others up by `1 / (1 - p)`.
    pub fn new(p: f64, seed: u64) -> Self {
        let seed = [seed as u32, (seed >> 32) as u32];
        Self { seed, threshold: (p * f64::from(u32::MAX)) as u32, scale: (1.0 / (1.0 - p)) as f32 }
    }

    /// An element's value after dropout.
    #[cfg(feature = "flex")]
    #[inline(always)]
    pub(super) fn apply(self, element: usize, value: f32) -> f32 {
        if self.is_dropped(element) { 0.0 } else { value * self.scale }
    }

    /// By a number that is evenly spread over all: a round of the hash "lowbias32" (Chris Wellons) on each half of the seed.
    #[cfg(feature = "flex")]
    #[inline(always)]
    pub(super) fn is_dropped(self, element: usize) -> bool {
        let hash = |mut x: u32| {
            x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
            x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
            x ^ (x >> 16)
        };
        hash(hash(element as u32 ^ self.seed[0]).wrapping_add(self.seed[1])) < self.threshold
    }
}
