//! Training: the plan of a run, the loop, the optimizer, checkpoints.

pub mod checkpoint;
mod language_model;
mod optimizer;
mod plan;
mod prepared;
mod progress;
mod renderer;
mod run_folder;
mod schedule;
mod setup;
mod strategy;
mod subject;

pub use language_model::vocabulary_file;
pub use optimizer::{Optimizer, global_norm};
pub use plan::Plan;
pub use run_folder::RunFolder;
pub use schedule::Schedule;
pub use setup::train;
pub use subject::tokenizer;
