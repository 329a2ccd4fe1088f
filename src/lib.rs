//! Kiln trains ERNIE-M, ERNIE 1.0, RemBERT, BERT, XLM-R and ELMo from recipe files, on any device Burn reaches.
//!
//! The modules are layers: each may use those before it, and none behind it. `tests/kiln/layers.rs` reads every `use crate::` and holds
//! this list against them:
//!
//! 1. `memory`, [`error`], `suggest`, [`random`], [`hash`], [`files`], [`lines`], [`logging`], [`ranks`]: the allocator; errors as a
//!    user sees them; every generator and shuffle; whole-or-nothing files; lines with places; processes that work together
//! 2. `words`, [`kernels`], [`nn`]: what is written out for CPUs and for GPUs; the blocks that models share
//! 3. [`weights`], [`hub`]: checkpoints of every ecosystem, and a module's parameters; models and datasets by their names on a hub
//! 4. [`tokenize`]: SentencePiece, WordPiece, words
//! 5. [`models`]: the families
//! 6. [`recipe`]: what a run is, checked before anything runs, by what the families say of themselves; [`device`]
//! 7. [`data`]: dataset cards, readers, the token cache, the order of rows, the data loader
//! 8. [`metrics`]: what predictions are compared by, results and their table
//! 9. [`corpus`], [`streams`], [`prepare`]: what pre-training learns from, and how raw text becomes it
//! 10. [`tasks`]: a file a task
//! 11. [`evaluate`], [`model_folder`], [`convert`]: figures over whole splits; what a folder holds; from one library's layout to another's
//! 12. [`train`]: the step loop, generic over what is trained
//! 13. [`experiment`]: from a recipe to what it trains
//! 14. [`cli`]: a file a command
//!
//! Models stand before data, for a batch is made for a model, and a model knows nothing of where its input comes from.

pub mod cli;
pub mod convert;
pub mod corpus;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod experiment;
pub mod files;
pub mod hash;
pub mod hub;
pub mod kernels;
pub mod lines;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod model_folder;
pub mod models;
pub mod nn;
pub mod prepare;
pub mod random;
pub mod ranks;
pub mod recipe;
pub mod streams;
mod suggest;
pub mod tasks;
pub mod tokenize;
pub mod train;
pub mod weights;
mod words;
