//! Random orders that take no memory, however long they are.

use super::random::{Keyed, Use};

/// Rounds of the Feistel network: four make it look random, two more are for very short orders.
const ROUNDS: usize = 6;

/// A random order of the numbers below a length, of which any place can be looked up: a Feistel network over the next power of four,
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
            (left, right) = (right, left ^ (mixed(right ^ key) & mask));
        }
        (left << self.half) | right
    }
}

/// SplitMix64's mixing of bits.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(numbers: [u64; 3], len: u64) -> Vec<u64> {
        let permutation = Permutation::new(Use::Order, numbers, len);
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
