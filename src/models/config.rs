//! The configuration of a model of any family, as `config.json` has it.

use serde_json::{Map, Value};

use super::ernie::ErnieConfig;
use super::ernie_m::ErnieMConfig;
use super::rembert::RemBertConfig;
use super::words::WordsConfig;
use crate::error::{Problem, Result};
use crate::nn::{EncoderConfig, MaskedLmConfig};
use crate::recipe::{Architecture, HiddenAct};
use crate::weights::{Initialisation, Spread};

/// The configuration of a model of any family.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    ErnieM(ErnieMConfig),
    Ernie(ErnieConfig),
    RemBert(RemBertConfig),
    /// Of the family "elmo".
    Words(WordsConfig),
}

/// What every family's configuration says, under the same names.
#[derive(Debug, Clone)]
pub struct Common {
    pub vocab_size: usize,
    pub encoder: EncoderConfig,
    /// Rows of the position table, and how many of them come before position 0.
    pub positions: usize,
    pub position_offset: usize,
    /// How many kinds of text the model tells apart, or takes note of.
    pub token_types: usize,
    /// How many kinds of task.
    pub task_types: usize,
    /// Width of the masked-LM head's output embedding, where it is not the word embedding.
    pub output_embedding_size: Option<usize>,
    /// Standard deviation of newly made weights.
    pub initializer_range: f64,
    /// Dropout in front of a classifier.
    pub classifier_dropout: f64,
}

impl ModelConfig {
    /// Reads the words of a `config.json` (`words` may already hold a recipe's own on top).
    pub fn from_words(architecture: Architecture, words: &Map<String, Value>) -> Result<Self> {
        let words = Value::Object(with_paddle_rules(architecture, words.clone()));
        let config = match architecture {
            Architecture::ErnieM => serde_json::from_value(words).map(Self::ErnieM),
            Architecture::Ernie => serde_json::from_value(words).map(Self::Ernie),
            Architecture::RemBert => serde_json::from_value(words).map(Self::RemBert),
            Architecture::Elmo => serde_json::from_value(words).map(Self::Words),
        };
        let config = config.map_err(|cause| {
            Problem::new(format!("the model's configuration does not fit {}: {cause}", architecture.word()))
        })?;
        config.common().check()?;
        if let Self::Words(words) = &config {
            words.check()?;
        }
        Ok(config)
    }

    /// The words that `config.json` gets, without those that only a head needs.
    pub fn to_words(&self) -> Map<String, Value> {
        let value = match self {
            Self::ErnieM(config) => serde_json::to_value(config),
            Self::Ernie(config) => serde_json::to_value(config),
            Self::RemBert(config) => serde_json::to_value(config),
            Self::Words(config) => serde_json::to_value(config),
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
            Self::Ernie(_) => Architecture::Ernie,
            Self::RemBert(_) => Architecture::RemBert,
            Self::Words(_) => Architecture::Elmo,
        }
    }

    /// What does not depend on the family.
    pub fn common(&self) -> Common {
        match self {
            Self::ErnieM(config) => config.common(),
            Self::Ernie(config) => config.common(),
            Self::RemBert(config) => config.common(),
            Self::Words(config) => config.common(),
        }
    }

    /// How weights that no checkpoint holds are made: normally distributed as BERT's, or evenly as LAC's.
    pub fn initialisation(&self, seed: u64) -> Initialisation {
        let range = self.common().initializer_range;
        let spread = match self {
            Self::Words(_) => Spread::Uniform(range),
            Self::ErnieM(_) | Self::Ernie(_) | Self::RemBert(_) => Spread::Normal(range),
        };
        Initialisation { seed, spread }
    }

    /// The masked-LM head. ERNIE-M's is XLM-R's, whose activation and epsilon do not follow the configuration: neither library has
    /// an ERNIE-M with this head.
    pub fn masked_lm(&self) -> MaskedLmConfig {
        let common = self.common();
        let encoder = common.encoder;
        let (hidden_act, layer_norm_eps) = match self {
            Self::ErnieM(_) => (HiddenAct::Gelu, 1e-5),
            Self::Ernie(_) | Self::RemBert(_) | Self::Words(_) => (encoder.hidden_act, encoder.layer_norm_eps),
        };
        MaskedLmConfig {
            hidden_size: encoder.hidden_size,
            own_embedding_size: common.output_embedding_size,
            vocab_size: common.vocab_size,
            hidden_act,
            layer_norm_eps,
        }
    }

    /// The longest row in tokens.
    pub fn max_length(&self) -> usize {
        self.common().max_length()
    }
}

impl Common {
    /// The longest row in tokens.
    pub fn max_length(&self) -> usize {
        self.positions.saturating_sub(self.position_offset)
    }

    fn check(&self) -> Result<()> {
        let encoder = &self.encoder;
        let (hidden, heads) = (encoder.hidden_size, encoder.num_attention_heads);
        if heads == 0 || hidden % heads != 0 {
            let what = format!("hidden_size {hidden} cannot be split over num_attention_heads {heads}");
            return Err(Problem::new(what).help("choose a number of heads that divides the hidden size").into());
        }
        let probabilities = [
            ("hidden_dropout_prob", encoder.hidden_dropout_prob),
            ("attention_probs_dropout_prob", encoder.attention_probs_dropout_prob),
            ("act_dropout", encoder.act_dropout),
            ("classifier_dropout", self.classifier_dropout),
        ];
        for (word, value) in probabilities {
            if !(0.0..1.0).contains(&value) {
                let what = format!("{word} is {value}");
                return Err(Problem::new(what).help("a dropout is a share from 0 to below 1").into());
            }
        }
        for (word, value) in [("layer_norm_eps", encoder.layer_norm_eps), ("initializer_range", self.initializer_range)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Problem::new(format!("{word} is {value}")).help("it is a small positive number").into());
            }
        }
        if self.max_length() == 0 {
            let what = format!("max_position_embeddings {} leaves no position", self.positions);
            let help = format!("it is {} more than the longest input has tokens", self.position_offset);
            return Err(Problem::new(what).help(help).into());
        }
        Ok(())
    }
}

/// PaddleNLP builds ERNIE-M's inner layer four times as wide as the hidden size whatever its config says, and has no word for
/// the layer norm's epsilon. Its ERNIE looks padding up as zeros, and its layer norms have an epsilon of 1e-12. Its RemBERT has no
/// dropout of a classifier's own.
fn with_paddle_rules(architecture: Architecture, mut words: Map<String, Value>) -> Map<String, Value> {
    if !words.contains_key("paddlenlp_version") {
        return words;
    }
    match architecture {
        Architecture::ErnieM => {
            if let Some(hidden) = words.get("hidden_size").and_then(Value::as_u64) {
                words.insert("intermediate_size".into(), (4 * hidden).into());
            }
            words.remove("layer_norm_eps");
        }
        Architecture::Ernie => {
            words.insert("layer_norm_eps".into(), 1e-12.into());
            words.entry("paddle_padding_row").or_insert(true.into());
        }
        Architecture::RemBert => {
            let dropout = words.get("hidden_dropout_prob").cloned();
            if let (Some(dropout), false) = (dropout, words.contains_key("classifier_dropout_prob")) {
                words.insert("classifier_dropout_prob".into(), dropout);
            }
        }
        Architecture::Elmo => {}
    }
    words
}
