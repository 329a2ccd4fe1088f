//! Streams of sentences, which a language model reads piece by piece without padding: Baidu's ELMo (PaddlePaddle/ERNIE,
//! ELMo/data.py, which is bilm-tf's).
//!
//! Sentences are lines of words with spaces between them. Each row of a batch is a stream of its own: it takes the next sentence
//! when it has come to the end of its last one, so that rows are always full. The forward and the backward streams take their
//! sentences in orders of their own. Where all streams stand after any number of steps follows from the lengths of the sentences
//! and the seed, so that a run goes on by counting.

mod sentences;
mod steps;

pub use sentences::Sentences;
pub use steps::{BpttOptions, Order, Position, Side, StreamChunk, StreamSteps};
