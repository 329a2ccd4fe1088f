//! `config.json` of an encoder, in Hugging Face's words.

use serde::{Deserialize, Serialize};

use super::HiddenAct;
use crate::error::{Problem, Result};

/// The words of all encoders; a family has those of the optional ones that its defaults have or its keys name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainedConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: HiddenAct,
    pub hidden_dropout_prob: f64,
    pub attention_probs_dropout_prob: f64,
    /// Dropout after the activation of the feed-forward block.
    pub act_dropout: Option<f64>,
    pub max_position_embeddings: usize,
    pub type_vocab_size: Option<usize>,
    pub task_type_vocab_size: Option<usize>,
    /// Whether task-type embeddings are added.
    pub use_task_id: Option<bool>,
    pub initializer_range: f64,
    pub layer_norm_eps: f64,
    pub pad_token_id: usize,
    /// Dropout in front of a classifier; without it `hidden_dropout_prob`. RemBERT's has another name.
    pub classifier_dropout: Option<f64>,
    pub classifier_dropout_prob: Option<f64>,
    /// Width of the input embeddings, which are projected to the hidden size.
    pub input_embedding_size: Option<usize>,
    /// Width of the masked-LM head's own output embedding.
    pub output_embedding_size: Option<usize>,
    /// False where the output embedding is not the input embedding; transformers would otherwise take it to be.
    pub tie_word_embeddings: Option<bool>,
    /// Where no attention mask is given, mask the tokens of id 0, as PaddleNLP does (id 0 is `[CLS]`), instead of the padding.
    pub paddle_default_mask: Option<bool>,
    /// Look padding up as zeros, as PaddleNLP does, whatever its row of the table holds. No token that is seen depends on it.
    pub paddle_padding_row: Option<bool>,
    /// Rows of the table of languages, for pre-training alone. Model folders have neither the word nor the table.
    #[serde(skip_serializing)]
    pub num_languages: Option<usize>,
}

impl PretrainedConfig {
    /// BERT's base model (`BertConfig`), without the optional words.
    pub const BASE: Self = Self {
        vocab_size: 30_522,
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        hidden_act: HiddenAct::Gelu,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        act_dropout: None,
        max_position_embeddings: 512,
        type_vocab_size: None,
        task_type_vocab_size: None,
        use_task_id: None,
        initializer_range: 0.02,
        layer_norm_eps: 1e-12,
        pad_token_id: 0,
        classifier_dropout: None,
        classifier_dropout_prob: None,
        input_embedding_size: None,
        output_embedding_size: None,
        tie_word_embeddings: None,
        paddle_default_mask: None,
        paddle_padding_row: None,
        num_languages: None,
    };

    /// Dropout in front of a classifier.
    pub fn dropout_of_classifier(&self) -> f64 {
        self.classifier_dropout_prob.or(self.classifier_dropout).unwrap_or(self.hidden_dropout_prob)
    }

    /// Rows of the table of task types.
    pub fn task_types(&self) -> Option<usize> {
        self.task_type_vocab_size.filter(|_| self.use_task_id == Some(true))
    }

    /// # Errors
    /// Names the first word whose value no encoder can have; `position_offset` rows of the position table come before position 0.
    pub fn check(&self, position_offset: usize) -> Result<()> {
        self.check_sizes()?;
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        if heads == 0 || hidden % heads != 0 {
            let what = format!("hidden_size {hidden} cannot be split over num_attention_heads {heads}");
            return Err(Problem::new(what).help("choose a number of heads that divides the hidden size").into());
        }
        check_probability("hidden_dropout_prob", self.hidden_dropout_prob)?;
        check_probability("attention_probs_dropout_prob", self.attention_probs_dropout_prob)?;
        check_probability("act_dropout", self.act_dropout.unwrap_or(0.0))?;
        check_probability("classifier_dropout", self.dropout_of_classifier())?;
        check_size("layer_norm_eps", self.layer_norm_eps)?;
        check_size("initializer_range", self.initializer_range)?;
        if self.max_position_embeddings <= position_offset {
            let what = format!("max_position_embeddings {} leaves no position", self.max_position_embeddings);
            let help = format!("it is {position_offset} more than the longest input has tokens");
            return Err(Problem::new(what).help(help).into());
        }
        Ok(())
    }

    /// That nothing is larger than in any encoder: a model is laid out before its weights are looked at.
    fn check_sizes(&self) -> Result<()> {
        let optional = [
            ("type_vocab_size", self.type_vocab_size),
            ("task_type_vocab_size", self.task_type_vocab_size),
            ("input_embedding_size", self.input_embedding_size),
            ("output_embedding_size", self.output_embedding_size),
            ("num_languages", self.num_languages),
        ];
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        check_widths(sizes.into_iter().chain(optional.map(|(word, size)| (word, size.unwrap_or(0)))))?;
        at_most("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS)
    }
}

/// More of anything than any model has; a file that asks for more is damaged.
const MOST_LAYERS: usize = 1024;
const WIDEST: usize = 1 << 24;

/// # Errors
/// A width of tables or layers that no model has.
pub fn check_widths<'a>(widths: impl IntoIterator<Item = (&'a str, usize)>) -> Result<()> {
    widths.into_iter().try_for_each(|(word, width)| at_most(word, width, WIDEST))
}

fn at_most(word: &str, value: usize, most: usize) -> Result<()> {
    match value <= most {
        true => Ok(()),
        false => Err(Problem::new(format!("{word} is {value}")).help(format!("it is at most {most}")).into()),
    }
}

/// # Errors
/// A dropout that is none.
pub fn check_probability(word: &str, value: f64) -> Result<()> {
    match (0.0..1.0).contains(&value) {
        true => Ok(()),
        false => Err(Problem::new(format!("{word} is {value}")).help("a dropout is a share from 0 to below 1").into()),
    }
}

/// # Errors
/// A number that is negative or no number.
pub fn check_size(word: &str, value: f64) -> Result<()> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => Err(Problem::new(format!("{word} is {value}")).help("it is a small positive number").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model is laid out before its weights are compared with it.
    #[test]
    fn sizes_beyond_all_encoders_are_refused() {
        let of = |change: fn(&mut PretrainedConfig)| {
            let mut config = PretrainedConfig::BASE;
            change(&mut config);
            config.check(0).map_err(|error| error.to_string())
        };
        assert_eq!(of(|_| ()), Ok(()));
        assert_eq!(of(|config| config.num_hidden_layers = 1 << 40).unwrap_err(), "num_hidden_layers is 1099511627776");
        assert_eq!(of(|config| config.vocab_size = 1 << 30).unwrap_err(), "vocab_size is 1073741824");
        assert_eq!(of(|config| config.type_vocab_size = Some(1 << 30)).unwrap_err(), "type_vocab_size is 1073741824");
    }
}
