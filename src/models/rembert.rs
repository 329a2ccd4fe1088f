//! RemBERT (arXiv 2010.12821): a post-norm encoder with narrow input embeddings, projected to the hidden size, and a wide output
//! embedding of its own in the masked-LM head.
//!
//! Reference: `transformers.models.rembert` (4.46.3) and `paddlenlp.transformers.rembert` (2.8.1). The latter's masked-LM head lacks
//! the vocabulary; the head here is transformers' and the paper's.

use burn::module::Module;
use burn::nn::{Dropout, Embedding, LayerNorm, Linear};
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{Common, EncoderInput};
use crate::nn::{Encoder, EncoderConfig, Pooler, drop_out, dropout, embedding, layer_norm, linear, look_up, per_token};
use crate::recipe::HiddenAct;
use crate::weights::Name;

/// `config.json` of a RemBERT folder, in Hugging Face's words, with their defaults (`RemBertConfig`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemBertConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// Width of the input embeddings.
    pub input_embedding_size: usize,
    /// Width of the masked-LM head's output embedding.
    pub output_embedding_size: usize,
    pub intermediate_size: usize,
    pub hidden_act: HiddenAct,
    pub hidden_dropout_prob: f64,
    pub attention_probs_dropout_prob: f64,
    pub classifier_dropout_prob: f64,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    pub initializer_range: f64,
    pub layer_norm_eps: f64,
    pub pad_token_id: usize,
    /// The output embedding is not the input embedding; transformers would otherwise take it to be.
    pub tie_word_embeddings: bool,
}

impl Default for RemBertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 250_300,
            hidden_size: 1152,
            num_hidden_layers: 32,
            num_attention_heads: 18,
            input_embedding_size: 256,
            output_embedding_size: 1664,
            intermediate_size: 4608,
            hidden_act: HiddenAct::Gelu,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            classifier_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
            tie_word_embeddings: false,
        }
    }
}

impl RemBertConfig {
    pub fn common(&self) -> Common {
        Common {
            vocab_size: self.vocab_size,
            encoder: EncoderConfig {
                hidden_size: self.hidden_size,
                num_hidden_layers: self.num_hidden_layers,
                num_attention_heads: self.num_attention_heads,
                intermediate_size: self.intermediate_size,
                hidden_act: self.hidden_act,
                hidden_dropout_prob: self.hidden_dropout_prob,
                attention_probs_dropout_prob: self.attention_probs_dropout_prob,
                act_dropout: 0.0,
                layer_norm_eps: self.layer_norm_eps,
            },
            positions: self.max_position_embeddings,
            position_offset: 0,
            token_types: self.type_vocab_size,
            task_types: 1,
            output_embedding_size: Some(self.output_embedding_size),
            initializer_range: self.initializer_range,
            classifier_dropout: self.classifier_dropout_prob,
        }
    }
}

/// Names of the tensors: here, in Hugging Face's checkpoints, in PaddleNLP's.
pub const NAMES: &[Name] = &[
    Name::same("backbone.word_embeddings", "rembert.embeddings.word_embeddings"),
    Name::same("backbone.position_embeddings", "rembert.embeddings.position_embeddings"),
    Name::same("backbone.token_type_embeddings", "rembert.embeddings.token_type_embeddings"),
    Name::new("backbone.embedding_norm", "rembert.embeddings.LayerNorm", "rembert.embeddings.layer_norm"),
    Name::same("backbone.embedding_projection", "rembert.encoder.embedding_hidden_mapping_in"),
    Name::same("backbone.encoder.layers.{n}.attention.query", "rembert.encoder.layer.{n}.attention.self.query"),
    Name::same("backbone.encoder.layers.{n}.attention.key", "rembert.encoder.layer.{n}.attention.self.key"),
    Name::same("backbone.encoder.layers.{n}.attention.value", "rembert.encoder.layer.{n}.attention.self.value"),
    Name::same("backbone.encoder.layers.{n}.attention.output", "rembert.encoder.layer.{n}.attention.output.dense"),
    Name::new(
        "backbone.encoder.layers.{n}.attention_norm",
        "rembert.encoder.layer.{n}.attention.output.LayerNorm",
        "rembert.encoder.layer.{n}.attention.output.layer_norm",
    ),
    Name::same("backbone.encoder.layers.{n}.intermediate", "rembert.encoder.layer.{n}.intermediate.dense"),
    Name::same("backbone.encoder.layers.{n}.output", "rembert.encoder.layer.{n}.output.dense"),
    Name::new(
        "backbone.encoder.layers.{n}.output_norm",
        "rembert.encoder.layer.{n}.output.LayerNorm",
        "rembert.encoder.layer.{n}.output.layer_norm",
    ),
    Name::same("backbone.pooler.dense", "rembert.pooler.dense"),
    Name::new("head.classifier", "classifier", "dense"),
    Name::same("head.qa_outputs", "qa_outputs"),
    Name::same("head.masked_lm.dense", "cls.predictions.dense"),
    Name::same("head.masked_lm.norm", "cls.predictions.LayerNorm"),
    Name::same("head.masked_lm.decoder", "cls.predictions.decoder"),
];

/// The encoder with its embeddings.
#[derive(Module, Debug)]
pub struct RemBert {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    embedding_norm: LayerNorm,
    embedding_dropout: Dropout,
    embedding_projection: Linear,
    pub encoder: Encoder,
    pub pooler: Option<Pooler>,
    pad_token_id: usize,
}

impl RemBert {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &RemBertConfig, with_pooler: bool, device: &Device) -> Self {
        let narrow = config.input_embedding_size;
        Self {
            word_embeddings: embedding(config.vocab_size, narrow, device),
            position_embeddings: embedding(config.max_position_embeddings, narrow, device),
            token_type_embeddings: embedding(config.type_vocab_size, narrow, device),
            embedding_norm: layer_norm(narrow, config.layer_norm_eps, device),
            embedding_dropout: dropout(config.hidden_dropout_prob),
            embedding_projection: linear(narrow, config.hidden_size, device),
            encoder: Encoder::new(&config.common().encoder, device),
            pooler: with_pooler.then(|| Pooler::new(config.hidden_size, device)),
            pad_token_id: config.pad_token_id,
        }
    }

    /// 1 where a token is to be seen, `[batch, seq]`, for inputs that come without a mask.
    pub fn default_mask(&self, ids: Tensor<2, Int>) -> Tensor<2, Int> {
        ids.not_equal_elem(self.pad_token_id as i64).int()
    }

    /// `[batch, seq] -> [batch, seq, hidden]`.
    pub fn embed(&self, input: &EncoderInput) -> Tensor<3> {
        let ids = input.input_ids.clone(); // [batch, seq]
        let types = input.token_type_ids.clone().unwrap_or_else(|| ids.zeros_like()); // [batch, seq]
        let words = look_up(&self.word_embeddings, ids, self.pad_token_id); // [batch, seq, narrow]
        let types = self.token_type_embeddings.forward(types); // [batch, seq, narrow]
        let positions = self.position_embeddings.forward(input.positions()); // [batch, seq, narrow]
        let narrow = self.embedding_norm.forward(words + types + positions); // [batch, seq, narrow]
        per_token(drop_out(&self.embedding_dropout, narrow), |x| self.embedding_projection.forward(x))
    }
}
