//! Random numbers that are the same on every machine and for ever: a generator for each use, shuffles, orders of any length.
//!
//! Written out here where libraries may change their draws between versions. [`numpy`] draws as numpy does.

pub mod numpy;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a [`Keyed`] generator is for: two uses with the same numbers must not draw the same.
#[derive(Debug, Clone, Copy)]
pub enum Use {
    /// The order of the rows, or of the sentences, in an epoch.
    Epoch = 0,
    /// Which masking policy a sample gets.
    Policy = 1,
    /// Whether a file of knowledge-masked rows is masked by words.
    FileMode = 2,
    /// Which tokens of a knowledge-masked row are masked.
    Row = 3,
    /// Which languages a sample is of.
    Part = 4,
    /// The order of the items of a language in an epoch.
    Items = 5,
    /// The direction of a pair, the language of a back-translation, and which tokens are masked.
    Multilingual = 6,
    /// Which task of a mixture a batch is of.
    Task = 7,
    /// Which tokens a back-translation gets, where they are drawn.
    Pseudo = 8,
}

/// ChaCha8 seeded by four numbers.
pub fn seeded(numbers: [u64; 4]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (bytes, number) in seed.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
}

/// ChaCha8 seeded by a use and three numbers: the same for the same four, on every machine and for ever.
pub struct Keyed(ChaCha8Rng);

impl Keyed {
    pub fn new(what: Use, numbers: [u64; 3]) -> Self {
        Self(seeded([numbers[0], numbers[1], numbers[2], what as u64]))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A multiple of 2^-53 in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// From `low` to `high - 1`. `low` where nothing lies between.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high.saturating_sub(low).into()) as u32
    }

    /// Puts `items`, at most 2^32, into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        fisher_yates(items, |last| self.below(last as u64 + 1) as usize);
    }

    /// Multiply and shift: no modulo, and a bias below 2^-32 for ranges up to 2^32.
    fn below(&mut self, range: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(range)) >> 64) as u64
    }
}

/// Fisher and Yates' shuffle, from the end. `draw` gives a number from 0 to its own, both included.
fn fisher_yates<T>(items: &mut [T], mut draw: impl FnMut(usize) -> usize) {
    for last in (1..items.len()).rev() {
        items.swap(last, draw(last));
    }
}

/// What SplitMix64 adds from one number to the next.
pub const SPLIT_MIX_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser: mixes the bits of a number.
pub fn split_mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Rounds of the Feistel network: four make it look random, two more are for very short orders.
const ROUNDS: usize = 6;

/// A random order of the numbers below a length, which takes no memory and of which any place can be looked up: a Feistel network over the next power of four,
/// walked until it comes to a number that is below the length (Black and Rogaway's cycle walking).
#[derive(Debug)]
pub struct Permutation {
    len: u64,
    /// Bits of half a number.
    half: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The order of a use and its numbers; `len` is below 2^62.
    pub fn new(what: Use, numbers: [u64; 3], len: u64) -> Self {
        let mut generator = Keyed::new(what, numbers);
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self { len, half: bits.div_ceil(2), keys: std::array::from_fn(|_| generator.bits()) }
    }

    /// The number at a place, which is below the length.
    pub fn at(&self, place: u64) -> u64 {
        let mut number = place;
        loop {
            number = self.scramble(number);
            if number < self.len || place >= self.len {
                return number;
            }
        }
    }

    fn scramble(&self, number: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = ((number >> self.half) & mask, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (split_mix(right ^ key) & mask));
        }
        (left << self.half) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(numbers: [u64; 3], len: u64) -> Vec<u64> {
        let permutation = Permutation::new(Use::Items, numbers, len);
        (0..len).map(|place| permutation.at(place)).collect()
    }

    #[test]
    fn every_number_comes_once() {
        for len in (1..200).chain([1023, 1024, 1025, 40_000]) {
            let mut sorted = order([1, 2, 3], len);
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..len), "{len}");
        }
    }

    /// Two orders of other numbers are no more alike than chance: of 10,000 places about one is the same.
    #[test]
    fn orders_are_random() {
        let (one, other) = (order([1, 0, 0], 10_000), order([1, 0, 1], 10_000));
        let same = |a: &[u64], b: &[u64]| a.iter().zip(b).filter(|(a, b)| a == b).count();
        assert!(same(&one, &other) < 10);
        assert!(same(&one, &(0..10_000).collect::<Vec<_>>()) < 10);
        let follows = one.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count();
        assert!(follows < 10, "{follows} numbers stand behind the one before them");
        let first_half: u64 = one[..5000].iter().sum();
        assert!((first_half as f64 / 5000.0 - 5000.0).abs() < 150.0, "{first_half}");
    }
}
