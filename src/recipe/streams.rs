//! The section of a recipe whose task is a language model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::StreamState;

/// `[streams]`: what "bidirectional-lm" learns from. Its sentences are lines of words with spaces between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// Files to learn from: paths, folders, and patterns such as `data/train/sentence_file_*`; plain, gzip or Zstandard.
    #[schemars(length(min = 1), inner(length(min = 1)), example = &["data/train/sentence_file_*"])]
    pub train: Vec<String>,
    /// Files to evaluate on, each sentence once.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<Vec<String>>,
    /// Files for `evaluation.test`.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Words that a step takes of each stream: how far gradients go back.
    #[serde(default = "num_steps")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub num_steps: usize,
    /// What each step's words of a stream begin with.
    #[serde(default)]
    pub state: StreamState,
    /// Batches of `training.batch_size` streams that a step takes side by side, one for each device of Baidu's script: the first
    /// device has the first streams. They are computed one after the other on Kiln's one device, and the gradient is their mean, as
    /// all devices would have it.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65_536))]
    pub devices: usize,
    /// Take the files, and each file's sentences, in a new random order in every epoch; else as they stand.
    #[serde(default = "yes")]
    pub shuffle: bool,
    /// Tell the right word from so many others, drawn anew for each batch (of each device) by a log-uniform distribution over the vocabulary's order,
    /// which is taken to be by frequency. Left out: from all words. Evaluations always take all.
    #[schemars(range(min = 1, max = 16_777_216))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_samples: Option<usize>,
    /// With `model.weights`: begin with a new softmax instead of the one that the weights have, or lack.
    #[serde(default)]
    pub new_softmax: bool,
}

fn num_steps() -> usize {
    20
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}
