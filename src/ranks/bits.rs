//! Floats in the messages of ranks, as their bits: JSON has neither NaN nor infinities. For serde's `with`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is made of floats.
pub trait Floats: Sized {
    type Bits: Serialize + DeserializeOwned;

    fn to_bits(&self) -> Self::Bits;
    fn of_bits(bits: Self::Bits) -> Self;
}

impl Floats for f32 {
    type Bits = u32;

    fn to_bits(&self) -> u32 {
        Self::to_bits(*self)
    }

    fn of_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }
}

impl Floats for f64 {
    type Bits = u64;

    fn to_bits(&self) -> u64 {
        Self::to_bits(*self)
    }

    fn of_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

impl<F: Floats> Floats for Option<F> {
    type Bits = Option<F::Bits>;

    fn to_bits(&self) -> Self::Bits {
        self.as_ref().map(F::to_bits)
    }

    fn of_bits(bits: Self::Bits) -> Self {
        bits.map(F::of_bits)
    }
}

impl<F: Floats> Floats for [F; 2] {
    type Bits = [F::Bits; 2];

    fn to_bits(&self) -> Self::Bits {
        self.each_ref().map(F::to_bits)
    }

    fn of_bits(bits: Self::Bits) -> Self {
        bits.map(F::of_bits)
    }
}

impl<F: Floats> Floats for Vec<F> {
    type Bits = Vec<F::Bits>;

    fn to_bits(&self) -> Self::Bits {
        self.iter().map(F::to_bits).collect()
    }

    fn of_bits(bits: Self::Bits) -> Self {
        bits.into_iter().map(F::of_bits).collect()
    }
}

pub fn serialize<F: Floats, S: Serializer>(floats: &F, serializer: S) -> Result<S::Ok, S::Error> {
    floats.to_bits().serialize(serializer)
}

pub fn deserialize<'de, F: Floats, D: Deserializer<'de>>(deserializer: D) -> Result<F, D::Error> {
    F::Bits::deserialize(deserializer).map(F::of_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Message {
        #[serde(with = "super")]
        score: Option<f32>,
        #[serde(with = "super")]
        pairs: Vec<[f64; 2]>,
    }

    #[test]
    fn every_float_comes_back() {
        let score = Some(f32::from_bits(0x7fc0_1234));
        let pairs = vec![[f64::NAN, f64::NEG_INFINITY], [-0.0, 5e-324], [0.1 + 0.2, f64::MAX]];
        let message = serde_json::to_vec(&Message { score, pairs: pairs.clone() }).unwrap();
        let found: Message = serde_json::from_slice(&message).unwrap();
        assert_eq!(found.score.map(f32::to_bits), score.map(f32::to_bits));
        assert_eq!(Floats::to_bits(&found.pairs), Floats::to_bits(&pairs));
    }
}
