//! ERNIE 1.0 (arXiv 1904.09223) and its successors of the same shape: BERT's encoder, with ReLU in 1.0 and task-type embeddings in
//! the later ones.
//!
//! Reference: `transformers.models.ernie` (4.46.3) and `paddlenlp.transformers.ernie` (2.8.1).

use super::family::{Corpora, Family, Network};
use super::tensors::{BERT_EMBEDDINGS, BERT_HEADS, BERT_LAYERS, BERT_MASKED_LM, BERT_TIED};
use super::transformer::{self, Rules};
use crate::nn::{HiddenAct, PretrainedConfig};
use crate::tokenize::{TokenizerKind, TypedSpecials, WordSplitting};
use crate::weights::{Name, TensorNames};

pub static FAMILY: Family = Family {
    name: "ernie",
    description: "ERNIE 1.0 (arXiv 1904.09223) and its successors of the same shape: Chinese, a vocabulary of 18,000.",
    model_type: "ernie",
    class_prefix: "Ernie",
    tensors: TensorNames {
        prefix: "ernie.",
        names: &[BERT_EMBEDDINGS, NAMES, BERT_LAYERS, BERT_HEADS, BERT_MASKED_LM],
        tied: BERT_TIED,
    },
    keys: &[transformer::KEYS, KEYS],
    tokenizers: &[TokenizerKind::WordPiece(WordSplitting::PaddleNlp, TypedSpecials::PaddleNlp)],
    corpora: Corpora::Documents,
    network: Network::Transformer { defaults: DEFAULTS, rules: RULES },
    // PaddleNLP looks padding up as zeros, and its layer norms have an epsilon of 1e-12.
    paddle_rules: |words| {
        words.insert("layer_norm_eps".into(), 1e-12.into());
        words.entry("paddle_padding_row").or_insert(true.into());
    },
};

const KEYS: &[&str] = &[
    "model.word_splitting",
    "model.typed_specials",
    "model.config.classifier_dropout",
    "model.config.paddle_padding_row",
    "model.config.use_task_id",
    "model.config.task_type_vocab_size",
    "model.config.type_vocab_size",
];

/// What BERT does not have.
const NAMES: &[Name] = &[Name::same("backbone.embeddings.task_type_embeddings", "embeddings.task_type_embeddings")];

/// Those of ernie-1.0-base-zh, in Hugging Face's words (`ErnieConfig`).
pub const DEFAULTS: PretrainedConfig = PretrainedConfig {
    vocab_size: 18_000,
    hidden_act: HiddenAct::Relu,
    max_position_embeddings: 513,
    type_vocab_size: Some(2),
    task_type_vocab_size: Some(3),
    use_task_id: Some(false),
    paddle_padding_row: Some(false),
    ..PretrainedConfig::BASE
};

const RULES: Rules = Rules { positions_first: true, ..Rules::BERT };
