//! The section of a recipe about the features that words come with.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[features]`: an ELMo whose layers stand beside the words' own vectors. It is not trained; how its layers are mixed is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Features {
    /// Folder of an ELMo that reads words. Left out: no features, or those that `model.weights` was trained with.
    #[schemars(length(min = 1))]
    pub elmo: Option<PathBuf>,
    /// L2 on the weights that mix the layers.
    #[schemars(range(min = 0.0))]
    pub elmo_l2_coef: f64,
    /// Dropout on the LSTM layers, before they are mixed.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub elmo_dropout: f64,
    /// Compute the features as Baidu's LAC demo does, with its two errors: each layer reads the words' vectors instead of the layer
    /// below, and the backward direction's outputs stay in reverse.
    pub compat_lac_demo: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self { elmo: None, elmo_l2_coef: 0.001, elmo_dropout: 0.5, compat_lac_demo: false }
    }
}
