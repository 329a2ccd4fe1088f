//! Rows of steps of which each ends somewhere: taken apart step by step, turned round, cut off.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// The steps of `[steps, batch, width]`, each `[batch, width]`. By halves: the gradient of a part is as large as the whole, so that
/// cutting off one step after the other would cost the square of their number.
pub fn steps_of(x: Tensor<3>) -> Vec<Tensor<2>> {
    match x.dims()[0] {
        0 => Vec::new(),
        1 => vec![x.squeeze_dim::<2>(0)],
        steps => {
            let half = steps / 2;
            let mut all = steps_of(x.clone().narrow(0, 0, half));
            all.extend(steps_of(x.narrow(0, half, steps - half)));
            all
        }
    }
}

/// The first `lengths` steps of each row of `x` `[batch, steps, width]` the other way round; what follows stays.
pub fn reverse_within(x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    let [batch, steps, width] = x.dims();
    let from = |step: usize, length: usize| if step < length { length - 1 - step } else { step };
    let rows = lengths.iter().enumerate();
    let order = rows.flat_map(|(row, &length)| (0..steps).map(move |step| (row * steps + from(step, length)) as i64));
    let order: Vec<i64> = order.collect();
    let order = Tensor::<1, Int>::from_data(TensorData::from(order.as_slice()), &x.device()); // [batch * steps]
    x.reshape([batch * steps, width]).select(0, order).reshape([batch, steps, width])
}

/// `x` `[batch, steps, width]` with 0 where a row has ended.
pub fn zero_beyond(x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    let beyond = beyond(lengths, x.dims()[1], &x.device()).unsqueeze_dim::<3>(2).expand(x.dims());
    x.mask_fill(beyond, 0.0)
}

/// Where rows have ended, `[batch, steps]`.
pub(super) fn beyond(lengths: &[usize], steps: usize, device: &Device) -> Tensor<2, Bool> {
    let beyond: Vec<bool> = lengths.iter().flat_map(|&length| (0..steps).map(move |step| step >= length)).collect();
    Tensor::from_data(TensorData::new(beyond, [lengths.len(), steps]), device)
}

/// Which rows have no step of this number, `[batch, 1]`.
pub(super) fn ended(lengths: &[usize], step: usize, device: &Device) -> Tensor<2, Bool> {
    let ended: Vec<bool> = lengths.iter().map(|length| *length <= step).collect();
    Tensor::from_data(TensorData::new(ended, [lengths.len(), 1]), device)
}
