//! `.bin` (zip and older), `.pdparams` and variables of Paddle's static graphs, told apart by their content: opened and every tensor
//! read, as a model is loaded.

#![no_main]

use kiln_fuzz::{folder, let_panics_be_caught, read_weights, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let_panics_be_caught();
    // The name is that of a variable, too.
    read_weights(&write(&folder("weights"), "word_embedding", bytes));
});
