//! BERT (arXiv 1810.04805), and the models of its shape: bert-base-chinese, RoBERTa-wwm-ext, MacBERT, bge-*-zh; with XLM-R's tokenizer
//! multilingual-e5-small and paraphrase-multilingual-MiniLM.
//!
//! Reference: `transformers.models.bert` (4.46.3).

use super::family::{Corpora, Family, Network};
use super::tensors::{BERT_EMBEDDINGS, BERT_HEADS, BERT_LAYERS, BERT_MASKED_LM, BERT_TIED};
use super::transformer::{self, Rules};
use crate::nn::PretrainedConfig;
use crate::tokenize::{TokenizerKind, TypedSpecials, WordSplitting};
use crate::weights::TensorNames;

pub static FAMILY: Family = Family {
    name: "bert",
    description: "BERT (arXiv 1810.04805) and the models of its shape, Chinese or of any language: bert-base-chinese, RoBERTa-wwm-ext, \
                  MacBERT, bge-zh, multilingual-e5-small.",
    model_type: "bert",
    class_prefix: "Bert",
    tensors: TensorNames {
        prefix: "bert.",
        names: &[BERT_EMBEDDINGS, BERT_LAYERS, BERT_HEADS, BERT_MASKED_LM],
        tied: BERT_TIED,
    },
    keys: &[
        transformer::KEYS,
        &[
            "model.word_splitting",
            "model.typed_specials",
            "model.config.classifier_dropout",
            "model.config.type_vocab_size",
        ],
    ],
    tokenizers: &[
        TokenizerKind::WordPiece(WordSplitting::HuggingFace, TypedSpecials::HuggingFace),
        TokenizerKind::XlmRoberta,
    ],
    corpora: Corpora::Documents,
    network: Network::Transformer { defaults: DEFAULTS, rules: Rules::BERT },
    paddle_rules: |_| {},
};

/// Hugging Face's defaults (`BertConfig`).
pub const DEFAULTS: PretrainedConfig = PretrainedConfig { type_vocab_size: Some(2), ..PretrainedConfig::BASE };
