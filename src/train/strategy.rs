//! The training loop, as a strategy of burn-train: step based, and exactly resumable.
//!
//! burn-train's own strategies save once an epoch, without the position in the data. This one saves after any step and goes on
//! from there with the same bits: the rows of a step are a function of (seed, epoch, step), the dropout of (seed, step, block), and
//! everything else that training changes is in the checkpoint. Metrics, dashboard and interruption are burn-train's.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use burn::data::dataloader::Progress;
use burn::module::Module;
use burn::train::{
    EventProcessorTraining, Interrupter, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};

use super::checkpoint::{self, Best, CARRIED, MODEL, OPTIMIZER, Unfinished};
use super::dashboard::{LOSS, MEMORY, SPEED, keep_interrupt_key};
use super::experiment::Experiment;
use super::learning::{Gradients, ModelOf, Run};
use super::step::{self, Step};
use crate::device;
use crate::error::{Error, Problem, Result};
use crate::evaluate::Evaluator;
use crate::logging::{Pace, duration};
use crate::memory;
use crate::metrics::{Evaluation, table};
use crate::tasks::{BatchOf, Carried, Figures, StepTotals, scale_to_step};
use crate::weights::{self, Saved, save_module};

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
            let started = Instant::now();
            let Some(batches) = steps.next() else { return Ok(()) };
            let waited = started.elapsed().as_secs_f64();
            let batches = batches.map_err(|cause| Error::run(Problem::new(cause.to_string())));
            // Whoever is asked to stop, all stop, and before the same step.
            let stop = should_stop(&self.run.stop, &self.interrupter);
            let (batches, own) = match batches {
                Err(error) => (Vec::new(), Err(error)),
                Ok(batches) => {
                    let totals = StepTotals::of(&batches);
                    (batches, Ok((stop, totals)))
                }
            };
            let (stops, totals): (Vec<bool>, Vec<_>) = self.run.ranks.try_gather(own)?.into_iter().unzip();
            if stops.contains(&true) {
                self.save(model_in(slot))?;
                return Err(Error::Interrupted);
            }
            self.step(slot, batches, &StepTotals::together(totals), (started, waited))?;
            self.finish_step(model_in(slot))?;
            if self.run.state.finished {
                return Ok(());
            }
        }
    }

    /// One update with this rank's batches of a step, which came some seconds after it began.
    fn step(
        &mut self,
        slot: &mut Option<ModelOf<E>>,
        mut batches: Vec<BatchOf<ModelOf<E>>>,
        totals: &StepTotals,
        (started, waited): (Instant, f64),
    ) -> Result<()> {
        let run = &mut self.run;
        let done = run.state.step;
        let rows = batches.iter().flat_map(|batch| batch.rows.iter().copied()).collect();
        let mut step = Step::new(done + 1, run.schedule.at(done), rows, totals);
        scale_to_step(&mut batches, totals);
        let scale = run.state.loss_scale.clone();
        if let Some(scale) = &scale {
            scale.apply(&mut batches);
        }
        let (losses, gradients, norm, carried) = run.learn(model_in(slot), batches, totals)?;
        let norm = match scale {
            None => Some(norm),
            Some(scale) => run.unscaled(&step, norm, scale).map_err(|error| run.ranks.same_error(error))?,
        };
        step.computed(losses, norm.clone().unwrap_or_default());
        // A GPU has more to do by now, and is not waited for.
        let reads_late = device::is_gpu(&run.device);
        if norm.is_none() {
            step.leave_out();
        } else if !reads_late {
            let read = step::read(std::slice::from_mut(&mut step), &run.data);
            read.map_err(|error| run.ranks.same_error(error))?;
        }
        if norm.is_some() || step.has_losses() {
            run.carried = carried;
        }
        if let Some(norm) = norm {
            let rate = step.learning_rate;
            match (gradients, &run.shards) {
                (Gradients::Reduced(reduced), Some(shards)) => {
                    let mut new = run.optimizer.step_shards(model_in(slot), shards, reduced, rate, norm)?;
                    *slot = slot.take().map(|model| model.map(&mut new));
                }
                // Taken out of its slot, the model is the only holder of its parameters, which are then updated in place.
                (Gradients::Whole(gradients), _) => {
                    *slot = slot.take().map(|model| run.optimizer.step(model, gradients, rate, norm));
                }
                (Gradients::Reduced(_), None) => {}
            }
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
            self.export(&self.run.folder.last(), model, None)?;
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
            &run.ranks,
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
        self.run.metrics.as_mut().map_or(Ok(()), |metrics| metrics.evaluation(step, &evaluation))?;
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
            self.export(&self.run.folder.best(), model, Some(evaluation))?;
            self.run.state.best = Some(Best { step: self.run.state.step, value });
            self.run.state.evaluations_since_best = 0;
        } else {
            self.run.state.evaluations_since_best += 1;
        }
        Ok(())
    }

    /// Writes a model folder, on the first rank.
    fn export(&self, target: &Path, model: &ModelOf<E>, evaluation: Option<&Evaluation>) -> Result<()> {
        let left = self.run.optimizer.left_of_words;
        self.run.ranks.first(|| self.run.experiment.export(target, model, left, evaluation))?;
        Ok(())
    }

    /// Writes a checkpoint: all ranks give what they have, the first one writes.
    fn save(&mut self, model: &ModelOf<E>) -> Result<()> {
        self.settle()?;
        let run = &self.run;
        if run.state.step == 0 {
            return Ok(()); // nothing has been learnt: the run begins again
        }
        let begun = run.ranks.first(|| Unfinished::begin(&run.folder.checkpoints(), run.state.step))?;
        let optimizer = begun.as_ref().map(|begun| begun.path().join(OPTIMIZER));
        let saved = match (&run.shards, &optimizer) {
            (Some(shards), path) => run.optimizer.save_shards(shards, path.as_deref()),
            (None, Some(path)) => run.optimizer.save(path),
            (None, None) => Ok(()),
        };
        run.ranks.agree(saved)?;
        let carried = checkpoint::all_carried(&run.ranks, run.carried.tensors())?;
        let published = begun.map_or(Ok(()), |begun| {
            save_module(&begun.path().join(MODEL), model, run.experiment.tensor_names(), Saved::All)?;
            if !carried.is_empty() {
                weights::save(&begun.path().join(CARRIED), &carried)?;
            }
            begun.publish(run.data.plan.checkpoint.keep_last, &run.state)
        });
        run.ranks.agree(published)?;
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
        if let Some(metrics) = &mut run.metrics {
            metrics.training(step, epoch, rate, &stats, run.state.loss_scale.as_ref())?;
        }
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
