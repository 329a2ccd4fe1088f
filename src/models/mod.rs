//! The model families. A family is one file: its configuration, its forward pass, the names of its tensors.

pub mod ernie_m;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::{Map, Value};

use crate::error::{Problem, Result};
use crate::recipe::Architecture;
use crate::weights::Name;
use ernie_m::{ErnieM, ErnieMConfig};

impl Architecture {
    /// Hugging Face's `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::ErnieM => "ernie_m",
        }
    }

    /// What Hugging Face's class names begin with.
    pub fn class_prefix(self) -> &'static str {
        match self {
            Self::ErnieM => "ErnieM",
        }
    }

    /// The names of the family's tensors in the checkpoints of both ecosystems.
    pub fn names(self) -> &'static [Name] {
        match self {
            Self::ErnieM => ernie_m::NAMES,
        }
    }
}

/// What goes into an encoder. All tensors are `[batch, seq]`.
#[derive(Debug, Clone)]
pub struct EncoderInput {
    pub input_ids: Tensor<2, Int>,
    /// 1 where a token is to be seen, 0 where it is not. Without it, the family's own rule hides the padding.
    pub attention_mask: Option<Tensor<2, Int>>,
    /// Counted from 0 in each row if left out.
    pub position_ids: Option<Tensor<2, Int>>,
}

impl EncoderInput {
    /// Rows of ids, filled up with `pad` to `width` tokens (at least the longest row's) and masked accordingly.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = &'a [u32]>, width: usize, pad: u32, device: &Device) -> Self {
        let (mut ids, mut mask, mut count) = (Vec::new(), Vec::new(), 0);
        for row in rows {
            count += 1;
            ids.extend(row.iter().map(|&id| i64::from(id)));
            ids.resize(count * width, i64::from(pad));
            mask.resize(mask.len() + row.len(), 1i64);
            mask.resize(count * width, 0);
        }
        let tensor = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, [count, width]), device); // [batch, seq]
        Self { input_ids: tensor(ids), attention_mask: Some(tensor(mask)), position_ids: None }
    }
}

/// What comes out of an encoder.
#[derive(Debug, Clone)]
pub struct EncoderOutput {
    /// The embeddings and each layer's output, `[batch, seq, hidden]`.
    pub hidden_states: Vec<Tensor<3>>,
    /// The pooled first token, `[batch, hidden]`, if the model has a pooler.
    pub pooled: Option<Tensor<2>>,
}

impl EncoderOutput {
    /// The last layer's output, `[batch, seq, hidden]`.
    pub fn last_hidden_state(&self) -> Tensor<3> {
        self.hidden_states[self.hidden_states.len() - 1].clone()
    }
}

/// The configuration of a model of any family.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    ErnieM(ErnieMConfig),
}

impl ModelConfig {
    /// Reads the words of a `config.json` (`words` may already hold a recipe's own on top).
    pub fn from_words(architecture: Architecture, words: &Map<String, Value>) -> Result<Self> {
        let words = with_paddle_rules(architecture, words.clone());
        let config =
            match architecture {
                Architecture::ErnieM => Self::ErnieM(serde_json::from_value(Value::Object(words)).map_err(|e| {
                    Problem::new(format!("the model's configuration does not fit {architecture:?}: {e}"))
                })?),
            };
        config.check()?;
        Ok(config)
    }

    /// The words that `config.json` gets, without those that only a head needs.
    pub fn to_words(&self) -> Map<String, Value> {
        let value = match self {
            Self::ErnieM(config) => serde_json::to_value(config),
        };
        match value {
            Ok(Value::Object(words)) => words,
            // A struct of numbers, words and flags is always written as an object.
            _ => Map::new(),
        }
    }

    pub fn architecture(&self) -> Architecture {
        match self {
            Self::ErnieM(_) => Architecture::ErnieM,
        }
    }

    pub fn vocab_size(&self) -> usize {
        match self {
            Self::ErnieM(config) => config.vocab_size,
        }
    }

    pub fn hidden_size(&self) -> usize {
        match self {
            Self::ErnieM(config) => config.hidden_size,
        }
    }

    pub fn num_hidden_layers(&self) -> usize {
        match self {
            Self::ErnieM(config) => config.num_hidden_layers,
        }
    }

    /// The longest row in tokens.
    pub fn max_length(&self) -> usize {
        match self {
            Self::ErnieM(config) => config.max_length(),
        }
    }

    /// Standard deviation of newly made weights.
    pub fn initializer_range(&self) -> f64 {
        match self {
            Self::ErnieM(config) => config.initializer_range,
        }
    }

    /// Dropout in front of a classifier.
    pub fn classifier_dropout(&self) -> f64 {
        match self {
            Self::ErnieM(config) => config.classifier_dropout.unwrap_or(config.hidden_dropout_prob),
        }
    }

    fn check(&self) -> Result<()> {
        let Self::ErnieM(config) = self;
        if config.num_attention_heads == 0 || config.hidden_size % config.num_attention_heads != 0 {
            let what = format!(
                "hidden_size {} cannot be split over num_attention_heads {}",
                config.hidden_size, config.num_attention_heads
            );
            return Err(Problem::new(what).help("choose a number of heads that divides the hidden size").into());
        }
        let probabilities = [
            ("hidden_dropout_prob", Some(config.hidden_dropout_prob)),
            ("attention_probs_dropout_prob", Some(config.attention_probs_dropout_prob)),
            ("act_dropout", Some(config.act_dropout)),
            ("classifier_dropout", config.classifier_dropout),
        ];
        for (word, value) in probabilities {
            if value.is_some_and(|value| !(0.0..1.0).contains(&value)) {
                let what = format!("{word} is {}", value.unwrap_or_default());
                return Err(Problem::new(what).help("a dropout is a share from 0 to below 1").into());
            }
        }
        for (word, value) in
            [("layer_norm_eps", config.layer_norm_eps), ("initializer_range", config.initializer_range)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Problem::new(format!("{word} is {value}")).help("it is a small positive number").into());
            }
        }
        if config.max_length() == 0 {
            let what = format!("max_position_embeddings {} leaves no position", config.max_position_embeddings);
            return Err(Problem::new(what)
                .help("ERNIE-M needs two rows more than the longest input has tokens")
                .into());
        }
        Ok(())
    }
}

/// PaddleNLP builds ERNIE-M's inner layer four times as wide as the hidden size whatever its config says, and has no word for
/// the layer norm's epsilon.
fn with_paddle_rules(architecture: Architecture, mut words: Map<String, Value>) -> Map<String, Value> {
    let Architecture::ErnieM = architecture;
    if words.contains_key("paddlenlp_version") {
        if let Some(hidden) = words.get("hidden_size").and_then(Value::as_u64) {
            words.insert("intermediate_size".into(), (4 * hidden).into());
        }
        words.remove("layer_norm_eps");
    }
    words
}

/// An encoder of any family.
#[derive(Module, Debug)]
pub enum Backbone {
    ErnieM(ErnieM),
}

impl Backbone {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ModelConfig, with_pooler: bool, device: &Device) -> Self {
        match config {
            ModelConfig::ErnieM(config) => Self::ErnieM(ErnieM::new(config, with_pooler, device)),
        }
    }

    pub fn forward(&self, input: &EncoderInput) -> EncoderOutput {
        match self {
            Self::ErnieM(model) => model.forward(input),
        }
    }
}
