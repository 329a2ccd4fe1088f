//! The command itself, run as a user runs it: what it prints, what it ends with, and what it leaves on the disk.

mod answering;
mod bench;
mod convert;
mod data_files;
mod device;
mod elmo;
mod encode;
mod ending;
mod information;
mod int8;
mod language_model;
mod model_folders;
mod multilingual;
mod precision;
mod predict;
mod pretraining;
#[cfg(all(unix, feature = "mpi"))]
mod ranks;
mod recipes;
mod rembert;
mod resume;
mod run_folders;
mod same_result;
#[cfg(unix)]
mod second_start;
mod shared_evaluation;
mod shipped;
#[cfg(unix)]
mod stopped;
mod tagging;
#[cfg(feature = "wgpu")]
mod waiting;
mod weights;
mod word_answers;
mod word_tagging;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

/// A run of seconds: 12 steps, two evaluations and two checkpoints.
const SMALL: &[&str] = &[
    "training.max_steps=12",
    "training.batch_size=8",
    "training.logging_steps=3",
    "evaluation.every_steps=6",
    "checkpoint.every_steps=6",
    "evaluation.test=false",
    "data.max_train_rows=16",
    "data.max_eval_rows=10",
];

/// The command in the repository's root, wherever the tests are run from.
pub fn command<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env("NO_COLOR", "1").stdin(Stdio::null());
    // Where there is none, Mesa's drivers complain to the stream that the tests read.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

fn kiln<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ended {
    command(arguments).output().unwrap().into()
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("only UTF-8 is printed");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    /// It ended with `code` and without a panic, and said each of `words` on stderr.
    #[track_caller]
    fn with(self, code: i32, words: &[&str]) -> Self {
        for panic in ["panicked at", "RUST_BACKTRACE"] {
            assert!(!self.stderr.contains(panic), "a panic:\n{}", self.stderr);
        }
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "does not say `{word}`:\n{}", self.stderr);
        }
        self
    }

    /// As [`Self::with`], and it reported this many problems.
    #[track_caller]
    fn with_problems(self, code: i32, count: usize, words: &[&str]) -> Self {
        let ended = self.with(code, words);
        assert_eq!(ended.stderr.matches("  × ").count(), count, "{}", ended.stderr);
        ended
    }
}

/// A temporary folder for one test: its own data, token cache and run.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path as text, for arguments and messages.
    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The arguments that train the quickstart, [`SMALL`], into the folder `run`, with more overrides on top.
    pub fn training(&self, more: &[&str]) -> Vec<String> {
        let here = [
            format!("data.cache={}", self.text("cache")),
            format!("output.dir={}", self.text("run")),
            format!("device.backend={}", crate::backend()),
        ];
        let all = ["train", "recipes/quickstart.toml"].iter().chain(SMALL).map(|word| word.to_string());
        all.chain(here).chain(more.iter().map(|word| word.to_string())).collect()
    }

    fn train(&self, more: &[&str]) -> Ended {
        kiln(self.training(more))
    }
}

/// Waits until `reached` holds; false if the process ends before.
fn wait_until(child: &mut Child, reached: impl Fn() -> bool) -> bool {
    loop {
        if reached() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All files below a folder: to compare a folder with itself later.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(snapshot(&path)),
            false => drop(files.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    files
}

fn newest_checkpoint(run: &Path) -> PathBuf {
    let steps = std::fs::read_dir(run.join("checkpoints")).unwrap();
    steps.map(|entry| entry.unwrap().path()).max().unwrap()
}

/// A run folder that is trained once for all tests that need a model: 80 steps on 24 English rows, enough to give every label.
pub fn trained() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        // Nothing drops a static: the folder stays in Cargo's own, until `cargo clean`.
        let place = Place(TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        let more = [
            "training.max_steps=80",
            "evaluation.every_steps=80",
            "data.protocol=cross-lingual-transfer",
            "data.max_train_rows=24",
            "data.max_eval_rows=40",
        ];
        place.train(&more).with(0, &["done: the best model is"]);
        place.0.keep().join("run")
    })
}

/// A copy of the trained model's folder, to break.
fn model_copy(place: &Place) -> PathBuf {
    let target = place.path("model");
    std::fs::create_dir(&target).unwrap();
    for entry in std::fs::read_dir(trained().join("best")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
    target
}

/// Turns over one bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// The f32 tensors of a safetensors file: shape and values.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let found = file.iter().filter(|(_, tensor)| tensor.dtype() == safetensors::Dtype::F32);
    found.map(|(name, tensor)| (name.to_string(), (tensor.shape().to_vec(), floats(tensor.data())))).collect()
}

/// The largest difference between two lists of as many values; NaN counts as infinite.
fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let difference = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    left.iter().zip(right).map(difference).fold(0.0, f32::max)
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The probabilities that `kiln predict` gives to single texts, one row of labels after the other.
fn predict_texts(texts: &Path) -> Vec<f32> {
    predict(trained(), texts)
        .into_iter()
        .flat_map(|line| line["probabilities"].as_object().unwrap().clone())
        .map(|(_, share)| share.as_f64().unwrap() as f32)
        .collect()
}

/// The lines that `kiln predict` gives for a file.
fn predict(model: &Path, input: &Path) -> Vec<serde_json::Value> {
    let ended = kiln(["predict".as_ref(), model.as_os_str(), "--input".as_ref(), input.as_os_str()]).with(0, &[]);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn metrics(run: &Path, kind: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).collect()
}
