//! RemBERT (arXiv 2010.12821): a post-norm encoder with narrow input embeddings, projected to the hidden size, and a wide output
//! embedding of its own in the masked-LM head.
//!
//! Reference: `transformers.models.rembert` (4.46.3) and `paddlenlp.transformers.rembert` (2.8.1). The latter's masked-LM head lacks
//! the vocabulary; the head here is transformers' and the paper's.

use super::family::{Corpora, Family, Network};
use super::tensors::{BERT_EMBEDDINGS, REMBERT_LAYERS};
use super::transformer::{self, Rules};
use crate::nn::PretrainedConfig;
use crate::tokenize::TokenizerKind;
use crate::weights::{Name, TensorNames};

pub static FAMILY: Family = Family {
    name: "rembert",
    description: "RemBERT (arXiv 2010.12821): a multilingual encoder with decoupled embeddings, 110 languages, a vocabulary of 250,300.",
    model_type: "rembert",
    class_prefix: "RemBert",
    tensors: TensorNames { prefix: "rembert.", names: &[BERT_EMBEDDINGS, NAMES, REMBERT_LAYERS], tied: &[] },
    keys: &[transformer::KEYS, KEYS],
    tokenizers: &[TokenizerKind::RemBert],
    corpora: Corpora::None,
    network: Network::Transformer { defaults: DEFAULTS, rules: Rules::BERT },
    // PaddleNLP has no dropout of a classifier's own.
    paddle_rules: |words| {
        let dropout = words.get("hidden_dropout_prob").cloned();
        if let (Some(dropout), false) = (dropout, words.contains_key("classifier_dropout_prob")) {
            words.insert("classifier_dropout_prob".into(), dropout);
        }
    },
};

const KEYS: &[&str] = &[
    "model.typed_specials",
    "model.pair_encoding",
    "model.config.type_vocab_size",
    "model.config.input_embedding_size",
    "model.config.output_embedding_size",
    "model.config.classifier_dropout_prob",
];

/// What is not as in BERT.
const NAMES: &[Name] = &[
    Name::same("backbone.embeddings.embedding_projection", "encoder.embedding_hidden_mapping_in"),
    Name::new("head.classifier", "classifier", "dense"),
    Name::same("head.qa_outputs", "qa_outputs"),
    Name::same("head.masked_lm.dense", "cls.predictions.dense"),
    Name::same("head.masked_lm.norm", "cls.predictions.LayerNorm"),
    Name::same("head.masked_lm.decoder", "cls.predictions.decoder"),
];

/// Hugging Face's defaults (`RemBertConfig`).
pub const DEFAULTS: PretrainedConfig = PretrainedConfig {
    vocab_size: 250_300,
    hidden_size: 1152,
    num_hidden_layers: 32,
    num_attention_heads: 18,
    intermediate_size: 4608,
    hidden_dropout_prob: 0.0,
    attention_probs_dropout_prob: 0.0,
    type_vocab_size: Some(2),
    classifier_dropout_prob: Some(0.1),
    input_embedding_size: Some(256),
    output_embedding_size: Some(1664),
    tie_word_embeddings: Some(false),
    ..PretrainedConfig::BASE
};
