//! A backbone with a task's head: what is trained.

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use super::{Batch, Labels, recompute};
use crate::models::{Backbone, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{HiddenStates, MaskedLmConfig, MaskedLmHead, cross_entropy_mean, cross_entropy_sum, dropout, linear};
use crate::recipe::TaskName;

/// The layers on top of the encoder.
#[derive(Module, Debug)]
pub struct Head {
    dropout: Dropout,
    /// Of sequence and token classification.
    classifier: Option<Linear>,
    /// Of question answering: the start's and the end's logits.
    qa_outputs: Option<Linear>,
    masked_lm: Option<MaskedLmHead>,
    #[module(skip)]
    task: TaskName,
}

/// A head's output.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of them a batch, and it only holds handles")]
pub enum Logits {
    /// `[batch, classes]`.
    Sequence(Tensor<2>),
    /// `[batch, seq, classes]`.
    Token(Tensor<3>),
    /// Start and end, both `[batch, seq]`.
    Span(Tensor<2>, Tensor<2>),
    /// `[batch, seq, vocabulary]`.
    Vocabulary(Tensor<3>),
    /// Of the hidden tokens only, `[hidden, vocabulary]`.
    Hidden(Tensor<2>),
}

impl Head {
    fn new(task: TaskName, config: &ModelConfig, classes: usize, device: &Device) -> Self {
        let common = config.common();
        let size = common.encoder.hidden_size;
        let classifies = matches!(task, TaskName::SequenceClassification | TaskName::TokenClassification);
        let masked_lm = MaskedLmConfig {
            hidden_size: size,
            embedding_size: common.output_embedding_size,
            vocab_size: common.vocab_size,
            hidden_act: common.encoder.hidden_act,
            layer_norm_eps: common.encoder.layer_norm_eps,
        };
        Self {
            dropout: dropout(common.classifier_dropout),
            classifier: classifies.then(|| linear(size, classes, device)),
            qa_outputs: (task == TaskName::QuestionAnswering).then(|| linear(size, 2, device)),
            masked_lm: (task == TaskName::MaskedLm).then(|| MaskedLmHead::new(&masked_lm, device)),
            task,
        }
    }

    fn forward(&self, output: &EncoderOutput) -> Logits {
        let last = output.last_hidden_state(); // [batch, seq, hidden]
        match self.task {
            TaskName::SequenceClassification => {
                let pooled = output.pooled.clone().expect("`TaskModel::new` gives a sequence classifier its pooler");
                Logits::Sequence(made(&self.classifier).forward(self.dropout.forward(pooled)))
            }
            TaskName::TokenClassification => Logits::Token(made(&self.classifier).forward(self.dropout.forward(last))),
            TaskName::QuestionAnswering => {
                let both = made(&self.qa_outputs).forward(last); // [batch, seq, 2]
                let [start, end] = [0, 1].map(|i| both.clone().narrow(2, i, 1).squeeze_dim::<2>(2)); // [batch, seq]
                Logits::Span(start, end)
            }
            TaskName::MaskedLm => Logits::Vocabulary(made(&self.masked_lm).forward(last)),
        }
    }

    /// The logits of a batch, as far as its loss needs them: of masked language modelling those of the hidden tokens, for the
    /// vocabulary is large.
    fn forward_labelled(&self, output: &EncoderOutput, labels: &Labels) -> Logits {
        let Labels::Masked { places, .. } = labels else { return self.forward(output) };
        let hidden = output.last_hidden_state().flatten::<2>(0, 1).select(0, places.clone()); // [hidden, hidden_size]
        Logits::Hidden(made(&self.masked_lm).forward(hidden))
    }
}

/// # Panics
/// If it was not made, which is a mistake of [`Head::new`]'s.
fn made<T>(layer: &Option<T>) -> &T {
    layer.as_ref().expect("`Head::new` makes the layers of its task")
}

/// An encoder, and a head if it is for a task.
#[derive(Module, Debug)]
pub struct TaskModel {
    pub(super) backbone: Backbone,
    head: Option<Head>,
    /// Whether training holds the graph of one layer at a time; see [`recompute`].
    recompute: bool,
}

impl TaskModel {
    /// A model for `task` whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ModelConfig, task: TaskName, classes: usize, device: &Device) -> Self {
        // As the libraries do: only sequence classification reads the pooled token.
        let with_pooler = task == TaskName::SequenceClassification;
        let head = Some(Head::new(task, config, classes, device));
        Self { backbone: Backbone::new(config, with_pooler, device), head, recompute: false }
    }

    /// An encoder without a head.
    pub fn headless(config: &ModelConfig, with_pooler: bool, device: &Device) -> Self {
        Self { backbone: Backbone::new(config, with_pooler, device), head: None, recompute: false }
    }

    /// The same model, which trains with less memory in more time if `recompute` says so.
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// All of the encoder's states, and the head's logits if there is one.
    pub fn forward(&self, input: &EncoderInput) -> (EncoderOutput, Option<Logits>) {
        let output = self.backbone.forward(input, HiddenStates::All);
        let logits = self.head.as_ref().map(|head| head.forward(&output));
        (output, logits)
    }

    /// The head's logits, if there is one.
    pub fn logits(&self, input: &EncoderInput) -> Option<Logits> {
        let head = self.head.as_ref()?;
        Some(head.forward(&self.backbone.forward(input, HiddenStates::Last)))
    }

    /// The loss of a batch as a sum over its labels, `[1]`, with the logits it comes from.
    ///
    /// # Panics
    /// If there is no head, or the labels are not of its task, which whoever built the batch has to see to.
    pub fn loss(&self, batch: &Batch) -> (Tensor<1>, Logits) {
        self.loss_of(self.backbone.forward(&batch.input, HiddenStates::Last), batch)
    }

    /// [`Self::loss`] from the encoder's output on.
    pub(super) fn loss_of(&self, output: EncoderOutput, batch: &Batch) -> (Tensor<1>, Logits) {
        let head = self.head.as_ref().expect("a model without a head has no loss");
        let logits = head.forward_labelled(&output, &batch.labels);
        (summed_loss(&logits, batch), logits)
    }
}

/// Cross-entropy summed over the labels that count.
fn summed_loss(logits: &Logits, batch: &Batch) -> Tensor<1> {
    match (logits, &batch.labels) {
        (Logits::Sequence(logits), Labels::Classes(classes)) => cross_entropy_sum(logits.clone(), classes.clone()),
        (Logits::Token(logits), Labels::Tokens(tokens)) => {
            cross_entropy_sum(logits.clone().flatten(0, 1), tokens.clone().flatten(0, 1))
        }
        (Logits::Hidden(logits), Labels::Masked { tokens, .. }) => cross_entropy_sum(logits.clone(), tokens.clone()),
        (Logits::Span(start, end), Labels::Spans(first, last)) => {
            // A batch may lack more starts than ends (cut off, beyond the last token): the libraries take both means apart.
            let means =
                cross_entropy_mean(start.clone(), first.clone()) + cross_entropy_mean(end.clone(), last.clone());
            means.mul_scalar(batch.weight as f64 / 2.0)
        }
        _ => panic!("the labels are not of the head's task"),
    }
}

/// What a step leaves for the metrics: the loss summed over `weight` labels, and the logits where they are asked for.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// `[1]`, without a graph.
    pub loss_sum: Tensor<1>,
    pub weight: usize,
    /// Of inference only: a training step has as many as it has micro-batches.
    pub logits: Option<Logits>,
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for StepOutput {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss_sum.clone().div_scalar(self.weight.max(1) as f64))
    }
}

impl TrainStep for TaskModel {
    /// The micro-batches of one optimizer step.
    type Input = Vec<Batch>;
    type Output = StepOutput;

    /// The gradients of the mean loss over all labels of the step.
    fn step(&self, batches: Vec<Batch>) -> TrainOutput<StepOutput> {
        let mut accumulator = GradientsAccumulator::new();
        let mut loss_sums = Vec::new();
        let mut weight = 0;
        for batch in &batches {
            if self.recompute {
                loss_sums.push(recompute::add_gradients(self, batch, &mut accumulator));
            } else {
                let (loss_sum, _) = self.loss(batch);
                let gradients = (loss_sum.clone() * batch.scale).backward();
                accumulator.accumulate(self, GradientsParams::from_grads(gradients, self));
                loss_sums.push(loss_sum.inner());
            }
            weight += batch.weight;
        }
        let loss_sum = Tensor::cat(loss_sums, 0).sum(); // [1]
        TrainOutput { grads: accumulator.grads(), item: StepOutput { loss_sum, weight, logits: None } }
    }
}

impl InferenceStep for TaskModel {
    type Input = Batch;
    type Output = StepOutput;

    fn step(&self, batch: Batch) -> StepOutput {
        let (loss_sum, logits) = self.loss(&batch);
        StepOutput { loss_sum, weight: batch.weight, logits: Some(logits) }
    }
}
