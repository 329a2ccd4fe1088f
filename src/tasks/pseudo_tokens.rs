//! Back-translation: what a model writes beside a sentence before it learns from both (arXiv 2012.15674, section 3.2).

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::chunked_loss::MOST_LOGITS;
use crate::models::{AttentionPattern, EncoderInput};
use crate::nn::softmax;

/// What the model is to write into a batch's input, whose rows are a sentence with tokens hidden, the source, and after it
/// placeholders for its translation, the target. All placeholders are filled in one pass, without a graph and without dropout.
///
/// In that pass the sentence is whole, and the placeholders are hidden tokens of [`AttentionPattern::CrossLingual`]: each sees the sentence and
/// itself, which carries its position and its language. Packs, sides, positions and languages are those of the batch's input.
#[derive(Debug, Clone)]
pub struct PseudoTokens {
    /// The rows of the batch's input with nothing hidden in their sentences, and `[MASK]` at each of the places: `[batch, seq]`.
    pub input_ids: Tensor<2, Int>,
    /// The placeholders' places in the rows laid end to end, `[placeholders]`; no place twice.
    pub positions: Tensor<1, Int>,
    pub decoding: Decoding,
}

/// How tokens are chosen.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of them a batch, and it only holds handles")]
pub enum Decoding {
    /// The likeliest.
    Greedy,
    /// By their probabilities, with one number from 0 to below 1 for each placeholder, `[placeholders]`: so that what is drawn is a
    /// function of the batch, in training and in evaluation alike, and on every device.
    Sampled(Tensor<1>),
}

/// Logits at once. Sampling takes several times their memory; without a graph, small parts cost nothing.
pub(super) const LOGITS: usize = MOST_LOGITS / 8;

impl PseudoTokens {
    /// Puts the model's tokens into `input`. `states` is the model in inference mode, `[batch, seq] -> [batch, seq, hidden]`, and
    /// `logits` its scores at some positions of the states' rows laid end to end, `[positions] -> [positions, vocabulary]`, for no
    /// more than `at_once` positions.
    ///
    /// # Panics
    /// If `input` has no attention pattern, which whoever built the batch has to see to.
    pub(super) fn write(
        &self,
        input: &mut EncoderInput,
        at_once: usize,
        states: impl Fn(&EncoderInput) -> Tensor<3>,
        logits: impl Fn(Tensor<3>, Tensor<1, Int>) -> Tensor<2>,
    ) {
        let [count] = self.positions.dims();
        if count == 0 {
            return;
        }
        let states = states(&self.unwritten(input.clone().inner())); // [batch, seq, hidden]
        let positions = self.positions.clone().inner(); // [placeholders]
        let size = at_once.min(count);
        let parts = (0..count).step_by(size).map(|first| {
            let positions = positions.clone().narrow(0, first, size.min(count - first));
            self.decoding.of(logits(states.clone(), positions), first)
        });
        let tokens = Tensor::cat(parts.collect(), 0); // [placeholders]
        let (kept, at_places) = self.split(&input.input_ids);
        // What is added to is 0, so that every device can assign in this way.
        let written = at_places.zeros_like().flatten::<1>(0, 1);
        let written = written.select_assign(0, positions, tokens, IndexingUpdateOp::Add);
        let ids = kept + written.reshape(at_places.dims()); // [batch, seq]
        input.on_host = None;
        input.input_ids = if input.input_ids.is_autodiff() { ids.autodiff() } else { ids };
    }

    /// `ids` with zeros at the places, and ones there with zeros elsewhere; both `[batch, seq]`, without autodiff.
    fn split(&self, ids: &Tensor<2, Int>) -> (Tensor<2, Int>, Tensor<2, Int>) {
        let ids = ids.clone().inner(); // [batch, seq]
        let places = self.positions.clone().inner(); // [placeholders]
        let ones = places.ones_like();
        let at_places = ids.zeros_like().flatten::<1>(0, 1).select_assign(0, places, ones, IndexingUpdateOp::Add);
        let at_places = at_places.reshape(ids.dims()); // [batch, seq]
        (ids.mask_fill(at_places.clone().equal_elem(1), 0), at_places)
    }

    /// The rows before anything is written, for a model without autodiff.
    fn unwritten(&self, mut input: EncoderInput) -> EncoderInput {
        let (_, at_places) = self.split(&self.input_ids);
        input.on_host = None;
        input.input_ids = self.input_ids.clone().inner();
        let visibility = input.visibility.as_mut().expect("rows with placeholders say who sees whom");
        visibility.masked = at_places;
        visibility.pattern = AttentionPattern::CrossLingual;
        input
    }
}

impl Decoding {
    /// One token a row, of the logits `[rows, vocabulary]` of the placeholders from number `first` on.
    fn of(&self, logits: Tensor<2>, first: usize) -> Tensor<1, Int> {
        let numbers = match self {
            Self::Greedy => return logits.argmax(1).squeeze_dim::<1>(1),
            Self::Sampled(numbers) => numbers.clone().inner(), // [placeholders]
        };
        let [rows, vocabulary] = logits.dims();
        let up_to = softmax(logits).cumsum(1); // [rows, vocabulary]
        // The last sum is 1 but for rounding.
        let numbers = numbers.narrow(0, first, rows).unsqueeze_dim::<2>(1) * up_to.clone().narrow(1, vocabulary - 1, 1);
        let before = up_to.lower_equal(numbers.expand([rows, vocabulary])).int().sum_dim(1).squeeze_dim::<1>(1); // [rows]
        before.clamp_max(vocabulary as i64 - 1)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Tokens are drawn as often as their probabilities say, and those of no probability never.
    #[test]
    fn tokens_are_drawn_by_their_probabilities() {
        const DRAWS: usize = 1000;
        let device = Device::flex();
        let shares = [0.0_f32, 0.5, 0.125, 0.0, 0.375, 0.0];
        let logits: Vec<f32> = shares.iter().map(|share| share.max(1e-30).ln() + 3.0).collect();
        let logits = Tensor::<1>::from_data(TensorData::from(logits.as_slice()), &device).unsqueeze::<2>();
        let logits = logits.expand([DRAWS, shares.len()]);
        let numbers: Vec<f32> = (0..DRAWS).map(|number| number as f32 / DRAWS as f32).collect();
        let numbers = Tensor::<1>::from_data(TensorData::from(numbers.as_slice()), &device);
        let drawn = |first: usize, rows: usize| -> Vec<i64> {
            let logits = logits.clone().narrow(0, 0, rows);
            Decoding::Sampled(numbers.clone()).of(logits, first).into_data().iter::<i64>().collect()
        };
        let all = drawn(0, DRAWS);
        for (token, share) in shares.iter().enumerate() {
            let count = all.iter().filter(|drawn| **drawn == token as i64).count();
            assert!((count as f32 - share * DRAWS as f32).abs() <= 1.0, "token {token}: {count} of {DRAWS}");
        }
        // A part takes the numbers of its own placeholders.
        assert_eq!(drawn(700, 200), all[700..900]);
    }
}
