//! The model families. A family is one file: its configuration, its forward pass, the names of its tensors.

mod config;
pub mod elmo;
pub mod ernie;
pub mod ernie_m;
mod input;
pub mod rembert;
mod visibility;
pub mod words;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

pub use config::{Common, ModelConfig};
pub use input::{EncoderInput, InputRow, Padding};
pub use visibility::{Sight, Visibility};

use crate::nn::{Encoder, HiddenStates, attention_bias};
use crate::recipe::Architecture;
use crate::weights::Name;
use ernie::Ernie;
use ernie_m::ErnieM;
use rembert::RemBert;
use words::Words;

impl Architecture {
    /// Hugging Face's `model_type`, which the names of an encoder's tensors begin with too.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::ErnieM => "ernie_m",
            Self::Ernie => "ernie",
            Self::RemBert => "rembert",
            Self::Elmo => "elmo",
        }
    }

    /// What Hugging Face's class names begin with.
    pub fn class_prefix(self) -> &'static str {
        match self {
            Self::ErnieM => "ErnieM",
            Self::Ernie => "Ernie",
            Self::RemBert => "RemBert",
            Self::Elmo => "Elmo",
        }
    }

    /// The names of the family's tensors in the checkpoints of both ecosystems.
    pub fn names(self) -> &'static [Name] {
        match self {
            Self::ErnieM => ernie_m::NAMES,
            Self::Ernie => ernie::NAMES,
            Self::RemBert => rembert::NAMES,
            // Its tensors are called like the fields of the model.
            Self::Elmo => &[],
        }
    }
}

/// What comes out of an encoder.
#[derive(Debug, Clone)]
pub struct EncoderOutput {
    /// The embeddings and each layer's output where all were asked for, else the last layer's alone: `[batch, seq, hidden]`.
    pub hidden_states: Vec<Tensor<3>>,
    /// The pooled first token, `[batch, hidden]`, if the model has a pooler.
    pub pooled: Option<Tensor<2>>,
}

impl EncoderOutput {
    /// The last layer's output, `[batch, seq, hidden]`.
    pub fn last_hidden_state(&self) -> Tensor<3> {
        self.hidden_states[self.hidden_states.len() - 1].clone()
    }

    /// The pooled first token, `[batch, hidden]`.
    ///
    /// # Panics
    /// If the model was made without a pooler: a head that reads it says so before the model is made.
    pub fn pooled(&self) -> Tensor<2> {
        self.pooled.clone().expect("a head that reads the pooled token has the model made with a pooler")
    }
}

/// What a task's head stands on: an encoder of any family, or ELMo's words.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one of them")]
pub enum Backbone {
    ErnieM(ErnieM),
    Ernie(Ernie),
    RemBert(RemBert),
    Words(Words),
}

impl Backbone {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ModelConfig, with_pooler: bool, device: &Device) -> Self {
        match config {
            ModelConfig::ErnieM(config) => Self::ErnieM(ErnieM::new(config, with_pooler, device)),
            ModelConfig::Ernie(config) => Self::Ernie(Ernie::new(config, with_pooler, device)),
            ModelConfig::RemBert(config) => Self::RemBert(RemBert::new(config, with_pooler, device)),
            ModelConfig::Words(config) => Self::Words(Words::new(config, device)),
        }
    }

    /// The whole way; `keep` says which hidden states are wanted.
    pub fn forward(&self, input: &EncoderInput, keep: HiddenStates) -> EncoderOutput {
        let embedded = self.embed(input); // [batch, seq, hidden]
        self.output(match self.encoder() {
            Some(encoder) => encoder.forward(embedded, self.attention_bias(input), keep),
            None => vec![embedded],
        })
    }

    /// The first layer's input: `[batch, seq] -> [batch, seq, hidden]`.
    pub fn embed(&self, input: &EncoderInput) -> Tensor<3> {
        match self {
            Self::ErnieM(model) => model.embed(input),
            Self::Ernie(model) => model.embed(input),
            Self::RemBert(model) => model.embed(input),
            Self::Words(model) => model.embed(input),
        }
    }

    /// What is added to the attention scores of every layer, `[batch, 1, query or 1, key]`.
    pub fn attention_bias(&self, input: &EncoderInput) -> Tensor<4> {
        if let Some(visibility) = &input.visibility {
            return visibility.bias();
        }
        let mask = input.attention_mask.clone().unwrap_or_else(|| match self {
            Self::ErnieM(model) => model.default_mask(input.input_ids.clone()),
            Self::Ernie(model) => model.default_mask(input.input_ids.clone()),
            Self::RemBert(model) => model.default_mask(input.input_ids.clone()),
            Self::Words(_) => input.input_ids.ones_like(),
        }); // [batch, seq]
        attention_bias(mask)
    }

    /// The layers on the embeddings; words have none.
    pub fn encoder(&self) -> Option<&Encoder> {
        match self {
            Self::ErnieM(model) => Some(&model.encoder),
            Self::Ernie(model) => Some(&model.encoder),
            Self::RemBert(model) => Some(&model.encoder),
            Self::Words(_) => None,
        }
    }

    /// The output embedding of a masked-LM head that has none of its own: the table of the words, `[vocabulary, hidden]`.
    pub fn tied_embedding(&self) -> Option<Tensor<2>> {
        match self {
            Self::ErnieM(model) => Some(model.word_table()),
            Self::Ernie(model) => Some(model.word_table()),
            Self::RemBert(_) | Self::Words(_) => None,
        }
    }

    /// Pools the last of the hidden states, if the model has a pooler.
    pub fn output(&self, hidden_states: Vec<Tensor<3>>) -> EncoderOutput {
        let pooler = match self {
            Self::ErnieM(model) => model.pooler.as_ref(),
            Self::Ernie(model) => model.pooler.as_ref(),
            Self::RemBert(model) => model.pooler.as_ref(),
            Self::Words(_) => None,
        };
        let last = hidden_states[hidden_states.len() - 1].clone(); // [batch, seq, hidden]
        EncoderOutput { pooled: pooler.map(|pooler| pooler.forward(last)), hidden_states }
    }
}
