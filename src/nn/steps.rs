//! Taking sequences apart step by step.

use burn::tensor::Tensor;

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
