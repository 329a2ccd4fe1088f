//! The linear-chain conditional random field (Lafferty et al. 2001): labels of a row are scored together, so that one that cannot
//! follow another is not predicted behind it.
//!
//! A row of labels y scores `start[y_1] + sum of emissions[t, y_t] + sum of between[y_(t-1), y_t] + stop[y_n]`, and has the
//! probability exp(score) over the sum of that for all rows of labels. Reference: `linear_chain_crf` and `crf_decoding` of Paddle's
//! fluid, which LAC and its ELMo demo use. All scores must be finite.

mod viterbi;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::sequences::{beyond, ended, steps_of};
use super::{HasRoles, Rate, Roles, Spread};
use crate::kernels;
pub use viterbi::viterbi;

/// The layer behind one that gives each step a score for each label (its emissions).
#[derive(Module, Debug)]
pub struct Crf {
    /// `[2 + labels, labels]`, as Paddle's `crfw`: what a row scores for beginning with a label (row 0), for ending with one (row
    /// 1), and for going from label i (row 2 + i) to label j.
    transitions: Param<Tensor<2>>,
}

impl HasRoles for Crf {
    fn add_roles(&self, roles: &mut Roles) {
        roles.set(self, |role| {
            role.decays = false;
            role.rate = Rate::Crf;
            role.spread = Some(Spread::Xavier);
        });
    }
}

impl Crf {
    /// A layer whose values are still to be given by [`crate::weights::fill`].
    pub fn new(labels: usize, device: &Device) -> Self {
        Self { transitions: Initializer::Zeros.init([labels + 2, labels], device) }
    }

    /// Minus the logarithm of the probability of each row's labels, `[batch]`.
    ///
    /// `emissions` `[batch, steps, labels]` and `labels` `[batch, steps]` count up to each row's length; labels behind it may be any
    /// number. A row of length 0 gives 0. Burn differentiates it to emissions and transitions.
    pub fn negative_log_likelihood(
        &self,
        emissions: Tensor<3>,
        labels: Tensor<2, Int>,
        lengths: &[usize],
    ) -> Tensor<1> {
        let transitions = self.transitions.val(); // [2 + labels, labels]
        let all = log_sum_of_paths(transitions.clone(), emissions.clone(), lengths); // [batch]
        let empty = ended(lengths, 0, &all.device()).squeeze_dim::<1>(1); // [batch]
        (all - score(transitions, emissions, labels, lengths)).mask_fill(empty, 0.0)
    }

    /// The loss of PaddleNLP's `LinearChainCrfLoss` (2.8.1), `[batch]`, which is no likelihood: only for comparing with its numbers,
    /// or for going on with a training of its.
    ///
    /// Its sum over all rows reads the transitions the other way round (from j to i) than the score of the labels, and than its
    /// decoder; the score of the labels lacks what ending with the last one scores; and what gets negative by this is made 0.
    /// `start_stop_tags` is its `with_start_stop_tag`, for which see [`paddlenlp_transitions`].
    pub fn paddlenlp_loss(
        &self,
        emissions: Tensor<3>,
        labels: Tensor<2, Int>,
        lengths: &[usize],
        start_stop_tags: bool,
    ) -> Tensor<1> {
        let transitions = self.transitions.val(); // [2 + labels, labels]
        let tags = transitions.dims()[1];
        let between = transitions.clone().narrow(0, 2, tags).transpose(); // [labels, labels]
        let none = Tensor::zeros([1, tags], &transitions.device()); // [1, labels]
        let (start, stop, first) = match start_stop_tags {
            true => {
                let start = between.clone().narrow(0, tags - 1, 1); // [1, labels]
                (start, transitions.clone().narrow(0, 1, 1), transitions.clone().narrow(0, 0, 1))
            }
            false => (none.clone(), none.clone(), none.clone()),
        };
        let reversed = Tensor::cat(vec![start, stop, between.clone()], 0); // [2 + labels, labels]
        let endless = Tensor::cat(vec![first, none, between.transpose()], 0); // [2 + labels, labels]
        let all = log_sum_of_paths(reversed, emissions.clone(), lengths); // [batch]
        (all - score(endless, emissions, labels, lengths)).clamp_min(0.0)
    }

    /// The transitions' scores as numbers, for [`viterbi`].
    pub fn transitions(&self) -> Vec<f32> {
        self.transitions.val().into_data().iter::<f32>().collect()
    }

    /// The labels of each row that together are most probable; of those that are alike, the one with the lowest last label, then
    /// the lowest last but one, and so on. `emissions` `[batch, steps, labels]` count up to each row's length.
    pub fn decode(&self, emissions: Tensor<3>, lengths: &[usize]) -> Vec<Vec<u32>> {
        let [_, steps, labels] = emissions.dims();
        let (transitions, emissions) = (self.transitions(), emissions.into_data().iter::<f32>().collect::<Vec<_>>());
        let rows = emissions.chunks(steps * labels).zip(lengths);
        rows.map(|(row, length)| viterbi(&transitions, &row[..length * labels], labels).1).collect()
    }
}

/// The logarithm of the sum of exp(score) over all paths, `[batch]`, of `transitions` `[2 + labels, labels]` and `emissions` `[batch,
/// steps, labels]`; a row of length 0 counts as one of length 1.
fn log_sum_of_paths(transitions: Tensor<2>, emissions: Tensor<3>, lengths: &[usize]) -> Tensor<1> {
    kernels::log_sum_of_paths(&transitions, &emissions, lengths)
        .unwrap_or_else(|| step_by_step(transitions, emissions, lengths))
}

/// The steps by tensor operations.
fn step_by_step(transitions: Tensor<2>, emissions: Tensor<3>, lengths: &[usize]) -> Tensor<1> {
    let labels = transitions.dims()[1];
    let between = transitions.clone().narrow(0, 2, labels).unsqueeze::<3>(); // [1, from, to]
    // Of the paths that end with each label, [batch, labels].
    let mut steps = steps_of(emissions.swap_dims(0, 1)).into_iter().enumerate();
    let mut sums = match steps.next() {
        Some((_, first)) => transitions.clone().narrow(0, 0, 1) + first,
        None => return Tensor::zeros([lengths.len()], &transitions.device()),
    };
    for (step, emitted) in steps {
        let next = log_sum_exp(sums.clone().unsqueeze_dim::<3>(2) + between.clone()) + emitted; // [batch, to]
        sums = match lengths.iter().any(|&length| length <= step) {
            true => {
                let ended = ended(lengths, step, &next.device()); // [batch, 1]
                next.clone().mask_where(ended.expand(next.dims()), sums)
            }
            false => next,
        };
    }
    let sums = sums + transitions.narrow(0, 1, 1); // [batch, labels]
    log_sum_exp(sums.unsqueeze_dim::<3>(2)).squeeze_dim::<1>(1)
}

/// Over the middle dimension: `[batch, from, to] -> [batch, to]`.
fn log_sum_exp(x: Tensor<3>) -> Tensor<2> {
    // Which number it is taken from has no part in the gradient.
    let most = x.clone().max_dim(1).detach(); // [batch, 1, to]
    (most.clone() + (x - most).exp().sum_dim(1).log()).squeeze_dim::<2>(1)
}

/// What labels score, `[batch]`: see the module.
fn score(transitions: Tensor<2>, emissions: Tensor<3>, labels: Tensor<2, Int>, lengths: &[usize]) -> Tensor<1> {
    let device = emissions.device();
    let [batch, steps, tags] = emissions.dims();
    let beyond = beyond(lengths, steps, &device); // [batch, steps]
    let labels = labels.mask_fill(beyond.clone(), 0); // [batch, steps]
    let emitted = emissions.gather(2, labels.clone().unsqueeze_dim::<3>(2)).squeeze_dim::<2>(2); // [batch, steps]

    // Where each transition stands in the table: the row of the start or of the label before, then the row of the stop.
    let start = Tensor::<2, Int>::zeros([batch, 1], &device); // [batch, 1]
    let rows = Tensor::cat(vec![start, labels.clone().add_scalar(2)], 1).narrow(1, 0, steps); // [batch, steps]
    let places = rows.mul_scalar(tags as i64) + labels.clone(); // [batch, steps]
    let last: Vec<i64> = lengths.iter().map(|&length| length.max(1) as i64 - 1).collect();
    let last = Tensor::<2, Int>::from_data(TensorData::new(last, [batch, 1]), &device); // [batch, 1]
    let stop = labels.gather(1, last).add_scalar(tags as i64); // [batch, 1]
    let table = transitions.flatten::<1>(0, 1); // [(2 + labels) * labels]
    let passed = table.clone().select(0, places.flatten::<1>(0, 1)).reshape([batch, steps]); // [batch, steps]
    let stopped = table.select(0, stop.flatten::<1>(0, 1)); // [batch]
    (emitted + passed).mask_fill(beyond, 0.0).sum_dim(1).squeeze_dim::<1>(1) + stopped
}

/// The vectors of words, `[batch, words, width]`, out of those of an encoder's pieces, `[batch, pieces, width]`: the one at each
/// place in `starts` `[batch, words]`, where a word's first piece stands. Padding may be any place.
pub fn gather_words(pieces: Tensor<3>, starts: Tensor<2, Int>) -> Tensor<3> {
    let [batch, words] = starts.dims();
    let width = pieces.dims()[2];
    pieces.gather(1, starts.unsqueeze_dim::<3>(2).expand([batch, words, width]))
}

/// PaddleNLP's `LinearChainCrf.transitions`, `[tags, tags]` from i to j as its decoder reads them, in the form of [`Crf`],
/// `[2 + tags, tags]`. With `start_stop_tags` the last of the tags is its START and the last but one its STOP; it scores them at every
/// step, like other tags, and takes from the row of each what beginning and ending scores.
pub fn paddlenlp_transitions(transitions: &[f32], tags: usize, start_stop_tags: bool) -> Vec<f32> {
    let mut table = match start_stop_tags {
        true => [&transitions[(tags - 1) * tags..], &transitions[(tags - 2) * tags..(tags - 1) * tags]].concat(),
        false => vec![0.0; 2 * tags],
    };
    table.extend(transitions);
    table
}
