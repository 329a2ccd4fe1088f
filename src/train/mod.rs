//! Training.

mod optimizer;
mod schedule;

pub use optimizer::{Optimizer, clip_coefficient, global_norm};
pub use schedule::Schedule;
