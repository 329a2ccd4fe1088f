//! How words are read for answers: what a recipe's `[task]` says of the reader, and a model's `config.json` keeps.

use serde::{Deserialize, Serialize};

use crate::recipe::Task;

/// The reader's sizes, in the words of DuReader's baseline, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// Width of each direction of its LSTMs.
    pub hidden_size: usize,
    /// Dropout on what the LSTMs give.
    pub drop_rate: f64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { hidden_size: 150, drop_rate: 0.0 }
    }
}

impl From<&Task> for Reading {
    fn from(task: &Task) -> Self {
        let default = Self::default();
        Self {
            hidden_size: task.reader_hidden_size.unwrap_or(default.hidden_size),
            drop_rate: task.drop_rate.unwrap_or(default.drop_rate),
        }
    }
}

impl Reading {
    /// Writes every option into the task, so that a resolved recipe shows it.
    pub fn fill(self, task: &mut Task) {
        task.reader_hidden_size = Some(self.hidden_size);
        task.drop_rate = Some(self.drop_rate);
    }
}
