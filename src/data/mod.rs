//! From files to batches: dataset cards, readers, tokenised rows, their order, loaders.

pub mod align;
pub mod card;
pub mod dureader;
pub mod find;
pub mod input;
pub mod labels;
pub mod layout;
pub mod question_input;
pub mod questions;
pub mod read;
mod readers;
pub mod remote;
pub mod rows;
pub mod windows;

mod compact_vocabulary;
mod conll;
pub(crate) mod ints;
pub(crate) mod jsonl;
mod loader;
mod order;
mod padding;
mod parquet_file;
mod shards;
pub(crate) mod source_index;
mod squad;
mod table;
mod tag_dictionary;
mod token_rows;
mod tokens;

pub use compact_vocabulary::CompactVocabulary;
pub use loader::{Loader, StepSource};
pub use order::{Order, bucket_by_length};
pub use padding::{InputRow, pad, width_on};
pub use token_rows::{BlockRows, EvaluationSteps, MicroBatching, TokenRows, TrainingSteps};
pub use tokens::{TokenCache, TokenInfo, TokenRow, WordCounts, cache_key};
