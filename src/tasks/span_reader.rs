//! The head that answers from words: DuReader's baseline over rows of a question and a passage.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::rows::integers;
use crate::models::EncoderInput;
use crate::nn::{BiDaf, BiDafConfig, HasRoles, Roles};
use crate::recipe::BidafOptions;

/// The logit of a token that an answer cannot be at: f16 can hold it, and its share is exactly 0.
pub(super) const NOT_A_CANDIDATE: f32 = -1e4;

/// The network, and how rows come to it.
#[derive(Module, Debug)]
pub struct SpanReader {
    network: BiDaf,
}

impl HasRoles for SpanReader {
    fn add_roles(&self, roles: &mut Roles) {
        self.network.add_roles(roles);
    }
}

impl SpanReader {
    /// A head on words of `size` whose values are still to be given.
    pub fn new(size: usize, options: BidafOptions, device: &Device) -> Self {
        let BidafOptions { hidden_size, drop_rate } = options;
        let config = BiDafConfig { input_size: size, hidden_size, dropout: drop_rate };
        Self { network: BiDaf::new(&config, device) }
    }

    /// The scores of the answer's first and last word, both `[batch, seq]`, in rows that are a question and a passage after it, from
    /// their words `[batch, seq, size]`. Words of the question and padding have none. Each row is read for itself: the original
    /// shares the probabilities among the passages of a question.
    pub fn forward(&self, input: &EncoderInput, words: Tensor<3>) -> [Tensor<2>; 2] {
        let [batch, seq, size] = words.dims();
        let device = words.device();
        let (firsts, lengths) = (input.first_lengths(), input.lengths());
        let rows = firsts.iter().copied().zip(lengths);
        let of_passages: Vec<usize> = rows.clone().map(|(first, length)| length - first).collect();
        let longest = |lengths: &[usize]| lengths.iter().copied().max().unwrap_or(0).max(1);
        let (question, passage) = (longest(&firsts), longest(&of_passages));

        // Where a passage's words stand in its row; the row's last place behind its end.
        let places = firsts
            .iter()
            .enumerate()
            .flat_map(|(row, &first)| (0..passage).map(move |word| (row * seq + (first + word).min(seq - 1)) as i64));
        let passages = words.clone().reshape([batch * seq, size]).select(0, integers(places.collect(), &device));
        let passages = passages.reshape([batch, passage, size]);
        let questions = words.narrow(1, 0, question); // [batch, question, size]
        let groups = vec![1; batch];
        let (start, end) = self.network.forward(questions, &firsts, passages, &of_passages, &groups);

        // And back.
        let places = rows.clone().enumerate().flat_map(|(row, (first, length))| {
            (0..seq).map(
                move |place| if (first..length).contains(&place) { row * passage + place - first } else { 0 } as i64,
            )
        });
        let places = integers(places.collect(), &device); // [batch * seq]
        let outside: Vec<bool> =
            rows.flat_map(|(first, length)| (0..seq).map(move |place| !(first..length).contains(&place))).collect();
        let outside = Tensor::<2, Bool>::from_data(TensorData::new(outside, [batch, seq]), &device);
        [start, end].map(|scores| {
            let scores = scores.flatten::<1>(0, 1).select(0, places.clone()).reshape([batch, seq]);
            scores.mask_fill(outside.clone(), NOT_A_CANDIDATE)
        })
    }
}
