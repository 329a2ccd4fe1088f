//! Shuffling and bucketing by length: which rows make up which optimizer step, a pure function of the seed and the epoch, so that a
//! run can go on anywhere.

use crate::random::{Keyed, Use};

/// The order of a run over `rows` rows, `rows_per_step` of them an optimizer step; an epoch's last step may have fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    pub seed: u64,
    pub rows: usize,
    pub rows_per_step: usize,
}

impl Order {
    /// Optimizer steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.rows_per_step) as u64
    }

    /// All rows in the order of an epoch (from 0).
    pub fn permutation(&self, epoch: u64) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..self.rows as u32).collect();
        Keyed::new(Use::Epoch, [self.seed, epoch, 0]).shuffle(&mut rows);
        rows
    }

    /// The rows of a step (from 0) of an epoch whose [`Self::permutation`] is given.
    pub fn step<'a>(&self, permutation: &'a [u32], step: u64) -> &'a [u32] {
        let start = (step as usize * self.rows_per_step).min(permutation.len());
        let end = (start + self.rows_per_step).min(permutation.len());
        &permutation[start..end]
    }
}

/// Buckets the rows of one step by length: micro-batches with little padding.
///
/// Which rows make up the step stays as it is, and the loss is weighted over the whole step: the gradient is the same however
/// the rows are cut, up to float rounding. Returns the micro-batches as indices into `lengths`, the shortest rows first.
///
/// `overhead` is what a micro-batch costs beside its tokens, in tokens; `max_rows` the rows that one may hold.
pub fn bucket_by_length(lengths: &[usize], max_rows: usize, overhead: usize) -> Vec<Vec<usize>> {
    let mut sorted: Vec<usize> = (0..lengths.len()).collect();
    sorted.sort_by_key(|&row| lengths[row]); // stable: the order of equal rows is the step's

    // best[n] is the least cost of the first n rows, cut[n] where their last micro-batch begins.
    let mut best = vec![0];
    let mut cut = vec![0];
    for end in 1..=sorted.len() {
        let longest = lengths[sorted[end - 1]];
        let first = end.saturating_sub(max_rows);
        let (cost, start) =
            (first..end).map(|start| (best[start] + (end - start) * longest + overhead, start)).min().unwrap_or((0, 0));
        best.push(cost);
        cut.push(start);
    }

    let mut batches = Vec::new();
    let mut end = sorted.len();
    while end > 0 {
        batches.push(sorted[cut[end]..end].to_vec());
        end = cut[end];
    }
    batches.reverse();
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORDER: Order = Order { seed: 42, rows: 10, rows_per_step: 4 };

    /// Runs made by older versions go on only if the order never changes.
    #[test]
    fn the_order_is_fixed_for_ever() {
        assert_eq!(ORDER.permutation(0), FIRST);
        assert_eq!(ORDER.permutation(1), SECOND);
        assert_eq!(ORDER.steps_per_epoch(), 3);
        assert_eq!(ORDER.step(&FIRST, 2), &FIRST[8..]);
    }
    const FIRST: [u32; 10] = [7, 6, 5, 1, 0, 4, 8, 9, 2, 3];
    const SECOND: [u32; 10] = [8, 2, 7, 0, 4, 6, 9, 3, 1, 5];

    #[test]
    fn cheap_launches_are_cut_finely_and_dear_ones_not_at_all() {
        let lengths = [40, 8, 9, 41, 8];
        assert_eq!(bucket_by_length(&lengths, 16, 4), [vec![1, 4, 2], vec![0, 3]]);
        assert_eq!(bucket_by_length(&lengths, 16, 1000), [vec![1, 4, 2, 0, 3]]);
        assert_eq!(bucket_by_length(&lengths, 2, 1000).len(), 3, "no micro-batch may hold more than fits the device");
    }

    proptest! {
        /// Every row is learnt from exactly once an epoch, however it is cut.
        #[test]
        fn nothing_is_lost_or_repeated(lengths in prop::collection::vec(1usize..200, 0..60), most in 1usize..20, overhead in 0usize..300) {
            let batches = bucket_by_length(&lengths, most, overhead);
            prop_assert!(batches.iter().all(|batch| !batch.is_empty() && batch.len() <= most));
            let mut rows = batches.concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn an_epoch_holds_every_row_once(rows in 1usize..500, rows_per_step in 1usize..40, seed: u64, epoch in 0u64..5) {
            let order = Order { seed, rows, rows_per_step };
            let permutation = order.permutation(epoch);
            let mut seen: Vec<u32> = (0..order.steps_per_epoch()).flat_map(|step| order.step(&permutation, step).to_vec()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..rows as u32).collect::<Vec<_>>());
        }
    }
}
