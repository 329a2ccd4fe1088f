//! ERNIE-M (arXiv 2012.15674): a post-norm encoder without segment embeddings, whose positions start at row 2 of their table.
//!
//! Reference: `transformers.models.deprecated.ernie_m` (4.46.3) and `paddlenlp.transformers.ernie_m` (2.8.1).

use burn::module::Module;
use burn::nn::{Dropout, Embedding, LayerNorm};
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{Common, EncoderInput};
use crate::nn::{Encoder, EncoderConfig, Pooler, drop_out, dropout, embedding, layer_norm, look_up};
use crate::recipe::HiddenAct;
use crate::weights::Name;

/// Rows of the position table that come before position 0, as in XLM-R, whose table this is.
const POSITION_OFFSET: usize = 2;

/// `config.json` of an ERNIE-M folder, in Hugging Face's words, with their defaults (`ErnieMConfig`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErnieMConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: HiddenAct,
    pub hidden_dropout_prob: f64,
    pub attention_probs_dropout_prob: f64,
    pub act_dropout: f64,
    pub max_position_embeddings: usize,
    pub initializer_range: f64,
    pub layer_norm_eps: f64,
    pub pad_token_id: usize,
    pub classifier_dropout: Option<f64>,
    /// Where no attention mask is given, hide the tokens of id 0, as PaddleNLP does (id 0 is `[CLS]`), instead of the padding.
    pub paddle_default_mask: bool,
    /// Rows of the table of languages, for pre-training alone: 0 for none. Model folders have neither the word nor the table.
    #[serde(skip_serializing)]
    pub num_languages: usize,
}

impl Default for ErnieMConfig {
    fn default() -> Self {
        Self {
            vocab_size: 250_002,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: HiddenAct::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            act_dropout: 0.0,
            max_position_embeddings: 514,
            initializer_range: 0.02,
            layer_norm_eps: 1e-5,
            pad_token_id: 1,
            classifier_dropout: None,
            paddle_default_mask: false,
            num_languages: 0,
        }
    }
}

impl ErnieMConfig {
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
                act_dropout: self.act_dropout,
                layer_norm_eps: self.layer_norm_eps,
            },
            positions: self.max_position_embeddings,
            position_offset: POSITION_OFFSET,
            token_types: 2,
            task_types: 1,
            output_embedding_size: None,
            initializer_range: self.initializer_range,
            classifier_dropout: self.classifier_dropout.unwrap_or(self.hidden_dropout_prob),
        }
    }
}

/// Names of the tensors: here, in Hugging Face's checkpoints, in PaddleNLP's.
pub const NAMES: &[Name] = &[
    Name::same("backbone.word_embeddings", "ernie_m.embeddings.word_embeddings"),
    Name::same("backbone.position_embeddings", "ernie_m.embeddings.position_embeddings"),
    Name::same("backbone.language_embeddings", "ernie_m.embeddings.language_embeddings"),
    Name::same("backbone.embedding_norm", "ernie_m.embeddings.layer_norm"),
    Name::new(
        "backbone.encoder.layers.{n}.attention.query",
        "ernie_m.encoder.layers.{n}.self_attn.self_attn.q_proj",
        "ernie_m.encoder.layers.{n}.self_attn.q_proj",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.attention.key",
        "ernie_m.encoder.layers.{n}.self_attn.self_attn.k_proj",
        "ernie_m.encoder.layers.{n}.self_attn.k_proj",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.attention.value",
        "ernie_m.encoder.layers.{n}.self_attn.self_attn.v_proj",
        "ernie_m.encoder.layers.{n}.self_attn.v_proj",
    ),
    Name::same("backbone.encoder.layers.{n}.attention.output", "ernie_m.encoder.layers.{n}.self_attn.out_proj"),
    Name::same("backbone.encoder.layers.{n}.attention_norm", "ernie_m.encoder.layers.{n}.norm1"),
    Name::same("backbone.encoder.layers.{n}.intermediate", "ernie_m.encoder.layers.{n}.linear1"),
    Name::same("backbone.encoder.layers.{n}.output", "ernie_m.encoder.layers.{n}.linear2"),
    Name::same("backbone.encoder.layers.{n}.output_norm", "ernie_m.encoder.layers.{n}.norm2"),
    Name::same("backbone.pooler.dense", "ernie_m.pooler.dense"),
    Name::same("head.classifier", "classifier"),
    Name::new("head.qa_outputs", "qa_outputs", "classifier"),
    // Neither library has an ERNIE-M with this head: the names are those of ERNIE at Hugging Face.
    Name::same("head.masked_lm.dense", "cls.predictions.transform.dense"),
    Name::same("head.masked_lm.norm", "cls.predictions.transform.LayerNorm"),
    Name::same("head.masked_lm", "cls.predictions"),
];

/// Whether a tensor of this name, as [`NAMES`] has it for Hugging Face, is part of a model folder: the languages' vectors are not,
/// for no published model has any, and nothing but pre-training reads them.
pub fn is_exported(name: &str) -> bool {
    !name.contains("language_embeddings")
}

/// The encoder with its embeddings.
#[derive(Module, Debug)]
pub struct ErnieM {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    language_embeddings: Option<Embedding>,
    embedding_norm: LayerNorm,
    embedding_dropout: Dropout,
    pub encoder: Encoder,
    pub pooler: Option<Pooler>,
    pad_token_id: usize,
    paddle_default_mask: bool,
}

impl ErnieM {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ErnieMConfig, with_pooler: bool, device: &Device) -> Self {
        let size = config.hidden_size;
        Self {
            word_embeddings: embedding(config.vocab_size, size, device),
            position_embeddings: embedding(config.max_position_embeddings, size, device),
            language_embeddings: (config.num_languages > 0).then(|| embedding(config.num_languages, size, device)),
            embedding_norm: layer_norm(size, config.layer_norm_eps, device),
            embedding_dropout: dropout(config.hidden_dropout_prob),
            encoder: Encoder::new(&config.common().encoder, device),
            pooler: with_pooler.then(|| Pooler::new(size, device)),
            pad_token_id: config.pad_token_id,
            paddle_default_mask: config.paddle_default_mask,
        }
    }

    /// The table of the words, `[vocabulary, hidden]`: also the masked-LM head's output embedding.
    pub fn word_table(&self) -> Tensor<2> {
        self.word_embeddings.weight.val()
    }

    /// 1 where a token is to be seen, `[batch, seq]`, for inputs that come without a mask.
    pub fn default_mask(&self, ids: Tensor<2, Int>) -> Tensor<2, Int> {
        let hidden_id = if self.paddle_default_mask { 0 } else { self.pad_token_id as i64 };
        ids.not_equal_elem(hidden_id).int()
    }

    /// `[batch, seq] -> [batch, seq, hidden]`.
    pub fn embed(&self, input: &EncoderInput) -> Tensor<3> {
        let words = look_up(&self.word_embeddings, input.input_ids.clone(), self.pad_token_id); // [batch, seq, hidden]
        let rows = input.positions().add_scalar(POSITION_OFFSET as i64); // [batch, seq]
        let positions = self.position_embeddings.forward(rows); // [batch, seq, hidden]
        let mut sum = words + positions; // [batch, seq, hidden]
        if let (Some(table), Some(languages)) = (&self.language_embeddings, &input.language_ids) {
            sum = sum + table.forward(languages.clone());
        }
        drop_out(&self.embedding_dropout, self.embedding_norm.forward(sum))
    }
}
