//! Layers that go from step to step: all steps of a layer as one operation.

use burn::tensor::Tensor;

/// What goes into an LSTM: the gates' part from the inputs `[batch, steps, 4 * cell]`, the weights `[output, 4 * cell]` and, if the
/// output is projected, `[cell, output]`; and the state before the first step, `[batch, output]` and `[batch, cell]`. Without a
/// projection, output and cell are of one width.
pub struct LstmInput<'a> {
    pub gates: &'a Tensor<3>,
    pub recurrent: &'a Tensor<2>,
    pub projection: Option<&'a Tensor<2>>,
    pub hidden: &'a Tensor<2>,
    pub cell: &'a Tensor<2>,
}

/// The outputs `[batch, steps, output]`, 0 where a row has ended, and the state after the last step that is taken of each row:
/// `[batch, output]` and `[batch, cell]`.
///
/// `clips` are the limits of the cell and of the output, and what they cut off gets no gradient; `lengths` where each row ends, if not
/// all at the last step. Where `reversed`, the steps are taken from the last to the first, which for a row that ends earlier is the
/// last that it has. On a GPU, products are computed in the type of the weights, and all else is float32.
pub fn lstm(
    input: &LstmInput,
    clips: [Option<f64>; 2],
    lengths: Option<&[usize]>,
    reversed: bool,
) -> Option<(Tensor<3>, Tensor<2>, Tensor<2>)> {
    #[cfg(feature = "flex")]
    if let Some(found) = super::cpu::lstm(input, clips, lengths, reversed) {
        return Some(found);
    }
    #[cfg(feature = "gpu")]
    if let Some(found) = super::gpu::lstm(input, clips, lengths, reversed) {
        return Some(found);
    }
    let _ = (input, clips, lengths, reversed);
    None
}

/// The outputs `[batch, steps, hidden]` of [`crate::nn::Gru`], 0 where a row has ended, from a state of zeros.
///
/// `gates` `[batch, steps, 3 * hidden]` is what the inputs and the bias give to update gate, reset gate and candidate; `recurrent` as
/// the layer has it. Where `reversed`, the steps are taken from each row's last to its first. Types are as in [`lstm`].
pub fn gru(gates: &Tensor<3>, recurrent: &Tensor<2>, lengths: &[usize], reversed: bool) -> Option<Tensor<3>> {
    #[cfg(feature = "flex")]
    if let Some(found) = super::cpu::gru(gates, recurrent, lengths, reversed) {
        return Some(found);
    }
    #[cfg(feature = "gpu")]
    if let Some(found) = super::gpu::gru(gates, recurrent, lengths, reversed) {
        return Some(found);
    }
    let _ = (gates, recurrent, lengths, reversed);
    None
}

/// The logarithm of the sum of exp(score) over all paths of a [`crate::nn::Crf`], `[batch]`, of its transitions `[2 + labels, labels]` and
/// of emissions `[batch, steps, labels]`; a row of length 0 counts as one of length 1.
pub fn log_sum_of_paths(transitions: &Tensor<2>, emissions: &Tensor<3>, lengths: &[usize]) -> Option<Tensor<1>> {
    #[cfg(feature = "gpu")]
    return super::gpu::log_sum_of_paths(transitions, emissions, lengths);
    #[cfg(not(feature = "gpu"))]
    {
        let _ = (transitions, emissions, lengths);
        None
    }
}
