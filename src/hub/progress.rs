//! Progress of a download: a bar on a terminal, a line a file elsewhere.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::logging::duration;

/// So many bytes are soon there: a line when they are is enough.
const SHORT: u64 = 10 << 20;

/// The progress of one file, in bytes. It ends when it is dropped.
pub(super) struct Progress {
    what: String,
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    /// Of the file `what`, of `total` bytes if that is known, of which the first `from` are there.
    pub(super) fn start(what: &str, total: Option<u64>, from: u64) -> Self {
        let template = match total {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {bytes} {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total.unwrap_or(0)).with_style(style).with_message(what.to_string());
        bar.set_position(from);
        bar.reset_eta();
        if bar.is_hidden() && total.is_none_or(|total| total - from > SHORT) {
            let size = total.map_or(String::new(), |total| format!(", {}", mib(total)));
            let there = if from == 0 { String::new() } else { format!(", of which {} are there", mib(from)) };
            tracing::info!("fetching {what}{size}{there}");
        }
        Self { what: what.to_string(), bar, begun: Instant::now() }
    }

    /// So many bytes are there.
    pub(super) fn at(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// All are there.
    pub(super) fn done(self, bytes: u64) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        tracing::info!("fetched {}: {} in {}", self.what, mib(bytes), duration(seconds));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A size as people say it.
pub(super) fn mib(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}
