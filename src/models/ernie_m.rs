//! ERNIE-M (arXiv 2012.15674): a post-norm encoder without segment embeddings, whose positions start at row 2 of their table.
//!
//! Reference: `transformers.models.deprecated.ernie_m` (4.46.3) and `paddlenlp.transformers.ernie_m` (2.8.1).

use super::family::{Corpora, Family, Network};
use super::tensors::{BERT_TIED, ERNIE_M_LAYERS};
use super::transformer::{self, Rules};
use crate::nn::{HiddenAct, PretrainedConfig};
use crate::tokenize::TokenizerKind;
use crate::weights::{Name, TensorNames};

pub static FAMILY: Family = Family {
    name: "ernie-m",
    description: "ERNIE-M (arXiv 2012.15674): a multilingual BERT-style encoder, 96 languages, a vocabulary of 250,002.",
    model_type: "ernie_m",
    class_prefix: "ErnieM",
    tensors: TensorNames { prefix: "ernie_m.", names: &[NAMES, ERNIE_M_LAYERS], tied: BERT_TIED },
    keys: &[transformer::KEYS, KEYS],
    tokenizers: &[TokenizerKind::ErnieM],
    corpora: Corpora::Multilingual,
    network: Network::Transformer { defaults: DEFAULTS, rules: RULES },
    // PaddleNLP builds the inner layer four times as wide as the hidden size whatever its config says, and has no word for the layer
    // norm's epsilon.
    paddle_rules: |words| {
        if let Some(hidden) = words.get("hidden_size").and_then(|hidden| hidden.as_u64()) {
            words.insert("intermediate_size".into(), (4 * hidden).into());
        }
        words.remove("layer_norm_eps");
    },
};

const KEYS: &[&str] = &[
    "model.piece_splitting",
    "model.config.act_dropout",
    "model.config.classifier_dropout",
    "model.config.paddle_default_mask",
    "model.config.num_languages",
    "task.mixture",
    "corpus.languages",
    "corpus.columns",
    "pretraining.parallel",
    "pretraining.temperature",
    "pretraining.pseudo_token_ratio",
    "pretraining.generate",
];

/// Names of the tensors: here, in Hugging Face's checkpoints, in PaddleNLP's.
const NAMES: &[Name] = &[
    Name::same("backbone.embeddings.word_embeddings", "embeddings.word_embeddings"),
    Name::same("backbone.embeddings.position_embeddings", "embeddings.position_embeddings"),
    Name::same("backbone.embeddings.language_embeddings", "embeddings.language_embeddings"),
    Name::same("backbone.embeddings.embedding_norm", "embeddings.layer_norm"),
    Name::same("backbone.pooler.dense", "pooler.dense"),
    Name::same("head.classifier", "classifier"),
    Name::new("head.qa_outputs", "qa_outputs", "classifier"),
    // Neither library has an ERNIE-M with this head: the names are those of ERNIE at Hugging Face.
    Name::same("head.masked_lm.dense", "cls.predictions.transform.dense"),
    Name::same("head.masked_lm.norm", "cls.predictions.transform.LayerNorm"),
    Name::same("head.masked_lm", "cls.predictions"),
];

/// Hugging Face's defaults (`ErnieMConfig`).
pub const DEFAULTS: PretrainedConfig = PretrainedConfig {
    vocab_size: 250_002,
    act_dropout: Some(0.0),
    max_position_embeddings: 514,
    layer_norm_eps: 1e-5,
    pad_token_id: 1,
    paddle_default_mask: Some(false),
    ..PretrainedConfig::BASE
};

const RULES: Rules = Rules {
    // As in XLM-R, whose position table this is.
    position_offset: 2,
    positions_first: true,
    // XLM-R's head, whose activation and epsilon do not follow the configuration: neither library has an ERNIE-M with one.
    masked_lm_act: Some(HiddenAct::Gelu),
    masked_lm_eps: Some(1e-5),
    ..Rules::BERT
};
