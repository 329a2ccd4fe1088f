//! From files to batches: dataset cards, readers, tokenised rows, their order, loaders.

pub mod align;
pub mod card;
pub mod dureader;
pub mod find;
pub mod input;
pub mod labels;
pub mod layout;
pub mod lines;
pub mod question_input;
pub mod questions;
pub mod replacements;
pub mod rows;
pub mod tagged;
pub mod windows;

mod conll;
pub(crate) mod items;
pub(crate) mod jsonl;
mod loader;
mod multilingual;
mod order;
mod prepare;
mod samples;
mod source;
mod squad;
mod table;
mod tag_dictionary;
mod tokens;

pub use loader::{Cut, EvalLoader, RowForm, StepLoader, TokenRows};
pub use order::Order;
pub use prepare::Preparation;
pub use samples::{SampleBatches, SampleLoader};
pub use source::Source;
pub use tokens::{Span, Tags, Target, TokenCache, TokenInfo, TokenRow, WordCounts, cache_key};
