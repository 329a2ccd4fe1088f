//! The blocks that models share.

mod crf;
mod encoder;
mod functions;
mod gru;
mod layer_norm;
mod lstm;
mod masked_lm;
mod pointer;
mod precision;
mod pretrained_config;
mod reader;
mod role;
mod scalar_mix;
mod sequences;

pub use crf::{Crf, gather_words, paddlenlp_transitions, viterbi};
pub use encoder::{AttentionBias, Encoder, EncoderLayer, HiddenStates, MlpClassifier, Packing, Pooler};
pub use functions::{
    cross_entropy_mean, cross_entropy_sum, drop_out, dropout_seed, gelu, look_up, per_token, seed_dropout, softmax,
};
pub use gru::{BiGru, Gru};
pub use layer_norm::LayerNorm;
pub use lstm::{BiLstm, Clips, Lstm, LstmState};
pub use masked_lm::{MaskedLmConfig, MaskedLmHead};
pub use precision::{
    apply, has_cpu_kernels, mixed, product_of_rows, set_bf16_products, set_compute_dtype, set_int8, to_compute, to_f32,
};
pub use pretrained_config::{PretrainedConfig, check_probability, check_size, check_widths};
pub use reader::{BiDaf, BiDafConfig};
pub use role::{HasRoles, Rate, Role, Roles, Spread};
pub use scalar_mix::ScalarMix;
pub use sequences::{reverse_within, zero_beyond};

use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::tensor::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernels::Activation;

/// The activation between the two dense layers of an encoder block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HiddenAct {
    /// The exact (erf) GELU.
    Gelu,
    /// max(0, x).
    Relu,
}

impl From<HiddenAct> for Activation {
    fn from(act: HiddenAct) -> Self {
        match act {
            HiddenAct::Gelu => Self::Gelu,
            HiddenAct::Relu => Self::Relu,
        }
    }
}

// Weights are made by `weights::fill`, from the checkpoint or from the seed and the parameter's name, so that they do not
// depend on the device; until then a parameter is a lazy zero, which costs nothing.

/// A linear layer `[.., input] -> [.., output]` whose values `weights::fill` gives.
pub fn linear(input: usize, output: usize, device: &Device) -> Linear {
    LinearConfig::new(input, output).with_initializer(Initializer::Zeros).init(device)
}

/// The same without a bias.
fn linear_without_bias(input: usize, output: usize, device: &Device) -> Linear {
    LinearConfig::new(input, output).with_bias(false).with_initializer(Initializer::Zeros).init(device)
}

/// A table of `rows` vectors of `size`, whose values `weights::fill` gives.
pub fn embedding(rows: usize, size: usize, device: &Device) -> Embedding {
    EmbeddingConfig::new(rows, size).with_initializer(Initializer::Zeros).init(device)
}

/// Dropout with probability `p`, active on autodiff devices only.
pub fn dropout(p: f64) -> Dropout {
    DropoutConfig::new(p).init()
}
