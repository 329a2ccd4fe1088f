//! ELMo among the families: the language model, and the taggers and readers of its words, whose `config.json` is a [`WordsConfig`].

use super::family::{BackboneConfig, Corpora, Family, ModelConfig, Network};
use super::words::WordsConfig;
use crate::tokenize::TokenizerKind;
use crate::weights::TensorNames;

pub static FAMILY: Family = Family {
    name: "elmo",
    description: "ELMo (arXiv 1802.05365): a language model in both directions; Baidu's of Chinese words, AllenAI's of characters.",
    model_type: "elmo",
    class_prefix: "Elmo",
    tensors: TensorNames::OWN,
    keys: &[KEYS],
    tokenizers: &[TokenizerKind::Words],
    corpora: Corpora::Streams,
    network: Network::Words,
    paddle_rules: |_| {},
};

const KEYS: &[&str] = &[
    "model.replacements",
    "model.segmentation",
    "task.reader_hidden_size",
    "task.drop_rate",
    "model.config.word_emb_dim",
    "model.config.projection_dim",
    "model.config.cell_clip",
    "model.config.proj_clip",
    "model.config.use_skip_connections",
    "model.config.dropout",
    "model.config.embedding",
    "features",
];

impl From<WordsConfig> for ModelConfig {
    fn from(config: WordsConfig) -> Self {
        Self { family: &FAMILY, backbone: BackboneConfig::Words(config) }
    }
}
