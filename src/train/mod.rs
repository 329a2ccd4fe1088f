//! Training: the plan of a run, the loop, the optimizer, checkpoints; generic over what is trained and what a step leaves to the
//! next.

pub mod checkpoint;
mod dashboard;
mod experiment;
mod gradients;
mod learning;
mod loss_scale;
mod losses;
mod optimizer;
mod plan;
mod progress;
mod run;
mod run_folder;
mod schedule;
mod step;
mod strategy;

pub use checkpoint::HeldWords;
pub use experiment::{Experiment, TrainingData};
pub use gradients::{Blocks, Computed};
pub use optimizer::{Norm, Optimizer, global_norm};
pub use plan::Plan;
pub use run::{Launch, run};
pub use run_folder::RunFolder;
pub use schedule::Schedule;
