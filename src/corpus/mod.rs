//! Corpora of token ids for pre-training, in the two layouts of PaddleNLP: read as memory maps, written whole.
//!
//! A corpus is documents of sentences of ids, without special tokens. [`Corpus`] reads it, [`CorpusWriter`] and [`publish`]
//! make one; `crate::prepare` is what fills one from text. [`samples::Samples`] are what is learnt from, of three kinds:
//!
//! - [`sample::SampleSet`], samples of corpora: [`split`] tells train, dev and test apart, [`index`] which sentences make up a
//!   sample, [`blend`] which corpus it is of; [`sample::SampleMaker`] builds it, and [`masking`] masks it.
//! - [`rows::RowSet`], rows of the 2019 format ([`knowledge`]), which are samples already.
//! - [`multilingual::Multilingual`], ERNIE-M's tasks: [`pairs::PairSet`] makes samples of text in one language and of pairs in two,
//!   which [`content`] tells apart, and [`sampler`] mixes languages and tasks.

pub mod blend;
pub mod content;
pub mod index;
mod index_file;
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
pub(crate) use writer::{Output, remove};
