//! XLM-R (arXiv 1911.02116), and the models of its shape: multilingual-e5, bge-m3 and its rerankers, paraphrase-multilingual-mpnet. A
//! BERT of one token type, whose positions start behind the padding's row and pass padding over, and whose classifier is a layer and
//! an output layer on the first token.
//!
//! Reference: `transformers.models.xlm_roberta` (4.46.3).

use super::family::{Corpora, Family, Network};
use super::tensors::{BERT_EMBEDDINGS, BERT_HEADS, BERT_LAYERS};
use super::transformer::{self, Classifier, Positions, Rules};
use crate::nn::{HiddenAct, PretrainedConfig};
use crate::tokenize::TokenizerKind;
use crate::weights::{Name, TensorNames};

pub static FAMILY: Family = Family {
    name: "xlm-roberta",
    description: "XLM-R (arXiv 1911.02116) and the models of its shape: a multilingual encoder, 100 languages, a vocabulary of 250,002; \
                  multilingual-e5, bge-m3.",
    model_type: "xlm-roberta",
    class_prefix: "XLMRoberta",
    tensors: TensorNames {
        prefix: "roberta.",
        names: &[BERT_EMBEDDINGS, BERT_LAYERS, BERT_HEADS, NAMES],
        tied: &["lm_head.decoder.weight", "lm_head.decoder.bias"],
    },
    keys: &[transformer::KEYS, &["model.config.classifier_dropout"]],
    tokenizers: &[TokenizerKind::XlmRoberta],
    corpora: Corpora::None,
    network: Network::Transformer { defaults: DEFAULTS, rules: RULES },
    paddle_rules: |_| {},
};

/// Names of the heads that are not BERT's.
const NAMES: &[Name] = &[
    Name::same("head.mlp.dense", "classifier.dense"),
    Name::same("head.mlp.out_proj", "classifier.out_proj"),
    Name::same("head.masked_lm.dense", "lm_head.dense"),
    Name::same("head.masked_lm.norm", "lm_head.layer_norm"),
    Name::same("head.masked_lm", "lm_head"),
];

/// Those of xlm-roberta-base, in Hugging Face's words (`XLMRobertaConfig`).
pub const DEFAULTS: PretrainedConfig = PretrainedConfig {
    vocab_size: 250_002,
    max_position_embeddings: 514,
    type_vocab_size: Some(1),
    layer_norm_eps: 1e-5,
    pad_token_id: 1,
    ..PretrainedConfig::BASE
};

const RULES: Rules = Rules {
    // Up to the row of the padding, which is 1.
    position_offset: 2,
    positions: Positions::WithoutPadding,
    masked_lm_act: Some(HiddenAct::Gelu),
    classifier: Classifier::Mlp,
    ..Rules::BERT
};
