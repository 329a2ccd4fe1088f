//! What stands on top of an encoder: a task's layers, their output, and what it is compared with.

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::{Device, Int, Tensor};

use super::span_reader::SpanReader;
use super::{Batch, Labels, Reading, Tagging};
use crate::models::{Backbone, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{
    BiGru, Crf, MaskedLmHead, cross_entropy_mean, cross_entropy_sum, drop_out, dropout, gather_words, linear, per_token,
};
use crate::recipe::{Task, TaskName};

/// What a head is built for.
#[derive(Debug, Clone, Copy)]
pub struct HeadShape {
    pub task: TaskName,
    /// Labels of sequence and token classification.
    pub classes: usize,
    /// Of token classification.
    pub tagging: Tagging,
    /// Of question answering on words.
    pub reading: Reading,
}

impl HeadShape {
    /// The task's usual head.
    pub fn plain(task: TaskName, classes: usize) -> Self {
        Self { task, classes, tagging: Tagging::default(), reading: Reading::default() }
    }

    /// What a recipe says.
    pub fn of(task: &Task, classes: usize) -> Self {
        Self { task: task.name, classes, tagging: Tagging::from(task), reading: Reading::from(task) }
    }
}

/// The layers on top of the encoder.
#[derive(Module, Debug)]
pub struct Head {
    dropout: Dropout,
    /// Of token classification, below the classifier.
    grus: Vec<BiGru>,
    /// Of sequence and token classification.
    classifier: Option<Linear>,
    /// Of token classification: scores the classes of a row together.
    crf: Option<Crf>,
    /// Of question answering: the start's and the end's logits.
    qa_outputs: Option<Linear>,
    /// Of question answering on words.
    reader: Option<SpanReader>,
    masked_lm: Option<MaskedLmHead>,
    /// Of pre-training: whether two pieces of a text are in their order, or were exchanged.
    sentence_order: Option<Linear>,
    #[module(skip)]
    task: TaskName,
}

/// A head's output.
#[derive(Debug, Clone)]
pub enum Logits {
    /// `[batch, classes]`.
    Sequence(Tensor<2>),
    /// `[batch, seq, classes]`.
    Token(Tensor<3>),
    /// Start and end, both `[batch, seq]`.
    Span(Tensor<2>, Tensor<2>),
    /// Of every token, `[batch, seq, vocabulary]`; the sentence order's `[batch, 2]`, if the head has it.
    Vocabulary(Tensor<3>, Option<Tensor<2>>),
    /// Of the hidden tokens alone, `[hidden, vocabulary]`; the sentence order's `[batch, 2]`, if the head has it.
    Hidden(Tensor<2>, Option<Tensor<2>>),
    /// Of the next words, `[2 * batch * steps, vocabulary]`.
    Next(Tensor<2>),
}

impl Head {
    pub fn new(shape: HeadShape, config: &ModelConfig, device: &Device) -> Self {
        let HeadShape { task, classes, tagging, reading } = shape;
        let answers = task == TaskName::QuestionAnswering;
        let on_words = matches!(config, ModelConfig::Words(_));
        let common = config.common();
        let size = common.encoder.hidden_size;
        let tags = task == TaskName::TokenClassification;
        let layers = if tags { tagging.bigru_num } else { 0 };
        let width = |layer: usize| if layer == 0 { size } else { 2 * tagging.grnn_hidden_dim };
        let classifies = matches!(task, TaskName::SequenceClassification | TaskName::TokenClassification);
        Self {
            dropout: dropout(common.classifier_dropout),
            grus: (0..layers).map(|layer| BiGru::new(width(layer), tagging.grnn_hidden_dim, device)).collect(),
            classifier: classifies.then(|| linear(width(layers), classes, device)),
            crf: (tags && tagging.crf).then(|| Crf::new(classes, device)),
            qa_outputs: (answers && !on_words).then(|| linear(size, 2, device)),
            reader: (answers && on_words).then(|| SpanReader::new(size, reading, device)),
            masked_lm: task.hides_tokens().then(|| MaskedLmHead::new(&config.masked_lm(), device)),
            sentence_order: (task == TaskName::PreTraining).then(|| linear(size, 2, device)),
            task,
        }
    }

    /// The logits of all rows and tokens.
    pub fn forward(&self, input: &EncoderInput, output: &EncoderOutput, backbone: &Backbone) -> Logits {
        let last = output.last_hidden_state(); // [batch, seq, hidden]
        match self.task {
            TaskName::SequenceClassification => {
                Logits::Sequence(made(&self.classifier).forward(drop_out(&self.dropout, pooled(output))))
            }
            TaskName::TokenClassification => {
                let mut states = drop_out(&self.dropout, last); // [batch, seq, hidden]
                if !self.grus.is_empty() {
                    let lengths = input.lengths();
                    states = self.grus.iter().fold(states, |states, gru| gru.forward(states, &lengths));
                }
                Logits::Token(per_token(states, |x| made(&self.classifier).forward(x)))
            }
            TaskName::QuestionAnswering => {
                if let Some(reader) = &self.reader {
                    let [start, end] = reader.forward(input, last); // [batch, seq]
                    return Logits::Span(start, end);
                }
                let both = per_token(last, |x| made(&self.qa_outputs).forward(x)); // [batch, seq, 2]
                let [start, end] = [0, 1].map(|i| both.clone().narrow(2, i, 1).squeeze_dim::<2>(2)); // [batch, seq]
                Logits::Span(start, end)
            }
            TaskName::BidirectionalLm => panic!("a language model has its own output layer"),
            TaskName::MaskedLm
            | TaskName::TranslationMaskedLm
            | TaskName::CrossAttentionMaskedLm
            | TaskName::BackTranslationMaskedLm
            | TaskName::PreTraining => {
                let tokens = made(&self.masked_lm).forward(last, backbone.tied_embedding()); // [batch, seq, vocabulary]
                Logits::Vocabulary(tokens, self.order(output))
            }
        }
    }

    /// The logits of a batch, as far as its loss needs them: of masked language modelling those of the hidden tokens, for the
    /// vocabulary is large.
    pub fn forward_labelled(&self, batch: &Batch, output: &EncoderOutput, backbone: &Backbone) -> Logits {
        let Labels::Masked { places, .. } = &batch.labels else {
            return self.forward(batch.encoder_input(), output, backbone);
        };
        let tokens = self.vocabulary_at(output.last_hidden_state(), places.clone(), backbone); // [hidden, vocabulary]
        Logits::Hidden(tokens, self.order(output))
    }

    /// The masked-LM logits at some places of rows `[batch, seq, hidden]` laid end to end, `[places] -> [places, vocabulary]`.
    pub(super) fn vocabulary_at(&self, states: Tensor<3>, places: Tensor<1, Int>, backbone: &Backbone) -> Tensor<2> {
        let states = states.flatten::<2>(0, 1).select(0, places); // [places, hidden]
        made(&self.masked_lm).forward(states, backbone.tied_embedding())
    }

    /// For how many tokens there may be masked-LM logits at once, if no more than `logits` numbers are to be held: at least for one.
    pub(super) fn tokens_at_once(&self, logits: usize) -> usize {
        self.masked_lm.as_ref().map_or(usize::MAX, |head| (logits / head.vocabulary().max(1)).max(1))
    }

    /// The layer that scores the classes of a row together, if there is one.
    pub fn crf(&self) -> Option<&Crf> {
        self.crf.as_ref()
    }

    fn order(&self, output: &EncoderOutput) -> Option<Tensor<2>> {
        self.sentence_order.as_ref().map(|layer| layer.forward(pooled(output)))
    }
}

/// # Panics
/// If it was not made, which is a mistake of [`Head::new`]'s.
fn made<T>(layer: &Option<T>) -> &T {
    layer.as_ref().expect("`Head::new` makes the layers of its task")
}

fn pooled(output: &EncoderOutput) -> Tensor<2> {
    output.pooled.clone().expect("`TaskModel::new` gives a pooler to the tasks that read it")
}

/// A batch's loss: what it was taken apart into, each summed over its labels, `[1]`.
#[derive(Debug, Clone)]
pub struct Losses {
    /// Cross-entropy over the [`Batch::weight`] labels that count.
    pub main: Tensor<1>,
    /// That of sentence order, over [`Batch::order_weight`] rows.
    pub order: Option<Tensor<1>>,
}

impl Losses {
    /// The numbers alone.
    pub fn without_graph(self) -> Self {
        Self { main: self.main.inner(), order: self.order.map(Tensor::inner) }
    }

    /// The batch's part of the loss of its optimizer step, `[1]`.
    pub fn scaled(&self, batch: &Batch) -> Tensor<1> {
        let main = self.main.clone() * batch.scale;
        match &self.order {
            Some(order) => main + order.clone() * batch.order_scale,
            None => main,
        }
    }
}

/// The logit of a token that an answer cannot be at: f16 can hold it, and its share is exactly 0.
pub(super) const OUT_OF_THE_QUESTION: f32 = -1e4;

/// Cross-entropy summed over the labels that count; of a CRF, over the rows.
///
/// # Panics
/// If the labels are not of the head's task, which whoever built the batch has to see to.
pub fn losses(head: &Head, logits: &Logits, batch: &Batch) -> Losses {
    let mut order_loss = None;
    let main = match (logits, &batch.labels) {
        (Logits::Sequence(logits), Labels::Classes(classes)) => cross_entropy_sum(logits.clone(), classes.clone()),
        (Logits::Token(logits), Labels::Tokens(tokens)) => {
            cross_entropy_sum(logits.clone().flatten(0, 1), tokens.clone().flatten(0, 1))
        }
        (Logits::Token(logits), Labels::Rows { places, classes, lengths }) => {
            let emissions = gather_words(logits.clone(), places.clone()); // [batch, words, classes]
            made(&head.crf).negative_log_likelihood(emissions, classes.clone(), lengths).sum()
        }
        (Logits::Hidden(logits, order), Labels::Masked { tokens, order: labels, .. }) => {
            if let (Some(order), Some(labels)) = (order, labels) {
                order_loss = Some(cross_entropy_sum(order.clone(), labels.clone()));
            }
            cross_entropy_sum(logits.clone(), tokens.clone())
        }
        (Logits::Span(start, end), Labels::Spans { first, last, among }) => {
            let [start, end] = [start, end].map(|logits| match among {
                Some(among) => logits.clone().mask_fill(among.clone().equal_elem(0), OUT_OF_THE_QUESTION),
                None => logits.clone(),
            });
            // A batch may lack more starts than ends (cut off, beyond the last token): the libraries take both means apart.
            let means = cross_entropy_mean(start, first.clone()) + cross_entropy_mean(end, last.clone());
            means.mul_scalar(batch.weight as f64 / 2.0)
        }
        _ => panic!("the labels are not of the head's task"),
    };
    Losses { main, order: order_loss }
}
