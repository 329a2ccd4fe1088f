//! What a process computes of a step: its blocks one after the other, their gradients added up along the tree of blocks.

use std::ops::Range;

use burn::optim::GradientsParams;
use burn::tensor::Device;

use super::optimizer::{Exchange, Shards};
use crate::nn::seed_dropout;
use crate::random::{SPLIT_MIX_STEP, split_mix};
use crate::ranks::tree::Fold;
use crate::tasks::{BackwardHook, Batch, BatchOf, Carried, Learned, Loss, Trainable, add, learn_block};

/// What a process computes of its blocks of a step.
pub struct Computed<G, C> {
    /// In the order of the blocks.
    pub losses: Vec<Loss>,
    pub gradients: G,
    pub carried: C,
}

/// What blocks of a step are learnt from, after a step that left `carried`; dropout follows from `seed` and the block.
pub struct Blocks<'a, M: Trainable> {
    pub model: &'a M,
    pub carried: &'a M::Carried,
    pub seed: u64,
    pub device: &'a Device,
}

impl<M: Trainable> Blocks<'_, M> {
    /// Learns from `batches`, which are of all `total` blocks of the step.
    pub fn compute(&self, batches: Vec<BatchOf<M>>, total: usize) -> Computed<GradientsParams, M::Carried> {
        let mut learnt = Vec::new();
        let fold = self.fold(by_block(batches), Fold::new(&(0..total), total), &mut learnt);
        let gradients = fold.finish().pop().map(|(_, gradients)| gradients);
        together(learnt, gradients.unwrap_or_default())
    }

    /// Learns from `batches`, which are of the blocks `own` of a step of `total` blocks. The gradients of the last block go to other ranks
    /// while it is computed.
    pub fn compute_and_exchange<'s>(
        &self,
        batches: Vec<BatchOf<M>>,
        (own, total): (Range<usize>, usize),
        shards: &'s Shards,
    ) -> Computed<Exchange<'s>, M::Carried> {
        let mut learnt = Vec::new();
        let mut blocks = by_block(batches);
        let Some((block, batches)) = blocks.pop() else {
            return together(learnt, Exchange::new(shards, None, total));
        };
        let fold = self.fold(blocks, Fold::new(&own, total), &mut learnt);
        let mut exchange = Exchange::new(shards, Some(fold.before_last(block)), total);
        self.learn(block, batches, &mut learnt, Some(&mut exchange));
        together(learnt, exchange)
    }

    fn fold(
        &self,
        blocks: Vec<(usize, Vec<BatchOf<M>>)>,
        mut fold: Fold<GradientsParams>,
        learnt: &mut Vec<(Vec<Loss>, M::Carried)>,
    ) -> Fold<GradientsParams> {
        for (block, batches) in blocks {
            let gradients = self.learn(block, batches, learnt, None);
            fold.push(block, gradients, |mut left, right| {
                add(self.model, &mut left, right);
                left
            });
        }
        fold
    }

    fn learn(
        &self,
        block: usize,
        batches: Vec<BatchOf<M>>,
        learnt: &mut Vec<(Vec<Loss>, M::Carried)>,
        hook: Option<&mut dyn BackwardHook<M>>,
    ) -> GradientsParams {
        // The first block's is the step's.
        seed_dropout(self.device, if block == 0 { self.seed } else { mix(self.seed, block as u64) });
        let Learned { losses, gradients, carried } = learn_block(self.model, batches, self.carried, hook);
        learnt.push((losses, carried));
        gradients
    }
}

/// What blocks have come to, in their order.
fn together<G, C: Carried>(learnt: Vec<(Vec<Loss>, C)>, gradients: G) -> Computed<G, C> {
    let (losses, left): (Vec<_>, Vec<_>) = learnt.into_iter().unzip();
    Computed { losses: losses.into_iter().flatten().collect(), gradients, carried: C::together(left) }
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
