//! The tagger of LAC's ELMo demo (PaddlePaddle/ERNIE, `ELMo/LAC_demo/network.py`): words, with features from an ELMo or without, two
//! layers of GRUs in both directions, and a CRF.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_distr::{Distribution, Uniform};
use serde::{Deserialize, Serialize};

use super::ParameterGroup;
use crate::nn::{BiGru, Crf, embedding, linear};
use crate::weights::{ModulePath, generator};

/// The demo's arguments, with its defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LacConfig {
    /// Words of ELMo's vocabulary.
    pub vocab_size: usize,
    pub word_emb_dim: usize,
    /// Width of the features that come with the words; 0 for none.
    pub features_dim: usize,
    /// Width of each direction.
    pub grnn_hidden_dim: usize,
    /// Layers of GRUs.
    pub bigru_num: usize,
    /// New weights are drawn from -this to this.
    pub init_bound: f64,
}

impl Default for LacConfig {
    fn default() -> Self {
        Self {
            vocab_size: 52_445,
            word_emb_dim: 128,
            features_dim: 1024,
            grnn_hidden_dim: 256,
            bigru_num: 2,
            init_bound: 0.1,
        }
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct Lac {
    word_embeddings: Embedding,
    grus: Vec<BiGru>,
    emission: Linear,
    crf: Crf,
}

impl Lac {
    /// A network for so many labels whose values are still to be given.
    pub fn new(config: &LacConfig, labels: usize, device: &Device) -> Self {
        let hidden = config.grnn_hidden_dim;
        let input = |layer| if layer == 0 { config.features_dim + config.word_emb_dim } else { 2 * hidden };
        Self {
            word_embeddings: embedding(config.vocab_size, config.word_emb_dim, device),
            grus: (0..config.bigru_num).map(|layer| BiGru::new(input(layer), hidden, device)).collect(),
            emission: linear(2 * hidden, labels, device),
            crf: Crf::new(labels, device),
        }
    }

    /// New values, from the seed and each parameter's name alone: uniform up to `init_bound`, but for the CRF, where Paddle's default
    /// is Xavier's (Glorot and Bengio 2010, equation 16), and for biases, which are 0.
    pub fn initialised(self, config: &LacConfig, seed: u64) -> Self {
        self.map(&mut Initialiser { path: ModulePath::default(), bound: config.init_bound, seed })
    }

    /// A score for each label at each step: word ids `[batch, steps]`, and features `[batch, steps, features_dim]` if there are any,
    /// to `[batch, steps, labels]`.
    pub fn emissions(&self, words: Tensor<2, Int>, features: Option<Tensor<3>>, lengths: &[usize]) -> Tensor<3> {
        let words = self.word_embeddings.forward(words); // [batch, steps, word_emb_dim]
        let input = match features {
            Some(features) => Tensor::cat(vec![features, words], 2), // [batch, steps, features_dim + word_emb_dim]
            None => words,
        };
        self.emission.forward(self.grus.iter().fold(input, |x, gru| gru.forward(x, lengths)))
    }

    /// The loss of each row, `[batch]`; the demo takes their mean. See [`Crf::negative_log_likelihood`].
    pub fn losses(&self, emissions: Tensor<3>, labels: Tensor<2, Int>, lengths: &[usize]) -> Tensor<1> {
        self.crf.negative_log_likelihood(emissions, labels, lengths)
    }

    /// The best labels of each row.
    pub fn decode(&self, emissions: Tensor<3>, lengths: &[usize]) -> Vec<Vec<u32>> {
        self.crf.decode(emissions, lengths)
    }
}

/// The demo's `emb_learning_rate` and `crf_learning_rate`, and its L2 on the weights of GRUs and linear layers, for
/// [`crate::train::Optimizer::with_groups`].
pub fn group(path: &str) -> ParameterGroup {
    let (learning_rate, decay) = match path {
        _ if path.contains("word_embeddings") => (5.0, 0.0),
        _ if path.contains("crf.") => (0.2, 0.0),
        _ if path.ends_with("bias") => (1.0, 0.0),
        _ => (1.0, 1.0),
    };
    ParameterGroup { learning_rate, decay }
}

struct Initialiser {
    path: ModulePath,
    bound: f64,
    seed: u64,
}

impl ModuleMapper for Initialiser {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (name, shape) = (self.path.joined(), param.lazy_shape());
        let bound = match shape.as_slice() {
            [rows, columns] if name.contains("crf.") => (6.0 / (rows + columns) as f64).sqrt(),
            [_, _] => self.bound,
            // Biases keep their 0.
            _ => return Param::from_tensor(param.val()),
        };
        let mut rng = generator(self.seed, &name);
        let Ok(uniform) = Uniform::new_inclusive(-bound, bound) else { return Param::from_tensor(param.val()) };
        let values: Vec<f32> = (0..shape.num_elements()).map(|_| uniform.sample(&mut rng) as f32).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &param.lazy_device()))
    }
}
