//! A step's work shared by several ranks, such that the bits do not depend on how many there are.
//!
//! A step has blocks: each is so many consecutive rows, the unit of computing and of rounding. A rank computes a run of consecutive
//! blocks. What the blocks give is added up along a [`tree`] that the number of blocks alone decides, and the elements of all
//! parameters are cut into [`pieces`](pieces::Pieces) whose owners add them up; f32 addition commutes, so that only the shape of the
//! tree matters, and not who adds.

#[cfg(feature = "mpi")]
pub mod mpi;
pub mod pieces;
pub mod reduce;
pub mod transport;
pub mod tree;

use std::ops::Range;

/// The blocks of `total` that a rank computes. Every rank has one where there are at least as many blocks as ranks.
pub fn blocks_of(rank: usize, size: usize, total: usize) -> Range<usize> {
    total * rank / size..total * (rank + 1) / size
}
