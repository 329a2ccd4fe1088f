//! What documents become, how that is written, and how it is kept until it is.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::state::Summary;
use super::text_file::Position;
use crate::error::Result;

/// What documents become, and how that is written.
pub(super) trait Product: Sync {
    /// What a document becomes.
    type Made: Send;
    type Writer: Send;
    /// How much is certain to be written.
    type Written: Clone + Default + Send + Serialize + DeserializeOwned;

    /// What happens to documents, for whoever waits.
    const WORK: &'static str;

    fn make(&self, text: &str) -> Self::Made;

    /// Appends what a document has become to `bytes`, for another rank to [`restore`](Self::restore).
    fn store(made: &Self::Made, bytes: &mut Vec<u8>);

    /// Takes what was stored off the front; `None` where that is something else.
    fn restore(bytes: &mut &[u8]) -> Option<Self::Made>;

    /// Goes on with the files in the work folder behind what is `written`; what else stands in them is cut off.
    ///
    /// # Errors
    /// A file cannot be written, or is shorter than `written` says ([`Error::Input`](crate::error::Error::Input)).
    fn writer(&self, folder: &Path, written: &Self::Written) -> Result<Self::Writer>;

    /// Appends what the next document has become, and counts it.
    ///
    /// # Errors
    /// A file cannot be written.
    fn write(&self, writer: &mut Self::Writer, made: &Self::Made, summary: &mut Summary) -> Result<()>;

    /// Makes sure that everything written is on the disk.
    ///
    /// # Errors
    /// A file cannot be written.
    fn sync(writer: &mut Self::Writer) -> Result<Self::Written>;

    /// Completes the files.
    ///
    /// # Errors
    /// A file cannot be written.
    fn finish(_writer: Self::Writer) -> Result<()> {
        Ok(())
    }

    /// Whether the files in the work folder are complete already.
    fn is_finished(&self, _folder: &Path) -> bool {
        false
    }
}

/// Documents that are read together, or what became of them.
pub(super) struct Portion<T> {
    pub(super) documents: Vec<T>,
    /// Behind the last of them.
    pub(super) position: Position,
}

/// Where portions go, in their order.
pub(super) trait Sink<M>: Send {
    /// Appends a portion.
    ///
    /// # Errors
    /// A file cannot be written.
    fn write(&mut self, portion: &Portion<M>) -> Result<()>;

    /// There are no more portions up to a position.
    ///
    /// # Errors
    /// A file cannot be written.
    fn end(&mut self, position: Position) -> Result<()>;

    /// Saves how far it is, once all that is written is on the disk.
    ///
    /// # Errors
    /// A file cannot be written.
    fn save(&mut self) -> Result<()>;
}

/// Appends numbers, how many there are first.
pub(super) fn store_numbers(numbers: &[u32], bytes: &mut Vec<u8>) {
    store_count(numbers.len() as u64, bytes);
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
}

pub(super) fn store_count(count: u64, bytes: &mut Vec<u8>) {
    bytes.extend(count.to_le_bytes());
}

pub(super) fn restore_count(bytes: &mut &[u8]) -> Option<u64> {
    let (count, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*count))
}

/// So many bytes off the front.
pub(super) fn restore_bytes<'a>(bytes: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(count).ok()?)?;
    *bytes = rest;
    Some(taken)
}

pub(super) fn restore_numbers(bytes: &mut &[u8]) -> Option<Vec<u32>> {
    let count = restore_count(bytes)?.checked_mul(size_of::<u32>() as u64)?;
    let (numbers, _) = restore_bytes(bytes, count)?.as_chunks();
    Some(numbers.iter().map(|number| u32::from_le_bytes(*number)).collect())
}
