//! What a recipe can say: one struct a section, one field a key.
//!
//! The doc comment of a field is its documentation in editors (through the JSON Schema) and in `kiln recipe show
//! --docs`. Ranges stand as schema attributes, so that the schema an editor reads and the check before a run are one
//! and the same. The upper ends of sizes are far above what any machine holds: they are there so that products of two
//! of them cannot overflow.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::corpus::CorpusOptions;
use super::model::{Features, Model};
use super::pretraining::{Pretraining, Streams, one};
use super::words::*;

/// Everything about one training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The network, its weights and its tokenizer.
    pub model: Model,
    /// Of "elmo" under a task's head: the features that its words come with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// What is learnt.
    pub task: Task,
    /// What it is learnt from.
    #[serde(default)]
    pub data: Data,
    /// Of the tasks that hide tokens: the corpora, and what is hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretraining: Option<Pretraining>,
    /// Of "bidirectional-lm": the sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Streams>,
    /// What `kiln prepare` makes a corpus of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corpus: Option<CorpusOptions>,
    /// How long and in what portions. Exactly one of `epochs` and `max_steps` is given.
    #[serde(default)]
    pub training: Training,
    /// How gradients become updates.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The course of the learning rate.
    #[serde(default)]
    pub schedule: Schedule,
    /// When the model is measured, and which one is kept as the best.
    #[serde(default)]
    pub evaluation: Evaluation,
    /// When everything needed to go on is saved.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// How the weights of the model folders are written.
    #[serde(default)]
    pub export: Export,
    /// Where it runs.
    #[serde(default)]
    pub device: Device,
    /// Where the results go.
    pub output: Output,
}

/// `[task]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The kind of task: it fixes the output layer, the loss, the metrics and the form of predictions.
    pub name: TaskName,
    /// "ernie-m": several tasks that hide tokens, learnt in one run: each batch is of one of them, drawn by their weights. `name` is
    /// one of them.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixture: Option<Vec<TaskShare>>,
    /// token-classification: all pieces of a word have its tag to learn, not only the first. Left out: false.
    pub label_all_pieces: Option<bool>,
    /// token-classification: how chunks are counted. Left out: "conll".
    pub chunk_counting: Option<ChunkCounting>,
    /// token-classification: a conditional random field scores the tags of a row together, and the best row of tags is predicted.
    /// Left out: false, each word's tag for itself.
    pub crf: Option<bool>,
    /// token-classification: layers of GRUs in both directions between the model and the output layer. LAC's demo has 2. Left out: 0.
    #[schemars(range(min = 0, max = 64))]
    pub bigru_num: Option<usize>,
    /// token-classification: width of each direction of these layers. Left out: 256, as in LAC's demo.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub grnn_hidden_dim: Option<usize>,
    /// question-answering: tokens of a passage that two windows on it share, as run_qa.py counts (run_squad.py's word means the
    /// distance of their beginnings). Left out: 128.
    #[schemars(range(min = 0, max = 1_048_576))]
    pub doc_stride: Option<usize>,
    /// question-answering: tokens that are read of a question; longer ones are cut. Left out: 64.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_query_length: Option<usize>,
    /// question-answering: tokens that an answer may have. Left out: 30.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_answer_length: Option<usize>,
    /// question-answering: how many starts and ends of a window, and answers of a question, are looked at. Left out: 20.
    #[schemars(range(min = 1, max = 10_000))]
    pub n_best_size: Option<usize>,
    /// question-answering on ELMo's words: width of each direction of the reader's LSTMs. Left out: 150.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub reader_hidden_size: Option<usize>,
    /// question-answering on ELMo's words: the reader's dropout. Left out: 0.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub drop_rate: Option<f64>,
    /// question-answering: some questions have no answer (SQuAD 2.0), and "" may be predicted. Left out: false.
    pub version_2_with_negative: Option<bool>,
    /// question-answering: by how much the score of "no answer" has to be above the best answer's. Left out: 0.
    pub null_score_diff_threshold: Option<f32>,
}

/// A task of a mixture and how often it is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskShare {
    pub name: TaskName,
    /// In proportion to the others' weights.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub weight: f64,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Name of a dataset card that Kiln ships, or path of a card (.toml, relative to this recipe). Not of tasks that hide tokens.
    #[schemars(length(min = 1), example = &"xnli")]
    pub dataset: Option<String>,
    /// Folder that the card's file names are relative to, or a repository of data, of which those files are fetched:
    /// hf://facebook/xnli, with @REVISION behind it if need be.
    #[schemars(length(min = 1))]
    pub root: PathBuf,
    /// Which languages are trained on.
    pub protocol: Protocol,
    /// Languages to train on, by the card's codes. Left out: what the protocol says.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub train_languages: Option<Vec<String>>,
    /// Languages to evaluate on, by the card's codes. Left out: all that the card has.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub eval_languages: Option<Vec<String>>,
    /// Longest input in tokens, special tokens included; longer ones are cut. 256 is run_classifier.py's default.
    #[schemars(range(min = 8, max = 1_048_576))]
    pub max_seq_length: usize,
    /// Put rows of similar length into one batch, so that less is padding.
    pub group_by_length: bool,
    /// Use only this many training rows of each language, from the first on.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub max_train_rows: Option<usize>,
    /// Use only this many rows of each language of each evaluated split, from the first on.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub max_eval_rows: Option<usize>,
    /// What happens to a row that cannot be read.
    pub bad_rows: BadRows,
    /// What happens to a row with an empty text.
    pub empty_text: EmptyText,
    /// Folder for tokenised rows, used again by later runs. Left out: a folder in the user's cache directory.
    #[schemars(length(min = 1))]
    pub cache: Option<PathBuf>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            dataset: None,
            root: PathBuf::from("data"),
            protocol: Protocol::default(),
            train_languages: None,
            eval_languages: None,
            max_seq_length: 256,
            group_by_length: true,
            max_train_rows: None,
            max_eval_rows: None,
            bad_rows: BadRows::default(),
            empty_text: EmptyText::default(),
            cache: None,
        }
    }
}

/// `[training]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Training {
    /// Passes over the training rows. Either this or max_steps.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: Option<usize>,
    /// Updates in all. Either this or epochs.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub max_steps: Option<usize>,
    /// Rows in a batch: what a device computes at once. 16 is run_classifier.py's default.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch_size: usize,
    /// Batches whose mean gradient makes one update, computed one after the other, or by several ranks.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub gradient_accumulation_steps: usize,
    /// Rows of one update, a multiple of batch_size: another way to say how many batches make it, in place of
    /// gradient_accumulation_steps. How many ranks compute them changes nothing.
    #[schemars(range(min = 1, max = 1_099_511_627_776_u64))]
    pub global_batch_size: Option<usize>,
    /// Seed of initialisation, order and dropout. 42 is run_classifier.py's default.
    #[schemars(range(min = 0, max = 9_223_372_036_854_775_807_u64))]
    pub seed: u64,
    /// Updates between two lines of the log. 100 is run_classifier.py's default.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub logging_steps: usize,
    /// Whether a model that reads rows of a data set holds the rows of its table of words that these rows have, and no others, while it is
    /// trained: others would learn nothing. Left out, it does where the result is the same: not with `optimizer.l2`.
    pub compact_vocabulary: Option<bool>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: None,
            max_steps: None,
            batch_size: 16,
            gradient_accumulation_steps: 1,
            global_batch_size: None,
            seed: 42,
            logging_steps: 100,
            compact_vocabulary: None,
        }
    }
}

impl Training {
    /// Batches that make one update.
    pub fn blocks(&self) -> usize {
        self.global_batch_size.map_or(self.gradient_accumulation_steps, |rows| (rows / self.batch_size).max(1))
    }
}

/// `[optimizer]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Optimizer {
    /// The optimizer.
    pub name: OptimizerName,
    /// Highest learning rate of the schedule. 5e-5 is run_classifier.py's default.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// What the learning rate is multiplied with for the table of words.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub emb_learning_rate: f64,
    /// What the learning rate is multiplied with for the transitions of a conditional random field.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub crf_learning_rate: f64,
    /// AdamW: decoupled weight decay, of weight matrices and embeddings; never of biases, layer normalisation and a CRF's transitions.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Every optimizer but AdamW: this times the value is added to the gradient of what weight_decay is of, after clipping. PyTorch's
    /// weight_decay for them, Paddle's L2Decay. Not of the word table of ELMo's taggers and readers, as in LAC's demo.
    #[schemars(range(min = 0.0))]
    pub l2: f64,
    /// AdamW and Adam: decay of the running means of the gradient and of its square. PyTorch's and Paddle's default.
    #[schemars(extend("items" = { "type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0 }))]
    pub betas: [f64; 2],
    /// Every optimizer but SGD: added to the root that a step is divided by. 1e-8 is run_classifier.py's default; Baidu's own script
    /// has 1e-6. 0 for Adagrad with an initial_accumulator_value only.
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
    /// Adagrad: what the sums of the squared gradients begin with. ELMo has 1.0.
    #[schemars(range(min = 0.0))]
    pub initial_accumulator_value: f64,
    /// RMSProp: decay of the running mean of the squared gradients. Paddle's default; PyTorch calls it alpha and has 0.99.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub rho: f64,
    /// RMSProp: add epsilon under the root, as Paddle (whose default is 1e-6) and TensorFlow do, instead of to the root, as PyTorch
    /// does.
    pub epsilon_in_root: bool,
    /// Learning rate of each encoder block over that of the block above it; 1 = all alike. With n blocks counted from 0
    /// and d this value: d^(n-i) for block i, d^(n+1) for the embeddings, 1 for pooler and output layer.
    #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
    pub layerwise_decay: f64,
    /// How layerwise_decay acts on an update.
    pub layerwise_decay_mode: LayerwiseDecayMode,
    /// Largest norm of the gradients; larger ones are scaled down to it. 0 = off.
    #[schemars(range(min = 0.0))]
    pub max_grad_norm: f64,
    /// Which norm max_grad_norm limits.
    pub clip_by: ClipBy,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            name: OptimizerName::default(),
            learning_rate: 5e-5,
            emb_learning_rate: 1.0,
            crf_learning_rate: 1.0,
            weight_decay: 0.0,
            l2: 0.0,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            initial_accumulator_value: 0.0,
            rho: 0.95,
            epsilon_in_root: false,
            layerwise_decay: 1.0,
            layerwise_decay_mode: LayerwiseDecayMode::default(),
            max_grad_norm: 0.0,
            clip_by: ClipBy::default(),
        }
    }
}

/// `[schedule]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The course of the learning rate after the warm-up.
    pub name: ScheduleName,
    /// Share of all updates over which the learning rate rises from 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: f64,
    /// Updates over which the learning rate rises from 0; used instead of warmup_ratio where given.
    #[schemars(range(min = 0, max = 1_000_000_000_000_u64))]
    pub warmup_steps: Option<usize>,
    /// Learning rate at the end of "linear-min" and "cosine".
    #[schemars(range(min = 0.0))]
    pub min_learning_rate: f64,
    /// Update at which "linear-min" and "cosine" reach min_learning_rate. Left out: the last one.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub decay_steps: Option<usize>,
}

/// `[evaluation]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluation {
    /// Updates between two evaluations. Left out: at the end of each epoch and of the run.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub every_steps: Option<usize>,
    /// Rows in a batch. Changes speed and memory, not results.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch_size: usize,
    /// What the best model is chosen by. Left out: "dev.f1" with token-classification, else "dev.accuracy".
    pub select_on: SelectOn,
    /// Stop after this many evaluations in a row without a better one. Left out: never stop early.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub patience: Option<usize>,
    /// Evaluate the best model on the test split as well, when training is done.
    pub test: bool,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { every_steps: None, batch_size: 32, select_on: SelectOn::default(), patience: None, test: false }
    }
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Updates between two checkpoints. Left out: one with each evaluation.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub every_steps: Option<usize>,
    /// How many checkpoints stay; older ones are deleted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_last: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { every_steps: None, keep_last: 2 }
    }
}

/// `[export]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Export {
    /// The type of the numbers. Training goes on from checkpoints, which are always f32.
    pub dtype: ExportDtype,
    /// Weights of more are cut into several files with an index, as transformers does: a number with KB, MB or GB (powers of 1000), or
    /// with KiB, MiB or GiB.
    #[schemars(length(min = 1), example = &"2GB")]
    pub max_shard_size: String,
    /// The model's licence in the hub's words, for the model card.
    #[schemars(length(min = 1), example = &"apache-2.0")]
    pub license: Option<String>,
}

impl Default for Export {
    fn default() -> Self {
        Self { dtype: ExportDtype::default(), max_shard_size: "5GB".into(), license: None }
    }
}

/// `[device]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// Where the tensors live.
    pub backend: Backend,
    /// Numbers of the devices to use, as `kiln devices` counts them: one for each rank of a machine. Left out: a rank takes the device of
    /// its number on its machine.
    #[schemars(length(min = 1), inner(range(min = 0, max = 65_535)))]
    pub devices: Vec<usize>,
    /// The floating-point type that matrix products are computed in; weights, normalisation, softmax and losses are f32.
    pub precision: Precision,
    /// What the loss is multiplied with at first where `precision` is "f16", so that small gradients do not become 0. It is halved
    /// where a gradient overflows, whose update is left out, and doubled after 2000 steps without. Left out: 32768.
    #[schemars(range(min = 1.0, max = 1e9))]
    pub scale_loss: Option<f64>,
    /// Keep only the input of each layer for the backward pass, and compute the layer again there: much less memory, a second
    /// forward pass.
    pub recompute: bool,
    /// CPU threads. Left out: one a core, which the ranks of a machine share.
    #[schemars(range(min = 1, max = 65_536))]
    pub threads: Option<usize>,
    /// Ranks that have the optimizer's state once among them. Left out: all. More save memory; the result is the same.
    #[schemars(range(min = 1, max = 65_536))]
    pub sharding_degree: Option<usize>,
    /// Seconds that a rank waits for another before it asks whether it is there, and takes it for lost if it does not answer. One that
    /// answers, and computes, has six times as long.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub exchange_patience: usize,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            devices: vec![0],
            precision: Precision::default(),
            scale_loss: None,
            recompute: false,
            threads: None,
            sharding_degree: None,
            exchange_patience: 600,
        }
    }
}

/// `[output]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Folder that the run writes: checkpoints, the best and the last model, metrics, log.
    #[schemars(length(min = 1), example = &"runs/my-run")]
    pub dir: PathBuf,
}
