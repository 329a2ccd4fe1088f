//! The pointer network (arXiv 1608.07905) of DuReader's baseline: where in a text an answer begins and ends.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear};
use burn::tensor::activation::{log_softmax, sigmoid, tanh};
use burn::tensor::{Bool, Device, Tensor};

use super::precision::apply;
use super::{HasRoles, Roles, Spread, linear, linear_without_bias, per_token, softmax};

/// The score of a place that is none: f16 can hold it, and its share is exactly 0.
pub(super) const NO_PLACE: f32 = -1e4;

/// The network.
#[derive(Module, Debug)]
pub struct Pointer {
    /// `[1, hidden]`. A parameter that learns, though the original calls it `random_attn`: drawn from N(0, 1), and read through a
    /// linear layer of its own.
    key: Param<Tensor<2>>,
    /// hidden to hidden
    of_key: Linear,
    /// From words of the question, 2 * hidden, to hidden, without bias.
    of_question: Linear,
    /// hidden to 1
    question_score: Linear,
    /// From the pooled question, 2 * hidden, to the first state, hidden: that of the output and of the cell.
    start: Linear,
    forward: PointerLstm,
    backward: PointerLstm,
}

/// One of its two LSTMs, which takes as many steps as there are places to find.
#[derive(Module, Debug)]
struct PointerLstm {
    /// From words of the text, 2 * hidden, to hidden.
    context: Linear,
    /// hidden to hidden
    state: Linear,
    /// hidden to 1
    score: Linear,
    /// From the state and the text as it is attended to, 3 * hidden, to the gates, 4 * hidden: candidate, input, forget, output,
    /// which are four layers in the original.
    gates: Linear,
}

impl HasRoles for Pointer {
    fn add_roles(&self, roles: &mut Roles) {
        roles.set(&self.key, |role| role.spread = Some(Spread::Normal(1.0)));
        for lstm in [&self.forward, &self.backward] {
            roles.set(&lstm.gates.weight, |role| role.parts = 4);
        }
    }
}

impl Pointer {
    /// A network for words of `2 * hidden` whose values are still to be given.
    pub fn new(hidden: usize, device: &Device) -> Self {
        Self {
            key: Initializer::Zeros.init([1, hidden], device),
            of_key: linear(hidden, hidden, device),
            of_question: linear_without_bias(2 * hidden, hidden, device),
            question_score: linear(hidden, 1, device),
            start: linear(2 * hidden, hidden, device),
            forward: PointerLstm::new(hidden, device),
            backward: PointerLstm::new(hidden, device),
        }
    }

    /// The logarithms of the probabilities that an answer begins and that it ends at a word, both `[batch, words]`.
    ///
    /// `question` `[batch, question words, 2 * hidden]` and `text` `[batch, words, 2 * hidden]` count where the masks, of the same
    /// first dimensions, are false. One LSTM finds the start, then the end; the other the end, then the start; the probabilities are
    /// the means of theirs.
    pub fn forward(
        &self,
        question: Tensor<3>,
        beyond_question: Tensor<2, Bool>,
        text: Tensor<3>,
        beyond_text: &Tensor<2, Bool>,
    ) -> [Tensor<2>; 2] {
        let key = self.of_key.forward(self.key.val()).unsqueeze::<3>(); // [1, 1, hidden]
        let inner = tanh(per_token(question.clone(), |x| apply(&self.of_question, x)) + key); // [batch, question words, hidden]
        let scores = per_token(inner, |x| apply(&self.question_score, x))
            .squeeze_dim::<2>(2)
            .mask_fill(beyond_question, NO_PLACE);
        let pooled = weighed(softmax(scores), question); // [batch, 2 * hidden]
        let start = apply(&self.start, pooled); // [batch, hidden]
        let [first, last] = self.forward.places(text.clone(), beyond_text, start.clone());
        let [last_too, first_too] = self.backward.places(text, beyond_text, start);
        [log_mean_exp(first, first_too), log_mean_exp(last, last_too)]
    }
}

impl PointerLstm {
    fn new(hidden: usize, device: &Device) -> Self {
        Self {
            context: linear(2 * hidden, hidden, device),
            state: linear(hidden, hidden, device),
            score: linear(hidden, 1, device),
            gates: linear(3 * hidden, 4 * hidden, device),
        }
    }

    /// The logarithms of the words' shares at each of the two steps, `[batch, words]`.
    fn places(&self, text: Tensor<3>, beyond: &Tensor<2, Bool>, start: Tensor<2>) -> [Tensor<2>; 2] {
        let context = per_token(text.clone(), |x| apply(&self.context, x)); // [batch, words, hidden]
        let shares = |hidden: Tensor<2>| {
            let state = apply(&self.state, hidden).unsqueeze_dim::<3>(1); // [batch, 1, hidden]
            let scores = per_token(tanh(context.clone() + state), |x| apply(&self.score, x)).squeeze_dim::<2>(2); // [batch, words]
            log_softmax(scores.mask_fill(beyond.clone(), NO_PLACE), 1)
        };
        let first = shares(start.clone()); // [batch, words]
        let attended = weighed(first.clone().exp(), text); // [batch, 2 * hidden]
        let gates = apply(&self.gates, Tensor::cat(vec![start.clone(), attended], 1)); // [batch, 4 * hidden]
        let width = gates.dims()[1] / 4;
        let part = |number: usize| gates.clone().narrow(1, number * width, width); // [batch, hidden]
        let cell = tanh(part(0)) * sigmoid(part(1)) + start * sigmoid(part(2)); // [batch, hidden]
        // The original takes a second step of the LSTM, whose output nothing reads.
        let second = shares(sigmoid(part(3)) * tanh(cell)); // [batch, words]
        [first, second]
    }
}

/// The sum of words `[batch, words, width]` weighed by `shares` `[batch, words]`: `[batch, width]`.
pub(super) fn weighed(shares: Tensor<2>, words: Tensor<3>) -> Tensor<2> {
    shares.unsqueeze_dim::<3>(1).matmul(words).squeeze_dim::<2>(1)
}

/// `log((exp(a) + exp(b)) / 2)`
fn log_mean_exp(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let most = a.clone().max_pair(b.clone()).detach(); // [batch, words]
    let sum = (a - most.clone()).exp() + (b - most.clone()).exp(); // [batch, words]
    most + sum.log() - std::f64::consts::LN_2
}
