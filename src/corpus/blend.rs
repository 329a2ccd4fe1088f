//! Blending of corpora by weight: which corpus each sample comes from. PaddleNLP's `BlendableDataset`, which keeps every
//! corpus as near to its weight as can be at any moment.

use crate::error::{Problem, Result};
use crate::random::numpy::normalised;

/// So many samples a snapshot: a look-up replays half of them on average.
const BLOCK: u64 = 256;

/// A sequence of corpora in which each comes as often as its weight says.
#[derive(Debug)]
pub struct Blend {
    /// The weights over their sum.
    shares: Vec<f64>,
    /// The shares over theirs: the original divides once more, and between equals the last bits decide.
    weights: Vec<f64>,
    /// How many samples there are. The original goes on while its corpora last, and then fails on the one that ends
    /// first; the samples up to the number asked for are the same.
    pub samples: u64,
    /// What had been taken of each corpus before every [`BLOCK`]-th sample.
    snapshots: Vec<u64>,
}

impl Blend {
    /// `weights` need not sum to 1. A corpus that gives no sample (an empty split) is left out by the caller.
    ///
    /// # Errors
    /// No corpus, or a weight that is not above 0: the original would take such a corpus once, as its second sample.
    pub fn new(weights: &[f64], samples: u64) -> Result<Self> {
        let shares = shares(weights, "blended corpora")?;
        let mut blend = Self { weights: normalised(&shares), shares, samples, snapshots: Vec::new() };
        let mut taken = vec![0; blend.weights.len()];
        for sample in 0..samples {
            if sample.is_multiple_of(BLOCK) {
                blend.snapshots.extend_from_slice(&taken);
            }
            let corpus = blend.furthest_behind(sample, &taken);
            taken[corpus] += 1;
        }
        Ok(blend)
    }

    /// How many samples to ask of each corpus: its share and half a percent more, as the original does. The blend never
    /// takes more of one than this.
    pub fn requests(&self) -> Vec<u64> {
        self.shares.iter().map(|share| (self.samples as f64 * share * 1.005).ceil() as u64).collect()
    }

    /// The corpus of a sample, and which of that corpus' samples it is. `None` from [`Self::samples`] on.
    pub fn get(&self, sample: u64) -> Option<(usize, u64)> {
        if sample >= self.samples {
            return None;
        }
        let corpora = self.weights.len();
        let first = (sample / BLOCK) as usize * corpora;
        let mut taken = self.snapshots[first..first + corpora].to_vec();
        for before in sample - sample % BLOCK..sample {
            let corpus = self.furthest_behind(before, &taken);
            taken[corpus] += 1;
        }
        let corpus = self.furthest_behind(sample, &taken);
        Some((corpus, taken[corpus]))
    }

    /// The corpus that lacks most of its share; the first of equals.
    fn furthest_behind(&self, sample: u64, taken: &[u64]) -> usize {
        let lack = |corpus: usize| self.weights[corpus] * (sample as f64).max(1.0) - taken[corpus] as f64;
        (1..taken.len()).fold(0, |most, corpus| if lack(corpus) > lack(most) { corpus } else { most })
    }
}

/// The weights over their sum.
pub(super) fn shares(weights: &[f64], of: &str) -> Result<Vec<f64>> {
    let total: f64 = weights.iter().sum();
    let shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
    // A share can be 0 although its weight is not: beside a weight that is far greater.
    if weights.is_empty() || weights.iter().chain(&shares).any(|number| !number.is_finite() || *number <= 0.0) {
        let problem = Problem::new(format!("the weights of {of} must be above 0"));
        return Err(problem.help("leave out what is not to be taken").into());
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_single_corpus_is_taken_in_its_order() {
        let blend = Blend::new(&[3.0], 1000).unwrap();
        assert!((0..1000).all(|sample| blend.get(sample) == Some((0, sample))));
        assert_eq!((blend.get(1000), blend.requests()), (None, vec![1005]));
    }

    #[test]
    fn weights_that_say_nothing_are_refused() {
        let wrong = [&[] as &[f64], &[0.0, 1.0], &[-1.0, -1.0], &[f64::NAN, 1.0], &[f64::INFINITY], &[1e-300, 1e300]];
        for weights in wrong {
            assert!(Blend::new(weights, 1).is_err(), "{weights:?}");
        }
    }

    proptest! {
        /// Each corpus is taken in its own order, without gaps, and never for more than it was asked.
        #[test]
        fn no_corpus_runs_out(weights in prop::collection::vec(1u32..1000, 1..6), samples in 0u64..3000) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let blend = Blend::new(&weights, samples).unwrap();
            let mut taken = vec![0; weights.len()];
            for sample in 0..samples {
                let (corpus, of_corpus) = blend.get(sample).unwrap();
                prop_assert_eq!(of_corpus, taken[corpus]);
                taken[corpus] += 1;
            }
            for (taken, request) in taken.iter().zip(blend.requests()) {
                prop_assert!(*taken <= request);
            }
        }
    }
}
