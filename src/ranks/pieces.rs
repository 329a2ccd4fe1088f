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
///
/// As in PaddleNLP's `sharding_degree`, `degree` ranks in a row are a group that has everything once: the rank `r` has the shard
/// `r % degree`. Those that have the same shard add up a piece of it each.
#[derive(Debug, Clone)]
pub struct Pieces {
    /// All blocks, in the order of the parameters, the last parameters first: their gradients are there first.
    blocks: Vec<Part>,
    ranks: usize,
    degree: usize,
    /// Blocks of a bucket.
    width: usize,
}

impl Pieces {
    /// `sizes` are the parameters' elements, in the order of the model; `degree` divides `ranks`.
    pub fn new(sizes: &[usize], ranks: usize, degree: usize) -> Self {
        let of = |parameter: usize| {
            let size = sizes[parameter];
            (0..size).step_by(BLOCK).map(move |start| Part { parameter, elements: start..(start + BLOCK).min(size) })
        };
        let blocks = (0..sizes.len()).rev().flat_map(of).collect();
        Self { blocks, ranks, degree, width: BUCKET / size_of::<f32>() / BLOCK }
    }

    pub fn buckets(&self) -> usize {
        self.blocks.len().div_ceil(self.width)
    }

    /// The parameters that a bucket has elements of.
    pub fn parameters(&self, bucket: usize) -> Range<usize> {
        let blocks = self.cut(bucket, 0..self.ranks);
        match (blocks.last(), blocks.first()) {
            (Some(last), Some(first)) => last.parameter..first.parameter + 1,
            _ => 0..0,
        }
    }

    /// What a rank adds up of a bucket: consecutive blocks, as many as every other rank has, give or take one.
    pub fn piece(&self, bucket: usize, rank: usize) -> &[Part] {
        let owners = self.ranks / self.degree;
        let place = rank % self.degree * owners + rank / self.degree;
        self.cut(bucket, place..place + 1)
    }

    /// What a rank updates of a bucket: the pieces of all [`Self::owners`], one after the other.
    pub fn shard(&self, bucket: usize, rank: usize) -> &[Part] {
        let owners = self.ranks / self.degree;
        let place = rank % self.degree * owners;
        self.cut(bucket, place..place + owners)
    }

    fn cut(&self, bucket: usize, places: Range<usize>) -> &[Part] {
        let first = bucket * self.width;
        let count = self.width.min(self.blocks.len() - first);
        let at = |place: usize| first + count * place / self.ranks;
        &self.blocks[at(places.start)..at(places.end)]
    }

    /// The ranks with the same shard.
    pub fn owners(&self, rank: usize) -> Vec<usize> {
        (rank % self.degree..self.ranks).step_by(self.degree).collect()
    }

    /// The ranks that have everything once.
    pub fn group(&self, rank: usize) -> Vec<usize> {
        let first = rank - rank % self.degree;
        (first..first + self.degree).collect()
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
        fn every_element_has_one_owner(
            sizes in prop::collection::vec(0usize..100_000, 0..12),
            owners in 1usize..4,
            degree in 1usize..4,
        ) {
            let ranks = owners * degree;
            let mut pieces = Pieces::new(&sizes, ranks, degree);
            pieces.width = 3;
            let mut added: Vec<Vec<u8>> = sizes.iter().map(|size| vec![0; *size]).collect();
            let mut updated = added.clone();
            for (rank, bucket) in (0..ranks).flat_map(|rank| (0..pieces.buckets()).map(move |bucket| (rank, bucket))) {
                for part in pieces.piece(bucket, rank) {
                    prop_assert!(part.elements.start % BLOCK == 0 && part.elements.len() <= BLOCK);
                    added[part.parameter][part.elements.clone()].iter_mut().for_each(|owners| *owners += 1);
                }
                for part in pieces.shard(bucket, rank) {
                    updated[part.parameter][part.elements.clone()].iter_mut().for_each(|owners| *owners += 1);
                    prop_assert!(pieces.parameters(bucket).contains(&part.parameter));
                }
                let of_owners: Vec<Part> = pieces.owners(rank).iter().flat_map(|rank| pieces.piece(bucket, *rank).to_vec()).collect();
                prop_assert_eq!(pieces.shard(bucket, rank).to_vec(), of_owners);
            }
            prop_assert!(added.iter().flatten().all(|times| *times == 1));
            prop_assert!(updated.iter().flatten().all(|times| usize::from(*times) == owners));
        }
    }

    /// Also where one table is most of the model, as ERNIE-M's.
    #[test]
    fn owners_have_about_as_much() {
        let pieces = Pieces::new(&[250_002 * 768, 514 * 768, 768, 768, 85_000_000], 8, 8);
        let owned = |rank| (0..pieces.buckets()).map(|bucket| count(pieces.shard(bucket, rank))).sum();
        let owned: Vec<usize> = (0..8).map(owned).collect();
        let (least, most) = (owned.iter().min().unwrap(), owned.iter().max().unwrap());
        assert!(most - least <= pieces.buckets() * BLOCK, "{owned:?}");
        assert!((*most as f64) < 1.02 * *least as f64, "{owned:?}");
    }
}
