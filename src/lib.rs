//! Kiln trains ERNIE-M, ERNIE 1.0, RemBERT and ELMo from recipe files, on any device Burn reaches.
//!
//! Data flows one way: a [`recipe`] names a dataset card ([`data::card`]), whose rows are tokenised ([`tokenize`]), cached,
//! put in order and made into batches ([`data`]); a model ([`models`], built of [`nn`]) with a task's head ([`tasks`]) is
//! filled from a checkpoint ([`weights`]), trained ([`train`]), evaluated ([`evaluate`]) and left as a [`model_folder`].
//! For pre-training [`prepare`] makes raw text into a [`corpus`], which becomes samples, or into sentences, which become
//! [`streams`]. [`cli`] holds the commands. Every function takes the device it works on as an argument.

pub mod cli;
pub mod corpus;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod files;
#[cfg(feature = "flex")]
pub mod kernels;
pub mod logging;
pub mod memory;
pub mod model_folder;
pub mod models;
pub mod nn;
pub mod prepare;
pub mod recipe;
pub mod streams;
mod suggest;
pub mod tasks;
pub mod tokenize;
pub mod train;
pub mod weights;
