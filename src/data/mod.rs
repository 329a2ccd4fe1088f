//! From files to batches.

mod loader;
mod order;
mod tokens;

pub use loader::{Cut, EvalLoader, StepLoader, TokenRows};
pub use order::Order;
pub use tokens::{TokenCache, TokenInfo, TokenRow, cache_key};
