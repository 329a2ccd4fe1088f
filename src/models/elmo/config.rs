//! What an ELMo is built from.

use serde::{Deserialize, Serialize};

use crate::error::{Problem, Result};
use crate::nn::check_probability;

/// `config.json` of an ELMo folder. Hugging Face has no ELMo: the words are bilm-tf's where there are such, and the defaults are
/// Baidu's model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ElmoConfig {
    /// Where the vectors of the words come from.
    pub embedding: TokenSource,
    /// Words of the vocabulary: rows of the embedding (Baidu's), and of the softmax where there is one.
    pub vocab_size: usize,
    /// Width of a word's vector and of each direction's output.
    pub projection_dim: usize,
    /// Width of the cells.
    pub hidden_size: usize,
    /// LSTM layers in each direction.
    pub num_hidden_layers: usize,
    /// Largest size of a number in a cell; null means no limit.
    pub cell_clip: Option<f64>,
    /// Largest size of a number in a projected output; null means no limit.
    pub proj_clip: Option<f64>,
    /// Whether a layer's input is added to its output, from the second layer on.
    pub use_skip_connections: bool,
    /// Dropout of the language model's training, in Baidu's places: see [`super::Elmo::bilm_loss`].
    pub dropout: f64,
    /// What of a layer is a feature.
    pub layer_outputs: LayerOutputs,
    /// Compute features as Baidu's LAC_demo does, with its two errors: every layer reads the words' vectors instead of the layer
    /// below, and the backward direction's outputs stay in reverse, so that those at word t are of word T - 1 - t.
    pub compat_lac_demo: bool,
}

/// Where the vectors of the words come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenSource {
    /// A table with a row for each word of the vocabulary: Baidu's ELMo.
    Word,
    /// The word's UTF-8 bytes through convolutions and highway layers: AllenAI's ELMo, which adds a sentence's begin and end.
    Character(CharacterConfig),
}

/// The character network, in the words of `char_cnn` in AllenAI's options.json, with the values of its models as defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CharacterConfig {
    pub activation: CharacterActivation,
    /// Width of a character's vector.
    pub embedding_dim: usize,
    /// Width and number of the convolutions of each size.
    pub filters: Vec<(usize, usize)>,
    pub n_highway: usize,
    /// Rows of the table of characters, padding (0) included.
    pub n_characters: usize,
    pub max_characters_per_token: usize,
}

/// What follows the convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CharacterActivation {
    Relu,
    Tanh,
}

/// What of an LSTM layer is a feature; they differ from the second layer on, and only where there are skip connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerOutputs {
    /// Its output: what Baidu's LAC_demo mixes.
    Raw,
    /// The sum of its output and its input: what bilm-tf and AllenNLP mix.
    Residual,
}

impl Default for ElmoConfig {
    fn default() -> Self {
        Self {
            embedding: TokenSource::Word,
            vocab_size: 52_445,
            projection_dim: 512,
            hidden_size: 4096,
            num_hidden_layers: 2,
            cell_clip: Some(3.0),
            proj_clip: Some(3.0),
            use_skip_connections: true,
            dropout: 0.1,
            layer_outputs: LayerOutputs::Raw,
            compat_lac_demo: false,
        }
    }
}

impl Default for CharacterConfig {
    fn default() -> Self {
        Self {
            activation: CharacterActivation::Relu,
            embedding_dim: 16,
            filters: vec![(1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024)],
            n_highway: 2,
            n_characters: 262,
            max_characters_per_token: 50,
        }
    }
}

/// More of anything than any ELMo has; a file that asks for more is damaged.
const MANY: usize = 64;
const LONGEST_WORD: usize = 1024;
const WIDE: usize = 1 << 24;

impl ElmoConfig {
    /// How many layers of features there are: the words' vectors and each LSTM layer.
    pub fn feature_layers(&self) -> usize {
        self.num_hidden_layers + 1
    }

    /// The character network, where words are read so.
    pub fn characters(&self) -> Option<&CharacterConfig> {
        match &self.embedding {
            TokenSource::Word => None,
            TokenSource::Character(characters) => Some(characters),
        }
    }

    /// # Errors
    /// Names the first word whose value no ELMo can have.
    pub fn check(&self) -> Result<()> {
        in_range("vocab_size", self.vocab_size, 1, WIDE)?;
        in_range("projection_dim", self.projection_dim, 1, WIDE)?;
        in_range("hidden_size", self.hidden_size, 1, WIDE)?;
        in_range("num_hidden_layers", self.num_hidden_layers, 1, MANY)?;
        for (word, clip) in [("cell_clip", self.cell_clip), ("proj_clip", self.proj_clip)] {
            if clip.is_some_and(|clip| !(clip.is_finite() && clip > 0.0)) {
                let help = "it is the largest size of a number; null means no limit";
                return Err(Problem::new(format!("{word} is {clip:?}")).help(help).into());
            }
        }
        check_probability("dropout", self.dropout)?;
        self.characters().map_or(Ok(()), CharacterConfig::check)
    }
}

impl CharacterConfig {
    /// Width of a word's vector before the last projection: how many convolutions there are.
    pub fn filter_count(&self) -> usize {
        self.filters.iter().map(|(_, count)| count).sum()
    }

    fn check(&self) -> Result<()> {
        in_range("embedding_dim", self.embedding_dim, 1, WIDE)?;
        in_range("n_characters", self.n_characters, 262, WIDE)?;
        in_range("n_highway", self.n_highway, 0, MANY)?;
        // Begin, end and one byte between them are the least that a word takes.
        in_range("max_characters_per_token", self.max_characters_per_token, 3, LONGEST_WORD)?;
        in_range("the number of filters", self.filters.len(), 1, MANY)?;
        for (width, count) in &self.filters {
            in_range("a filter's width", *width, 1, self.max_characters_per_token)?;
            in_range("the convolutions of a width", *count, 1, WIDE)?;
        }
        Ok(())
    }
}

fn in_range(word: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Problem::new(format!("{word} is {value}")).help(format!("it is from {least} to {most}")).into())
}
