//! What an ELMo reads.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::nn::zero_beyond;

/// Words as the model reads them.
#[derive(Debug, Clone)]
pub enum Tokens {
    /// `[batch, words]`
    Words(Tensor<2, Int>),
    /// `[batch, words, characters]`
    Characters(Tensor<3, Int>),
}

/// Sentences of one batch, padded at their ends.
#[derive(Debug, Clone)]
pub struct ElmoInput {
    pub(super) tokens: Tokens,
    /// Of each row of `tokens`.
    pub(super) lengths: Vec<usize>,
    /// Whether `tokens` has a sentence's begin and end.
    boundaries: bool,
}

impl ElmoInput {
    /// Words of Baidu's vocabulary, `ids` being `[rows, words]`, row after row; what stands beyond a row's length does not matter.
    pub fn words(ids: Vec<i64>, words: usize, lengths: Vec<usize>, device: &Device) -> Self {
        let data = TensorData::new(ids, [lengths.len(), words]);
        Self { tokens: Tokens::Words(Tensor::from_data(data, device)), lengths, boundaries: false }
    }

    /// Characters of words, `ids` being `[rows, words, characters]`. Each sentence gets its begin and its end, `boundaries`, of as
    /// many characters as a word.
    pub fn characters(
        ids: &[i64],
        words: usize,
        lengths: &[usize],
        boundaries: [Vec<i64>; 2],
        device: &Device,
    ) -> Self {
        let [begin, end] = boundaries;
        let characters = begin.len();
        let mut all = Vec::with_capacity(lengths.len() * (words + 2) * characters);
        for (row, &length) in lengths.iter().enumerate() {
            let start = row * words * characters;
            all.extend(&begin);
            all.extend(&ids[start..start + length * characters]);
            all.extend(&end);
            all.resize((row + 1) * (words + 2) * characters, 0);
        }
        let data = TensorData::new(all, [lengths.len(), words + 2, characters]);
        Self {
            tokens: Tokens::Characters(Tensor::from_data(data, device)),
            lengths: lengths.iter().map(|length| length + 2).collect(),
            boundaries: true,
        }
    }

    /// Where the tensors live.
    pub fn device(&self) -> Device {
        match &self.tokens {
            Tokens::Words(ids) => ids.device(),
            Tokens::Characters(ids) => ids.device(),
        }
    }

    /// How many sentences there are.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// `layer` `[batch, words, width]` without the begin and the end of the sentences.
    pub(super) fn without_boundaries(&self, layer: Tensor<3>) -> Tensor<3> {
        if !self.boundaries {
            return layer;
        }
        let [_, words, _] = layer.dims();
        let lengths: Vec<usize> = self.lengths.iter().map(|length| length - 2).collect();
        zero_beyond(layer.narrow(1, 1, words - 2), &lengths)
    }
}
