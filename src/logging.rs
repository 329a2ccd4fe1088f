//! Where messages go: to stderr as plain lines, and, during a run, to its `train.log` with the time.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::error::{Error, Result};

/// Messages to stderr, for commands that write no run folder.
pub fn start() {
    let _ = tracing::subscriber::set_global_default(Registry::default().with(terminal()));
}

/// Messages to a run's log, and to stderr unless the dashboard has the terminal.
pub fn start_run(log: &Path, on_terminal: bool) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(log).map_err(|cause| Error::writing(log, &cause))?;
    let file = tracing_subscriber::fmt::layer()
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .with_target(false)
        .with_filter(ours());
    let subscriber = Registry::default().with(file).with(on_terminal.then(terminal));
    // A second run in one process (a test) keeps the first one's log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn terminal<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .event_format(format().without_time().with_target(false).with_level(false).with_ansi(false))
        .with_filter(ours())
}

/// Kiln's own messages; the libraries' are about their insides.
fn ours() -> Targets {
    Targets::new().with_target("kiln", LevelFilter::INFO)
}
