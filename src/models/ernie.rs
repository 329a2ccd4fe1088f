//! ERNIE 1.0 (arXiv 1904.09223) and its successors of the same shape: BERT's encoder, with ReLU in 1.0 and task-type embeddings in
//! the later ones.
//!
//! Reference: `transformers.models.ernie` (4.46.3) and `paddlenlp.transformers.ernie` (2.8.1).

use burn::module::Module;
use burn::nn::{Dropout, Embedding, LayerNorm};
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{Common, EncoderInput};
use crate::nn::{Encoder, EncoderConfig, Pooler, drop_out, dropout, embedding, layer_norm, look_up};
use crate::recipe::HiddenAct;
use crate::weights::Name;

/// `config.json` of an ERNIE folder, in Hugging Face's words (`ErnieConfig`), with the values of ernie-1.0-base-zh as defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErnieConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: HiddenAct,
    pub hidden_dropout_prob: f64,
    pub attention_probs_dropout_prob: f64,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    pub task_type_vocab_size: usize,
    /// Whether task-type embeddings are added.
    pub use_task_id: bool,
    pub initializer_range: f64,
    pub layer_norm_eps: f64,
    pub pad_token_id: usize,
    pub classifier_dropout: Option<f64>,
    /// Look padding up as zeros, as PaddleNLP does, whatever its row of the table holds. No token that is seen depends on it.
    pub paddle_padding_row: bool,
}

impl Default for ErnieConfig {
    fn default() -> Self {
        Self {
            vocab_size: 18_000,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: HiddenAct::Relu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 513,
            type_vocab_size: 2,
            task_type_vocab_size: 3,
            use_task_id: false,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
            classifier_dropout: None,
            paddle_padding_row: false,
        }
    }
}

impl ErnieConfig {
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
            task_types: if self.use_task_id { self.task_type_vocab_size } else { 1 },
            output_embedding_size: None,
            initializer_range: self.initializer_range,
            classifier_dropout: self.classifier_dropout.unwrap_or(self.hidden_dropout_prob),
        }
    }
}

/// Names of the tensors: here, in Hugging Face's checkpoints, in PaddleNLP's.
pub const NAMES: &[Name] = &[
    Name::same("backbone.word_embeddings", "ernie.embeddings.word_embeddings"),
    Name::same("backbone.position_embeddings", "ernie.embeddings.position_embeddings"),
    Name::same("backbone.token_type_embeddings", "ernie.embeddings.token_type_embeddings"),
    Name::same("backbone.task_type_embeddings", "ernie.embeddings.task_type_embeddings"),
    Name::new("backbone.embedding_norm", "ernie.embeddings.LayerNorm", "ernie.embeddings.layer_norm"),
    Name::new(
        "backbone.encoder.layers.{n}.attention.query",
        "ernie.encoder.layer.{n}.attention.self.query",
        "ernie.encoder.layers.{n}.self_attn.q_proj",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.attention.key",
        "ernie.encoder.layer.{n}.attention.self.key",
        "ernie.encoder.layers.{n}.self_attn.k_proj",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.attention.value",
        "ernie.encoder.layer.{n}.attention.self.value",
        "ernie.encoder.layers.{n}.self_attn.v_proj",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.attention.output",
        "ernie.encoder.layer.{n}.attention.output.dense",
        "ernie.encoder.layers.{n}.self_attn.out_proj",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.attention_norm",
        "ernie.encoder.layer.{n}.attention.output.LayerNorm",
        "ernie.encoder.layers.{n}.norm1",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.intermediate",
        "ernie.encoder.layer.{n}.intermediate.dense",
        "ernie.encoder.layers.{n}.linear1",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.output",
        "ernie.encoder.layer.{n}.output.dense",
        "ernie.encoder.layers.{n}.linear2",
    ),
    Name::new(
        "backbone.encoder.layers.{n}.output_norm",
        "ernie.encoder.layer.{n}.output.LayerNorm",
        "ernie.encoder.layers.{n}.norm2",
    ),
    Name::same("backbone.pooler.dense", "ernie.pooler.dense"),
    Name::same("head.classifier", "classifier"),
    Name::new("head.qa_outputs", "qa_outputs", "classifier"),
    Name::new("head.masked_lm.dense", "cls.predictions.transform.dense", "cls.predictions.transform"),
    Name::new("head.masked_lm.norm", "cls.predictions.transform.LayerNorm", "cls.predictions.layer_norm"),
    // PaddleNLP's is called cls.predictions.decoder_bias.
    Name::new("head.masked_lm", "cls.predictions", "cls.predictions.decoder_"),
    Name::same("head.sentence_order", "cls.seq_relationship"),
];

/// The encoder with its embeddings.
#[derive(Module, Debug)]
pub struct Ernie {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    task_type_embeddings: Option<Embedding>,
    embedding_norm: LayerNorm,
    embedding_dropout: Dropout,
    pub encoder: Encoder,
    pub pooler: Option<Pooler>,
    pad_token_id: usize,
    paddle_padding_row: bool,
}

impl Ernie {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ErnieConfig, with_pooler: bool, device: &Device) -> Self {
        let size = config.hidden_size;
        Self {
            word_embeddings: embedding(config.vocab_size, size, device),
            position_embeddings: embedding(config.max_position_embeddings, size, device),
            token_type_embeddings: embedding(config.type_vocab_size, size, device),
            task_type_embeddings: config.use_task_id.then(|| embedding(config.task_type_vocab_size, size, device)),
            embedding_norm: layer_norm(size, config.layer_norm_eps, device),
            embedding_dropout: dropout(config.hidden_dropout_prob),
            encoder: Encoder::new(&config.common().encoder, device),
            pooler: with_pooler.then(|| Pooler::new(size, device)),
            pad_token_id: config.pad_token_id,
            paddle_padding_row: config.paddle_padding_row,
        }
    }

    /// The table of the words, `[vocabulary, hidden]`: also the masked-LM head's output embedding.
    pub fn word_table(&self) -> Tensor<2> {
        self.word_embeddings.weight.val()
    }

    /// 1 where a token is to be seen, `[batch, seq]`, for inputs that come without a mask.
    pub fn default_mask(&self, ids: Tensor<2, Int>) -> Tensor<2, Int> {
        ids.not_equal_elem(self.pad_token_id as i64).int()
    }

    /// `[batch, seq] -> [batch, seq, hidden]`.
    pub fn embed(&self, input: &EncoderInput) -> Tensor<3> {
        let ids = input.input_ids.clone(); // [batch, seq]
        let zeros = || ids.zeros_like(); // [batch, seq]
        let mut words = look_up(&self.word_embeddings, ids.clone(), self.pad_token_id); // [batch, seq, hidden]
        if self.paddle_padding_row {
            let padding = ids.clone().equal_elem(self.pad_token_id as i64).unsqueeze_dim::<3>(2).expand(words.dims());
            words = words.mask_fill(padding, 0.0);
        }
        let types = input.token_type_ids.clone().unwrap_or_else(zeros); // [batch, seq]
        let mut sum =
            words + self.position_embeddings.forward(input.positions()) + self.token_type_embeddings.forward(types); // [batch, seq, hidden]
        if let Some(table) = &self.task_type_embeddings {
            sum = sum + table.forward(input.task_type_ids.clone().unwrap_or_else(zeros));
        }
        drop_out(&self.embedding_dropout, self.embedding_norm.forward(sum))
    }
}
