//! A recipe, with arguments behind a zero byte, and a dataset card: loaded as `kiln train` loads them.

#![no_main]

use std::path::Path;

use kiln::data::card::Card;
use kiln_fuzz::{folder, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let arguments: Vec<String> = parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    match kiln::recipe::load(&write(&folder("recipe"), "recipe.toml", text), &arguments) {
        Ok(loaded) => drop(kiln::recipe::fingerprint(&loaded.recipe)),
        // What a user sees of it.
        Err(error) => drop(error.to_string()),
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = Card::parse(Path::new("card.toml"), text).map_err(|error| error.to_string());
    }
});
