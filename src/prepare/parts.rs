//! What several ranks make, each from files or buckets of its own: it is kept in parts, files in the work folder, until the first rank
//! writes it in order. A part says how far it is, as the whole work does, so that any rank goes on with it after a stop.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::product::{Portion, Product, Sink, restore_count, store_count};
use super::state;
use super::text_file::{LeftOut, Place, Position};
use crate::corpus::{Output, remove};
use crate::error::{Error, Problem, Result};

/// Files or buckets that one rank makes a part of: those that lie one after the other, so many that a part is worth its file. They are
/// the same for any number of ranks.
///
/// `bytes` are theirs, and `goes_on` tells those that belong to the one before.
pub(super) fn stretches(bytes: &[u64], goes_on: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    /// A small part of the whole, so that ranks have about as much to do; and the most that are put together (bytes).
    const SHARE: u64 = 256;
    const MOST: u64 = 64 << 20;
    let enough = (bytes.iter().sum::<u64>() / SHARE).clamp(1, MOST);
    let (mut stretches, mut start, mut size) = (Vec::new(), 0, 0);
    for (part, bytes) in bytes.iter().enumerate() {
        if part > start && size >= enough && !goes_on(part) {
            stretches.push(start..part);
            (start, size) = (part, 0);
        }
        size += bytes;
    }
    if start < bytes.len() {
        stretches.push(start..bytes.len());
    }
    stretches
}

/// Deals stretches of so many bytes out to `size` ranks, the largest first to whoever has least; those of each rank in order.
pub(super) fn dealt(stretches: Vec<(Range<usize>, u64)>, size: usize) -> Vec<Vec<Range<usize>>> {
    let mut hands = vec![(0, Vec::new()); size];
    let mut largest_first = stretches;
    largest_first.sort_by_key(|(stretch, bytes)| (std::cmp::Reverse(*bytes), stretch.start));
    for (stretch, bytes) in largest_first {
        if let Some((load, hand)) = hands.iter_mut().min_by_key(|(load, _)| *load) {
            *load += bytes;
            hand.push(stretch);
        }
    }
    let in_order = |(_, mut hand): (u64, Vec<Range<usize>>)| {
        hand.sort_by_key(|stretch| stretch.start);
        hand
    };
    hands.into_iter().map(in_order).collect()
}

/// How much of a part is certain to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// Behind the last document of it, with what was left out from where it begins.
    pub(super) position: Position,
    /// Bytes of its file.
    length: u64,
    /// Whether it is whole.
    pub(super) is_whole: bool,
}

/// The parts that are in a work folder, by the first file or bucket of each.
pub(super) fn found(folder: &Path) -> BTreeMap<usize, Kept> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let kept = |name: String| {
        let start = name.strip_prefix("part-")?.strip_suffix(".json")?.parse().ok()?;
        let kept: Kept = state::read(&folder.join(&name))?;
        let length = std::fs::metadata(part_file(folder, start)).ok()?.len();
        (length >= kept.length).then_some((start, kept))
    };
    entries.flatten().filter_map(|entry| kept(entry.file_name().into_string().ok()?)).collect()
}

/// Removes the part of a stretch, if there is one: first what says that it is there.
///
/// # Errors
/// A file cannot be removed.
pub(super) fn forget(folder: &Path, start: usize) -> Result<()> {
    remove(&kept_file(folder, start))?;
    remove(&part_file(folder, start))
}

fn part_file(folder: &Path, start: usize) -> PathBuf {
    folder.join(format!("part-{start:06}"))
}

fn kept_file(folder: &Path, start: usize) -> PathBuf {
    folder.join(format!("part-{start:06}.json"))
}

/// A part of a product in the making.
pub(super) struct Part<P> {
    kept_file: PathBuf,
    file: Output,
    kept: Kept,
    /// The frame that is written.
    bytes: Vec<u8>,
    product: PhantomData<fn() -> P>,
}

impl<P: Product> Part<P> {
    /// Goes on with what is `kept` of the part that begins with the file or bucket `start`, or begins it at a place.
    ///
    /// # Errors
    /// A file cannot be written, or is shorter than it was ([`Error::Input`]).
    pub(super) fn open(folder: &Path, start: usize, kept: Option<Kept>, begin: Place) -> Result<Self> {
        let position = Position { place: begin, left_out: LeftOut::default() };
        let kept = kept.unwrap_or(Kept { position, length: 0, is_whole: false });
        let file = Output::open(part_file(folder, start), kept.length)?;
        Ok(Self { kept_file: kept_file(folder, start), file, kept, bytes: Vec::new(), product: PhantomData })
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept
    }

    /// Appends a frame: how long it is, where it ends, and what documents have become.
    fn push(&mut self, documents: &[P::Made], position: Position) -> Result<()> {
        let Position { place, left_out } = position;
        self.bytes.clear();
        let places = [place.part as u64, place.offset, place.lines as u64, place.second];
        let counts = [left_out.rows, left_out.short, documents.len() as u64];
        places.into_iter().chain(counts).for_each(|count| store_count(count, &mut self.bytes));
        documents.iter().for_each(|made| P::store(made, &mut self.bytes));
        let length = self.bytes.len() as u64;
        self.file.write(&length.to_le_bytes())?;
        self.file.write(&self.bytes)?;
        self.kept.length += size_of_val(&length) as u64 + length;
        self.kept.position = position;
        Ok(())
    }
}

impl<P: Product> Sink<P::Made> for Part<P> {
    fn write(&mut self, portion: &Portion<P::Made>) -> Result<()> {
        self.push(&portion.documents, portion.position)
    }

    fn end(&mut self, position: Position) -> Result<()> {
        self.push(&[], position)?;
        self.kept.is_whole = true;
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.file.sync()?;
        state::write(&self.kept_file, &self.kept)
    }
}

/// A part that is read.
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes of it that are certain and were not read yet.
    left: u64,
    frame: Vec<u8>,
}

impl Reader {
    /// Opens what is `kept` of the part that begins with the file or bucket `start`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn open(folder: &Path, start: usize, kept: &Kept) -> Result<Self> {
        let path = part_file(folder, start);
        let file = File::open(&path).map_err(|cause| Error::reading(&path, &cause))?;
        Ok(Self { path, file: BufReader::with_capacity(1 << 18, file), left: kept.length, frame: Vec::new() })
    }

    /// The next portion of a product; `None` after the last.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub(super) fn next<P: Product>(&mut self) -> Result<Option<Portion<P::Made>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut length = [0; 8];
        self.file.read_exact(&mut length).map_err(|cause| Error::reading(&self.path, &cause))?;
        let strange = || Error::from(Problem::new("not what was written here").in_file(&self.path));
        let length = u64::from_le_bytes(length);
        self.left = self.left.checked_sub(8).and_then(|left| left.checked_sub(length)).ok_or_else(strange)?;
        self.frame.resize(usize::try_from(length).map_err(|_| strange())?, 0);
        self.file.read_exact(&mut self.frame).map_err(|cause| Error::reading(&self.path, &cause))?;
        restored::<P>(&self.frame).map(Some).ok_or_else(strange)
    }
}

fn restored<P: Product>(mut frame: &[u8]) -> Option<Portion<P::Made>> {
    let mut numbers = [0; 7];
    for number in &mut numbers {
        *number = restore_count(&mut frame)?;
    }
    let [part, offset, lines, second, rows, short, count] = numbers;
    let place = Place { part: part.try_into().ok()?, offset, lines: lines.try_into().ok()?, second };
    let documents = (0..count).map(|_| P::restore(&mut frame)).collect::<Option<_>>()?;
    frame.is_empty().then_some(Portion { documents, position: Position { place, left_out: LeftOut { rows, short } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_of_several_small_files_and_do_not_part_halves() {
        assert!(stretches(&[], |_| false).is_empty());
        assert_eq!(stretches(&[5, 0, 7], |_| false), [0..1, 1..3]);
        assert_eq!(stretches(&[5, 5, 7, 7], |part| part % 2 == 1), [0..2, 2..4]);
        let many = stretches(&vec![10; 1000], |_| false);
        assert!((200..=256).contains(&many.len()), "{}", many.len());
        assert!(many.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((many[0].start, many.last().map(|last| last.end)), (0, Some(1000)));
    }

    #[test]
    fn each_stretch_is_dealt_to_one_rank() {
        let of = |sizes: &[u64], ranks| {
            let stretches = sizes.iter().enumerate().map(|(at, bytes)| (at..at + 1, *bytes)).collect();
            let hands: Vec<Vec<usize>> = dealt(stretches, ranks)
                .into_iter()
                .map(|hand| hand.into_iter().map(|stretch| stretch.start).collect())
                .collect();
            hands
        };
        assert_eq!(of(&[1, 9, 2, 8], 2), [vec![0, 1], vec![2, 3]]);
        assert_eq!(of(&[3], 3), [vec![0], vec![], vec![]]);
        assert_eq!(of(&[], 2), [vec![], Vec::<usize>::new()]);
    }
}
