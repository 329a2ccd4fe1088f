//! `model.safetensors`: opened and every tensor read, as a model is loaded.

#![no_main]

use kiln_fuzz::{folder, read_weights, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| read_weights(&write(&folder("weights"), "model.safetensors", bytes)));
