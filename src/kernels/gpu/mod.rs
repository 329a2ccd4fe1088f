//! Kernels for every GPU backend of Burn, written in CubeCL. They are queued in Burn's lazy stream of operations, between the kernels that
//! Burn fuses; what they compute in is float32, and sums are made in a fixed order.

#![expect(
    clippy::needless_range_loop,
    clippy::collapsible_if,
    reason = "CubeCL's language has no iterators and no chains of conditions"
)]

mod attention;
mod crf;
mod dropout;
mod embedding;
mod gelu;
mod gru;
mod launch;
mod lstm;
mod norm;
mod optimizers;
mod probs;
mod rows;
mod steps;

pub use attention::{attention, pays};
pub use crf::log_sum_of_paths;
pub use dropout::drop_out;
pub use embedding::look_up;
pub use gelu::gelu;
pub use gru::gru;
pub use launch::is_here;
pub use lstm::lstm;
pub use norm::{add_norm, norm};
pub use optimizers::{adam, norm_of_all, updates_together};
pub use probs::probs;
