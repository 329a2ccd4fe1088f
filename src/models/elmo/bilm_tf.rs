//! AllenAI's files: `options.json`, and `weights.hdf5` in bilm-tf's layout.
//!
//! References: `dump_weights` and `BidirectionalLanguageModel` of bilm-tf, and how AllenNLP 2.10.1 loads them (elmo.py,
//! elmo_lstm.py).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Elmo;
use super::config::{CharacterActivation, CharacterConfig, ElmoConfig, LayerOutputs, TokenSource};
use crate::error::{Error, Problem, Result};
use crate::weights::{Hdf5, Layout, NamedTensor, TensorNames, Weights, each_parameter, transpose, write_hdf5};

/// What bilm-tf adds to the forget gates as it runs.
const FORGET_BIAS: f32 = 1.0;

#[derive(Deserialize, Serialize)]
struct Options {
    lstm: LstmOptions,
    char_cnn: CharacterOptions,
}

#[derive(Deserialize, Serialize)]
struct LstmOptions {
    projection_dim: usize,
    dim: usize,
    n_layers: usize,
    cell_clip: Option<f64>,
    proj_clip: Option<f64>,
    #[serde(default)]
    use_skip_connections: bool,
}

#[derive(Deserialize, Serialize)]
struct CharacterOptions {
    activation: CharacterActivation,
    filters: Vec<(usize, usize)>,
    n_highway: usize,
    embedding: CharacterEmbedding,
    n_characters: usize,
    max_characters_per_token: usize,
}

#[derive(Deserialize, Serialize)]
struct CharacterEmbedding {
    dim: usize,
}

/// The configuration in an `options.json`. The options of a training have 261 characters, without the padding that features need:
/// they are read as 262.
///
/// # Errors
/// The file is no such, or says what no ELMo can be.
pub(crate) fn read_options(file: &Path) -> Result<ElmoConfig> {
    let text = std::fs::read_to_string(file).map_err(|cause| Error::reading(file, &cause))?;
    let options: Options = serde_json::from_str(&text).map_err(|cause| {
        Problem::new(format!("is not the options of an ELMo of AllenAI's: {cause}")).at(
            file,
            cause.line(),
            Some(cause.column()),
        )
    })?;
    let Options { lstm, char_cnn } = options;
    let n_characters = if char_cnn.n_characters == 261 { 262 } else { char_cnn.n_characters };
    let config = ElmoConfig {
        embedding: TokenSource::Character(CharacterConfig {
            activation: char_cnn.activation,
            embedding_dim: char_cnn.embedding.dim,
            filters: char_cnn.filters,
            n_highway: char_cnn.n_highway,
            n_characters,
            max_characters_per_token: char_cnn.max_characters_per_token,
        }),
        projection_dim: lstm.projection_dim,
        hidden_size: lstm.dim,
        num_hidden_layers: lstm.n_layers,
        cell_clip: lstm.cell_clip,
        proj_clip: lstm.proj_clip,
        use_skip_connections: lstm.use_skip_connections,
        layer_outputs: LayerOutputs::Residual,
        ..ElmoConfig::default()
    };
    config.check().map_err(|error| error.in_file(file))?;
    Ok(config)
}

/// The weights of a `weights.hdf5`, under Kiln's names and in its layout.
///
/// # Errors
/// The file is damaged, or does not fit the configuration.
pub(crate) fn read_weights(file: &Path, config: &ElmoConfig) -> Result<Weights> {
    let mut reader = Reader { hdf5: Hdf5::open(file)?, tensors: BTreeMap::new() };
    if let Some(characters) = config.characters() {
        reader.characters(characters, config.projection_dim)?;
    }
    for (number, direction) in ["forward", "backward"].into_iter().enumerate() {
        for layer in 0..config.num_hidden_layers {
            let theirs = format!("RNN_{number}/RNN/MultiRNNCell/Cell{layer}/LSTMCell");
            reader.lstm(&theirs, &format!("{direction}.{layer}"), config)?;
        }
    }
    // bilm-tf's matrices are [in, out].
    Weights::in_memory(file, Layout::Paddle, &reader.tensors)
}

/// Writes `options.json` and `weights.hdf5` of a model of characters into a folder. They have no mixture of the layers, and no output
/// layer.
///
/// # Errors
/// The model reads words, or the folder cannot be written.
pub(crate) fn write(folder: &Path, elmo: &Elmo) -> Result<()> {
    let config = elmo.config();
    let Some(characters) = config.characters() else {
        let problem = Problem::new("is an ELMo of words, and AllenNLP's reads characters");
        return Err(problem.help("convert it --to paddle, which writes Baidu's variables").into());
    };
    let mut ours = BTreeMap::new();
    each_parameter(elmo, &TensorNames::OWN, |name, shape, values| {
        drop(ours.insert(name, NamedTensor { shape, values: values() }));
    });
    let mut writer = Layouts { ours, theirs: BTreeMap::new() };
    writer.characters(characters);
    for (number, direction) in ["forward", "backward"].into_iter().enumerate() {
        for layer in 0..config.num_hidden_layers {
            let theirs = format!("RNN_{number}/RNN/MultiRNNCell/Cell{layer}/LSTMCell");
            writer.lstm(&format!("{direction}.{layer}"), &theirs, config.hidden_size);
        }
    }
    write_hdf5(&folder.join("weights.hdf5"), &writer.theirs)?;
    let options = folder.join("options.json");
    let text = serde_json::to_string_pretty(&written_options(config, characters)).unwrap_or_default();
    std::fs::write(&options, text + "\n").map_err(|cause| Error::writing(&options, &cause))
}

fn written_options(config: &ElmoConfig, characters: &CharacterConfig) -> Options {
    Options {
        lstm: LstmOptions {
            projection_dim: config.projection_dim,
            dim: config.hidden_size,
            n_layers: config.num_hidden_layers,
            cell_clip: config.cell_clip,
            proj_clip: config.proj_clip,
            use_skip_connections: config.use_skip_connections,
        },
        char_cnn: CharacterOptions {
            activation: characters.activation,
            filters: characters.filters.clone(),
            n_highway: characters.n_highway,
            embedding: CharacterEmbedding { dim: characters.embedding_dim },
            n_characters: characters.n_characters,
            max_characters_per_token: characters.max_characters_per_token,
        },
    }
}

/// The tensors of a model, and what is made of them in bilm-tf's layout.
struct Layouts {
    ours: BTreeMap<String, NamedTensor>,
    theirs: BTreeMap<String, NamedTensor>,
}

impl Layouts {
    fn take(&mut self, name: &str) -> NamedTensor {
        self.ours.remove(name).unwrap_or(NamedTensor { shape: vec![0], values: Vec::new() })
    }

    fn keep(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.theirs.insert(name, NamedTensor { shape, values });
    }

    /// A linear layer, whose weight comes `[out, in]`.
    fn linear(&mut self, ours: &str, weight: String, bias: String) {
        let NamedTensor { shape, values } = self.take(&format!("{ours}.weight"));
        if let [out, into] = shape[..] {
            self.keep(weight, vec![into, out], transpose(&values, out, into));
        }
        let NamedTensor { shape, values } = self.take(&format!("{ours}.bias"));
        self.keep(bias, shape, values);
    }

    fn characters(&mut self, config: &CharacterConfig) {
        let dim = config.embedding_dim;
        let table = self.take("embedding.characters.weight");
        // Without the padding's row.
        self.keep("char_embed".into(), vec![config.n_characters - 1, dim], table.values[dim..].to_vec());
        for (number, &(width, count)) in config.filters.iter().enumerate() {
            let ours = format!("embedding.convolutions.{number}");
            let filters = self.take(&format!("{ours}.weight")).values;
            let values = reversed_axes(&filters, [count, dim, width]);
            self.keep(format!("CNN/W_cnn_{number}"), vec![1, width, dim, count], values);
            let NamedTensor { shape, values } = self.take(&format!("{ours}.bias"));
            self.keep(format!("CNN/b_cnn_{number}"), shape, values);
        }
        for number in 0..config.n_highway {
            for part in ["transform", "carry"] {
                let theirs = |letter| format!("CNN_high_{number}/{letter}_{part}");
                self.linear(&format!("embedding.highways.{number}.{part}"), theirs("W"), theirs("b"));
            }
        }
        self.linear("embedding.projection", "CNN_proj/W_proj".into(), "CNN_proj/b_proj".into());
    }

    fn lstm(&mut self, ours: &str, theirs: &str, cell: usize) {
        let gates = 4 * cell;
        let mut both = self.take(&format!("{ours}.input")).values;
        both.extend(self.take(&format!("{ours}.recurrent")).values);
        both.chunks_exact_mut(gates).for_each(|row| swap_first_gates(row, cell));
        self.keep(format!("{theirs}/W_0"), vec![both.len() / gates, gates], both);
        let mut bias = self.take(&format!("{ours}.bias")).values;
        bias[2 * cell..3 * cell].iter_mut().for_each(|value| *value = without_forget_bias(*value));
        swap_first_gates(&mut bias, cell);
        self.keep(format!("{theirs}/B"), vec![gates], bias);
        let NamedTensor { shape, values } = self.take(&format!("{ours}.projection"));
        self.keep(format!("{theirs}/W_P_0"), shape, values);
    }
}

/// The number that becomes `value` where 1 is added to it: the difference itself, or one of its neighbours where it was rounded.
fn without_forget_bias(value: f32) -> f32 {
    let difference = value - FORGET_BIAS;
    let near = [difference, difference.next_up(), difference.next_down()];
    near.into_iter().find(|near| near + FORGET_BIAS == value).unwrap_or(difference)
}

struct Reader {
    hdf5: Hdf5,
    tensors: BTreeMap<String, NamedTensor>,
}

impl Reader {
    fn keep(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.tensors.insert(name, NamedTensor { shape, values });
    }

    /// A dataset that is ours as it is.
    fn copy(&mut self, theirs: &str, ours: String, shape: &[usize]) -> Result<()> {
        let values = self.hdf5.read(theirs, shape)?;
        self.keep(ours, shape.to_vec(), values);
        Ok(())
    }

    fn characters(&mut self, config: &CharacterConfig, size: usize) -> Result<()> {
        let dim = config.embedding_dim;
        let mut table = vec![0.0; dim]; // padding
        table.extend(self.hdf5.read("char_embed", &[config.n_characters - 1, dim])?);
        self.keep("embedding.characters.weight".into(), vec![config.n_characters, dim], table);
        for (number, &(width, count)) in config.filters.iter().enumerate() {
            let ours = format!("embedding.convolutions.{number}");
            let values = self.hdf5.read(&format!("CNN/W_cnn_{number}"), &[1, width, dim, count])?;
            self.keep(format!("{ours}.weight"), vec![count, dim, width], reversed_axes(&values, [width, dim, count]));
            self.copy(&format!("CNN/b_cnn_{number}"), format!("{ours}.bias"), &[count])?;
        }
        let filters = config.filter_count();
        for number in 0..config.n_highway {
            for part in ["transform", "carry"] {
                let ours = format!("embedding.highways.{number}.{part}");
                self.copy(&format!("CNN_high_{number}/W_{part}"), format!("{ours}.weight"), &[filters, filters])?;
                self.copy(&format!("CNN_high_{number}/b_{part}"), format!("{ours}.bias"), &[filters])?;
            }
        }
        self.copy("CNN_proj/W_proj", "embedding.projection.weight".into(), &[filters, size])?;
        self.copy("CNN_proj/b_proj", "embedding.projection.bias".into(), &[size])
    }

    fn lstm(&mut self, theirs: &str, ours: &str, config: &ElmoConfig) -> Result<()> {
        let (size, cell) = (config.projection_dim, config.hidden_size);
        let gates = 4 * cell;
        // The input's rows, then the recurrent ones.
        let mut both = self.hdf5.read(&format!("{theirs}/W_0"), &[2 * size, gates])?;
        both.chunks_exact_mut(gates).for_each(|row| swap_first_gates(row, cell));
        let recurrent = both.split_off(size * gates);
        self.keep(format!("{ours}.input"), vec![size, gates], both);
        self.keep(format!("{ours}.recurrent"), vec![size, gates], recurrent);
        let mut bias = self.hdf5.read(&format!("{theirs}/B"), &[gates])?;
        swap_first_gates(&mut bias, cell);
        bias[2 * cell..3 * cell].iter_mut().for_each(|value| *value += FORGET_BIAS);
        self.keep(format!("{ours}.bias"), vec![gates], bias);
        self.copy(&format!("{theirs}/W_P_0"), format!("{ours}.projection"), &[cell, size])
    }
}

/// From TensorFlow's order of a row of gates (input, candidate, forget, output) to ours, and back: the first two change places.
fn swap_first_gates(row: &mut [f32], cell: usize) {
    let (input, rest) = row.split_at_mut(cell);
    input.swap_with_slice(&mut rest[..cell]);
}

/// `[a, b, c]` to `[c, b, a]`.
fn reversed_axes(values: &[f32], [a, b, c]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for k in 0..c {
        for j in 0..b {
            out.extend((0..a).map(|i| values[(i * b + j) * c + k]));
        }
    }
    out
}
