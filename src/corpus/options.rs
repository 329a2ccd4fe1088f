//! Options of pre-training samples: all that they follow from, besides the corpora.

use crate::data::card::Split;
use crate::recipe::{Data, Pretraining, Task};

/// The sections and numbers of a recipe that samples follow from.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions<'a> {
    pub pretraining: &'a Pretraining,
    pub data: &'a Data,
    pub task: &'a Task,
    pub seed: u64,
    pub batch_size: usize,
    /// How many samples the run asks of each part.
    pub counts: SampleCounts,
    /// Whether samples are ERNIE-M's: pairs and text in many languages.
    pub multilingual: bool,
    /// Rows of the model's table of languages; 0 where it has none.
    pub num_languages: usize,
}

/// How many samples a run of a fixed number of steps asks of each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleCounts {
    pub train: u64,
    pub dev: u64,
    pub test: u64,
}

impl SampleCounts {
    /// `global_batch` samples are learnt from at each of `max_steps` steps. After every `eval_steps` steps, and once
    /// more, `eval_iters` such batches of the dev part are evaluated, and ten times as many of the test part at the
    /// end: the numbers of `run_pretrain_static.py` in PaddleNLP's
    /// `model_zoo/ernie-1.0`, whatever accumulation makes the batch up.
    pub fn new(global_batch: u64, max_steps: u64, eval_steps: u64, eval_iters: u64) -> Self {
        let evaluations = (max_steps / eval_steps.max(1)).saturating_add(1);
        let evaluated = global_batch.saturating_mul(eval_iters);
        Self {
            train: global_batch.saturating_mul(max_steps),
            dev: evaluated.saturating_mul(evaluations),
            test: evaluated.saturating_mul(10),
        }
    }

    pub fn get(&self, split: Split) -> u64 {
        [self.train, self.dev, self.test][split as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_the_seed_command() {
        // 32 a card, 4 cards, evaluation every 1000 steps over 10 batches.
        let counts = SampleCounts::new(128, 200_000, 1000, 10);
        assert_eq!(counts, SampleCounts { train: 25_600_000, dev: 128 * 201 * 10, test: 128 * 100 });
        assert_eq!(SampleCounts::new(u64::MAX, 2, 0, 1).train, u64::MAX);
    }
}
