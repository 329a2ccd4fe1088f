//! BERT's model (arXiv 1810.04805), which the families of encoders share: embeddings, a stack of layers, a pooler. What differs
//! between them is in the embeddings.

use burn::module::Module;
use burn::nn::{Dropout, Embedding, Linear};
use burn::tensor::{Device, Int, Tensor};

use super::EncoderInput;
use crate::nn::{
    Encoder, HasRoles, HiddenAct, LayerNorm, Pooler, PretrainedConfig, Rate, Roles, drop_out, dropout, embedding,
    linear, look_up, mixed, per_token,
};

/// Keys of a recipe's `[model.config]` that every transformer has.
pub const KEYS: &[&str] = &[
    "model.config.num_attention_heads",
    "model.config.intermediate_size",
    "model.config.hidden_act",
    "model.config.hidden_dropout_prob",
    "model.config.attention_probs_dropout_prob",
    "model.config.max_position_embeddings",
    "model.config.layer_norm_eps",
    "model.config.pad_token_id",
];

/// How a whole row is classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classifier {
    /// By one layer on the pooled first token: BERT's.
    Pooled,
    /// By a layer, tanh and an output layer on the first token, without a pooler: RoBERTa's.
    Mlp,
}

/// Which positions tokens have that come without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// 0, 1, 2 and so on, whatever is padding.
    AllTokens,
    /// The number of tokens before it that are no padding, by their ids; padding has the last row before position 0.
    WithoutPadding,
}

/// What a family fixes, beside the words of its `config.json`.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Rows of the position table that come before position 0.
    pub position_offset: usize,
    pub positions: Positions,
    /// Whether positions are added before the token types, and not after them: the sums differ in their last bits.
    pub positions_first: bool,
    /// The masked-LM head's activation and epsilon, if they are not the encoder's.
    pub masked_lm_act: Option<HiddenAct>,
    pub masked_lm_eps: Option<f64>,
    pub classifier: Classifier,
}

impl Rules {
    /// BERT's.
    pub const BERT: Self = Self {
        position_offset: 0,
        positions: Positions::AllTokens,
        positions_first: false,
        masked_lm_act: None,
        masked_lm_eps: None,
        classifier: Classifier::Pooled,
    };
}

/// Embeddings, encoder, pooler.
#[derive(Module, Debug)]
pub struct Transformer {
    pub embeddings: Embeddings,
    pub encoder: Encoder,
    pub pooler: Option<Pooler>,
}

/// The sum of the rows of several tables.
#[derive(Module, Debug)]
pub struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Option<Embedding>,
    task_type_embeddings: Option<Embedding>,
    language_embeddings: Option<Embedding>,
    embedding_norm: LayerNorm,
    embedding_dropout: Dropout,
    embedding_projection: Option<Linear>,
    #[module(skip)]
    config: PretrainedConfig,
    #[module(skip)]
    rules: Rules,
}

impl Transformer {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &PretrainedConfig, rules: &Rules, with_pooler: bool, device: &Device) -> Self {
        Self {
            embeddings: Embeddings::new(config, rules, device),
            encoder: Encoder::new(config, device),
            pooler: with_pooler.then(|| Pooler::new(config.hidden_size, device)),
        }
    }

    /// The table of the words, `[vocabulary, hidden]`, if it may serve as a masked-LM head's output embedding: not where it is
    /// narrower than the encoder.
    pub fn word_table(&self) -> Option<Tensor<2>> {
        self.embeddings.embedding_projection.is_none().then(|| self.embeddings.word_embeddings.weight.val())
    }

    /// 1 where a token is to be seen, `[batch, seq]`, for inputs that come without a mask.
    pub fn default_mask(&self, ids: Tensor<2, Int>) -> Tensor<2, Int> {
        let config = &self.embeddings.config;
        let masked = if config.paddle_default_mask == Some(true) { 0 } else { config.pad_token_id };
        ids.not_equal_elem(masked as i64).int()
    }

    /// `[batch, seq] -> [batch, seq, hidden]`.
    pub fn embed(&self, input: &EncoderInput) -> Tensor<3> {
        self.embeddings.forward(input)
    }
}

impl HasRoles for Transformer {
    fn add_roles(&self, roles: &mut Roles) {
        let layers = self.encoder.layers();
        roles.set(&self.embeddings, |role| role.depth = layers.len() + 1);
        roles.set(&self.embeddings.word_embeddings, |role| role.rate = Rate::WordEmbeddings);
        // No published model has vectors of languages, and nothing but pre-training reads them.
        roles.set(&self.embeddings.language_embeddings, |role| {
            role.is_new = true;
            role.is_exported = false;
        });
        for (number, layer) in layers.iter().enumerate() {
            roles.set(layer, |role| role.depth = layers.len() - number);
        }
        roles.set(&self.pooler, |role| role.is_new = true);
    }
}

impl Embeddings {
    fn new(config: &PretrainedConfig, rules: &Rules, device: &Device) -> Self {
        let width = config.input_embedding_size.unwrap_or(config.hidden_size);
        let table = |rows: Option<usize>| rows.filter(|rows| *rows > 0).map(|rows| embedding(rows, width, device));
        Self {
            word_embeddings: embedding(config.vocab_size, width, device),
            position_embeddings: embedding(config.max_position_embeddings, width, device),
            token_type_embeddings: table(config.type_vocab_size),
            task_type_embeddings: table(config.task_types()),
            language_embeddings: table(config.num_languages),
            embedding_norm: LayerNorm::new(width, config.layer_norm_eps, device),
            embedding_dropout: dropout(config.hidden_dropout_prob),
            embedding_projection: config.input_embedding_size.map(|width| linear(width, config.hidden_size, device)),
            config: config.clone(),
            rules: *rules,
        }
    }

    /// `[batch, seq] -> [batch, seq, hidden]`.
    fn forward(&self, input: &EncoderInput) -> Tensor<3> {
        let (config, rules) = (&self.config, self.rules);
        let ids = input.input_ids.clone(); // [batch, seq]
        let zeros = || ids.zeros_like(); // [batch, seq]
        let mut sum = look_up(&self.word_embeddings, ids.clone(), Some(config.pad_token_id)); // [batch, seq, width]
        if config.paddle_padding_row == Some(true) {
            let padding = ids.clone().equal_elem(config.pad_token_id as i64).unsqueeze_dim::<3>(2).expand(sum.dims());
            sum = sum.mask_fill(padding, 0.0);
        }
        let offset = rules.position_offset as i64;
        let positions = match (rules.positions, &input.position_ids) {
            (Positions::WithoutPadding, None) => {
                let seen = ids.clone().not_equal_elem(config.pad_token_id as i64).int(); // [batch, seq]
                let rows = (seen.clone().cumsum(1) * seen).add_scalar(offset - 1); // [batch, seq]
                look_up(&self.position_embeddings, rows, Some(rules.position_offset - 1))
            }
            _ => look_up(&self.position_embeddings, input.positions().add_scalar(offset), None),
        }; // [batch, seq, width]
        let types = self.token_type_embeddings.as_ref().map(|table| {
            let types = input.token_type_ids.clone().filter(|_| config.type_vocab_size > Some(1));
            look_up(table, types.unwrap_or_else(zeros), None) // [batch, seq, width]
        });
        sum = match types {
            Some(types) if rules.positions_first => sum + positions + types,
            Some(types) => sum + types + positions,
            None => sum + positions,
        };
        if let Some(table) = &self.task_type_embeddings {
            sum = sum + look_up(table, input.task_type_ids.clone().unwrap_or_else(zeros), None);
        }
        if let (Some(table), Some(languages)) = (&self.language_embeddings, &input.language_ids) {
            sum = sum + look_up(table, languages.clone(), None);
        }
        let embedded = drop_out(&self.embedding_dropout, self.embedding_norm.forward(sum)); // [batch, seq, width]
        match &self.embedding_projection {
            Some(projection) => per_token(embedded, |x| mixed(projection, x)), // [batch, seq, hidden]
            None => embedded,
        }
    }
}
