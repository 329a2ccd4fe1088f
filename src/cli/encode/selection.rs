//! Which features `kiln encode` writes.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};

use crate::error::{Problem, Result};

/// What to write of what comes out of the model.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// One vector a text, embeddings [rows, hidden]; nothing else is written unless --layers is given
    #[arg(long, value_enum)]
    pub pooling: Option<Pooling>,
    /// Divide each of the embeddings by its length
    #[arg(long, requires = "pooling")]
    normalize: bool,
    /// Which hidden states to write: all, last, or numbers such as 0,6,12, where 0 is the embedding layer; left out, all, or with
    /// --pooling none
    #[arg(long, value_name = "all|last|N,...", value_delimiter = ',', value_parser = parse_layer, allow_negative_numbers = true)]
    layers: Vec<Layer>,
}

/// What of a text's tokens becomes its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Pooling {
    /// The mean of the last layer over the tokens that the attention mask shows; for ELMo of the layers' mixture
    Mean,
    /// The last layer's first token
    Cls,
    /// What the model's pooler makes of it
    Pooler,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    All,
    Last,
    Number(usize),
}

fn parse_layer(text: &str) -> Result<Layer, String> {
    match text {
        "all" => Ok(Layer::All),
        "last" => Ok(Layer::Last),
        _ => text.parse().map(Layer::Number).map_err(|_| "give all, last, or numbers from 0, such as 0,6,12".into()),
    }
}

impl Selection {
    /// Whether the embeddings alone are written.
    pub fn only_embeddings(&self) -> bool {
        self.pooling.is_some() && self.layers.is_empty()
    }

    /// Whether the last layer's hidden states are written under their own name.
    pub fn last(&self) -> bool {
        self.layers.is_empty() || self.layers.contains(&Layer::All) || self.layers.contains(&Layer::Last)
    }

    /// The numbers of the hidden states to write, of a model that has `count` of them.
    pub fn layers(&self, count: usize) -> Result<BTreeSet<usize>> {
        if self.layers.is_empty() || self.layers.contains(&Layer::All) {
            return Ok((0..count).collect());
        }
        let numbers = self.layers.iter().filter_map(|layer| match layer {
            Layer::Number(number) => Some(*number),
            Layer::All | Layer::Last => None,
        });
        let numbers: BTreeSet<usize> = numbers.collect();
        match numbers.last() {
            Some(&number) if number >= count => {
                let problem = Problem::new(format!("--layers {number}: the model has the layers 0 to {}", count - 1));
                Err(problem.help("0 is the embedding layer").into())
            }
            _ => Ok(numbers),
        }
    }

    /// Vectors of `width` numbers, one after the other, as they are asked for.
    pub fn embeddings(&self, mut vectors: Vec<f32>, width: usize) -> Vec<f32> {
        if self.normalize {
            for vector in vectors.chunks_mut(width) {
                let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
                vector.iter_mut().for_each(|value| *value /= length.max(1e-12)); // as PyTorch's `normalize`
            }
        }
        vectors
    }
}
