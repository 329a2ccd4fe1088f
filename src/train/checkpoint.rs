//! Checkpoints: everything needed to go on, whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::loss_scale::LossScale;
use crate::error::{Error, Problem, Result};
use crate::files::{NewFolder, remove_folder};
use crate::hash;
use crate::metrics::LossSums;
use crate::metrics::losses::exact;
use crate::ranks::Ranks;
use crate::weights::NamedTensor;

/// The model's tensors.
pub const MODEL: &str = "model.safetensors";
/// The optimizer's state and what the last step has left to the next one; nothing is written where that is nothing.
pub const OPTIMIZER: &str = "optimizer.safetensors";
pub const CARRIED: &str = "carried.safetensors";
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";

/// Where a run stands, beside its tensors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Optimizer steps done.
    pub step: u64,
    /// The epoch at hand, from 0, and the steps done in it: the position in the data.
    pub epoch: u64,
    pub step_in_epoch: u64,
    /// Whether the evaluation due after this step is done; an interrupted one is made up for.
    pub evaluated: bool,
    pub best: Option<Best>,
    /// Evaluations since the best one.
    pub evaluations_since_best: usize,
    /// Training has come to its end, by steps or by patience.
    pub finished: bool,
    /// Of float16 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// Of a model that has the words of its rows alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<HeldWords>,
    /// What is summed up since the last line of the log.
    pub window: RunningStats,
    /// Tokens trained on, without padding.
    pub tokens: u64,
    /// Seconds of training, over all the pieces of the run.
    #[serde(with = "exact")]
    pub seconds: f64,
    /// What the training rows are, so that a run does not go on with others.
    pub data: String,
}

/// The words of a model that has a part of its vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldWords {
    /// Fingerprints: of their ids, and of the whole table before the first step.
    pub ids: String,
    pub table: String,
    /// What decay has left of the other rows of the table, as a share.
    #[serde(with = "exact")]
    pub left: f64,
}

impl HeldWords {
    /// Before the first step.
    pub fn new(ids: String, table: String) -> Self {
        Self { ids, table, left: 1.0 }
    }
}

/// The evaluation that `best/` was kept for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    #[serde(with = "exact")]
    pub value: f64,
}

/// Sums over some steps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunningStats {
    pub steps: u64,
    #[serde(default)]
    pub losses: LossSums,
    pub rows: u64,
    pub tokens: u64,
    /// Tokens computed, padding included.
    pub padded_tokens: u64,
    #[serde(with = "exact")]
    pub seconds: f64,
    /// Of them, those in which the step waited for its data.
    #[serde(with = "exact", default)]
    pub data_seconds: f64,
    /// Steps whose update was left out, for their gradients were too large for float16.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

/// What few runs have is not written by the others.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// SHA-256 of every file of a checkpoint; written last.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, String>,
}

/// The folder of the checkpoint after `step` steps.
pub fn path(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("step-{step:08}"))
}

/// A checkpoint in the making, whose tensors are written into its folder.
pub struct Unfinished {
    checkpoints: PathBuf,
    folder: NewFolder,
}

impl Unfinished {
    /// Begins one in the folder `checkpoints`, after so many steps.
    pub fn begin(checkpoints: &Path, step: u64) -> Result<Self> {
        std::fs::create_dir_all(checkpoints).map_err(|cause| Error::writing(checkpoints, &cause))?;
        Ok(Self { checkpoints: checkpoints.to_path_buf(), folder: NewFolder::begin(&path(checkpoints, step))? })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it, and removes all but the newest `keep` checkpoints.
    pub fn publish(self, keep: usize, state: &State) -> Result<()> {
        let Self { checkpoints, folder } = self;
        write_json(&folder.path().join(STATE), state)?;
        let files = [MODEL, OPTIMIZER, CARRIED, STATE]
            .into_iter()
            .filter(|name| folder.path().join(name).exists())
            .map(|name| Ok((name.to_string(), sha256(&folder.path().join(name))?)))
            .collect::<Result<_>>()?;
        write_json(&folder.path().join(MANIFEST), &Manifest { files })?;
        folder.publish()?;
        // Later ones are what the run has passed over as damaged: this run is not there yet.
        let (later, held): (Vec<_>, Vec<_>) = steps(&checkpoints).into_iter().partition(|(step, _)| *step > state.step);
        let old = held.into_iter().rev().skip(keep);
        later.into_iter().chain(old).try_for_each(|(_, folder)| remove_folder(&folder))
    }
}

/// What all ranks have left to the next step: rows of the same tensors, one rank's after the other's.
///
/// # Errors
/// A rank does not answer.
pub fn all_carried(ranks: &Ranks, own: BTreeMap<String, NamedTensor>) -> Result<BTreeMap<String, NamedTensor>> {
    let Some(mut transport) = ranks.transport() else { return Ok(own) };
    let bytes = own.values().flat_map(|tensor| &tensor.values).flat_map(|value| value.to_le_bytes()).collect();
    let pending = transport.messages(bytes);
    drop(transport);
    let bytes = pending.wait()?;
    let shapes = own.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect::<Vec<_>>();
    let mut all: BTreeMap<String, NamedTensor> = BTreeMap::new();
    for (shapes, bytes) in ranks.gather(shapes)?.into_iter().zip(bytes) {
        let mut values = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value));
        for (name, shape) in shapes {
            let own: Vec<f32> = values.by_ref().take(shape.iter().product()).collect();
            let tensor = all.entry(name).or_insert_with(|| {
                let mut none = shape.clone();
                none[0] = 0;
                NamedTensor { shape: none, values: Vec::new() }
            });
            tensor.shape[0] += shape[0];
            tensor.values.extend(own);
        }
    }
    Ok(all)
}

/// Whether there is any checkpoint, whole or not.
pub fn any(checkpoints: &Path) -> bool {
    !steps(checkpoints).is_empty()
}

/// The newest whole checkpoint. Damaged ones are named in the log and passed over.
pub fn newest(checkpoints: &Path) -> Option<(PathBuf, State)> {
    for (_, folder) in steps(checkpoints).into_iter().rev() {
        match verify(&folder) {
            Ok(state) => return Some((folder, state)),
            Err(error) => tracing::warn!("{error}: this checkpoint is damaged and is passed over"),
        }
    }
    None
}

/// The state of the whole checkpoint after `step` steps.
///
/// # Errors
/// It cannot be read.
pub fn state(checkpoints: &Path, step: u64) -> Result<State> {
    read_json(&path(checkpoints, step).join(STATE))
}

/// The checkpoints in a folder by their steps, the oldest first.
fn steps(checkpoints: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(checkpoints) else { return Vec::new() };
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let step = entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
            entry.path().is_dir().then(|| (step, entry.path()))
        })
        .collect();
    found.sort();
    found
}

fn verify(folder: &Path) -> Result<State> {
    let manifest: Manifest = read_json(&folder.join(MANIFEST))?;
    let always = [MODEL, STATE].map(String::from);
    // Everything that was written, and nothing that was not: a file more would be read as well.
    let present = [OPTIMIZER, CARRIED].into_iter().filter(|name| folder.join(name).exists()).map(String::from);
    let names: BTreeSet<String> = manifest.files.keys().cloned().chain(always).chain(present).collect();
    for name in names {
        let file = folder.join(&name);
        if manifest.files.get(&name) != Some(&sha256(&file)?) {
            return Err(Problem::new("is not what the manifest says").in_file(&file).into());
        }
    }
    read_json(&folder.join(STATE))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|cause| Error::reading(path, &cause))?;
    let damaged = |cause| Problem::new(format!("is not as it was written: {cause}")).in_file(path);
    Ok(serde_json::from_slice(&bytes).map_err(damaged)?)
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    // Structs of numbers and words are always written.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    std::fs::write(path, text + "\n").map_err(|cause| Error::writing(path, &cause))
}

fn sha256(path: &Path) -> Result<String> {
    hash::of_file(path).map_err(|cause| Error::reading(path, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{self, Weights};

    fn tensors(value: f32) -> BTreeMap<String, NamedTensor> {
        BTreeMap::from([("a".to_string(), NamedTensor { shape: vec![2], values: vec![value, -value] })])
    }

    fn write(folder: &Path, step: u64) {
        let state = State { step, ..State::default() };
        let write = |folder: &Path| {
            weights::save(&folder.join(MODEL), &tensors(step as f32))?;
            weights::save(&folder.join(OPTIMIZER), &tensors(0.5))
        };
        save(folder, &state, write);
    }

    fn save(checkpoints: &Path, state: &State, write: impl FnOnce(&Path) -> Result<()>) {
        let folder = Unfinished::begin(checkpoints, state.step).unwrap();
        write(folder.path()).unwrap();
        folder.publish(2, state).unwrap();
    }

    #[test]
    fn the_newest_two_stay_and_come_back() {
        let root = tempfile::tempdir().unwrap();
        [100, 200, 300].into_iter().for_each(|step| write(root.path(), step));
        assert_eq!(steps(root.path()).into_iter().map(|(step, _)| step).collect::<Vec<_>>(), [200, 300]);
        let (folder, state) = newest(root.path()).unwrap();
        assert_eq!(state.step, 300);
        let read = |name: &str| Weights::open(&folder.join(name)).unwrap().read_f32("a").unwrap();
        assert!(!folder.join(CARRIED).exists());
        assert_eq!(read(MODEL), [300.0, -300.0]);
        assert_eq!(read(OPTIMIZER), [0.5, -0.5]);
    }

    fn write_carried(folder: &Path, step: u64) {
        let state = State { step, ..State::default() };
        let write = |folder: &Path| {
            let mut files = [MODEL, OPTIMIZER, CARRIED].into_iter();
            files.try_for_each(|file| weights::save(&folder.join(file), &tensors(step as f32)))
        };
        save(folder, &state, write);
    }

    /// A disk that loses bytes or files must not be trained on from, and must not cost the run.
    #[test]
    fn a_damaged_checkpoint_is_passed_over() {
        for name in [MODEL, OPTIMIZER, CARRIED, STATE, MANIFEST] {
            let root = tempfile::tempdir().unwrap();
            [100, 200].into_iter().for_each(|step| write_carried(root.path(), step));
            let file = path(root.path(), 200).join(name);
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(newest(root.path()).unwrap().1.step, 100, "{name}");
            std::fs::remove_file(&file).unwrap();
            assert_eq!(newest(root.path()).unwrap().1.step, 100, "{name} is gone");
        }
    }

    /// A state that another run has left must not be gone on from.
    #[test]
    fn a_file_that_the_manifest_lacks_is_damage() {
        let root = tempfile::tempdir().unwrap();
        [100, 200].into_iter().for_each(|step| write(root.path(), step));
        weights::save(&path(root.path(), 200).join(CARRIED), &tensors(1.0)).unwrap();
        assert_eq!(newest(root.path()).unwrap().1.step, 100);
    }
}
