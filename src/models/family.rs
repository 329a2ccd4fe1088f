//! What a model family is, and the configuration of a model of any family.

use std::fmt;

use serde_json::{Map, Value};

use super::transformer::{Classifier, Rules};
use super::words::WordsConfig;
use crate::error::{Problem, Result};
use crate::nn::{MaskedLmConfig, PretrainedConfig, Spread};
use crate::tokenize::TokenizerKind;
use crate::weights::{Initialisation, TensorNames};

/// A model family.
pub struct Family {
    /// The word of recipes.
    pub name: &'static str,
    /// For editors, beside the word.
    pub description: &'static str,
    /// Hugging Face's word in `config.json`.
    pub model_type: &'static str,
    /// What Hugging Face's class names begin with.
    pub class_prefix: &'static str,
    pub tensors: TensorNames,
    /// Keys of recipes that mean something to it and not to all families.
    pub keys: &'static [&'static [&'static str]],
    /// The tokenizers that it comes with, the usual one first.
    pub tokenizers: &'static [TokenizerKind],
    pub corpora: Corpora,
    pub network: Network,
    /// What a `config.json` of PaddleNLP's means and does not say.
    pub paddle_rules: fn(&mut Map<String, Value>),
}

/// What a family's models are.
#[expect(clippy::large_enum_variant, reason = "a family's stands once, in a static")]
pub enum Network {
    /// Encoders, with the values of the base model for words that a `config.json` leaves out.
    Transformer { defaults: PretrainedConfig, rules: Rules },
    /// ELMo's words.
    Words,
}

/// What a family learns from without labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corpora {
    /// Nothing yet.
    None,
    /// Documents in one language, with their words and their order: ERNIE 1.0's.
    Documents,
    /// Sentences in many languages, and pairs of translations: ERNIE-M's.
    Multilingual,
    /// Streams of segmented sentences: ELMo's.
    Streams,
}

impl Family {
    /// Whether its tokens are whole words, which the layers of a tagger or reader stand on without an encoder.
    pub fn reads_words(&self) -> bool {
        matches!(self.network, Network::Words)
    }

    /// Whether a key that not all families have means something to this one.
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.iter().copied().flatten().any(|own| *own == key)
    }

    /// How many special tokens its usual tokenizer adds to a pair.
    pub fn added_to_pair(&self) -> usize {
        self.tokenizers[0].separators().map_or(0, |between| between.len() + 2)
    }

    /// Rows of the position table that come before position 0.
    pub fn position_offset(&self) -> usize {
        match &self.network {
            Network::Transformer { rules, .. } => rules.position_offset,
            Network::Words => 0,
        }
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The configuration of a model of any family.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    pub(super) family: &'static Family,
    pub(super) backbone: BackboneConfig,
}

/// What a model is built from.
#[derive(Debug, Clone)]
pub enum BackboneConfig {
    Transformer(PretrainedConfig, Rules),
    Words(WordsConfig),
}

/// More words than any row has: there are no positions that could run out.
const ENDLESS: usize = 1 << 20;

impl ModelConfig {
    /// The configuration of an encoder, or nothing where the family is none of encoders.
    pub fn encoder(family: &'static Family, config: PretrainedConfig) -> Option<Self> {
        let Network::Transformer { rules, .. } = family.network else { return None };
        Some(Self { family, backbone: BackboneConfig::Transformer(config, rules) })
    }

    /// Reads the words of a `config.json` (`words` may already hold a recipe's own on top).
    ///
    /// # Errors
    /// A value that is none of its word's, or that no model can have.
    pub fn from_words(family: &'static Family, words: &Map<String, Value>) -> Result<Self> {
        let mut words = words.clone();
        if words.contains_key("paddlenlp_version") {
            (family.paddle_rules)(&mut words);
        }
        let wrong = |cause| Problem::new(format!("the model's configuration does not fit {}: {cause}", family.name));
        let backbone = match &family.network {
            Network::Transformer { defaults, rules } => {
                let mut all = words_of(defaults);
                words.retain(|word, _| all.contains_key(word) || family.has_key(&format!("model.config.{word}")));
                all.extend(words);
                let config: PretrainedConfig = serde_json::from_value(Value::Object(all)).map_err(wrong)?;
                config.check(rules.position_offset)?;
                BackboneConfig::Transformer(config, *rules)
            }
            Network::Words => {
                let config: WordsConfig = serde_json::from_value(Value::Object(words)).map_err(wrong)?;
                config.check()?;
                BackboneConfig::Words(config)
            }
        };
        Ok(Self { family, backbone })
    }

    /// The words that `config.json` gets, without those that only a head needs.
    pub fn to_words(&self) -> Map<String, Value> {
        match &self.backbone {
            BackboneConfig::Transformer(config, _) => words_of(config),
            BackboneConfig::Words(config) => object(serde_json::to_value(config)),
        }
    }

    pub fn family(&self) -> &'static Family {
        self.family
    }

    pub fn backbone(&self) -> &BackboneConfig {
        &self.backbone
    }

    /// The words of an encoder and what its family fixes; nothing where the model is of words.
    fn transformer(&self) -> Option<(&PretrainedConfig, &Rules)> {
        match &self.backbone {
            BackboneConfig::Transformer(config, rules) => Some((config, rules)),
            BackboneConfig::Words(_) => None,
        }
    }

    /// Rows of the word embedding.
    pub fn vocab_size(&self) -> usize {
        match &self.backbone {
            BackboneConfig::Transformer(config, _) => config.vocab_size,
            BackboneConfig::Words(config) => config.vocab_size,
        }
    }

    /// The id of padding; words have none of their own.
    pub fn pad_token_id(&self) -> usize {
        self.transformer().map_or(0, |(config, _)| config.pad_token_id)
    }

    /// The same with another number of words, where padding has another number.
    pub fn with_vocabulary(mut self, vocab_size: usize, pad_token_id: usize) -> Self {
        if let BackboneConfig::Transformer(config, _) = &mut self.backbone {
            (config.vocab_size, config.pad_token_id) = (vocab_size, pad_token_id);
        }
        self
    }

    /// Width of what a head stands on.
    pub fn hidden_size(&self) -> usize {
        match &self.backbone {
            BackboneConfig::Transformer(config, _) => config.hidden_size,
            BackboneConfig::Words(config) => config.hidden_size(),
        }
    }

    /// How many kinds of text the model tells apart, or takes note of, and how many kinds of task.
    pub fn types(&self) -> [usize; 2] {
        self.transformer().map_or([2, 1], |(config, _)| {
            [config.type_vocab_size.unwrap_or(2).max(2), config.task_types().unwrap_or(1)]
        })
    }

    /// The longest row in tokens.
    pub fn max_length(&self) -> usize {
        self.transformer().map_or(ENDLESS, |(config, rules)| config.max_position_embeddings - rules.position_offset)
    }

    /// Dropout in front of a classifier.
    pub fn classifier_dropout(&self) -> f64 {
        self.transformer().map_or(0.0, |(config, _)| config.dropout_of_classifier())
    }

    /// How a whole row is classified.
    pub fn classifier(&self) -> Classifier {
        self.transformer().map_or(Classifier::Pooled, |(_, rules)| rules.classifier)
    }

    /// The masked-LM head.
    pub fn masked_lm(&self) -> MaskedLmConfig {
        let (config, rules) = self.transformer().unwrap_or((&PretrainedConfig::BASE, &Rules::BERT));
        MaskedLmConfig {
            hidden_size: self.hidden_size(),
            own_embedding_size: config.output_embedding_size,
            vocab_size: self.vocab_size(),
            hidden_act: rules.masked_lm_act.unwrap_or(config.hidden_act),
            layer_norm_eps: rules.masked_lm_eps.unwrap_or(config.layer_norm_eps),
        }
    }

    /// Whether the model is of words, without an encoder.
    pub fn is_of_words(&self) -> bool {
        self.transformer().is_none()
    }

    /// How weights that no checkpoint holds are made: normally distributed as BERT's, or evenly as LAC's.
    pub fn initialisation(&self, seed: u64) -> Initialisation {
        let spread = match &self.backbone {
            BackboneConfig::Transformer(config, _) => Spread::Normal(config.initializer_range),
            BackboneConfig::Words(config) => Spread::Uniform(config.initializer_range),
        };
        Initialisation { seed, spread }
    }
}

/// The words that an encoder has a value for.
fn words_of(config: &PretrainedConfig) -> Map<String, Value> {
    let mut words = object(serde_json::to_value(config));
    words.retain(|_, value| !value.is_null());
    words
}

/// The words of a struct, which is always written as an object.
fn object(value: serde_json::Result<Value>) -> Map<String, Value> {
    match value {
        Ok(Value::Object(words)) => words,
        _ => Map::new(),
    }
}
