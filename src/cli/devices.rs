//! `kiln devices`.

use std::fmt::Write as _;

use super::device::BACKENDS;
use crate::device;

/// A line a backend: whether it is compiled in, and the devices found.
pub fn list() -> String {
    let mut text = String::new();
    let mut auto = None;
    for backend in BACKENDS {
        let word = backend.word();
        // Writing to a string cannot fail.
        let Some(found) = device::found(backend) else {
            let _ = writeln!(text, "{word:<8} not in this build (cargo build --release --features {word})");
            continue;
        };
        if found.is_empty() {
            let _ = writeln!(text, "{word:<8} no device found");
        }
        for (number, device) in found.iter().enumerate() {
            let _ = writeln!(text, "{word:<8} {number}  {device:?}");
        }
        auto = auto.or((!found.is_empty()).then_some(word));
    }
    let _ = writeln!(text, "\ndevice.backend = \"auto\" takes {}", auto.unwrap_or("none"));
    text
}
