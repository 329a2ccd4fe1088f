//! Progress of `kiln prepare`: a bar on a terminal, a line of the log each half minute elsewhere.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::logging::duration;

/// What is in use when there is no terminal.
const PAUSE: Duration = Duration::from_secs(30);

/// The progress of one stage, in bytes of its input. It ends when it is dropped.
pub(super) struct Progress {
    what: &'static str,
    /// How far it is; hidden where there is no terminal.
    pub(super) bar: ProgressBar,
    /// Whether anybody is told.
    is_told: bool,
    said: Mutex<Instant>,
}

impl Progress {
    /// `what` is happening to `total` bytes.
    pub(super) fn start(what: &'static str, total: u64) -> Self {
        let template = "{msg:>12} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style).with_message(what);
        Self { what, bar, is_told: true, said: Mutex::new(Instant::now()) }
    }

    /// Counts what is read from now on, and tells nobody.
    pub(super) fn silent() -> Self {
        Self { what: "", bar: ProgressBar::hidden(), is_told: false, said: Mutex::new(Instant::now()) }
    }

    /// It is as far as this (bytes).
    pub(super) fn reach(&self, bytes: u64) {
        self.bar.set_position(bytes);
        self.say();
    }

    /// An earlier run had come this far.
    pub(super) fn resume_at(&self, bytes: u64) {
        if !self.is_told {
            return;
        }
        self.bar.set_position(bytes);
        self.bar.reset_eta();
    }

    /// So many bytes more are done.
    pub(super) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.say();
    }

    /// Says how far it is, if it is time to and nobody sees the bar.
    pub(super) fn say(&self) {
        // Whoever holds it is saying the same.
        let Ok(mut said) = self.said.try_lock() else { return };
        if !self.is_told || !self.bar.is_hidden() || said.elapsed() < PAUSE {
            return;
        }
        *said = Instant::now();
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let [done, total] = [self.bar.position(), self.bar.length().unwrap_or(0)].map(|bytes| mib(bytes as f64));
        let (speed, left) = (mib(self.bar.per_sec()), duration(self.bar.eta().as_secs_f64()));
        tracing::info!("{}: {done:.0} of {total:.0} MiB, {speed:.1} MiB/s, about {left} left", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
