//! Baidu's folder of an ELMo: a variable a file, as `fluid.io.save_vars` of its script writes them (PaddlePaddle/ERNIE, ELMo/train.py).
//! They are read by [`Weights::open`](crate::weights::Weights::open).

use std::path::Path;

use super::Elmo;
use crate::error::{Problem, Result};
use crate::weights::{TensorNames, each_parameter, write_variable};

/// Writes the variables of a model of words into a folder.
///
/// # Errors
/// The model reads characters, which Baidu's has not, or the folder cannot be written.
pub(crate) fn write(folder: &Path, elmo: &Elmo) -> Result<()> {
    let config = elmo.config();
    if config.characters().is_some() {
        let problem = Problem::new("is an ELMo of characters, and Baidu's reads words");
        return Err(problem.help("convert it --to allennlp").into());
    }
    let mut written = Ok(());
    each_parameter(elmo, &TensorNames::OWN, |name, shape, values| {
        if written.is_ok() {
            let (name, shape) = variable(&name, shape, config.num_hidden_layers);
            written = write_variable(&folder.join(name), &shape, &values());
        }
    });
    written
}

/// The name and the shape of a parameter in Baidu's folder.
fn variable(ours: &str, shape: Vec<usize>, layers: usize) -> (String, Vec<usize>) {
    const TABLES: [(&str, &str); 5] = [
        ("embedding.weight", "embedding_para"),
        ("softmax.weight", "softmax_weight"),
        ("softmax.bias", "softmax_bias"),
        ("mix.layer_weights", "ELMo_w"),
        ("mix.scale", "ELMo_gamma"),
    ];
    if let Some((_, theirs)) = TABLES.iter().find(|(name, _)| *name == ours) {
        return (theirs.to_string(), shape);
    }
    let parts: Vec<&str> = ours.split('.').collect();
    let &[direction, layer, part] = parts.as_slice() else { return (ours.to_string(), shape) };
    let layer: usize = layer.parse().unwrap_or_default();
    let (word, first) = if direction == "forward" { ("fw", 0) } else { ("bw", layers) };
    // Paddle counts its LSTMs as the script makes them: those of the forward direction first.
    let lstm = format!("lstmp_{}", first + layer);
    match part {
        "input" => (format!("{word}_layer{}_gate_w", layer + 1), shape),
        "recurrent" => (format!("{lstm}.w_0"), shape),
        "projection" => (format!("{lstm}.w_1"), shape),
        // A matrix of one row.
        _ => (format!("{lstm}.b_0"), [vec![1], shape].concat()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::tensor::Device;

    use super::*;
    use crate::models::elmo::ElmoConfig;
    use crate::weights::Weights;

    #[test]
    fn what_is_written_is_read_with_the_same_names_shapes_and_numbers() {
        let config = ElmoConfig { vocab_size: 7, projection_dim: 3, hidden_size: 5, ..ElmoConfig::default() };
        let elmo = Elmo::new(&config, true, &Device::flex()).initialised(3, |_| true);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &elmo).unwrap();
        let read = Weights::open(folder.path()).unwrap();
        let mut own = BTreeMap::new();
        each_parameter(&elmo, &TensorNames::OWN, |name, shape, values| drop(own.insert(name, (shape, values()))));
        assert_eq!(own.len(), read.names().count());
        for (name, (shape, values)) in own {
            assert_eq!(read.get(&name).unwrap().shape, shape, "{name}");
            assert_eq!(read.read_f32(&name).unwrap(), values, "{name}");
        }
    }
}
