//! Progress of `kiln prepare`: a bar on a terminal, a line of the log each half minute elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::logging::duration;

/// What is in use when there is no terminal.
const PAUSE: Duration = Duration::from_secs(30);

/// The progress of one stage, in bytes of its input. It ends when it is dropped.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    /// Bytes that an earlier run had done already.
    skipped: AtomicU64,
    started: Instant,
    said: Mutex<Instant>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `what` is happening to `total` bytes.
    pub(super) fn start(what: &'static str, total: u64) -> Self {
        let bar = (std::io::stderr().is_terminal() && total > 0).then(|| {
            let bar = ProgressBar::new(total);
            let template = "{msg:>12} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what);
            bar
        });
        let now = Instant::now();
        let (done, skipped) = Default::default();
        Self { what, total, done, skipped, started: now, said: Mutex::new(now), bar }
    }

    /// An earlier run had come this far.
    pub(super) fn resume_at(&self, bytes: u64) {
        self.skipped.store(bytes, Ordering::Relaxed);
        self.done.store(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.reset_eta();
        }
    }

    /// So many bytes more are done.
    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.say();
    }

    /// So many bytes are done in all.
    pub(super) fn set(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
        self.say();
    }

    fn say(&self) {
        let done = self.done.load(Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            return bar.set_position(done);
        }
        // Whoever holds it is saying the same.
        let Ok(mut said) = self.said.try_lock() else { return };
        if said.elapsed() < PAUSE {
            return;
        }
        *said = Instant::now();
        let new = done.saturating_sub(self.skipped.load(Ordering::Relaxed)) as f64;
        let speed = new / self.started.elapsed().as_secs_f64().max(1e-3);
        let left = duration(self.total.saturating_sub(done) as f64 / speed.max(1.0));
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let (done, total, speed) = (mib(done as f64), mib(self.total as f64), mib(speed));
        tracing::info!("{}: {done:.0} of {total:.0} MiB, {speed:.1} MiB/s, about {left} left", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
