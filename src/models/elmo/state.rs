//! The state of a language model's streams: some of them, and all in a file.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

use super::ElmoState;
use crate::error::Result;
use crate::nn::LstmState;
use crate::weights::Weights;

impl ElmoState {
    /// The state of some of the streams.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        self.map(|tensor| tensor.clone().narrow(0, rows.start, rows.len())) // [rows, ...]
    }

    /// The same numbers, without the graph that they came from.
    pub fn detach(&self) -> Self {
        self.map(|tensor| tensor.clone().detach())
    }

    fn map(&self, of: impl Fn(&Tensor<2>) -> Tensor<2>) -> Self {
        let layers = |layers: &[LstmState]| {
            layers.iter().map(|layer| LstmState { hidden: of(&layer.hidden), cell: of(&layer.cell) }).collect()
        };
        Self { forward: layers(&self.forward), backward: layers(&self.backward) }
    }

    /// The state of all streams from those of some after the other; there are some.
    pub fn together(parts: &[Self]) -> Self {
        let layers = |of: fn(&Self) -> &[LstmState]| -> Vec<LstmState> {
            let all = |layer: usize, tensor: fn(&LstmState) -> &Tensor<2>| {
                Tensor::cat(parts.iter().map(|part| tensor(&of(part)[layer]).clone()).collect(), 0) // [streams, ...]
            };
            let layer =
                |layer| LstmState { hidden: all(layer, |state| &state.hidden), cell: all(layer, |state| &state.cell) };
            (0..of(&parts[0]).len()).map(layer).collect()
        };
        Self { forward: layers(|part| &part.forward), backward: layers(|part| &part.backward) }
    }

    /// Reads a file of [`Self::tensors`] onto `device`.
    ///
    /// # Errors
    /// A tensor is not there or is no matrix.
    pub fn load(file: &Weights, device: &Device) -> Result<Self> {
        let read = |name: String| -> Result<Tensor<2>> {
            let shape = file.get(&name).map(|entry| entry.shape.clone()).unwrap_or_default();
            let values = file.read_f32(&name)?;
            let rows = shape.first().copied().unwrap_or(1).max(1);
            let shape = [rows, values.len() / rows];
            Ok(Tensor::from_data(TensorData::new(values, shape), device))
        };
        let direction = |word: &str| -> Result<Vec<LstmState>> {
            let layers = (0..).take_while(|layer| file.get(&format!("{word}.{layer}.hidden")).is_some()).count();
            let layer = |layer: usize| {
                let [hidden, cell] = ["hidden", "cell"].map(|part| read(format!("{word}.{layer}.{part}")));
                Ok(LstmState { hidden: hidden?, cell: cell? })
            };
            (0..layers).map(layer).collect()
        };
        Ok(Self { forward: direction("forward")?, backward: direction("backward")? })
    }

    /// `forward.0.hidden` `[batch, projection]`, `forward.0.cell` `[batch, cell]`, and so on.
    pub fn tensors(&self) -> Vec<(String, &Tensor<2>)> {
        let mut all = Vec::new();
        for (word, layers) in [("forward", &self.forward), ("backward", &self.backward)] {
            for (layer, LstmState { hidden, cell }) in layers.iter().enumerate() {
                all.push((format!("{word}.{layer}.hidden"), hidden));
                all.push((format!("{word}.{layer}.cell"), cell));
            }
        }
        all
    }
}
