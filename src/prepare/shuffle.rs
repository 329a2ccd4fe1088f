//! An external shuffle: a random order of documents that need not fit into memory.
//!
//! Every document draws a 64-bit key; the order is that of the keys. Documents are spilled into bucket files by the
//! first bits of their keys, and each bucket is read in the order of the whole keys. How many buckets there are changes
//! nothing.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::progress::Progress;
use super::text_file::{Place, Position, Source};
use crate::corpus::Output;
use crate::error::{Error, Problem, Result};
use crate::random::seeded;

/// Text of one bucket (bytes), about; and the most buckets, all of which are open at once.
const BUCKET: u64 = 64 << 20;
const MOST_BUCKETS: u64 = 128;

/// In front of each document of a bucket: its key and its length.
const HEAD: usize = 8 + 4;

/// How many buckets files of so many bytes are spilled into, for so many ranks.
pub(super) fn bucket_count(bytes: u64, ranks: usize) -> usize {
    // Each rank reads buckets of its own: of several small ones, all have about as much to do.
    let least = if ranks > 1 { (4 * ranks as u64).min(MOST_BUCKETS) } else { 1 };
    // Compressed text may well be five times as long; more buckets than needed cost nothing.
    (bytes.saturating_mul(4) / BUCKET).clamp(least, MOST_BUCKETS) as usize
}

fn bucket_file(folder: &Path, bucket: usize) -> PathBuf {
    folder.join(format!("bucket-{bucket:03}"))
}

/// Whether all buckets are there, of these lengths (bytes).
pub(super) fn holds(folder: &Path, lengths: &[u64]) -> bool {
    let length = |bucket| std::fs::metadata(bucket_file(folder, bucket)).ok().map(|file| file.len());
    lengths.iter().enumerate().all(|(bucket, expected)| length(bucket) == Some(*expected))
}

/// Spills documents into buckets.
pub(super) struct Spill {
    buckets: Vec<Output>,
    lengths: Vec<u64>,
    keys: ChaCha8Rng,
}

impl Spill {
    /// Opens the buckets, of which the first `lengths` bytes are kept, to go on with the document of number
    /// `documents`.
    ///
    /// # Errors
    /// A file cannot be written, or is shorter than `lengths` says ([`Error::Input`]).
    pub(super) fn open(folder: &Path, lengths: Vec<u64>, seed: u64, documents: u64) -> Result<Self> {
        let open = |(bucket, length): (usize, &u64)| Output::open(bucket_file(folder, bucket), *length);
        let buckets = lengths.iter().enumerate().map(open).collect::<Result<_>>()?;
        let mut keys = seeded([seed, 0, 0, 0]);
        // A key takes two of the generator's words.
        keys.set_word_pos(u128::from(documents) * 2);
        Ok(Self { buckets, lengths, keys })
    }

    /// Adds the next document.
    ///
    /// # Errors
    /// Its bucket cannot be written.
    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        let key = self.keys.next_u64();
        let bucket = ((u128::from(key) * self.buckets.len() as u128) >> 64) as usize;
        let file = &mut self.buckets[bucket];
        file.write(&key.to_le_bytes())?;
        // A document is far shorter than 4 GiB.
        file.write(&(text.len() as u32).to_le_bytes())?;
        file.write(text.as_bytes())?;
        self.lengths[bucket] += (HEAD + text.len()) as u64;
        Ok(())
    }

    /// Makes sure that everything pushed is on the disk, and gives the length of each bucket (bytes).
    ///
    /// # Errors
    /// A bucket cannot be written.
    pub(super) fn sync(&mut self) -> Result<Vec<u64>> {
        self.buckets.iter_mut().try_for_each(Output::sync)?;
        Ok(self.lengths.clone())
    }
}

/// The documents of all buckets in their random order.
pub(super) struct Shuffled {
    folder: PathBuf,
    /// Length of each bucket (bytes).
    lengths: Vec<u64>,
    position: Position,
    bucket: Option<Bucket>,
    /// Bytes of the buckets that have been read.
    read: ProgressBar,
}

/// One bucket that is being read.
struct Bucket {
    path: PathBuf,
    file: File,
    /// Key, place (bytes) and length of each document, sorted.
    order: Vec<(u64, u64, u32)>,
}

impl Shuffled {
    /// Goes on at a position; what was left out was when the buckets were filled.
    pub(super) fn new(folder: &Path, lengths: Vec<u64>, position: Position, progress: &Progress) -> Self {
        progress.resume_at(lengths.iter().take(position.place.part).sum());
        Self { folder: folder.to_path_buf(), lengths, position, bucket: None, read: progress.bar.clone() }
    }
}

impl Source for Shuffled {
    fn position(&self) -> Position {
        self.position
    }

    fn next(&mut self) -> Result<Option<String>> {
        let place = &mut self.position.place;
        while place.part < self.lengths.len() {
            let bucket = match &mut self.bucket {
                Some(bucket) => bucket,
                None => self.bucket.insert(Bucket::open(bucket_file(&self.folder, place.part))?),
            };
            let Some(text) = bucket.document(place.offset)? else {
                self.bucket = None;
                *place = Place { part: place.part + 1, ..Place::default() };
                continue;
            };
            place.offset += 1;
            self.read.inc((HEAD + text.len()) as u64);
            return Ok(Some(text));
        }
        Ok(None)
    }
}

impl Bucket {
    fn open(path: PathBuf) -> Result<Self> {
        let order = Self::read_order(&path).map_err(|cause| Error::reading(&path, &cause))?;
        let file = File::open(&path).map_err(|cause| Error::reading(&path, &cause))?;
        Ok(Self { path, file, order })
    }

    fn read_order(path: &Path) -> io::Result<Vec<(u64, u64, u32)>> {
        let mut reader = BufReader::with_capacity(1 << 18, File::open(path)?);
        let length = reader.get_ref().metadata()?.len();
        let (mut order, mut at) = (Vec::new(), 0);
        let (mut key, mut count) = ([0; 8], [0; 4]);
        while at < length {
            reader.read_exact(&mut key)?;
            reader.read_exact(&mut count)?;
            let count = u32::from_le_bytes(count);
            reader.seek_relative(i64::from(count))?;
            order.push((u64::from_le_bytes(key), at + HEAD as u64, count));
            at += HEAD as u64 + u64::from(count);
        }
        order.sort_unstable();
        Ok(order)
    }

    /// The document of a number in the random order.
    fn document(&mut self, number: u64) -> Result<Option<String>> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let Some((_, at, length)) = self.order.get(number) else { return Ok(None) };
        let mut text = vec![0; *length as usize];
        let read = self.file.seek(SeekFrom::Start(*at)).and_then(|_| self.file.read_exact(&mut text));
        read.map_err(|cause| Error::reading(&self.path, &cause))?;
        let text = String::from_utf8(text);
        text.map(Some).map_err(|_| Problem::new("not what was written here").in_file(&self.path).into())
    }
}
