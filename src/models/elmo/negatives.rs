//! Sampled softmax (Jean et al. 2015, arXiv 1412.2007): the right word is told from some thousand others instead of all.
//!
//! The sampler is TensorFlow's `log_uniform_candidate_sampler`, which Paddle's `sample_logits` has too: word `k` of a vocabulary in
//! the order of frequency is drawn with probability `ln((k + 2) / (k + 1)) / ln(V + 1)`, until so many different words are found. Each
//! score is lowered by the logarithm of how often its word is expected among them, `1 - (1 - p)^draws`.

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;

use crate::nn::{cross_entropy_sum, to_compute, to_f32};
use crate::random::seeded;

/// Taken from the score of a word that is drawn and right at once, so that it does not count twice.
const HIDDEN: f64 = 1e4;

/// The words of one chunk that are not the right ones.
#[derive(Debug, Clone)]
pub struct Negatives {
    /// Different words, `[samples]`.
    ids: Tensor<1, Int>,
    /// The logarithm of how often each word of the vocabulary is expected among them, `[vocabulary]`.
    expected: Tensor<1>,
}

impl Negatives {
    /// Cross-entropy of the right words among themselves and these, summed over the targets, `[tokens]`, that are not negative, `[1]`.
    /// `top` is `[tokens, projection]`, `weight` `[vocabulary, projection]`, `bias` `[vocabulary]`.
    pub fn loss(
        &self,
        top: Tensor<2>,
        targets: Tensor<1, Int>,
        weight: &Param<Tensor<2>>,
        bias: &Param<Tensor<1>>,
    ) -> Tensor<1> {
        let ignored = targets.clone().lower_elem(0); // [tokens]
        let right = targets.clone().mask_fill(ignored.clone(), 0); // [tokens]
        let offset = bias.val() - self.expected.clone(); // [vocabulary]
        let rows = weight.val().select(0, right.clone()); // [tokens, projection]
        let right_scores = (top.clone() * rows).sum_dim(1) + offset.clone().select(0, right.clone()).unsqueeze_dim(1); // [tokens, 1]
        let others = weight.val().select(0, self.ids.clone()); // [samples, projection]
        let scores = to_f32(to_compute(top).matmul(to_compute(others).transpose()))
            + offset.select(0, self.ids.clone()).unsqueeze(); // [tokens, samples]
        let [tokens, samples] = scores.dims();
        let is_right = right.unsqueeze_dim::<2>(1).expand([tokens, samples]);
        let is_right = is_right.equal(self.ids.clone().unsqueeze::<2>().expand([tokens, samples])); // [tokens, samples]
        let scores = scores - is_right.float().mul_scalar(HIDDEN); // [tokens, samples]
        let first = targets.zeros_like().mask_fill(ignored, -1); // [tokens]
        cross_entropy_sum(Tensor::cat(vec![right_scores, scores], 1), first)
    }
}

/// Draws [`Negatives`].
#[derive(Debug, Clone, Copy)]
pub struct LogUniform {
    pub vocabulary: usize,
    pub samples: usize,
    pub seed: u64,
}

impl LogUniform {
    /// The probability of a word in one draw.
    pub fn probability(&self, word: usize) -> f64 {
        ((word as f64 + 2.0) / (word as f64 + 1.0)).ln() / (self.vocabulary as f64 + 1.0).ln()
    }

    /// Different words for chunk `number`, as many as are wanted but not more than there are, and how many draws it took.
    pub fn draw(&self, number: u64) -> (Vec<i64>, u64) {
        let mut rng = seeded([self.seed, number, 0, 0]);
        let mut seen = vec![false; self.vocabulary];
        let (mut words, mut draws) = (Vec::with_capacity(self.samples), 0);
        while words.len() < self.samples.min(self.vocabulary) {
            draws += 1;
            let uniform = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let word = ((self.vocabulary as f64 + 1.0).ln() * uniform).exp() - 1.0;
            let word = (word as usize).min(self.vocabulary - 1);
            if !std::mem::replace(&mut seen[word], true) {
                words.push(word as i64);
            }
        }
        (words, draws)
    }

    /// The negatives of chunk `number`.
    pub fn negatives(&self, number: u64, device: &Device) -> Negatives {
        let (words, draws) = self.draw(number);
        let expected = |word| -(draws as f64 * (-self.probability(word)).ln_1p()).exp_m1();
        let expected: Vec<f32> = (0..self.vocabulary).map(|word| expected(word).ln() as f32).collect();
        Negatives {
            ids: Tensor::from_data(TensorData::from(words.as_slice()), device),
            expected: Tensor::from_data(TensorData::new(expected, [self.vocabulary]), device),
        }
    }
}
