//! Losses summed over steps or over an evaluation, by name.

use serde::{Deserialize, Serialize};

/// The losses of a task, its own first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LossSums(Vec<LossSum>);

/// One loss, summed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LossSum {
    pub name: String,
    #[serde(with = "exact")]
    pub sum: f64,
    /// What it is a sum over.
    pub labels: u64,
}

impl LossSum {
    /// The mean over the labels.
    pub fn mean(&self) -> f64 {
        self.sum / self.labels.max(1) as f64
    }
}

impl LossSums {
    /// Adds to the loss of this name.
    pub fn add(&mut self, name: &str, sum: f64, labels: usize) {
        match self.0.iter_mut().find(|held| held.name == name) {
            Some(held) => {
                held.sum += sum;
                held.labels += labels as u64;
            }
            None => self.0.push(LossSum { name: name.to_string(), sum, labels: labels as u64 }),
        }
    }

    /// Adds all losses of `other`.
    pub fn join(&mut self, other: &Self) {
        other.0.iter().for_each(|loss| self.add(&loss.name, loss.sum, loss.labels as usize));
    }

    /// The loss of this name.
    pub fn get(&self, name: &str) -> Option<&LossSum> {
        self.0.iter().find(|loss| loss.name == name)
    }

    /// The task's own loss.
    pub fn main(&self) -> LossSum {
        self.0.first().cloned().unwrap_or_default()
    }

    /// The sum of the mean losses; no number where there is none.
    pub fn total(&self) -> f64 {
        self.0.iter().map(LossSum::mean).reduce(|sum, mean| sum + mean).unwrap_or(f64::NAN)
    }

    /// Each loss, where there are several.
    pub fn parts(&self) -> &[LossSum] {
        if self.0.len() > 1 { &self.0 } else { &[] }
    }
}

/// Floats as text: a JSON number may come back one unit in the last place off, and a resumed run would then find that an
/// evaluation as good as the best is better.
pub mod exact {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:?}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
