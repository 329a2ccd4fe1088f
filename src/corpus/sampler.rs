//! Weighted sampling of tasks and languages: a task of the mixture for each batch, a language for each sample.

use super::blend::shares;
use crate::error::Result;
use crate::random::numpy::cumulative;
use crate::random::{Keyed, Use};

/// So many draws are made by one generator; a look-up replays half of them on average.
const BLOCK: u64 = 1024;

/// A sequence of draws, of which any can be looked up, with how often the same thing was drawn before.
#[derive(Debug)]
pub struct WeightedSampler {
    what: Use,
    seed: u64,
    /// Cumulative shares.
    shares: Vec<f64>,
    /// How many draws there are.
    pub count: u64,
    /// How often each was drawn before every [`BLOCK`]th draw.
    snapshots: Vec<u64>,
}

impl WeightedSampler {
    /// `count` draws of things with these `weights`, which need not sum to 1.
    ///
    /// # Errors
    /// Nothing to draw from, or a weight that is not above 0.
    pub fn new(what: Use, seed: u64, weights: &[f64], count: u64) -> Result<Self> {
        let shares = cumulative(&shares(weights, "what is drawn")?);
        let mut sampler = Self { what, seed, shares, count, snapshots: Vec::new() };
        let mut taken = vec![0; weights.len()];
        for block in 0..count.div_ceil(BLOCK) {
            sampler.snapshots.extend_from_slice(&taken);
            sampler.draws(block).for_each(|drawn| taken[drawn] += 1);
        }
        Ok(sampler)
    }

    /// What the draw of this number (from 0) gives, and how often it was drawn before. `None` from [`Self::count`] on.
    pub fn get(&self, draw: u64) -> Option<(usize, u64)> {
        if draw >= self.count {
            return None;
        }
        let (block, within) = (draw / BLOCK, (draw % BLOCK) as usize);
        let drawn: Vec<usize> = self.draws(block).take(within + 1).collect();
        let last = *drawn.last()?;
        let before = drawn[..within].iter().filter(|other| **other == last).count() as u64;
        Some((last, self.snapshots[block as usize * self.shares.len() + last] + before))
    }

    fn draws(&self, block: u64) -> impl Iterator<Item = usize> {
        let mut generator = Keyed::new(self.what, [self.seed, block, 0]);
        // The last share is 1, and what is drawn lies below.
        (0..BLOCK).map(move |_| {
            let drawn = generator.uniform();
            self.shares.partition_point(|share| *share <= drawn).min(self.shares.len() - 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each thing's own draws are counted without gaps, over the ends of blocks too, and come as often as its weight says.
    #[test]
    fn draws_are_counted_and_fall_by_weight() {
        let sampler = WeightedSampler::new(Use::Task, 7, &[1.0, 3.0, 4.0], 10_000).unwrap();
        let mut taken = [0; 3];
        for draw in 0..sampler.count {
            let (drawn, before) = sampler.get(draw).unwrap();
            assert_eq!(before, taken[drawn], "draw {draw}");
            taken[drawn] += 1;
        }
        for (taken, share) in taken.into_iter().zip([0.125, 0.375, 0.5]) {
            assert!((taken as f64 / 10_000.0 - share).abs() < 0.015, "{taken}");
        }
        assert_eq!(sampler.get(10_000), None);
        assert!(WeightedSampler::new(Use::Task, 7, &[1.0, 0.0], 1).is_err());
    }

    /// A longer run begins with the draws of a shorter one.
    #[test]
    fn draws_do_not_depend_on_how_many_there_are() {
        let of = |count| WeightedSampler::new(Use::Task, 1, &[1.0, 1.0], count).unwrap();
        let (short, long) = (of(1500), of(5000));
        assert!((0..1500).all(|draw| short.get(draw) == long.get(draw)));
        let other = WeightedSampler::new(Use::Task, 2, &[1.0, 1.0], 1500).unwrap();
        assert!((0..1500).any(|draw| short.get(draw) != other.get(draw)), "another seed");
    }
}
