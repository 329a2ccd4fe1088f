//! Corpora of token ids for pre-training, in the two layouts of PaddleNLP: read as memory maps, written whole.
//!
//! A corpus is documents of sentences of ids, without special tokens. [`Corpus`] reads it, [`CorpusWriter`] and [`publish`]
//! make one; `crate::prepare` is what fills one from text. [`sample::SampleSet`] makes it into samples for pre-training: [`split`] tells train,
//! dev and test apart, [`index`] which sentences make up a sample, [`blend`] which corpus it is of, [`sample::SampleMaker`] builds it, and [`masking`]
//! masks it. Rows of the 2019 format ([`knowledge`]) are samples already: [`rows::RowSet`]; [`samples::Samples`] is either.
//! [`pairs::PairSet`] makes corpora of one language, and of pairs in two, into the samples of ERNIE-M's own pre-training; [`content`] tells
//! them apart, and [`multilingual`] mixes the tasks of a run.

pub mod blend;
pub mod content;
pub mod index;
mod index_file;
mod ints;
pub mod knowledge;
mod language_pools;
mod layout;
pub mod masking;
mod mmidx;
pub mod multilingual;
mod npy;
mod npz;
pub mod options;
pub mod pairs;
pub mod rows;
pub mod sample;
pub mod sampler;
pub mod samples;
pub mod split;
pub mod vocabulary;
mod writer;

pub use layout::Corpus;
pub(crate) use layout::{files, with_ending};
pub use writer::{CorpusWriter, Written, is_finished, publish, withdraw};
