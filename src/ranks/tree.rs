//! The fixed order in which the blocks of a step are added up: a binary tree over their numbers, each node of which is split at the
//! largest power of two below its length.

use std::ops::Range;

/// The consecutive ones of `total` blocks that a rank computes. Every rank has one where there are at least as many blocks as ranks.
pub fn blocks_of(rank: usize, size: usize, total: usize) -> Range<usize> {
    total * rank / size..total * (rank + 1) / size
}

/// The halves of a node of more than one block.
fn halves(node: &Range<usize>) -> [Range<usize>; 2] {
    let length = node.len();
    let half = if length.is_power_of_two() { length / 2 } else { 1 << length.ilog2() };
    [node.start..node.start + half, node.start + half..node.end]
}

/// The largest nodes of the tree over `total` blocks that lie within `run`, in order.
pub fn subtrees(run: &Range<usize>, total: usize) -> Vec<Range<usize>> {
    fn collect(node: Range<usize>, run: &Range<usize>, found: &mut Vec<Range<usize>>) {
        if node.end <= run.start || node.start >= run.end {
            return;
        }
        if run.start <= node.start && node.end <= run.end {
            found.push(node);
            return;
        }
        halves(&node).into_iter().for_each(|half| collect(half, run, found));
    }
    let mut found = Vec::new();
    if total > 0 {
        collect(0..total, run, &mut found);
    }
    found
}

/// Adds up the values of a run of blocks as they come, and holds at most one of each level of the tree.
pub struct Fold<T> {
    /// The subtrees that are wanted.
    wanted: Vec<Range<usize>>,
    held: Vec<(Range<usize>, T)>,
}

impl<T> Fold<T> {
    /// The values of the blocks of `run`, of `total` in all, are to come.
    pub fn new(run: &Range<usize>, total: usize) -> Self {
        Self { wanted: subtrees(run, total), held: Vec::new() }
    }

    /// Takes the value of the next block.
    pub fn push(&mut self, block: usize, mut value: T, mut add: impl FnMut(T, T) -> T) {
        let mut node = block..block + 1;
        while let Some((joined, left)) = self.left_of(&node) {
            (node, value) = (joined, add(left, value));
        }
        self.held.push((node, value));
    }

    /// Takes out what is added to the value of `right`, and gives the node that both make.
    fn left_of(&mut self, right: &Range<usize>) -> Option<(Range<usize>, T)> {
        let (left, _) = self.held.last()?;
        let node = self.joined(left, right)?;
        self.held.pop().map(|(_, value)| (node, value))
    }

    /// The node of which these are the halves.
    fn joined(&self, left: &Range<usize>, right: &Range<usize>) -> Option<Range<usize>> {
        let node = left.start..right.end;
        let root = self.wanted.iter().find(|root| root.start <= node.start && node.end <= root.end)?;
        let is_split_there = halves(&node)[0] == *left;
        (left.end == right.start && is_split_there && is_node(&node, root.clone())).then_some(node)
    }

    /// What is there when the run's last block is still to come, whose value comes in parts.
    pub fn before_last(mut self, block: usize) -> BeforeLast<T> {
        let (mut node, mut left) = (block..block + 1, Vec::new());
        while let Some((joined, value)) = self.left_of(&node) {
            node = joined;
            left.push(value);
        }
        BeforeLast { complete: self.held, left, node }
    }

    /// The values of the largest subtrees of the run, in order, once all blocks have come.
    pub fn finish(self) -> Vec<(Range<usize>, T)> {
        self.held
    }
}

/// What the last block of a run comes to.
pub struct BeforeLast<T> {
    /// The values of the largest subtrees without it, in order.
    pub complete: Vec<(Range<usize>, T)>,
    /// What its value is added to, on the right of each, the first one first.
    pub left: Vec<T>,
    /// The subtree that it completes.
    pub node: Range<usize>,
}

/// Whether a range is a node below `root`.
fn is_node(range: &Range<usize>, root: Range<usize>) -> bool {
    if *range == root {
        return true;
    }
    root.len() > 1
        && halves(&root)
            .into_iter()
            .any(|half| half.start <= range.start && range.end <= half.end && is_node(range, half))
}

/// The sum over all `total` blocks, from the values of subtrees that cover them once, in any order; `None` where they do not.
pub fn join<T>(mut parts: Vec<(Range<usize>, T)>, total: usize, mut add: impl FnMut(T, T) -> T) -> Option<T> {
    fn value<T>(node: Range<usize>, parts: &mut Vec<(Range<usize>, T)>, add: &mut impl FnMut(T, T) -> T) -> Option<T> {
        if let Some(at) = parts.iter().position(|(range, _)| *range == node) {
            return Some(parts.swap_remove(at).1);
        }
        if node.len() < 2 {
            return None;
        }
        let [left, right] = halves(&node);
        let (left, right) = (value(left, parts, add)?, value(right, parts, add)?);
        Some(add(left, right))
    }
    let sum = value(0..total, &mut parts, &mut add)?;
    parts.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f32], size: usize) -> f32 {
        let total = values.len();
        let mut parts = Vec::new();
        for rank in (0..size).rev() {
            let run = blocks_of(rank, size, total);
            let mut fold = Fold::new(&run, total);
            let last = run.end - 1;
            (run.start..last).for_each(|block| fold.push(block, values[block], |a, b| a + b));
            let BeforeLast { complete, left, node } = fold.before_last(last);
            parts.extend(complete);
            parts.push((node, left.into_iter().fold(values[last], |sum, left| left + sum)));
        }
        join(parts, total, |a, b| a + b).unwrap()
    }

    proptest! {
        /// The promise of it all.
        #[test]
        fn any_number_of_blocks_and_ranks_folds_to_the_same_bits(
            values in prop::collection::vec(-1e6f32..1e6, 1..48),
            size in 1usize..48,
        ) {
            let size = size.min(values.len());
            let mut fold = Fold::new(&(0..values.len()), values.len());
            values.iter().enumerate().for_each(|(block, value)| fold.push(block, *value, |a, b| a + b));
            let [(_, one)] = fold.finish().try_into().unwrap();
            prop_assert_eq!(sum(&values, size).to_bits(), one.to_bits());
        }

        #[test]
        fn a_rank_holds_one_value_a_level_at_most(total in 1usize..300) {
            let mut fold = Fold::new(&(0..total), total);
            let mut most = 0;
            for block in 0..total {
                fold.push(block, (), |(), ()| ());
                most = most.max(fold.held.len());
            }
            prop_assert!(most <= total.ilog2() as usize + 2, "{most} of {total}");
            prop_assert_eq!(fold.finish().len(), 1);
        }
    }

    #[test]
    fn parts_that_do_not_cover_all_blocks_once_give_nothing() {
        assert_eq!(join(vec![(0..2, 1)], 4, |a, b| a + b), None);
        assert_eq!(join(vec![(0..2, 1), (2..4, 2), (0..1, 3)], 4, |a, b| a + b), None);
        assert_eq!(join(vec![(2..4, 2), (0..2, 1)], 4, |a, b| a + b), Some(3));
    }
}
