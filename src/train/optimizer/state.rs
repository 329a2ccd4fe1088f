//! What an optimizer remembers of the parameters, and the file it is kept in.
//!
//! Burn's module optimizer keeps its state by ids that differ from run to run, and loads it to a default device that a machine may
//! not have; this is kept by checkpoint name.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::Result;
use crate::weights::{Weights, Writer};

/// Elements of a parameter from one on: all of them, or what one rank updates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The parameter's name in checkpoints.
    pub name: String,
    pub start: usize,
}

impl Span {
    pub fn whole(name: String) -> Self {
        Self { name, start: 0 }
    }
}

/// What is remembered of one span.
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

    fn elements(&self) -> usize {
        self.tensors.values().next().map_or(0, |tensor| tensor.dims()[0])
    }

    /// The running values of a word.
    pub fn values(&self, word: &str) -> Vec<f32> {
        self.tensors.get(word).map_or(Vec::new(), |tensor| tensor.to_data().iter::<f32>().collect())
    }
}

/// Begins a file of states of these parameters, of so many elements: for each `NAME.WORD`, in Burn's layout, flat, and `NAME.step`.
pub fn begin<'a>(
    path: &Path,
    words: &[&'static str],
    parameters: impl Iterator<Item = (&'a str, usize)>,
) -> Result<Writer> {
    let shapes = parameters.flat_map(|(name, elements)| {
        let tensors = words.iter().map(move |word| (format!("{name}.{word}"), vec![elements]));
        tensors.chain([(format!("{name}.step"), vec![1])])
    });
    Writer::create(path, &shapes.collect())
}

/// Writes the states of whole parameters, one tensor after the other.
pub fn save(path: &Path, words: &[&'static str], states: &BTreeMap<Span, State>) -> Result<()> {
    let mut writer = begin(path, words, states.iter().map(|(span, state)| (span.name.as_str(), state.elements())))?;
    for (Span { name, .. }, state) in states {
        for word in words {
            writer.put(&format!("{name}.{word}"), &state.values(word))?;
        }
        writer.put(&format!("{name}.step"), &[state.time as f32])?;
    }
    writer.finish()
}

/// Reads a file of [`save`] onto `device`: of some spans, each with its elements, or of all parameters whole, the running values of
/// these words.
pub fn load(
    file: &Weights,
    words: &[&'static str],
    spans: Option<&[(Span, usize)]>,
    device: &Device,
) -> Result<BTreeMap<Span, State>> {
    let mut states = BTreeMap::new();
    for name in file.names().filter_map(|name| name.strip_suffix(".step")) {
        let time = file.read_f32(&format!("{name}.step"))?.first().copied().unwrap_or_default() as usize;
        let read = |word: &&'static str| Ok((*word, file.read_f32(&format!("{name}.{word}"))?));
        let tensors: Vec<(&'static str, Vec<f32>)> = words.iter().map(read).collect::<Result<_>>()?;
        let own = match spans {
            Some(spans) => spans.iter().filter(|(span, _)| span.name == name).cloned().collect(),
            None => vec![(Span::whole(name.to_string()), usize::MAX)],
        };
        for (span, elements) in own {
            let mut state = State { time, ..State::default() };
            for (word, values) in &tensors {
                let values: Vec<f32> = values.iter().skip(span.start).take(elements).copied().collect();
                let shape = [values.len()];
                state.put(word, Tensor::from_data(TensorData::new(values, shape), device)); // [elements]
            }
            states.insert(span, state);
        }
    }
    Ok(states)
}
