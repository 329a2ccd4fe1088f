//! What an optimizer remembers of the parameters, and the file it is kept in.
//!
//! Burn's module optimizer keeps its state by ids that differ from run to run, and loads it to a default device that a machine may
//! not have; this is kept by checkpoint name.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::Result;
use crate::weights::{Weights, Writer};

/// What is remembered of one parameter.
#[derive(Default)]
pub struct State {
    /// Updates that the parameter has had.
    pub time: usize,
    /// Running values `[elements]` by PyTorch's words for them.
    tensors: BTreeMap<&'static str, Tensor<1>>,
}

impl State {
    /// Takes out a running value, which begins as `initial` in every element of `like`. Who holds it alone updates it in place.
    pub fn take(&mut self, word: &'static str, like: &Tensor<1>, initial: f64) -> Tensor<1> {
        self.tensors.remove(word).unwrap_or_else(|| like.full_like(initial)) // [elements]
    }

    pub fn put(&mut self, word: &'static str, value: Tensor<1>) {
        self.tensors.insert(word, value);
    }
}

/// Writes states by parameter: for each `NAME.WORD`, in Burn's layout, flat, and `NAME.step`; one tensor after the other.
pub fn save(path: &Path, states: &BTreeMap<String, State>) -> Result<()> {
    let shapes = states.iter().flat_map(|(name, state)| {
        let tensors = state.tensors.iter().map(move |(word, value)| (format!("{name}.{word}"), value.dims().to_vec()));
        tensors.chain([(format!("{name}.step"), vec![1])])
    });
    let mut writer = Writer::create(path, &shapes.collect())?;
    for (name, state) in states {
        for (word, value) in &state.tensors {
            writer.put(&format!("{name}.{word}"), &value.to_data().iter::<f32>().collect::<Vec<_>>())?;
        }
        writer.put(&format!("{name}.step"), &[state.time as f32])?;
    }
    writer.finish()
}

/// Reads a file of [`save`] onto `device`, each parameter with the running values of these words.
pub fn load(file: &Weights, words: &[&'static str], device: &Device) -> Result<BTreeMap<String, State>> {
    let read = |name: &str| -> Result<State> {
        let time = file.read_f32(&format!("{name}.step"))?.first().copied().unwrap_or_default() as usize;
        let mut state = State { time, ..State::default() };
        for word in words {
            let values = file.read_f32(&format!("{name}.{word}"))?;
            let shape = [values.len()];
            state.put(word, Tensor::from_data(TensorData::new(values, shape), device)); // [elements]
        }
        Ok(state)
    };
    let names = file.names().filter_map(|name| name.strip_suffix(".step"));
    names.map(|name| Ok((name.to_string(), read(name)?))).collect()
}
