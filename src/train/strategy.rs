//! The training loop, as a strategy of burn-train: step based, and exactly resumable.
//!
//! burn-train's own strategies save once an epoch, without the position in the data. This one saves after any step and goes on
//! from there with the same bits: the rows of a step are a function of (seed, epoch, step), the dropout of (seed, step), and
//! everything else that training changes is in the checkpoint. Metrics, dashboard and interruption are burn-train's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::data::dataloader::Progress;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use burn::train::{
    EventProcessorTraining, Interrupter, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};

use super::checkpoint::{self, Best, CARRIED, MODEL, OPTIMIZER, State};
use super::dashboard::{LOSS, MEMORY, SPEED, keep_interrupt_key};
use super::experiment::{Experiment, TrainingData};
use super::loss_scale::LossScale;
use super::optimizer::{Norm, Optimizer, global_norm};
use super::progress::Metrics;
use super::run_folder::RunFolder;
use super::schedule::Schedule;
use super::step::{self, Step};
use crate::device;
use crate::error::{Error, Problem, Result};
use crate::evaluate::Evaluator;
use crate::logging::{Pace, duration};
use crate::memory;
use crate::metrics::{Evaluation, table};
use crate::nn::seed_dropout;
use crate::random::{SPLIT_MIX_STEP, split_mix};
use crate::ranks::Ranks;
use crate::tasks::{BatchOf, Carried, Figures, Loss, Trainable, number};
use crate::weights::{Saved, save_module};

type ModelOf<E> = <E as Experiment>::Model;

/// A run: what it is made of and where it stands.
pub struct Run<E: Experiment> {
    pub experiment: E,
    pub data: TrainingData<ModelOf<E>>,
    pub folder: Arc<RunFolder>,
    pub device: Device,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    /// What the last step has left.
    pub carried: <ModelOf<E> as Trainable>::Carried,
    pub metrics: Metrics,
    pub state: State,
    /// Set by Ctrl-C and SIGTERM.
    pub stop: Arc<AtomicBool>,
    /// What of an evaluation the dashboard shows.
    pub figures: &'static [&'static str],
    /// Whether burn-train's dashboard has the terminal.
    pub dashboard: bool,
}

/// What a step computes: its losses, its gradients unless there is to be no update, and their norm.
type Computed = (Vec<Loss>, Option<GradientsParams>, Norm);

impl<E: Experiment> Run<E> {
    /// A step in float16, whose loss is scaled. As in PyTorch's `GradScaler` it waits for the device: whether a gradient has
    /// overflowed says whether there is an update, and what the next scale is.
    fn scaled_gradients(
        &mut self,
        step: &Step,
        model: &ModelOf<E>,
        mut batches: Vec<BatchOf<ModelOf<E>>>,
        mut scale: LossScale,
    ) -> Result<Computed> {
        scale.apply(&mut batches);
        let before = self.carried.clone();
        let (losses, gradients) = model.gradients(batches, &mut self.carried);
        let norm = match global_norm(model, &gradients) {
            Norm::Read(norm) => norm,
            Norm::OnDevice(norm) => step::numbers(vec![*norm], std::slice::from_ref(step), &self.data)?.iter().sum(),
        };
        let norm = norm / scale.scale;
        self.optimizer.loss_scale = scale.scale;
        scale.update(norm.is_finite());
        let (step, exhausted, next) = (step.number, scale.is_exhausted(), scale.scale);
        self.state.loss_scale = Some(scale);
        if norm.is_finite() {
            return Ok((losses, Some(gradients), Norm::Read(norm)));
        }
        if exhausted {
            let what =
                format!("the gradients of step {step} are too large for f16, even of a loss that is not scaled up");
            let help = "device.precision=\"bf16\" has the range of f32; the last checkpoint is good";
            return Err(Error::run(Problem::new(what).help(help)));
        }
        tracing::info!(
            "step {step}: a gradient is too large for f16; its update is left out, the loss is scaled by {next} now"
        );
        if losses.iter().any(|loss| !number(&loss.sum).is_finite()) {
            self.carried = before;
        }
        Ok((losses, None, Norm::default()))
    }
}

/// Hands a [`Run`] to burn-train, whose interface takes the strategy by reference and has no room for an error.
pub struct StepStrategy<E: Experiment> {
    pub run: Mutex<Option<Run<E>>>,
    /// How the run ended, once it has.
    pub ending: Mutex<Option<Result<()>>>,
}

impl<E: Experiment> SupervisedLearningStrategy<ModelOf<E>> for StepStrategy<E> {
    fn fit(
        &self,
        components: TrainingComponents<ModelOf<E>>,
        learner: Learner<ModelOf<E>>,
        _train: TrainLoader<ModelOf<E>>,
        _valid: ValidLoader<ModelOf<E>>,
        _starting_epoch: usize,
    ) -> (ModelOf<E>, SupervisedTrainingEventProcessor<ModelOf<E>>) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(run) = run else { return (learner.model(), components.event_processor) };
        let model = learner.model();
        drop(learner); // a second handle on the parameters would keep them from being updated in place
        let TrainingComponents { event_processor: processor, interrupter, .. } = components;
        let mut fit = Fit { run, processor, interrupter, unread: Vec::new() };
        let mut model = Some(model);
        // As a worker of the pool the loop hands every operation's parts over without a call of the kernel.
        let result = rayon::scope(|_| fit.train(&mut model));
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        // `train` gives the model back on every way out.
        (model.expect("the model is always put back"), fit.processor)
    }
}

struct Fit<E: Experiment> {
    run: Run<E>,
    processor: SupervisedTrainingEventProcessor<ModelOf<E>>,
    interrupter: Interrupter,
    /// Steps whose losses are still to be read.
    unread: Vec<Step>,
}

impl<E: Experiment> Fit<E> {
    fn train(&mut self, slot: &mut Option<ModelOf<E>>) -> Result<()> {
        if !self.run.state.evaluated && self.evaluation_due(self.run.state.step) {
            self.finish_step(model_in(slot))?;
        }
        if self.run.state.finished {
            return Ok(());
        }
        let (first, total) = (self.run.state.step as usize, self.run.data.plan.total_steps as usize);
        let rest = self.run.data.loader.slice(first, total);
        let mut steps = rest.iter();
        self.start_steps();
        if self.run.dashboard {
            keep_interrupt_key();
        }
        loop {
            if should_stop(&self.run.stop, &self.interrupter) {
                self.save(model_in(slot))?;
                return Err(Error::Interrupted);
            }
            let started = Instant::now();
            let Some(batches) = steps.next() else { return Ok(()) };
            let batches = batches.map_err(|cause| Error::run(Problem::new(cause.to_string())))?;
            let waited = started.elapsed().as_secs_f64();
            self.step(slot, batches, started, waited)?;
            self.finish_step(model_in(slot))?;
            if self.run.state.finished {
                return Ok(());
            }
        }
    }

    /// One update with batches that came `waited` seconds after `started`.
    fn step(
        &mut self,
        slot: &mut Option<ModelOf<E>>,
        batches: Vec<BatchOf<ModelOf<E>>>,
        started: Instant,
        waited: f64,
    ) -> Result<()> {
        let run = &mut self.run;
        let done = run.state.step;
        seed_dropout(&run.device, mix(run.data.plan.training.seed, done));
        let mut step = Step::new(done + 1, run.schedule.at(done), &batches);
        let model = model_in(slot);
        let (losses, gradients, norm) = match run.state.loss_scale.clone() {
            None => {
                let (losses, gradients) = model.gradients(batches, &mut run.carried);
                let norm = if run.optimizer.clips() { global_norm(model, &gradients) } else { Norm::default() };
                (losses, Some(gradients), norm)
            }
            Some(scale) => run.scaled_gradients(&step, model, batches, scale)?,
        };
        step.computed(losses, norm.clone());
        // A GPU has more to do by now, and is not waited for.
        let reads_late = device::is_gpu(&run.device);
        match gradients {
            None => step.leave_out(),
            Some(_) if !reads_late => step::read(std::slice::from_mut(&mut step), &run.data)?,
            Some(_) => {}
        }
        // Taken out of its slot, the model is the only holder of its parameters, which are then updated in place.
        if let Some(gradients) = gradients
            && let Some(model) = slot.take()
        {
            *slot = Some(run.optimizer.step(model, gradients, step.learning_rate, norm));
            if let Some(words) = &mut run.state.words {
                words.left = run.optimizer.left_of_words;
            }
        }

        run.state.step += 1;
        run.state.epoch = run.state.step / run.data.plan.steps_per_epoch;
        run.state.step_in_epoch = run.state.step % run.data.plan.steps_per_epoch;
        run.state.evaluated = false;
        (step.stats.seconds, step.stats.data_seconds) = (started.elapsed().as_secs_f64(), waited);
        self.unread.push(step);
        let number = self.run.state.step;
        let plan = &self.run.data.plan;
        if !reads_late || plan.logging_due(number) || plan.checkpoint_due(number) || self.evaluation_due(number) {
            self.settle()?;
        }
        self.log()
    }

    /// Reads what the steps have computed since the last time, and counts it.
    fn settle(&mut self) -> Result<()> {
        let mut steps = std::mem::take(&mut self.unread);
        let started = Instant::now();
        step::read(&mut steps, &self.run.data)?;
        if let Some(last) = steps.last_mut() {
            last.stats.seconds += started.elapsed().as_secs_f64();
        }
        for Step { number, learning_rate, stats, .. } in steps {
            let state = &mut self.run.state;
            state.tokens += stats.tokens;
            state.seconds += stats.seconds;
            state.window.add(&stats);
            let figures = [(LOSS, stats.loss()), (SPEED, stats.tokens_per_second()), (MEMORY, memory::resident())];
            let figures = Figures(figures.to_vec());
            let progress = self.run.data.plan.progress(number);
            let item = TrainingItem::new(figures, progress, Some(number as usize), Some(learning_rate.into()));
            self.send_train(LearnerEvent::ProcessedItem(item));
        }
        Ok(())
    }

    /// What is due after a step: the evaluation, the best model, the end, the checkpoint, a new epoch.
    fn finish_step(&mut self, model: &ModelOf<E>) -> Result<()> {
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
        let out_of_patience = self
            .run
            .data
            .plan
            .evaluation
            .patience
            .is_some_and(|patience| self.run.state.evaluations_since_best >= patience);
        self.run.state.finished = step >= self.run.data.plan.total_steps || out_of_patience;
        if self.run.state.finished {
            if step < self.run.data.plan.total_steps {
                tracing::info!(
                    "stopped early: no better evaluation for {} in a row",
                    self.run.state.evaluations_since_best
                );
            }
            self.run.experiment.export(&self.run.folder.last(), model, self.run.optimizer.left_of_words, None)?;
        }
        if self.run.state.finished || self.run.data.plan.checkpoint_due(step) {
            self.save(model)?;
        }
        Ok(())
    }

    fn evaluation_due(&self, step: u64) -> bool {
        self.run.data.evaluator.is_some() && self.run.data.plan.evaluation_due(step)
    }

    fn evaluate(&mut self, model: &ModelOf<E>) -> Result<()> {
        let step = self.run.state.step;
        let total_items = self.run.data.evaluator.as_ref().map_or(0, Evaluator::batches);
        self.send_valid(LearnerEvent::StartSplit { epoch_number: 1, total_items });
        let Self { run, processor, interrupter, .. } = self;
        let Some(evaluator) = &run.data.evaluator else { return Ok(()) };
        let mut pace = Pace::start();
        let mut evaluation = evaluator.run(
            &model.valid(),
            &Ranks::alone(),
            || should_stop(&run.stop, interrupter),
            |output, progress| {
                pace.say(&progress);
                let item = TrainingItem::new(output, progress, None, None);
                interrupter.fail_on_error(processor.process_valid(LearnerEvent::ProcessedItem(item)));
            },
        )?;
        evaluation.step = Some(step);
        evaluation.selected_on = Some(self.run.data.plan.evaluation.select_on.word().to_string());
        self.show(&evaluation);
        self.run.metrics.evaluation(step, &evaluation)?;
        tracing::info!("evaluation after step {step} ({})\n{}", duration(evaluation.seconds), table(&evaluation));
        self.keep_best(model, &evaluation)
    }

    fn keep_best(&mut self, model: &ModelOf<E>, evaluation: &Evaluation) -> Result<()> {
        let plan = &self.run.data.plan;
        let Some(value) = evaluation.figure(plan.evaluation.select_on.word()) else { return Ok(()) };
        let better = match &self.run.state.best {
            None => true,
            Some(best) if plan.evaluation.select_on.higher_is_better() => value > best.value,
            Some(best) => value < best.value,
        };
        if better {
            let left = self.run.optimizer.left_of_words;
            self.run.experiment.export(&self.run.folder.best(), model, left, Some(evaluation))?;
            self.run.state.best = Some(Best { step: self.run.state.step, value });
            self.run.state.evaluations_since_best = 0;
        } else {
            self.run.state.evaluations_since_best += 1;
        }
        Ok(())
    }

    fn save(&mut self, model: &ModelOf<E>) -> Result<()> {
        self.settle()?;
        let run = &self.run;
        if run.state.step == 0 {
            return Ok(()); // nothing has been learnt: the run begins again
        }
        checkpoint::save(&run.folder.checkpoints(), run.data.plan.checkpoint.keep_last, &run.state, |folder| {
            save_module(&folder.join(MODEL), model, run.experiment.tensor_names(), Saved::All)?;
            run.optimizer.save(&folder.join(OPTIMIZER))?;
            run.carried.save(&folder.join(CARRIED))
        })?;
        tracing::debug!("checkpoint after step {}", run.state.step);
        Ok(())
    }

    fn log(&mut self) -> Result<()> {
        let run = &mut self.run;
        let (step, total) = (run.state.step, run.data.plan.total_steps);
        if !run.data.plan.logging_due(step) {
            return Ok(());
        }
        let rate = run.schedule.at(step - 1);
        let stats = std::mem::take(&mut run.state.window);
        let epoch = step as f64 / run.data.plan.steps_per_epoch as f64;
        run.metrics.training(step, epoch, rate, &stats, run.state.loss_scale.as_ref())?;
        tracing::info!(
            "step {step}/{total}, epoch {epoch:.2}, loss {:.4}, learning rate {rate:.3e}, {:.2} s/step, {:.0} tokens/s, padding {:.0} %, waiting for data {:.0} %, {} left",
            stats.loss(),
            stats.seconds_per_step(),
            stats.tokens_per_second(),
            100.0 * stats.padding_share(),
            100.0 * stats.data_wait_share(),
            duration((total - step) as f64 * stats.seconds_per_step()),
        );
        Ok(())
    }

    /// Shows an evaluation's figures on the dashboard, and goes back to the training there.
    fn show(&mut self, evaluation: &Evaluation) {
        let split = self.run.data.plan.evaluation.select_on.split();
        let figure = |name: &&'static str| Some((*name, evaluation.figure(&format!("{split}.{name}"))?));
        let figures = Figures(self.run.figures.iter().filter_map(figure).collect());
        let done = Progress::new(1, 1, None);
        self.send_valid(LearnerEvent::ProcessedItem(TrainingItem::new(figures, done, None, None)));
        self.send_valid(LearnerEvent::EndSplit(1));
        self.start_steps();
    }

    fn start_steps(&mut self) {
        let total_items = self.run.data.plan.total_steps as usize;
        self.send_train(LearnerEvent::StartSplit { epoch_number: 1, total_items });
    }

    fn send_train(&mut self, event: LearnerEvent<Figures>) {
        self.interrupter.fail_on_error(self.processor.process_train(event));
    }

    fn send_valid(&mut self, event: LearnerEvent<Figures>) {
        self.interrupter.fail_on_error(self.processor.process_valid(event));
    }
}

/// The two ways in which a user asks for a stop: a signal, or the dashboard.
fn should_stop(flag: &AtomicBool, interrupter: &Interrupter) -> bool {
    flag.load(Ordering::Relaxed) || interrupter.should_stop()
}

fn model_in<M>(slot: &Option<M>) -> &M {
    slot.as_ref().expect("the model is only taken out during an update, which puts it back")
}

/// The seed of a step's dropout: SplitMix64's number of the step.
fn mix(seed: u64, step: u64) -> u64 {
    split_mix(seed.wrapping_add(step.wrapping_add(1).wrapping_mul(SPLIT_MIX_STEP)))
}
