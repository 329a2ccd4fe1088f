//! From files to batches: dataset cards, readers, tokenised rows, their order, loaders.

pub mod align;
pub mod card;
pub mod find;
pub mod input;
pub mod labels;
pub mod layout;
pub mod lines;
pub mod replacements;
pub mod rows;
pub mod tagged;

mod conll;
pub(crate) mod jsonl;
mod loader;
mod order;
mod prepare;
mod samples;
mod source;
mod table;
mod tag_dictionary;
mod tokens;

pub use loader::{Cut, EvalLoader, StepLoader, TokenRows};
pub use order::Order;
pub use prepare::Preparation;
pub use samples::{SampleBatches, SampleLoader};
pub use source::Source;
pub use tokens::{TokenCache, TokenInfo, TokenRow, cache_key};
