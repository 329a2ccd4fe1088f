//! burn-train's dashboard: the figures it shows, and what it draws on: a terminal, nothing elsewhere, where the lines of the log say
//! it all.

use std::sync::Arc;
use std::time::Duration;

use burn::tensor::TensorReadError;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricDefinition, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};

use crate::tasks::Figures;

/// The figures of each step.
pub const LOSS: &str = "loss";
pub const SPEED: &str = "tokens per second";
pub const MEMORY: &str = "memory (MiB)";

/// One of the [`Figures`] of steps or of evaluations.
#[derive(Clone)]
pub struct FigureMetric {
    name: MetricName,
    state: NumericMetricState,
}

impl FigureMetric {
    pub fn new(name: &str) -> Self {
        Self { name: Arc::new(name.to_string()), state: NumericMetricState::new() }
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name.clone()).precision(4)
    }
}

impl Adaptor<Figures> for Figures {
    fn adapt(&self) -> Figures {
        self.clone()
    }
}

impl Metric for FigureMetric {
    type Input = Figures;

    fn update(&mut self, figures: &Figures, _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        if let Some((_, value)) = figures.0.iter().find(|(name, _)| *name == self.name.as_str()) {
            self.state.update(*value, 1);
        }
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        let higher_is_better = !matches!(self.name.as_str(), LOSS | MEMORY | "perplexity");
        NumericAttributes { unit: None, higher_is_better }.into()
    }
}

impl Numeric for FigureMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

/// No dashboard.
pub struct Nothing;

impl MetricsRendererTraining for Nothing {
    fn update_train(&mut self, _: MetricState) {}
    fn update_valid(&mut self, _: MetricState) {}
}

impl MetricsRendererEvaluation for Nothing {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl TrainingProgressLogger for Nothing {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _: usize) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Nothing {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Nothing {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}

/// Makes Ctrl-C a signal again, soon: the dashboard, which starts in a thread of its own, reads keys raw and has no use for it.
pub fn keep_interrupt_key() {
    std::thread::spawn(|| {
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(300));
            #[cfg(unix)]
            enable_signals();
        }
    });
}

#[cfg(unix)]
fn enable_signals() {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    if let Ok(mut modes) = tcgetattr(&stdin) {
        modes.local_modes |= LocalModes::ISIG;
        // Without it, `q` still stops the run.
        let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
    }
}
