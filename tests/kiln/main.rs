//! Kiln's integration tests, in one binary because each one links all of Burn.

mod alignment;
mod answers;
mod back_translation;
mod bert_tokenizers;
mod chunks;
mod cli;
mod corpus;
mod corpus_index;
mod corpus_rows;
mod corpus_samples;
mod cross_attention;
mod dataset_cards;
mod elmo;
mod ernie_tokenizer;
mod evaluate;
mod families;
mod golden_tokens;
mod hub;
mod kernels;
mod knowledge_masking;
mod layers;
mod pairs;
mod parameters;
mod parity;
mod parquet_files;
mod prepare;
mod questions;
mod read_rows;
mod reader;
mod real_data;
mod recipes;
mod recurrent_kernels;
mod rembert_tokenizer;
mod static_weights;
mod streams;
mod tagged_rows;
mod token_cards;
mod tokenizer;
mod tokenizer_json;
mod windows;
mod word_taggers;

use std::io::Write;
use std::path::PathBuf;

use burn::tensor::Device;

/// A committed fixture: of the repository that Cargo names as it runs the tests, which is another where the tests were built elsewhere.
fn fixture(name: &str) -> PathBuf {
    let repository = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(repository).join("tests/fixtures").join(name)
}

/// The folder that `KILN_TEST_DATA` names, which holds `data/` and `golden/`. Without it the test that asks says that it is skipped, in
/// all or in part: to the stream itself, for what `eprintln` writes is shown of failed tests alone.
fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("KILN_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        let thread = std::thread::current();
        let line = format!("skipped without KILN_TEST_DATA: {}\n", thread.name().unwrap_or("a test"));
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    folder
}

/// The word of the backend that the tests compute on: `KILN_TEST_DEVICE`, else "flex".
fn backend() -> String {
    std::env::var("KILN_TEST_DEVICE").unwrap_or_else(|_| "flex".into())
}

/// The first device of that backend. Without one no test that computes can pass: `kiln devices` tells whether there is one.
fn device() -> Device {
    let named = backend();
    let backend = kiln::recipe::Backend::ALL.iter().find(|backend| backend.word() == named);
    let devices = backend.and_then(|backend| kiln::device::found(*backend)).unwrap_or_default();
    devices.into_iter().next().unwrap_or_else(|| panic!("no device for KILN_TEST_DEVICE={named}"))
}
