//! What a process computes of a step: its blocks one after the other, their gradients added up along the tree of blocks.

use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

use crate::nn::seed_dropout;
use crate::random::{SPLIT_MIX_STEP, split_mix};
use crate::ranks::tree::Fold;
use crate::tasks::{Batch, BatchOf, Carried, Learned, Loss, Trainable};

/// What a process computes of its blocks of a step.
pub struct Computed<C> {
    /// In the order of the blocks.
    pub losses: Vec<Loss>,
    /// Of the largest subtrees of its blocks, of which there is one where it has all blocks.
    pub gradients: Vec<(Range<usize>, GradientsParams)>,
    pub carried: C,
}

/// Learns from `batches`, which are of the blocks `own` of a step of `total` blocks; dropout follows from `seed` and the block.
pub fn compute<M: Trainable>(
    model: &M,
    batches: Vec<BatchOf<M>>,
    carried: &M::Carried,
    (own, total): (Range<usize>, usize),
    seed: u64,
    device: &Device,
) -> Computed<M::Carried> {
    let mut fold = Fold::new(&own, total);
    let (mut losses, mut left) = (Vec::new(), Vec::new());
    for (block, batches) in by_block(batches) {
        // The first block's is the step's.
        seed_dropout(device, if block == 0 { seed } else { mix(seed, block as u64) });
        let Learned { losses: of_block, gradients, carried } = model.learn(batches, carried);
        fold.push(block, gradients, |left, right| add(model, left, right));
        losses.extend(of_block);
        left.push(carried);
    }
    Computed { losses, gradients: fold.finish(), carried: Carried::together(left) }
}

/// The batches of each block, in the order of the blocks, which is theirs.
fn by_block<I, L>(batches: Vec<Batch<I, L>>) -> Vec<(usize, Vec<Batch<I, L>>)> {
    let mut blocks: Vec<(usize, Vec<_>)> = Vec::new();
    for batch in batches {
        match blocks.last_mut() {
            Some((block, of_block)) if *block == batch.block => of_block.push(batch),
            _ => blocks.push((batch.block, vec![batch])),
        }
    }
    blocks
}

/// The seed of a step's dropout, or of a block's: SplitMix64's number of it.
pub fn mix(seed: u64, number: u64) -> u64 {
    split_mix(seed.wrapping_add(number.wrapping_add(1).wrapping_mul(SPLIT_MIX_STEP)))
}

/// Adds gradients, parameter by parameter; what one of the two lacks is the other's.
fn add<M: Module>(model: &M, left: GradientsParams, right: GradientsParams) -> GradientsParams {
    let mut adder = Adder { left, right, sum: GradientsParams::new() };
    model.visit(&mut adder);
    adder.sum
}

struct Adder {
    left: GradientsParams,
    right: GradientsParams,
    sum: GradientsParams,
}

impl ModuleVisitor for Adder {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let sum = match (self.left.remove::<D>(param.id), self.right.remove::<D>(param.id)) {
            (Some(left), Some(right)) => left + right,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return,
        };
        self.sum.register(param.id, sum);
    }
}
