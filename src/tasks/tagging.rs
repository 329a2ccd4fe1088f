//! How words are tagged: what a recipe's `[task]` says of the layers for it, and a model's `config.json` keeps.

use serde::{Deserialize, Serialize};

use crate::recipe::Task;

/// The layers between a model and its tags, in the words of LAC's demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tagging {
    /// Whether a conditional random field chooses among whole rows of tags.
    pub crf: bool,
    /// Layers of GRUs in both directions.
    pub bigru_num: usize,
    /// Width of each direction.
    pub grnn_hidden_dim: usize,
}

impl Default for Tagging {
    fn default() -> Self {
        Self { crf: false, bigru_num: 0, grnn_hidden_dim: 256 }
    }
}

impl From<&Task> for Tagging {
    fn from(task: &Task) -> Self {
        let default = Self::default();
        Self {
            crf: task.crf.unwrap_or(default.crf),
            bigru_num: task.bigru_num.unwrap_or(default.bigru_num),
            grnn_hidden_dim: task.grnn_hidden_dim.unwrap_or(default.grnn_hidden_dim),
        }
    }
}

impl Tagging {
    /// Writes every option that has an effect into the task, so that a resolved recipe shows it.
    pub fn fill(self, task: &mut Task) {
        task.crf = Some(self.crf);
        task.bigru_num = Some(self.bigru_num);
        if self.bigru_num > 0 {
            task.grnn_hidden_dim = Some(self.grnn_hidden_dim);
        }
    }
}
