//! Where messages go: to stderr as plain lines, and, during a run, to its `train.log` with the time. And how long things take.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use burn::data::dataloader::Progress;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::error::{Error, Result};

/// Messages to stderr, for commands that write no run folder.
pub fn start() {
    let _ = tracing::subscriber::set_global_default(Registry::default().with(terminal()));
}

/// Messages to stderr while `work` is done, before a run has a log.
pub fn meanwhile<T>(work: impl FnOnce() -> T) -> T {
    match tracing::dispatcher::has_been_set() {
        true => work(),
        false => tracing::subscriber::with_default(Registry::default().with(terminal()), work),
    }
}

/// Messages to a run's log, and to stderr unless the dashboard has the terminal.
pub fn start_run(log: &Path, on_terminal: bool) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(log).map_err(|cause| Error::writing(log, &cause))?;
    let file = tracing_subscriber::fmt::layer()
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .with_target(false)
        .with_filter(ours());
    let subscriber = Registry::default().with(on_terminal.then(terminal)).with(file);
    // A second run in one process (a test) keeps the first one's log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn terminal() -> impl Layer<Registry> {
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .event_format(format().without_time().with_target(false).with_level(false).with_ansi(false))
        .with_filter(ours())
}

/// Kiln's own messages; the libraries' are about their insides.
fn ours() -> Targets {
    Targets::new().with_target("kiln", LevelFilter::INFO)
}

/// Lines of progress for what may take long, one each half minute.
pub struct Pace {
    started: Instant,
    said: Instant,
}

impl Pace {
    pub fn start() -> Self {
        Self { started: Instant::now(), said: Instant::now() }
    }

    pub fn say(&mut self, progress: &Progress) {
        if self.said.elapsed() < Duration::from_secs(30) {
            return;
        }
        self.said = Instant::now();
        let (done, all) = (progress.items_processed, progress.items_total);
        let left = self.started.elapsed().as_secs_f64() * (all - done) as f64 / done.max(1) as f64;
        tracing::info!("evaluated {done} of {all} rows, about {} left", duration(left));
    }
}

/// A duration as people say it: `1 h 05 min`, `3 min 20 s`, `12 s`.
pub fn duration(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_secs();
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!([7.2, 200.0, 3900.0].map(duration), ["7 s", "3 min 20 s", "1 h 05 min"]);
    }
}
