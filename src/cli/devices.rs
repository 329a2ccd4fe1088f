//! `kiln devices`.

use std::fmt::Write as _;

use super::device::BACKENDS;
use crate::device;
use crate::recipe::Precision;

/// A line a device: its number, what its driver says of it, and the precisions that work on it; a line a backend that has none.
pub fn list() -> String {
    let mut text = String::new();
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
            let works: Vec<&str> = device::precisions(device).into_iter().map(Precision::word).collect();
            let _ = writeln!(text, "{word:<8} {number}  {}; {}", device::describe(device), works.join(", "));
        }
    }
    let auto = device::automatic().map_or("none", |(backend, _)| backend.word());
    let _ = writeln!(text, "\ndevice.backend = \"auto\" takes {auto}");
    text
}
