//! The sections of a recipe about what a language model learns from: `[pretraining]`, with masking policies and their shares, and
//! `[streams]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::{LossNormalization, MaskingPolicy, PseudoTokens, StreamState};

/// `[pretraining]`: what "masked-lm" and "pre-training" learn from, and what is hidden. Exactly one of `corpora` and `rows` is
/// given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretraining {
    /// Prepared corpora: what the names of a corpus's files begin with (`P` for `P_ids.npy` and `P_idx.npz`, or `P.bin` and
    /// `P.idx`), or a folder, for every corpus in it. `kiln prepare` and PaddleNLP's `create_pretraining_data.py` make them.
    /// Either this or rows.
    #[schemars(length(min = 1), inner(length(min = 1)), example = &["data/corpus/news"])]
    pub corpora: Option<Vec<PathBuf>>,
    /// Rows of the original ERNIE 1.0 (2019), whose words, phrases and entities are masked as a whole: files of them (plain or
    /// gzip), the original's lists of files, folders, and patterns such as `rows/*.gz`. A list says behind each file and a tab
    /// how likely the file is masked by words in an epoch, else by characters; files that no list names always are. Either this
    /// or corpora.
    #[schemars(length(min = 1), inner(length(min = 1)), example = &["data/train_filelist"])]
    pub rows: Option<Vec<String>>,
    /// Rows to evaluate on, named as in `rows`; all of them are read, masked in the same way each time. Left out: nothing is
    /// evaluated.
    #[schemars(length(min = 1), inner(length(min = 1)), example = &["data/valid_filelist"])]
    pub dev_rows: Option<Vec<String>>,
    /// "ernie-m": prepared corpora of pairs in two languages, named as in `corpora`, which then are of one language each.
    /// `kiln prepare` makes them where `corpus.languages` has two languages.
    #[schemars(length(min = 1), inner(length(min = 1)), example = &["data/corpus/en-de"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Vec<PathBuf>>,
    /// "ernie-m": how much more often than their sizes say small languages, and small pairs of them, are taken: each in proportion to
    /// size^(1/T), the size being its pairs or sentences; 1 is by size, a large number takes all alike. Left out: 2, which is XLM's
    /// exponent of 0.5 (arXiv 1901.07291); ERNIE-M's own is not published.
    #[schemars(range(min = 1.0, max = 1_000_000.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// "back-translation-masked-lm": pseudo tokens for each token of the sentence. Left out: 1; the paper does not say.
    #[schemars(range(max = 64.0), extend("exclusiveMinimum" = 0.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudo_token_ratio: Option<f64>,
    /// "back-translation-masked-lm": how pseudo tokens are chosen. Left out: "argmax"; the paper does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<PseudoTokens>,
    /// How often each corpus is taken, in proportion. Left out: all alike, whatever their sizes.
    #[schemars(length(min = 1), extend("items" = { "type": "number", "exclusiveMinimum": 0.0 }))]
    pub weights: Option<Vec<f64>>,
    /// Shares of the documents, in their order, for train, dev and test.
    #[serde(default = "split")]
    #[schemars(length(min = 1))]
    pub split: String,
    /// Which tokens are hidden: policies with how often a sample gets each, in proportion.
    #[serde(default = "masking")]
    #[schemars(length(min = 1))]
    pub masking: Vec<MaskingShare>,
    /// Share of the tokens that is hidden.
    #[serde(default = "masked_lm_prob")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub masked_lm_prob: f64,
    /// Most words of a span that is hidden as one.
    #[serde(default = "max_ngrams")]
    #[schemars(range(min = 1, max = 64))]
    pub max_ngrams: usize,
    /// Share of the samples that are cut to a random length.
    #[serde(default = "short_seq_prob")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub short_seq_prob: f64,
    /// Batches of an optimizer step's size that an evaluation reads from the dev part, always the same ones; ten times as many from
    /// the test part.
    #[serde(default = "eval_iters")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub eval_iters: usize,
    /// What the loss of the hidden tokens is divided by.
    #[serde(default)]
    pub loss_normalization: LossNormalization,
}

/// A policy of masking and how often it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskingShare {
    pub policy: MaskingPolicy,
    /// In proportion to the others' weights.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub weight: f64,
}

impl Pretraining {
    /// The temperature of languages.
    pub fn temperature(&self) -> f64 {
        self.temperature.unwrap_or(2.0)
    }

    /// Pseudo tokens for each token of a sentence.
    pub fn pseudo_token_ratio(&self) -> f64 {
        self.pseudo_token_ratio.unwrap_or(1.0)
    }
}

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
    /// device has the first streams. They are computed one after the other, or by as many ranks, and the gradient is their mean, as
    /// all devices would have it.
    #[serde(default = "one_device")]
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

fn split() -> String {
    "949,50,1".to_string()
}

fn masking() -> Vec<MaskingShare> {
    vec![MaskingShare { policy: MaskingPolicy::default(), weight: one() }]
}

pub(super) fn one() -> f64 {
    1.0
}

fn masked_lm_prob() -> f64 {
    0.15
}

fn max_ngrams() -> usize {
    3
}

fn short_seq_prob() -> f64 {
    0.1
}

fn eval_iters() -> usize {
    10
}

fn num_steps() -> usize {
    20
}

fn one_device() -> usize {
    1
}

fn yes() -> bool {
    true
}
