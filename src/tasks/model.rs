//! A backbone with a task's head: what is trained.

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use super::{Batch, Labels};
use crate::models::{Backbone, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{cross_entropy_mean, cross_entropy_sum, dropout, linear};
use crate::recipe::TaskName;

/// The layers on top of the encoder.
#[derive(Module, Debug)]
pub struct Head {
    dropout: Dropout,
    /// Of sequence and token classification.
    classifier: Option<Linear>,
    /// Of question answering: the start's and the end's logits.
    qa_outputs: Option<Linear>,
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
}

impl Head {
    fn new(task: TaskName, config: &ModelConfig, classes: usize, device: &Device) -> Self {
        let size = config.hidden_size();
        let answers = task == TaskName::QuestionAnswering;
        Self {
            dropout: dropout(config.classifier_dropout()),
            classifier: (!answers).then(|| linear(size, classes, device)),
            qa_outputs: answers.then(|| linear(size, 2, device)),
            task,
        }
    }

    fn forward(&self, output: &EncoderOutput) -> Logits {
        match (&self.classifier, &self.qa_outputs, &output.pooled) {
            (Some(classifier), _, Some(pooled)) if self.task == TaskName::SequenceClassification => {
                Logits::Sequence(classifier.forward(self.dropout.forward(pooled.clone())))
            }
            (Some(classifier), _, _) => {
                Logits::Token(classifier.forward(self.dropout.forward(output.last_hidden_state())))
            }
            (None, Some(qa_outputs), _) => {
                let [start, end] =
                    [0, 1].map(|i| qa_outputs.forward(output.last_hidden_state()).narrow(2, i, 1).squeeze_dim::<2>(2));
                Logits::Span(start, end)
            }
            (None, None, _) => unreachable!("Head::new makes one of the two"),
        }
    }
}

/// An encoder, and a head if it is for a task.
#[derive(Module, Debug)]
pub struct TaskModel {
    backbone: Backbone,
    head: Option<Head>,
}

impl TaskModel {
    /// A model for `task` whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ModelConfig, task: TaskName, classes: usize, device: &Device) -> Self {
        // As the libraries do: only sequence classification reads the pooled token.
        let with_pooler = task == TaskName::SequenceClassification;
        let head = Some(Head::new(task, config, classes, device));
        Self { backbone: Backbone::new(config, with_pooler, device), head }
    }

    /// An encoder without a head.
    pub fn headless(config: &ModelConfig, with_pooler: bool, device: &Device) -> Self {
        Self { backbone: Backbone::new(config, with_pooler, device), head: None }
    }

    /// The encoder's states, and the head's logits if there is one.
    pub fn forward(&self, input: &EncoderInput) -> (EncoderOutput, Option<Logits>) {
        let output = self.backbone.forward(input);
        let logits = self.head.as_ref().map(|head| head.forward(&output));
        (output, logits)
    }

    /// The loss of a batch as a sum over its labels, `[1]`, with the logits it comes from.
    ///
    /// # Panics
    /// If the labels are not of the head's task, which whoever built the batch has to see to.
    pub fn loss(&self, batch: &Batch) -> (Tensor<1>, Logits) {
        let (_, logits) = self.forward(&batch.input);
        let logits = logits.expect("a model without a head has no loss");
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
            let (loss_sum, _) = self.loss(batch);
            let gradients = (loss_sum.clone() * batch.scale).backward();
            accumulator.accumulate(self, GradientsParams::from_grads(gradients, self));
            loss_sums.push(loss_sum.inner());
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
