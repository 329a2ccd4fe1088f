//! `model.safetensors`, read with the `safetensors` crate.

use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError};

use super::entry::{Entry, Piece, Place};
use super::{Fault, Layout, Named};
use crate::error::Problem;

/// The tensors of a file, in the order of their numbers, and the layout of its matrices; `bytes` is the whole file.
pub(super) fn entries(bytes: &[u8], file: usize) -> Result<(Layout, Vec<Named>), Fault> {
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| what_is_wrong(bytes, &error))?;
    let start = header + LENGTH;
    let mut found = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let range = start + info.data_offsets.0..start + info.data_offsets.1;
        let entry = Entry::new(info.shape.clone(), info.dtype, Place::dense(file, Piece::Bytes(range)), bytes)
            .map_err(|why| Problem::new(format!("is damaged: the tensor `{}`: {why}", name.escape_default())))?;
        found.push((name, entry));
    }
    // PaddleNLP names its safetensors files so and keeps Paddle's layout in them; Hugging Face writes "pt".
    let format = metadata.metadata().as_ref().and_then(|words| words.get("format"));
    let layout = match format.map(String::as_str) {
        Some("np" | "pd") => Layout::Paddle,
        _ => Layout::Torch,
    };
    Ok((layout, found))
}

/// Bytes before the header: its length.
const LENGTH: usize = 8;

/// Says what the library's error means for the file.
fn what_is_wrong(bytes: &[u8], error: &SafeTensorError) -> Problem {
    let whole = size(bytes.len());
    let header = bytes.first_chunk().and_then(|length| usize::try_from(u64::from_le_bytes(*length)).ok());
    let again = "fetch or copy the file again";
    match error {
        SafeTensorError::HeaderTooSmall => Problem::new(format!("is cut short: the file has {whole}")).help(again),
        SafeTensorError::InvalidHeaderLength => {
            let named = size(header.unwrap_or(usize::MAX));
            Problem::new(format!("is cut short: its header should have {named}, the file has {whole}")).help(again)
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            let metadata: Option<Metadata> = header
                .and_then(|header| bytes.get(LENGTH..)?.get(..header))
                .and_then(|json| serde_json::from_slice(json).ok());
            let named = metadata.map_or(0, |metadata| metadata.data_len());
            let held = bytes.len() - LENGTH - header.unwrap_or(0);
            let short = if held < named { "is cut short" } else { "is damaged" };
            let (named, held) = (size(named), size(held));
            Problem::new(format!("{short}: the header names {named} of tensors, the file has {held}")).help(again)
        }
        other => Problem::new(format!("is damaged: {other}")).help(again),
    }
}

/// A file size as people say it, with three digits; bytes where two sizes could otherwise look alike.
fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
