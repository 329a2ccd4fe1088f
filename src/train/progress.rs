//! The numbers of a run: sums over some steps, and `metrics.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::checkpoint::RunningStats;
use super::loss_scale::LossScale;
use crate::error::{Error, Result};
use crate::files::write_file;
use crate::metrics::Evaluation;

/// The numbers of a run, one JSON object a line.
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file for a run that stands at `step`; lines of later steps, which a crash has made void, are removed.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        if let Ok(file) = File::open(path) {
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            let kept: String = lines.filter(|line| is_before(line, step)).map(|line| line + "\n").collect();
            write_file(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| Error::writing(path, &e))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    fn write(&mut self, line: &Value) -> Result<()> {
        writeln!(self.file, "{line}").map_err(|cause| Error::writing(&self.path, &cause))
    }

    /// A line of training; `scale` is that of float16's losses.
    pub fn training(
        &mut self,
        step: u64,
        epoch: f64,
        learning_rate: f64,
        stats: &RunningStats,
        scale: Option<&LossScale>,
    ) -> Result<()> {
        let mut line = json!({
            "kind": "train",
            "step": step,
            "epoch": epoch,
            "loss": stats.loss(),
            "learning_rate": learning_rate,
            "tokens_per_second": stats.tokens_per_second(),
            "rows_per_second": stats.rows_per_second(),
            "seconds_per_step": stats.seconds_per_step(),
            "padding_share": stats.padding_share(),
            "data_wait_share": stats.data_wait_share(),
        });
        for part in stats.losses.parts() {
            line[&part.name] = part.mean().into();
        }
        if let Some(scale) = scale {
            line["loss_scale"] = scale.scale.into();
            line["skipped_steps"] = stats.skipped.into();
        }
        self.write(&line)
    }

    /// A line of evaluation.
    pub fn evaluation(&mut self, step: u64, evaluation: &Evaluation) -> Result<()> {
        self.write(&json!({
            "kind": "evaluation",
            "step": step,
            "averages": evaluation.averages,
            "sets": evaluation.sets,
            "seconds": evaluation.seconds,
        }))
    }
}

fn is_before(line: &str, step: u64) -> bool {
    let found = serde_json::from_str::<Value>(line).ok().and_then(|value| value["step"].as_u64());
    found.is_some_and(|found| found <= step)
}

impl RunningStats {
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.losses.join(&other.losses);
        self.rows += other.rows;
        self.tokens += other.tokens;
        self.padded_tokens += other.padded_tokens;
        self.seconds += other.seconds;
        self.data_seconds += other.data_seconds;
        self.skipped += other.skipped;
    }

    /// The mean loss over the labels; where there are several losses, their sum.
    pub fn loss(&self) -> f64 {
        self.losses.total()
    }

    pub fn rows_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.rows as f64 / self.seconds } else { 0.0 }
    }

    /// Tokens that are no padding, a second.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tokens as f64 / self.seconds } else { 0.0 }
    }

    pub fn seconds_per_step(&self) -> f64 {
        self.seconds / self.steps.max(1) as f64
    }

    /// Which share of the time the steps waited for their data.
    pub fn data_wait_share(&self) -> f64 {
        if self.seconds > 0.0 { self.data_seconds / self.seconds } else { 0.0 }
    }

    /// Which share of what was computed was padding.
    pub fn padding_share(&self) -> f64 {
        1.0 - self.tokens as f64 / self.padded_tokens.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_are_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let stats = RunningStats { steps: 1, tokens: 3, padded_tokens: 4, seconds: 0.5, ..RunningStats::default() };
        let mut metrics = Metrics::open(&path, 0).unwrap();
        for step in [10, 20, 30] {
            metrics.training(step, 0.5, 1e-3, &stats, None).unwrap();
        }
        // A line that the crash has cut.
        write!(metrics.file, "{{\"step\": 1").unwrap();
        Metrics::open(&path, 20).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let steps: Vec<Value> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].clone()).collect();
        assert_eq!(steps, [10, 20]);
    }
}
