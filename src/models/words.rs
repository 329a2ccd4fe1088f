//! Words under a task's head: the vectors of a table and, beside them, the features of an ELMo, which itself is not trained.
//!
//! Reference: LAC's ELMo demo (PaddlePaddle/ERNIE, `ELMo/LAC_demo/network.py` and `bilm.py`), whose tagger is this with two layers of
//! GRUs and a CRF on it.

use burn::module::Module;
use burn::nn::{Dropout, Embedding};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::EncoderInput;
use super::elmo::{Elmo, ElmoConfig, ElmoInput};
use crate::error::{Problem, Result};
use crate::nn::{
    HasRoles, Rate, Roles, check_probability, check_size, check_widths, drop_out, dropout, embedding, look_up,
};

/// `config.json` of a tagger or reader of ELMo's words, in the words of the demo, with its values as defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WordsConfig {
    /// Words of ELMo's vocabulary.
    pub vocab_size: usize,
    /// Width of a word's own vector.
    pub word_emb_dim: usize,
    /// The model that gives features; null for none.
    pub elmo: Option<ElmoConfig>,
    /// Dropout of its LSTM layers, before they are mixed.
    pub elmo_dropout: f64,
    /// Largest size of a new weight.
    pub initializer_range: f64,
}

impl Default for WordsConfig {
    fn default() -> Self {
        Self { vocab_size: 52_445, word_emb_dim: 128, elmo: None, elmo_dropout: 0.5, initializer_range: 0.1 }
    }
}

impl WordsConfig {
    /// Width of the features.
    fn features(&self) -> usize {
        self.elmo.as_ref().map_or(0, |elmo| 2 * elmo.projection_dim)
    }

    /// Width of the features and of the words' own vectors.
    pub fn hidden_size(&self) -> usize {
        self.features() + self.word_emb_dim
    }

    /// # Errors
    /// Features that cannot be computed.
    pub fn check(&self) -> Result<()> {
        check_size("initializer_range", self.initializer_range)?;
        check_probability("elmo_dropout", self.elmo_dropout)?;
        check_widths([("vocab_size", self.vocab_size), ("word_emb_dim", self.word_emb_dim)])?;
        let Some(elmo) = &self.elmo else { return Ok(()) };
        elmo.check()?;
        if elmo.characters().is_some() {
            let what = "the ELMo for the features reads characters, of which a tagger's words keep none";
            return Err(Problem::new(what).help("take one that reads words, such as Baidu's or Kiln's own").into());
        }
        if elmo.vocab_size != self.vocab_size {
            let what =
                format!("the ELMo for the features knows {} words, the model {}", elmo.vocab_size, self.vocab_size);
            return Err(Problem::new(what).help("model.tokenizer is the folder with the ELMo's own words").into());
        }
        Ok(())
    }
}

/// The words.
#[derive(Module, Debug)]
pub struct Words {
    word_embeddings: Embedding,
    elmo: Option<Elmo>,
    elmo_dropout: Dropout,
}

impl HasRoles for Words {
    fn add_roles(&self, roles: &mut Roles) {
        // LAC's demo leaves the words out of the decay.
        roles.set(&self.word_embeddings, |role| {
            role.rate = Rate::WordEmbeddings;
            role.decays = false;
        });
        if let Some(elmo) = &self.elmo {
            elmo.add_roles(roles);
        }
    }
}

impl Words {
    /// A model whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &WordsConfig, device: &Device) -> Self {
        Self {
            word_embeddings: embedding(config.vocab_size, config.word_emb_dim, device),
            elmo: config.elmo.as_ref().map(|elmo| Elmo::new(elmo, false, device)),
            elmo_dropout: dropout(config.elmo_dropout),
        }
    }

    /// The same with another ELMo of the same shape.
    pub fn with_elmo(self, elmo: Elmo) -> Self {
        Self { elmo: Some(elmo), ..self }
    }

    /// The same with an ELMo of which only the mixture of its layers has gradients.
    pub fn frozen(self) -> Self {
        Self { elmo: self.elmo.map(Elmo::frozen), ..self }
    }

    /// `[batch, seq] -> [batch, seq, features + word_emb_dim]`; what is padding may be anything.
    pub fn embed(&self, input: &EncoderInput) -> Tensor<3> {
        let words = look_up(&self.word_embeddings, input.input_ids.clone(), None); // [batch, seq, word_emb_dim]
        match &self.elmo {
            Some(elmo) => Tensor::cat(vec![self.features(elmo, input), words], 2),
            None => words,
        }
    }

    /// `[batch, seq, 2 * projection]`. Each text of a row is read for itself, from a state of zeros.
    fn features(&self, elmo: &Elmo, input: &EncoderInput) -> Tensor<3> {
        let device = input.input_ids.device();
        let texts = Texts::of(input);
        let read = |rows: &[Vec<i64>], width: usize| {
            let padded = rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat(0)).take(width));
            let lengths = rows.iter().map(Vec::len).collect();
            let input = ElmoInput::words(padded.collect(), width, lengths, &device);
            self.mixed(elmo, &input).flatten::<2>(0, 1) // [batch * width, 2 * projection]
        };
        let longest = |rows: &[Vec<i64>]| rows.iter().map(Vec::len).max().unwrap_or(0);
        // All first texts may be empty, but not the tensor.
        let (first, second) = (longest(&texts.first).max(1), longest(&texts.second));
        let mut parts = vec![read(&texts.first, first)];
        if second > 0 {
            parts.push(read(&texts.second, second));
        }
        let places = texts.places(first, second);
        let [batch, seq] = input.input_ids.dims();
        let places = Tensor::<1, Int>::from_data(TensorData::from(places.as_slice()), &device); // [batch * seq]
        let all = Tensor::cat(parts, 0).select(0, places); // [batch * seq, 2 * projection]
        let size = all.dims()[1];
        all.reshape([batch, seq, size])
    }

    /// The mixture of an ELMo's layers, `[batch, words, 2 * projection]`.
    fn mixed(&self, elmo: &Elmo, input: &ElmoInput) -> Tensor<3> {
        let (layers, _) = elmo.layers(input, elmo.start(input.rows(), &input.device()));
        let layers = layers.into_iter().enumerate().map(|(number, layer)| {
            // As the demo stops the gradients.
            let layer = layer.detach();
            if number == 0 { layer } else { drop_out(&self.elmo_dropout, layer) }
        });
        elmo.mix(&layers.collect::<Vec<_>>())
    }
}

/// The words of a batch's rows, text by text.
struct Texts {
    first: Vec<Vec<i64>>,
    second: Vec<Vec<i64>>,
    seq: usize,
}

impl Texts {
    fn of(input: &EncoderInput) -> Self {
        let [_, seq] = input.input_ids.dims();
        let ids = input.ids();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let lengths = input.lengths().into_iter().zip(input.first_lengths());
        for (ids, (length, end)) in ids.chunks(seq.max(1)).zip(lengths) {
            first.push(ids[..end].to_vec());
            second.push(ids[end..length].to_vec());
        }
        Self { first, second, seq }
    }

    /// Where each place of the rows, `[batch * seq]`, stands among the first texts, padded to a width, with the second ones after
    /// them; 0 for padding.
    fn places(&self, first: usize, second: usize) -> Vec<i64> {
        let mut places = Vec::with_capacity(self.first.len() * self.seq);
        for (row, (one, other)) in self.first.iter().zip(&self.second).enumerate() {
            places.extend((0..one.len()).map(|word| (row * first + word) as i64));
            let before = self.first.len() * first + row * second;
            places.extend((0..other.len()).map(|word| (before + word) as i64));
            places.resize((row + 1) * self.seq, 0);
        }
        places
    }
}
