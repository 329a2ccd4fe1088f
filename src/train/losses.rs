//! The losses of a step's blocks, on their device or as numbers of all ranks.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::ranks::bits;
use crate::tasks::Loss;

/// The losses of the blocks of a step, in the order of the blocks.
pub enum Losses {
    /// Of all blocks, where one process has them.
    OnDevice(Vec<Loss>),
    /// Of all ranks' blocks.
    Read(Vec<ReadLoss>),
}

/// A loss summed over its labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadLoss {
    pub name: String,
    pub labels: usize,
    #[serde(with = "bits")]
    pub sum: f64,
}

impl ReadLoss {
    /// The numbers of losses, in one read of the device.
    pub fn read(losses: &[Loss]) -> Vec<Self> {
        if losses.is_empty() {
            return Vec::new();
        }
        let sums = Tensor::cat(losses.iter().map(|loss| loss.sum.clone()).collect(), 0); // [losses]
        let sums = sums.into_data().iter::<f64>().collect::<Vec<_>>();
        let read = |(loss, sum): (&Loss, f64)| Self { name: loss.name.to_string(), labels: loss.labels, sum };
        losses.iter().zip(sums).map(read).collect()
    }
}
