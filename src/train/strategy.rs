//! The training loop, as a strategy of burn-train: step based, and exactly resumable.
//!
//! burn-train's own strategies save once an epoch, without the position in the data. This one saves after any step and goes on
//! from there with the same bits: the rows of a step are a function of (seed, epoch, step), the dropout of (seed, step), and
//! everything else that training changes is in the checkpoint. Metrics, dashboard and interruption are burn-train's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn::train::{
    EventProcessorTraining, Interrupter, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainStep, TrainingComponents, TrainingItem, ValidLoader,
};

use super::checkpoint::{self, Best, State, Window};
use super::optimizer::{Optimizer, global_norm};
use super::plan::Plan;
use super::prepared::Places;
use super::progress::Metrics;
use super::renderer::keep_interrupt_key;
use super::run_folder::RunFolder;
use super::schedule::Schedule;
use crate::error::{Error, Problem, Result};
use crate::evaluate::{Evaluation, Evaluator, table};
use crate::logging::{Pace, duration};
use crate::model_folder::Export;
use crate::models::elmo::ElmoState;
use crate::nn::seed_dropout;
use crate::tasks::{Batch, Network};
use crate::weights::save_module;

type Processor = SupervisedTrainingEventProcessor<Network>;

/// A run: what it is made of and where it stands.
pub struct Run {
    pub plan: Plan,
    pub folder: Arc<RunFolder>,
    pub device: Device,
    pub places: Places,
    /// `None` where there is nothing to evaluate.
    pub evaluator: Option<Evaluator>,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    pub export: Export,
    /// What a language model's streams have left.
    pub carried: Option<ElmoState>,
    pub metrics: Metrics,
    pub state: State,
    /// Set by Ctrl-C and SIGTERM.
    pub stop: Arc<AtomicBool>,
    /// Whether burn-train's dashboard has the terminal.
    pub dashboard: bool,
}

/// How a run ended, once it has.
pub type Ending = Arc<Mutex<Option<Result<()>>>>;

/// Hands a [`Run`] to burn-train, whose interface takes the strategy by reference and has no room for an error.
pub struct StepStrategy {
    run: Mutex<Option<Run>>,
    ending: Ending,
}

impl StepStrategy {
    pub fn new(run: Run, ending: Ending) -> Self {
        Self { run: Mutex::new(Some(run)), ending }
    }
}

impl SupervisedLearningStrategy<Network> for StepStrategy {
    fn fit(
        &self,
        components: TrainingComponents<Network>,
        learner: Learner<Network>,
        train: TrainLoader<Network>,
        valid: ValidLoader<Network>,
        _starting_epoch: usize,
    ) -> (Network, Processor) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(run) = run else { return (learner.model(), components.event_processor) };
        let model = learner.model();
        drop(learner); // a second handle on the parameters would keep them from being updated in place
        let mut fit = Fit { run, processor: components.event_processor, interrupter: components.interrupter, valid };
        let mut model = Some(model);
        // As a worker of the pool the loop hands every operation's parts over without a call of the kernel.
        let result = rayon::scope(|_| fit.train(&mut model, &train));
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        // `train` gives the model back on every way out.
        (model.expect("the model is always put back"), fit.processor)
    }
}

struct Fit {
    run: Run,
    processor: Processor,
    interrupter: Interrupter,
    valid: ValidLoader<Network>,
}

impl Fit {
    fn train(&mut self, slot: &mut Option<Network>, loader: &TrainLoader<Network>) -> Result<()> {
        if !self.run.state.evaluated && self.evaluation_due(self.run.state.step) {
            self.finish_step(model_in(slot))?;
        }
        if self.run.state.finished {
            return Ok(());
        }
        let (first, total) = (self.run.state.step as usize, self.run.plan.total_steps as usize);
        let rest = loader.slice(first, total);
        let mut steps = rest.iter();
        self.start_epoch();
        if self.run.dashboard {
            keep_interrupt_key();
        }
        loop {
            if self.should_stop() {
                self.save(model_in(slot))?;
                return Err(Error::Interrupted);
            }
            let started = Instant::now();
            let Some(batches) = steps.next() else { return Ok(()) };
            let batches = batches.map_err(|cause| Error::run(Problem::new(cause.to_string())))?;
            self.step(slot, batches, started)?;
            self.finish_step(model_in(slot))?;
            if self.run.state.finished {
                return Ok(());
            }
        }
    }

    /// One update.
    fn step(&mut self, slot: &mut Option<Network>, mut batches: Vec<Batch>, started: Instant) -> Result<()> {
        let run = &mut self.run;
        let done = run.state.step;
        seed_dropout(&run.device, mix(run.plan.seed, done));
        let mut window = window_of(&batches);
        let rows: Vec<usize> = batches.iter().flat_map(|batch| batch.rows.iter().copied()).collect();
        for batch in &mut batches {
            batch.carry(run.carried.as_ref());
        }

        let model = model_in(slot);
        let output = TrainStep::step(model, batches);
        let carried = output.item.carried.clone();
        window.loss_sum = number(&output.item.loss_sum);
        if let Some((sum, rows)) = &output.item.order {
            (window.order_loss_sum, window.order_rows) = (number(sum), *rows as u64);
        }
        if !window.loss().is_finite() {
            return Err(not_finite("loss", done + 1, &rows, &run.places));
        }
        let norm = if run.optimizer.clips() { global_norm(model, &output.grads) } else { 0.0 };
        if !norm.is_finite() {
            return Err(not_finite("gradient's norm", done + 1, &rows, &run.places));
        }
        let rate = run.schedule.at(done);
        // Taken out of its slot, the model is the only holder of its parameters, which are then updated in place.
        if let Some(model) = slot.take() {
            *slot = Some(run.optimizer.step(model, output.grads, rate, norm));
        }

        run.carried = carried;
        run.state.step += 1;
        run.state.epoch = run.state.step / run.plan.steps_per_epoch;
        run.state.step_in_epoch = run.state.step % run.plan.steps_per_epoch;
        run.state.evaluated = false;
        run.state.tokens += window.tokens;
        window.seconds = started.elapsed().as_secs_f64();
        run.state.seconds += window.seconds;
        run.state.window.add(&window);

        let progress = run.plan.progress_in_epoch(run.state.step);
        let item = TrainingItem::new(output.item, progress, Some(run.state.step as usize), Some(rate.into()));
        self.send_train(LearnerEvent::ProcessedItem(item));
        self.log(rate)
    }

    /// What is due after a step: the evaluation, the best model, the end, the checkpoint, a new epoch.
    fn finish_step(&mut self, model: &Network) -> Result<()> {
        let step = self.run.state.step;
        if self.evaluation_due(step) {
            match self.evaluate(model) {
                Err(Error::Interrupted) => {
                    self.save(model)?;
                    return Err(Error::Interrupted);
                }
                other => other?,
            }
            self.run.state.evaluated = true;
        }
        let out_of_patience =
            self.run.plan.patience.is_some_and(|patience| self.run.state.evaluations_since_best >= patience);
        self.run.state.finished = step >= self.run.plan.total_steps || out_of_patience;
        if self.run.state.finished {
            if step < self.run.plan.total_steps {
                tracing::info!(
                    "stopped early: no better evaluation for {} in a row",
                    self.run.state.evaluations_since_best
                );
            }
            self.run.export.save(&self.run.folder.last(), model, None)?;
        }
        if self.run.state.finished || self.run.plan.checkpoint_due(step) {
            self.save(model)?;
        }
        if self.run.state.step_in_epoch == 0 && !self.run.state.finished && step > 0 {
            self.send_train(LearnerEvent::EndSplit(self.run.state.epoch as usize));
            self.start_epoch();
        }
        Ok(())
    }

    fn evaluation_due(&self, step: u64) -> bool {
        self.run.evaluator.is_some() && self.run.plan.evaluation_due(step)
    }

    fn evaluate(&mut self, model: &Network) -> Result<()> {
        let Some(evaluator) = &self.run.evaluator else { return Ok(()) };
        let step = self.run.state.step;
        let epoch = self.run.state.epoch as usize + 1;
        let start = LearnerEvent::StartSplit { epoch_number: epoch, total_items: evaluator.rows() };
        self.interrupter.fail_on_error(self.processor.process_valid(start));
        let stop = Stop { flag: self.run.stop.clone(), interrupter: self.interrupter.clone() };
        let (processor, interrupter) = (&mut self.processor, &self.interrupter);
        let mut pace = Pace::start();
        let mut evaluation = evaluator.run(
            &model.valid(),
            &*self.valid,
            || stop.asked(),
            |output, progress| {
                pace.say(&progress);
                let item = TrainingItem::new(output, progress, None, None);
                interrupter.fail_on_error(processor.process_valid(LearnerEvent::ProcessedItem(item)));
            },
        )?;
        self.send_valid(LearnerEvent::EndSplit(epoch));
        evaluation.step = Some(step);
        evaluation.selected_on = Some(self.run.plan.select_on.word().to_string());
        self.run.metrics.evaluation(step, &evaluation)?;
        tracing::info!("evaluation after step {step} ({})\n{}", duration(evaluation.seconds), table(&evaluation));
        self.keep_best(model, &evaluation)
    }

    fn keep_best(&mut self, model: &Network, evaluation: &Evaluation) -> Result<()> {
        let plan = &self.run.plan;
        let Some(value) = evaluation.figure(plan.select_on.word()) else { return Ok(()) };
        let better = match &self.run.state.best {
            None => true,
            Some(best) if plan.select_on.higher_is_better() => value > best.value,
            Some(best) => value < best.value,
        };
        if better {
            self.run.export.save(&self.run.folder.best(), model, Some(evaluation))?;
            self.run.state.best = Some(Best { step: self.run.state.step, value });
            self.run.state.evaluations_since_best = 0;
        } else {
            self.run.state.evaluations_since_best += 1;
        }
        Ok(())
    }

    fn save(&mut self, model: &Network) -> Result<()> {
        let run = &self.run;
        if run.state.step == 0 {
            return Ok(()); // nothing has been learnt: the run begins again
        }
        checkpoint::save(&run.folder.checkpoints(), run.plan.keep_last, &run.state, |files| {
            save_module(&files.model, model, run.export.names(), |_| true)?;
            run.optimizer.save(&files.optimizer)?;
            run.carried.as_ref().map_or(Ok(()), |state| state.save(&files.carried))
        })?;
        tracing::debug!("checkpoint after step {}", run.state.step);
        Ok(())
    }

    fn log(&mut self, rate: f64) -> Result<()> {
        let run = &mut self.run;
        let (step, total) = (run.state.step, run.plan.total_steps);
        if !step.is_multiple_of(run.plan.logging_steps) && step != total {
            return Ok(());
        }
        let window = std::mem::take(&mut run.state.window);
        let epoch = step as f64 / run.plan.steps_per_epoch as f64;
        run.metrics.training(step, epoch, rate, &window)?;
        tracing::info!(
            "step {step}/{total}, epoch {epoch:.2}, loss {:.4}, learning rate {rate:.3e}, {:.2} s/step, {:.0} tokens/s, padding {:.0} %, {} left",
            window.loss(),
            window.seconds_per_step(),
            window.tokens_per_second(),
            100.0 * window.padding_share(),
            duration((total - step) as f64 * window.seconds_per_step()),
        );
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.run.stop.load(Ordering::Relaxed) || self.interrupter.should_stop()
    }

    fn start_epoch(&mut self) {
        let epoch_number = self.run.state.epoch as usize + 1;
        let total_items = self.run.plan.steps_per_epoch as usize;
        self.send_train(LearnerEvent::StartSplit { epoch_number, total_items });
    }

    fn send_train(&mut self, event: LearnerEvent<crate::tasks::StepOutput>) {
        self.interrupter.fail_on_error(self.processor.process_train(event));
    }

    fn send_valid(&mut self, event: LearnerEvent<crate::tasks::StepOutput>) {
        self.interrupter.fail_on_error(self.processor.process_valid(event));
    }
}

/// The two ways in which a user asks for a stop: a signal, or the dashboard.
struct Stop {
    flag: Arc<AtomicBool>,
    interrupter: Interrupter,
}

impl Stop {
    fn asked(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.interrupter.should_stop()
    }
}

fn model_in(slot: &Option<Network>) -> &Network {
    slot.as_ref().expect("the model is only taken out during an update, which puts it back")
}

fn window_of(batches: &[Batch]) -> Window {
    let sum = |of: fn(&Batch) -> usize| batches.iter().map(of).sum::<usize>() as u64;
    Window {
        steps: 1,
        rows: sum(|batch| batch.rows.len()),
        labels: sum(|batch| batch.weight),
        tokens: sum(|batch| batch.tokens),
        padded_tokens: sum(|batch| batch.input.tokens()),
        ..Window::default()
    }
}

fn number(tensor: &Tensor<1>) -> f64 {
    tensor.to_data().iter::<f64>().sum()
}

/// The seed of a step's dropout (SplitMix64's finaliser over both numbers).
fn mix(seed: u64, step: u64) -> u64 {
    let mut z = seed.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn not_finite(what: &str, step: u64, rows: &[usize], places: &Places) -> Error {
    let shown: Vec<String> = rows.iter().take(16).map(|&row| places.of(row)).collect();
    let more = if rows.len() > shown.len() { ", ..." } else { "" };
    let problem = Problem::new(format!("the {what} of step {step} is not a finite number; the model was not updated"));
    Error::run(problem.help(format!(
        "its rows are {}{more}. A smaller optimizer.learning_rate, a longer warm-up or optimizer.max_grad_norm often mend this; \
         the last checkpoint is good",
        shown.join(", ")
    )))
}
