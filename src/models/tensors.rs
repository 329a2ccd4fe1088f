//! Names of tensors that several families share.

use crate::weights::Name;

const QUERY: &str = "backbone.encoder.layers.{n}.attention.query";
const KEY: &str = "backbone.encoder.layers.{n}.attention.key";
const VALUE: &str = "backbone.encoder.layers.{n}.attention.value";
const OUTPUT: &str = "backbone.encoder.layers.{n}.attention.output";
const NORM: &str = "backbone.encoder.layers.{n}.attention_norm";
const FEED_IN: &str = "backbone.encoder.layers.{n}.intermediate";
const FEED_OUT: &str = "backbone.encoder.layers.{n}.output";
const FEED_NORM: &str = "backbone.encoder.layers.{n}.output_norm";

/// A BERT's layers at Hugging Face, and those of `paddle.nn.TransformerEncoder`.
pub const BERT_LAYERS: &[Name] = &[
    Name::new(QUERY, "encoder.layer.{n}.attention.self.query", "encoder.layers.{n}.self_attn.q_proj"),
    Name::new(KEY, "encoder.layer.{n}.attention.self.key", "encoder.layers.{n}.self_attn.k_proj"),
    Name::new(VALUE, "encoder.layer.{n}.attention.self.value", "encoder.layers.{n}.self_attn.v_proj"),
    Name::new(OUTPUT, "encoder.layer.{n}.attention.output.dense", "encoder.layers.{n}.self_attn.out_proj"),
    Name::new(NORM, "encoder.layer.{n}.attention.output.LayerNorm", "encoder.layers.{n}.norm1"),
    Name::new(FEED_IN, "encoder.layer.{n}.intermediate.dense", "encoder.layers.{n}.linear1"),
    Name::new(FEED_OUT, "encoder.layer.{n}.output.dense", "encoder.layers.{n}.linear2"),
    Name::new(FEED_NORM, "encoder.layer.{n}.output.LayerNorm", "encoder.layers.{n}.norm2"),
];

/// The layers of ERNIE-M, which Hugging Face took over from Paddle.
pub const ERNIE_M_LAYERS: &[Name] = &[
    Name::new(QUERY, "encoder.layers.{n}.self_attn.self_attn.q_proj", "encoder.layers.{n}.self_attn.q_proj"),
    Name::new(KEY, "encoder.layers.{n}.self_attn.self_attn.k_proj", "encoder.layers.{n}.self_attn.k_proj"),
    Name::new(VALUE, "encoder.layers.{n}.self_attn.self_attn.v_proj", "encoder.layers.{n}.self_attn.v_proj"),
    Name::same(OUTPUT, "encoder.layers.{n}.self_attn.out_proj"),
    Name::same(NORM, "encoder.layers.{n}.norm1"),
    Name::same(FEED_IN, "encoder.layers.{n}.linear1"),
    Name::same(FEED_OUT, "encoder.layers.{n}.linear2"),
    Name::same(FEED_NORM, "encoder.layers.{n}.norm2"),
];

/// The layers of RemBERT, which Paddle took over from Hugging Face.
pub const REMBERT_LAYERS: &[Name] = &[
    Name::same(QUERY, "encoder.layer.{n}.attention.self.query"),
    Name::same(KEY, "encoder.layer.{n}.attention.self.key"),
    Name::same(VALUE, "encoder.layer.{n}.attention.self.value"),
    Name::same(OUTPUT, "encoder.layer.{n}.attention.output.dense"),
    Name::new(NORM, "encoder.layer.{n}.attention.output.LayerNorm", "encoder.layer.{n}.attention.output.layer_norm"),
    Name::same(FEED_IN, "encoder.layer.{n}.intermediate.dense"),
    Name::same(FEED_OUT, "encoder.layer.{n}.output.dense"),
    Name::new(FEED_NORM, "encoder.layer.{n}.output.LayerNorm", "encoder.layer.{n}.output.layer_norm"),
];

/// BERT's embeddings and pooler.
pub const BERT_EMBEDDINGS: &[Name] = &[
    Name::same("backbone.embeddings.word_embeddings", "embeddings.word_embeddings"),
    Name::same("backbone.embeddings.position_embeddings", "embeddings.position_embeddings"),
    Name::same("backbone.embeddings.token_type_embeddings", "embeddings.token_type_embeddings"),
    Name::new("backbone.embeddings.embedding_norm", "embeddings.LayerNorm", "embeddings.layer_norm"),
    Name::same("backbone.pooler.dense", "pooler.dense"),
];

/// Its heads for classes, tags and spans.
pub const BERT_HEADS: &[Name] =
    &[Name::same("head.classifier", "classifier"), Name::new("head.qa_outputs", "qa_outputs", "classifier")];

/// BERT's masked-LM head, tied to the word embedding.
pub const BERT_MASKED_LM: &[Name] = &[
    Name::new("head.masked_lm.dense", "cls.predictions.transform.dense", "cls.predictions.transform"),
    Name::new("head.masked_lm.norm", "cls.predictions.transform.LayerNorm", "cls.predictions.layer_norm"),
    // PaddleNLP's is called cls.predictions.decoder_bias.
    Name::new("head.masked_lm", "cls.predictions", "cls.predictions.decoder_"),
    Name::same("head.sentence_order", "cls.seq_relationship"),
];

/// The second copies of what it ties.
pub const BERT_TIED: &[&str] =
    &["cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "cls.predictions.decoder_weight"];
