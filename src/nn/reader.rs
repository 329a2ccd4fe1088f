//! The network of DuReader's baseline, which finds the answer to a question in passages: attention in both directions (BiDAF, arXiv
//! 1611.01603) under a pointer network (Match-LSTM, arXiv 1608.07905).
//!
//! Reference: PaddlePaddle/models, `machine_reading_comprehension/rc_model.py`. What differs there:
//! - Its dropout does not scale up what it leaves in training, and scales down instead when it predicts.
//! - It feeds each passage with a copy of its question, and pools the copies together; here too, see [`BiDaf::forward`].

mod places;

use burn::module::Module;
use burn::nn::Dropout;
use burn::tensor::{Device, Tensor};

use self::places::Places;
use super::pointer::{NO_PLACE, Pointer, weighed};
use super::sequences::beyond;
use super::{BiLstm, HasRoles, Roles, Spread, drop_out, dropout, softmax};

/// What a [`BiDaf`] is built from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BiDafConfig {
    /// Width of the words' vectors.
    pub input_size: usize,
    /// Width of each direction of each LSTM; the original's is 150.
    pub hidden_size: usize,
    /// The original's `drop_rate`: of what comes out of the encoders, of the attention and of the fusion.
    pub dropout: f64,
}

/// The network.
#[derive(Module, Debug)]
pub struct BiDaf {
    question_encoder: BiLstm,
    passage_encoder: BiLstm,
    fusion: BiLstm,
    pointer: Pointer,
    dropout: Dropout,
}

impl HasRoles for BiDaf {
    fn add_roles(&self, roles: &mut Roles) {
        roles.set(self, |role| role.spread = Some(Spread::Xavier));
        self.pointer.add_roles(roles);
    }
}

impl BiDaf {
    /// A network whose values are still to be given, by [`crate::weights::fill`].
    pub fn new(config: &BiDafConfig, device: &Device) -> Self {
        let BiDafConfig { input_size, hidden_size, dropout: probability } = *config;
        Self {
            question_encoder: BiLstm::new(input_size, hidden_size, device),
            passage_encoder: BiLstm::new(input_size, hidden_size, device),
            fusion: BiLstm::new(8 * hidden_size, hidden_size, device),
            pointer: Pointer::new(hidden_size, device),
            dropout: dropout(probability),
        }
    }

    /// The logarithms of the probabilities that the answer begins and that it ends at a word, both `[batch, passage words]`; -10,000
    /// behind a passage's end.
    ///
    /// `question` `[batch, question words, input]` and `passage` `[batch, passage words, input]` count up to each row's length.
    /// `groups` are the numbers of consecutive rows that are passages of one question, which each of them repeats: their words share
    /// one softmax, so that the probabilities of a group's rows together sum to 1. Where all groups are of one row, the probabilities
    /// of each row do, and are its softmax.
    pub fn forward(
        &self,
        question: Tensor<3>,
        question_lengths: &[usize],
        passage: Tensor<3>,
        passage_lengths: &[usize],
        groups: &[usize],
    ) -> (Tensor<2>, Tensor<2>) {
        let drop = |x| drop_out(&self.dropout, x);
        let question = drop(self.question_encoder.forward(question, question_lengths)); // [batch, question words, 2 * hidden]
        let passage = drop(self.passage_encoder.forward(passage, passage_lengths)); // [batch, words, 2 * hidden]
        let matched = drop(matched(&question, question_lengths, passage, passage_lengths)); // [batch, words, 8 * hidden]
        let text = drop(self.fusion.forward(matched, passage_lengths)); // [batch, words, 2 * hidden]

        let of_questions = Places::new(groups, question_lengths, question.dims()[1]);
        let of_texts = Places::new(groups, passage_lengths, text.dims()[1]);
        let beyond_questions = of_questions.beyond(&question.device()); // [groups, question words]
        let beyond_texts = of_texts.beyond(&text.device()); // [groups, words of all passages]
        let places = self.pointer.forward(
            of_questions.together(question),
            beyond_questions,
            of_texts.together(text),
            &beyond_texts,
        );
        let beyond = beyond(passage_lengths, of_texts.words(), &beyond_texts.device()); // [batch, words]
        let [start, end] = places.map(|scores| of_texts.apart(scores).mask_fill(beyond.clone(), NO_PLACE));
        (start, end)
    }
}

/// BiDAF's attention with a dot product as similarity: each passage word, what it attends to in the question, and their products
/// with each other and with what the question attends to in the passage, `[batch, words, 4 * width]`.
fn matched(
    question: &Tensor<3>,
    question_lengths: &[usize],
    passage: Tensor<3>,
    passage_lengths: &[usize],
) -> Tensor<3> {
    let ([batch, words, width], device) = (passage.dims(), passage.device());
    let question_words = question.dims()[1];
    let outside = beyond(question_lengths, question_words, &device); // [batch, question words]
    let outside = outside.unsqueeze_dim::<3>(1).expand([batch, words, question_words]);
    let similarity = passage.clone().matmul(question.clone().swap_dims(1, 2)); // [batch, words, question words]
    let similarity = similarity.mask_fill(outside, NO_PLACE);
    let attended = softmax(similarity.clone()).matmul(question.clone()); // [batch, words, width]
    let most = similarity.max_dim(2).squeeze_dim::<2>(2); // [batch, words]
    let most = most.mask_fill(beyond(passage_lengths, words, &device), NO_PLACE);
    let of_passage = weighed(softmax(most), passage.clone()).unsqueeze_dim::<3>(1); // [batch, 1, width]
    let products = [passage.clone() * attended.clone(), passage.clone() * of_passage.expand([batch, words, width])];
    let [with_question, with_passage] = products;
    Tensor::cat(vec![passage, attended, with_question, with_passage], 2)
}
