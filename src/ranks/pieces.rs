//! How the elements of all parameters are cut among ranks: into blocks that never straddle two parameters, blocks into buckets that
//! are exchanged at once, each bucket into a piece a rank.

use std::ops::Range;

/// Elements of a block: sums of squares are taken of whole blocks, so that they do not depend on the cut.
pub const BLOCK: usize = 16_384;
/// Bytes of a bucket, PaddleNLP's segment.
pub const BUCKET: usize = 32 << 20;

/// A part of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The parameter, by its place in the model.
    pub parameter: usize,
    pub elements: Range<usize>,
}

/// Where everything is of parameters of some sizes, for some ranks.
#[derive(Debug, Clone)]
pub struct Pieces {
    sizes: Vec<usize>,
    /// All blocks, in the order of the parameters, the last parameters first: their gradients are there first.
    blocks: Vec<Part>,
    ranks: usize,
    /// Blocks of a bucket.
    width: usize,
}

impl Pieces {
    /// `sizes` are the parameters' elements, in the order of the model.
    pub fn new(sizes: &[usize], ranks: usize) -> Self {
        let of = |parameter: usize| {
            let size = sizes[parameter];
            (0..size).step_by(BLOCK).map(move |start| Part { parameter, elements: start..(start + BLOCK).min(size) })
        };
        let blocks = (0..sizes.len()).rev().flat_map(of).collect();
        Self { sizes: sizes.to_vec(), blocks, ranks: ranks.max(1), width: BUCKET / size_of::<f32>() / BLOCK }
    }

    /// The elements of a parameter.
    pub fn size(&self, parameter: usize) -> usize {
        self.sizes[parameter]
    }

    pub fn buckets(&self) -> usize {
        self.blocks.len().div_ceil(self.width)
    }

    /// What a rank owns of a bucket: consecutive blocks, as many as every other rank has, give or take one.
    pub fn piece(&self, bucket: usize, rank: usize) -> &[Part] {
        let first = bucket * self.width;
        let count = self.width.min(self.blocks.len() - first);
        let at = |rank: usize| first + count * rank / self.ranks;
        &self.blocks[at(rank)..at(rank + 1)]
    }

    /// What a rank owns.
    pub fn owned(&self, rank: usize) -> impl Iterator<Item = &Part> {
        (0..self.buckets()).flat_map(move |bucket| self.piece(bucket, rank))
    }
}

/// The elements of parts.
pub fn count(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.elements.len()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing is updated twice or never, however small the parameters are.
        #[test]
        fn every_element_has_one_owner(sizes in prop::collection::vec(0usize..100_000, 0..12), ranks in 1usize..9) {
            let mut pieces = Pieces::new(&sizes, ranks);
            pieces.width = 3;
            let mut owners: Vec<Vec<u8>> = sizes.iter().map(|size| vec![0; *size]).collect();
            for rank in 0..ranks {
                for part in pieces.owned(rank) {
                    prop_assert!(part.elements.start % BLOCK == 0 && part.elements.len() <= BLOCK);
                    owners[part.parameter][part.elements.clone()].iter_mut().for_each(|owners| *owners += 1);
                }
            }
            prop_assert!(owners.iter().flatten().all(|owners| *owners == 1));
        }
    }

    /// Also where one table is most of the model, as ERNIE-M's.
    #[test]
    fn owners_have_about_as_much() {
        let pieces = Pieces::new(&[250_002 * 768, 514 * 768, 768, 768, 85_000_000], 8);
        let owned: Vec<usize> = (0..8).map(|rank| pieces.owned(rank).map(|part| part.elements.len()).sum()).collect();
        let (least, most) = (owned.iter().min().unwrap(), owned.iter().max().unwrap());
        assert!(most - least <= pieces.buckets() * BLOCK, "{owned:?}");
        assert!((*most as f64) < 1.02 * *least as f64, "{owned:?}");
    }
}
