//! What burn-train draws on: its dashboard in a terminal, nothing elsewhere, where the lines of the log say it all.

use std::time::Duration;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};

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
