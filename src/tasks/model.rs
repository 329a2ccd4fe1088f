//! A backbone with a task's head: what is trained.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use super::head::{Head, HeadShape, Logits, Losses, losses};
use super::parts::{self, MOST_LOGITS};
use super::{Batch, Input, recompute};
use crate::data::align::{NO_TAG, word_tags};
use crate::models::elmo::{Elmo, ElmoState};
use crate::models::{Backbone, EncoderInput, EncoderOutput, ModelConfig};
use crate::nn::{HiddenStates, viterbi};
use crate::recipe::TaskName;

/// An encoder, and a head if it is for a task.
#[derive(Module, Debug)]
pub struct TaskModel {
    pub(super) backbone: Backbone,
    pub(super) head: Option<Head>,
    /// Whether training holds the graph of one layer at a time; see [`recompute`].
    recompute: bool,
}

impl TaskModel {
    /// A model with a head whose values are still to be given by [`crate::weights::fill`].
    pub fn new(config: &ModelConfig, shape: HeadShape, device: &Device) -> Self {
        // As the libraries do: the other tasks do not read the pooled token.
        let with_pooler = matches!(shape.task, TaskName::SequenceClassification | TaskName::PreTraining);
        let head = Some(Head::new(shape, config, device));
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

    /// The same model with an ELMo for the features of its words, if it is one of words.
    pub fn with_elmo(self, elmo: Elmo) -> Self {
        match self.backbone {
            Backbone::Words(words) => Self { backbone: Backbone::Words(words.with_elmo(elmo)), ..self },
            _ => self,
        }
    }

    /// The same model, in which what is never trained has no gradients.
    pub fn frozen(self) -> Self {
        match self.backbone {
            Backbone::Words(words) => Self { backbone: Backbone::Words(words.frozen()), ..self },
            _ => self,
        }
    }

    /// The parameters that every token is multiplied by: the layers' weights, or all where there are no layers.
    pub fn params_per_token(&self) -> usize {
        self.backbone.encoder().map_or_else(|| self.num_params(), Module::num_params)
    }

    /// All of the encoder's states, and the head's logits if there is one.
    pub fn forward(&self, input: &EncoderInput) -> (EncoderOutput, Option<Logits>) {
        let output = self.backbone.forward(input, HiddenStates::All);
        let logits = self.head.as_ref().map(|head| head.forward(input, &output, &self.backbone));
        (output, logits)
    }

    /// The head's logits, if there is one.
    pub fn logits(&self, input: &EncoderInput) -> Option<Logits> {
        let head = self.head.as_ref()?;
        Some(head.forward(input, &self.backbone.forward(input, HiddenStates::Last), &self.backbone))
    }

    /// The batch as it is learnt from: with what the model itself is to write into its input.
    ///
    /// # Panics
    /// If there is something to write, and no masked-LM head to write it.
    pub fn completed(&self, mut batch: Batch) -> Batch {
        if let (Some(generation), Input::Tokens(input)) = (batch.generate.take(), &mut batch.input) {
            generation.write(self, input);
        }
        batch
    }

    /// The losses of a batch, with the logits they come from.
    ///
    /// # Panics
    /// If there is no head, the labels are not of its task, or the batch is not [`completed`](Self::completed), which whoever built the
    /// batch has to see to.
    pub fn loss(&self, batch: &Batch) -> (Losses, Logits) {
        self.loss_of(self.backbone.forward(batch.encoder_input(), HiddenStates::Last), batch)
    }

    /// [`Self::loss`] from the encoder's output on.
    pub(super) fn loss_of(&self, output: EncoderOutput, batch: &Batch) -> (Losses, Logits) {
        let head = self.head.as_ref().expect("a model without a head has no loss");
        assert!(
            batch.generate.is_none(),
            "the loss of a batch that is not completed would be that of its placeholders"
        );
        let logits = head.forward_labelled(batch, &output, &self.backbone);
        (losses(head, &logits, batch), logits)
    }

    /// Adds the gradients of a batch's scaled loss to `accumulator`, and gives the losses themselves, without a graph. Of the masked-LM
    /// logits no more than about `most_logits` numbers are held at once.
    pub(super) fn add_gradients(
        &self,
        batch: &Batch,
        most_logits: usize,
        accumulator: &mut GradientsAccumulator<Self>,
    ) -> Losses {
        if let (true, Some(encoder)) = (self.recompute, self.backbone.encoder()) {
            return recompute::add_gradients(self, encoder, batch, most_logits, accumulator);
        }
        let output = self.backbone.forward(batch.encoder_input(), HiddenStates::Last);
        if parts::of(self, batch, most_logits).len() > 1 {
            let last = output.last_hidden_state(); // [batch, seq, hidden]
            let leaf = last.clone().detach().require_grad();
            let (losses, flowing) = parts::add_gradients(self, leaf, batch, most_logits, accumulator);
            let gradients = recompute::pull_back(last, flowing);
            accumulator.accumulate(self, GradientsParams::from_grads(gradients, self));
            return losses;
        }
        let (losses, _) = self.loss_of(output, batch);
        let gradients = losses.scaled(batch).backward();
        accumulator.accumulate(self, GradientsParams::from_grads(gradients, self));
        losses.without_graph()
    }

    /// One tag for each word of rows, from the head's scores `[batch, seq, tags]` and, for each row, where its words' first tokens
    /// stand: the best for each word, or where there is a CRF the best row of them; [`NO_TAG`] for words that are not seen.
    pub fn word_tags(&self, scores: &Tensor<3>, starts: &[&[Option<u32>]]) -> Vec<Vec<u32>> {
        let [_, width, tags] = scores.dims();
        let Some(crf) = self.head.as_ref().and_then(Head::crf) else {
            let best: Vec<u32> = scores.clone().argmax(2).into_data().iter::<u32>().collect(); // [batch, seq, 1]
            return starts.iter().zip(best.chunks(width)).map(|(starts, best)| word_tags(starts, best)).collect();
        };
        let transitions = crf.transitions();
        let scores: Vec<f32> = scores.to_data().iter::<f32>().collect();
        let of_row = |(starts, scores): (&&[Option<u32>], &[f32])| {
            let seen = starts.iter().flatten();
            let seen = seen.flat_map(|start| &scores[*start as usize * tags..(*start as usize + 1) * tags]).copied();
            let (_, path) = viterbi(&transitions, &seen.collect::<Vec<f32>>(), tags);
            let mut path = path.into_iter();
            starts.iter().map(|start| start.and_then(|_| path.next()).unwrap_or(NO_TAG)).collect()
        };
        starts.iter().zip(scores.chunks(width * tags)).map(of_row).collect()
    }
}

/// What a step leaves for the metrics: the losses summed over their labels, and the logits where they are asked for.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// `[1]`, without a graph.
    pub loss_sum: Tensor<1>,
    pub weight: usize,
    /// The loss of sentence order, `[1]`, and of how many rows it is.
    pub order: Option<(Tensor<1>, usize)>,
    /// Of inference only: a training step has as many as it has micro-batches.
    pub logits: Option<Logits>,
    /// What all streams of a language model hand to the next batch or step, where they do.
    pub carried: Option<ElmoState>,
}

impl StepOutput {
    /// Sums the losses of micro-batches.
    pub(super) fn of(losses: Vec<Losses>, batches: &[Batch], logits: Option<Logits>) -> Self {
        let sum = |parts: Vec<Tensor<1>>| Tensor::cat(parts, 0).sum(); // [1]
        let orders: Vec<Tensor<1>> = losses.iter().filter_map(|losses| losses.order.clone()).collect();
        let rows = batches.iter().map(|batch| batch.order_weight).sum();
        Self {
            loss_sum: sum(losses.into_iter().map(|losses| losses.main).collect()),
            weight: batches.iter().map(|batch| batch.weight).sum(),
            order: (!orders.is_empty()).then(|| (sum(orders), rows)),
            logits,
            carried: None,
        }
    }
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for StepOutput {
    fn adapt(&self) -> LossInput {
        let mean = |sum: &Tensor<1>, weight: usize| sum.clone().div_scalar(weight.max(1) as f64);
        let main = mean(&self.loss_sum, self.weight); // [1]
        LossInput::new(match &self.order {
            Some((sum, rows)) => main + mean(sum, *rows),
            None => main,
        })
    }
}

impl TrainStep for TaskModel {
    /// The micro-batches of one optimizer step.
    type Input = Vec<Batch>;
    type Output = StepOutput;

    /// The gradients of the mean loss over all labels of the step.
    fn step(&self, batches: Vec<Batch>) -> TrainOutput<StepOutput> {
        let mut accumulator = GradientsAccumulator::new();
        let batches: Vec<Batch> = batches.into_iter().map(|batch| self.completed(batch)).collect();
        let losses = batches.iter().map(|batch| self.add_gradients(batch, MOST_LOGITS, &mut accumulator)).collect();
        TrainOutput { grads: accumulator.grads(), item: StepOutput::of(losses, &batches, None) }
    }
}

impl InferenceStep for TaskModel {
    type Input = Batch;
    type Output = StepOutput;

    fn step(&self, batch: Batch) -> StepOutput {
        let batch = self.completed(batch);
        let (losses, logits) = self.loss(&batch);
        StepOutput::of(vec![losses], &[batch], Some(logits))
    }
}
