//! Draws exactly as numpy's legacy `numpy.random.RandomState` (1.26; the stream is frozen), which PaddleNLP makes every
//! pre-training sample with.

use rand_mt::Mt;

use super::fisher_yates;

/// `numpy.random.RandomState(seed)`: MT19937, and the draws that samples are made by.
pub struct RandomState {
    generator: Mt,
}

impl RandomState {
    pub fn new(seed: u32) -> Self {
        Self { generator: Mt::new(seed) }
    }

    /// `random_sample()`, also spelt `random()`: a multiple of 2^-53 in [0, 1).
    pub fn random_sample(&mut self) -> f64 {
        let high = f64::from(self.generator.next_u32() >> 5);
        let low = f64::from(self.generator.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `randint(low, high)`: from `low` to `high - 1`. `low` where nothing lies between.
    pub fn randint(&mut self, low: u32, high: u32) -> u32 {
        low + self.up_to(high.saturating_sub(low).saturating_sub(1))
    }

    /// `shuffle(list)`, of at most 2^32 items (numpy draws 64 bits for more).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        fisher_yates(items, |last| self.up_to(last as u32) as usize);
    }

    /// `choice(n, p=p)` of the [`cumulative`] sums of p: an index into them.
    pub fn choice(&mut self, cumulative: &[f64]) -> usize {
        let drawn = self.random_sample();
        cumulative.partition_point(|sum| *sum <= drawn)
    }

    /// `geometric(p)` for p below 1/3 (numpy counts trials another way above): from 1.
    pub fn geometric(&mut self, p: f64) -> u64 {
        let trials = ((1.0 - self.random_sample()).ln() / (1.0 - p).ln()).ceil();
        // Where the draw is 0, once in 2^53, numpy says 0.
        (trials as u64).max(1)
    }

    /// From 0 to `most`: draws below the next power of two until one fits; none where there is one value only.
    fn up_to(&mut self, most: u32) -> u32 {
        if most == 0 {
            return 0;
        }
        let mask = u32::MAX >> most.leading_zeros();
        loop {
            let drawn = self.generator.next_u32() & mask;
            if drawn <= most {
                return drawn;
            }
        }
    }
}

/// `weights / weights.sum()`, rounded as numpy rounds it for up to [`MOST_WEIGHTS`].
pub fn normalised(weights: &[f64]) -> Vec<f64> {
    let total = numpy_sum(weights);
    weights.iter().map(|weight| weight / total).collect()
}

/// How many numbers [`normalised`] takes: numpy halves longer lists.
pub const MOST_WEIGHTS: usize = 128;

/// What `choice` makes of its p: cumulative sums, the last one being 1.
pub fn cumulative(p: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums: Vec<f64> = Vec::with_capacity(p.len());
    for one in p {
        sum += one;
        sums.push(sum);
    }
    sums.iter().map(|partial| partial / sum).collect()
}

/// numpy's pairwise sum of at most [`MOST_WEIGHTS`] numbers: eight sums side by side from eight numbers on.
fn numpy_sum(numbers: &[f64]) -> f64 {
    let (eights, mut rest) = numbers.as_chunks::<8>();
    let mut total = 0.0;
    if let Some((first, others)) = eights.split_first() {
        let mut sums = *first;
        for eight in others {
            sums.iter_mut().zip(eight).for_each(|(sum, number)| *sum += number);
        }
        let [a, b, c, d, e, f, g, h] = sums;
        total = ((a + b) + (c + d)) + ((e + f) + (g + h));
    } else {
        rest = numbers;
    }
    rest.iter().fold(total, |sum, number| sum + number)
}
