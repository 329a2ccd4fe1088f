//! The model families, and what they have in common.

pub mod bert;
pub mod elmo;
pub mod elmo_family;
pub mod ernie;
pub mod ernie_m;
mod family;
mod input;
mod registry;
pub mod rembert;
mod tensors;
mod transformer;
mod visibility;
pub mod words;
pub mod xlm_roberta;

use burn::module::{Module, ParamId, list_param_ids};
use burn::tensor::{Device, Tensor};

pub use crate::nn::PretrainedConfig;
pub use family::{BackboneConfig, Corpora, Family, ModelConfig, Network};
pub use input::{EncoderInput, HostInput};
pub use registry::FAMILIES;
pub use transformer::{Classifier, Positions, Rules, Transformer};
pub use visibility::{AttentionPattern, Visibility};

use crate::nn::{AttentionBias, Encoder, HasRoles, HiddenStates, Roles};
use words::Words;

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

/// What a task's head stands on: a transformer of any family, or ELMo's words.
#[derive(Module, Debug)]
pub enum Backbone {
    Transformer(Transformer),
    Words(Words),
}

impl HasRoles for Backbone {
    fn add_roles(&self, roles: &mut Roles) {
        match self {
            Self::Transformer(model) => model.add_roles(roles),
            Self::Words(model) => model.add_roles(roles),
        }
    }
}

impl Backbone {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ModelConfig, with_pooler: bool, device: &Device) -> Self {
        match config.backbone() {
            BackboneConfig::Transformer(config, rules) => {
                Self::Transformer(Transformer::new(config, rules, with_pooler, device))
            }
            BackboneConfig::Words(config) => Self::Words(Words::new(config, device)),
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
            Self::Transformer(model) => model.embed(input),
            Self::Words(model) => model.embed(input),
        }
    }

    /// The model, where it is no words.
    fn transformer(&self) -> Option<&Transformer> {
        match self {
            Self::Transformer(model) => Some(model),
            Self::Words(_) => None,
        }
    }

    /// How the tokens of the input attend to each other, in every layer.
    pub fn attention_bias(&self, input: &EncoderInput) -> AttentionBias {
        if let Some(visibility) = &input.visibility {
            return AttentionBias::Mask(visibility.bias());
        }
        let ids = &input.input_ids;
        let by_ids = || self.transformer().map_or_else(|| ids.ones_like(), |model| model.default_mask(ids.clone()));
        AttentionBias::of_mask(input.attention_mask.clone().unwrap_or_else(by_ids)) // of [batch, seq]
    }

    /// The parameters of [`Self::embed`].
    pub fn params_of_embeddings(&self) -> Vec<ParamId> {
        match self {
            Self::Transformer(model) => list_param_ids(&model.embeddings),
            Self::Words(model) => list_param_ids(model),
        }
    }

    /// The layers on the embeddings; words have none.
    pub fn encoder(&self) -> Option<&Encoder> {
        self.transformer().map(|model| &model.encoder)
    }

    /// The output embedding of a masked-LM head that has none of its own: the table of the words, `[vocabulary, hidden]`.
    pub fn tied_embedding(&self) -> Option<Tensor<2>> {
        self.transformer()?.word_table()
    }

    /// Pools the last of the hidden states, if the model has a pooler.
    pub fn output(&self, hidden_states: Vec<Tensor<3>>) -> EncoderOutput {
        let pooler = self.transformer().and_then(|model| model.pooler.as_ref());
        let last = hidden_states[hidden_states.len() - 1].clone(); // [batch, seq, hidden]
        EncoderOutput { pooled: pooler.map(|pooler| pooler.forward(last)), hidden_states }
    }
}
