//! How recurrent layers go through the steps of a batch's rows.

use super::matrix::Threads;

/// Rows of `steps` steps, of which those beyond a row's length are none; taken from the first to the last, or the other way round.
#[derive(Debug, Clone)]
pub struct Sequences {
    pub batch: usize,
    pub steps: usize,
    pub lengths: Option<Vec<usize>>,
    pub reversed: bool,
}

impl Sequences {
    pub fn has_ended(&self, row: usize, step: usize) -> bool {
        self.lengths.as_ref().is_some_and(|lengths| lengths[row] <= step)
    }

    /// The steps in the order in which they are taken.
    pub fn order(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let Self { steps, reversed, .. } = *self;
        (0..steps).map(move |number| if reversed { steps - 1 - number } else { number })
    }

    /// The step of a row that was taken before one, if it had any.
    pub fn before(&self, row: usize, step: usize) -> Option<usize> {
        match self.reversed {
            false => step.checked_sub(1),
            true => Some(step + 1).filter(|step| *step < self.steps && !self.has_ended(row, *step)),
        }
    }

    /// Vectors of `width` before each step, `[batch, steps, width]`: out of those after each step, which are in rows of `stride`
    /// numbers, and of the first, `[batch, width]`. Anything finite where a row has ended.
    pub fn befores(&self, after: &[f32], stride: usize, first: &[f32], width: usize) -> Vec<f32> {
        let mut found = Vec::with_capacity(self.batch * self.steps * width);
        for row in 0..self.batch {
            for step in 0..self.steps {
                found.extend_from_slice(match self.before(row, step) {
                    Some(before) => &after[row * stride + before * width..][..width],
                    None => &first[row * width..][..width],
                });
            }
        }
        found
    }
}

/// Who takes how many rows through all steps.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub rows: usize,
    /// Who computes their products.
    pub threads: Threads,
}

impl Share {
    /// Rows of a batch for which a step reads so many numbers of weights.
    ///
    /// Rows that each have their thread do not wait for each other, but each thread reads all weights, so that they must fit into its
    /// cache. The rows are as many whatever the number of threads, so that results do not depend on it.
    pub fn new(batch: usize, weights: usize) -> Self {
        const FIT: usize = 1 << 19;
        match weights <= FIT && batch > 16 {
            true => Self { rows: batch.div_ceil(8).max(16), threads: Threads::One },
            false => Self { rows: batch.max(1), threads: Threads::Many },
        }
    }

    /// How many rows a thread should at least take in a loop over the rows of one step.
    pub fn least(&self) -> usize {
        match self.threads {
            Threads::One => self.rows,
            Threads::Many => 1,
        }
    }
}
