//! What the embedding layers of the families share.

use burn::nn::Embedding;
use burn::tensor::{Int, Tensor};

/// The rows of a table, `[batch, seq] -> [batch, seq, width]`. The row of `padding` is looked up like any other, and gets no
/// gradient from it: PyTorch's and Paddle's `padding_idx`.
pub fn look_up(table: &Embedding, ids: Tensor<2, Int>, padding: usize) -> Tensor<3> {
    let rows = table.forward(ids.clone()); // [batch, seq, width]
    let is_padding = ids.equal_elem(padding as i64).unsqueeze_dim::<3>(2).expand(rows.dims()); // [batch, seq, width]
    rows.clone().mask_where(is_padding, rows.detach())
}
