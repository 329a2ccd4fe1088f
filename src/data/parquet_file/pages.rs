//! The pages of a column, unpacked within bounds.
//!
//! The crate `parquet` would unpack them itself, gzip without a bound, and it takes the counts that stand in pages for true when it lays
//! out memory. So it is told that nothing is packed, and here each page is unpacked and its counts are checked before the crate sees it.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::parquet::basic::{Compression, Encoding};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::ChunkReader;
use ::parquet::file::serialized_reader::SerializedPageReader;
use ::parquet::schema::types::ColumnDescPtr;
use flate2::bufread::MultiGzDecoder;

/// No honest page is longer, unpacked (bytes): writers begin a new one after a megabyte.
const LONGEST_PAGE: u64 = 256 << 20;

/// The same for pages whose values are told by what they share with the one before: each may be as long as the page, and
/// [`super::BATCH`] of them are laid out at once.
const LONGEST_SHARING_PAGE: usize = 16 << 20;

/// What a value costs in memory beside its bytes.
const VALUE: u64 = 64;

/// What any file may come to when it is unpacked (bytes), and how many times its own size it may come to. Text that is packed well is a
/// tenth of itself; gzip cannot make anything smaller than a thousandth.
const ALLOWED: u64 = 1 << 30;
const ALLOWED_TIMES: u64 = 1000;

/// How much of what a file may come to is left.
pub(super) struct Allowance(AtomicU64);

impl Allowance {
    /// That of a file of this size.
    pub(super) fn of(size: u64) -> Self {
        Self(AtomicU64::new(size.saturating_mul(ALLOWED_TIMES).max(ALLOWED)))
    }

    /// Takes some bytes of it.
    pub(super) fn take(&self, bytes: u64) -> Result<()> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        left.map(drop).map_err(|_| {
            let most = ALLOWED >> 30;
            Refused::error(
                format!(
                    "the parquet file unpacks to more than {most} GiB and more than {ALLOWED_TIMES} times its size"
                ),
                "no text packs so well: is the file what it is said to be?",
            )
        })
    }
}

/// What Kiln refuses to read, although it may be sound.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) what: String,
    pub(super) help: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    pub(super) fn error(what: impl Into<String>, help: &'static str) -> ParquetError {
        ParquetError::External(Box::new(Self { what: what.into(), help }))
    }
}

/// How pages are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Snappy,
    Gzip,
    Zstandard,
}

impl Packing {
    pub(super) fn of(codec: Compression) -> Result<Self> {
        match codec {
            Compression::UNCOMPRESSED => Ok(Self::None),
            Compression::SNAPPY => Ok(Self::Snappy),
            Compression::GZIP(_) => Ok(Self::Gzip),
            Compression::ZSTD(_) => Ok(Self::Zstandard),
            other => {
                let what = format!("the parquet file is packed with {other}, which Kiln does not read");
                Err(Refused::error(what, "write it with compression=\"snappy\", \"zstd\" or \"gzip\""))
            }
        }
    }

    /// Appends to `bytes` what `packed` holds.
    fn unpack(self, packed: &[u8], bytes: &mut Vec<u8>) -> Result<()> {
        let most = LONGEST_PAGE - bytes.len() as u64;
        let external = |cause: std::io::Error| ParquetError::General(format!("a page cannot be unpacked: {cause}"));
        match self {
            Self::None => bytes.extend_from_slice(packed),
            Self::Snappy => {
                let damaged = |cause: snap::Error| ParquetError::General(format!("a page cannot be unpacked: {cause}"));
                let length = snap::raw::decompress_len(packed).map_err(damaged)?;
                if length as u64 > most {
                    return Err(too_long());
                }
                bytes.extend(snap::raw::Decoder::new().decompress_vec(packed).map_err(damaged)?);
            }
            Self::Gzip => drop(MultiGzDecoder::new(packed).take(most + 1).read_to_end(bytes).map_err(external)?),
            Self::Zstandard => {
                let packed = zstd::Decoder::with_buffer(packed).map_err(external)?;
                packed.take(most + 1).read_to_end(bytes).map_err(external)?;
            }
        }
        if bytes.len() as u64 > LONGEST_PAGE { Err(too_long()) } else { Ok(()) }
    }
}

fn too_long() -> ParquetError {
    let what = format!("the parquet file has a page of more than {} MiB", LONGEST_PAGE >> 20);
    Refused::error(what, "no writer makes such pages: is the file what it is said to be?")
}

fn damaged(what: &str) -> ParquetError {
    ParquetError::General(what.to_string())
}

/// The pages of one column in one row group.
pub(super) struct Pages<R: ChunkReader> {
    /// The pages as they are stored.
    pub(super) stored: SerializedPageReader<R>,
    pub(super) packing: Packing,
    pub(super) column: ColumnDescPtr,
    pub(super) allowance: Arc<Allowance>,
}

impl<R: ChunkReader> Pages<R> {
    /// A page that has been unpacked, once its counts are known to be possible.
    fn checked(&self, page: Page) -> Result<Page> {
        let page = self.unpacked(page)?;
        self.allowance.take(VALUE * u64::from(page.num_values()))?;
        let (values, encoding) = match &page {
            Page::DictionaryPage { buf, num_values, .. } => {
                // A value takes a byte at least: those of a dictionary are laid out at once, for their number.
                let is_possible = u64::from(*num_values) <= buf.len() as u64;
                return if is_possible { Ok(page) } else { Err(damaged("a dictionary is shorter than its values")) };
            }
            Page::DataPage { buf, encoding, def_level_encoding, rep_level_encoding, .. } => {
                let levels = [
                    (self.column.max_rep_level(), *rep_level_encoding),
                    (self.column.max_def_level(), *def_level_encoding),
                ];
                (after_levels(buf, levels)?, *encoding)
            }
            Page::DataPageV2 { buf, encoding, rep_levels_byte_len, def_levels_byte_len, .. } => {
                (&buf[*rep_levels_byte_len as usize + *def_levels_byte_len as usize..], *encoding)
            }
        };
        self.check_values(values, encoding, u64::from(page.num_values()))?;
        Ok(page)
    }

    fn unpacked(&self, page: Page) -> Result<Page> {
        let mut bytes = Vec::new();
        Ok(match page {
            Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
                self.packing.unpack(&buf, &mut bytes)?;
                Page::DictionaryPage { buf: bytes.into(), num_values, encoding, is_sorted }
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics } => {
                self.packing.unpack(&buf, &mut bytes)?;
                let buf = bytes.into();
                Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics }
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                statistics,
            } => {
                // Levels are never packed.
                let levels = def_levels_byte_len as usize + rep_levels_byte_len as usize;
                let (levels, values) =
                    buf.split_at_checked(levels).ok_or_else(|| damaged("a page is shorter than its levels"))?;
                bytes.extend_from_slice(levels);
                // Without values there is nothing, not even nothing packed.
                if !values.is_empty() {
                    let packing = if is_compressed { self.packing } else { Packing::None };
                    packing.unpack(values, &mut bytes)?;
                }
                Page::DataPageV2 {
                    buf: bytes.into(),
                    num_values,
                    encoding,
                    num_nulls,
                    num_rows,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    is_compressed: false,
                    statistics,
                }
            }
        })
    }

    /// The delta encodings tell how many values they have, and the crate lays out so many.
    fn check_values(&self, values: &[u8], encoding: Encoding, most: u64) -> Result<()> {
        match encoding {
            Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                end_of_deltas(values, most)?;
            }
            Encoding::DELTA_BYTE_ARRAY => {
                if self.column.max_rep_level() > 0 || values.len() > LONGEST_SHARING_PAGE {
                    return Err(Refused::error(
                        "the parquet file has the encoding DELTA_BYTE_ARRAY in lists, or in a page of more than 16 MiB",
                        "write it with another encoding, such as the dictionaries that writers have by default",
                    ));
                }
                let lengths = end_of_deltas(values, most)?;
                end_of_deltas(&values[lengths..], most)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What follows the levels of a page of version 1, which are repetition levels and definition levels; those whose highest is 0 are not there.
fn after_levels(page: &[u8], levels: [(i16, Encoding); 2]) -> Result<&[u8]> {
    let mut left = page;
    for (_, encoding) in levels.into_iter().filter(|(highest, _)| *highest > 0) {
        if encoding != Encoding::RLE {
            // Left off by all writers since 2014.
            return Err(Refused::error(
                format!("the parquet file has levels in the encoding {encoding}"),
                "write it anew, with pyarrow for instance",
            ));
        }
        let (length, rest) = left.split_first_chunk().ok_or_else(|| damaged("a page is shorter than its levels"))?;
        let length = u32::from_le_bytes(*length) as usize;
        left = rest.get(length..).ok_or_else(|| damaged("a page is shorter than its levels"))?;
    }
    Ok(left)
}

/// Where a block of DELTA_BINARY_PACKED numbers ends, which has `most` of them at most.
///
/// A header (numbers in a block, miniblocks in a block, how many numbers, the first of them), then blocks of a smallest delta, the width in
/// bits of each miniblock, and the miniblocks: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.
fn end_of_deltas(bytes: &[u8], most: u64) -> Result<usize> {
    let cut = || damaged("a page ends within its numbers");
    let mut at = 0;
    let mut number = || {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.get(at)?;
            at += 1;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    };
    let (block, miniblocks) = (number().ok_or_else(cut)?, number().ok_or_else(cut)?);
    let (count, _first) = (number().ok_or_else(cut)?, number().ok_or_else(cut)?);
    if count > most {
        return Err(damaged("a page has more numbers than values"));
    }
    if miniblocks == 0 || block == 0 || block % miniblocks != 0 || block > 1 << 20 {
        return Err(damaged("a page has blocks of an impossible size"));
    }
    let in_miniblock = block / miniblocks;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let mut zigzag = at;
        while bytes.get(zigzag).ok_or_else(cut)? & 0x80 != 0 {
            zigzag += 1;
        }
        let widths = bytes.get(zigzag + 1..zigzag + 1 + miniblocks as usize).ok_or_else(cut)?;
        at = zigzag + 1 + miniblocks as usize;
        for width in widths {
            // Miniblocks after the last number are not there, whatever their width.
            if left > 0 {
                at += (u64::from(*width) * in_miniblock / 8) as usize;
                left = left.saturating_sub(in_miniblock);
            }
        }
        if at > bytes.len() {
            return Err(cut());
        }
    }
    Ok(at)
}

impl<R: ChunkReader> Iterator for Pages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: ChunkReader> PageReader for Pages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        loop {
            match self.stored.get_next_page()? {
                // Writers may leave a page without values between others; the crate takes it for the last.
                Some(page) if page.is_data_page() && page.num_values() == 0 => {}
                page => return page.map(|page| self.checked(page)).transpose(),
            }
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.stored.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.stored.skip_next_page()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn unpacked(packing: Packing, packed: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let mut bytes = b"levels".to_vec();
        packing.unpack(packed, &mut bytes).map(|()| bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn pages_are_unpacked_within_bounds() {
        let text = "A text that is packed. ".repeat(100);
        let gzip = |bytes: &[u8]| {
            let mut packer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        };
        let snappy = snap::raw::Encoder::new().compress_vec(text.as_bytes()).unwrap();
        let zstandard = zstd::encode_all(text.as_bytes(), 1).unwrap();
        let expected = [b"levels", text.as_bytes()].concat();
        for (packing, packed) in [
            (Packing::None, text.as_bytes().to_vec()),
            (Packing::Snappy, snappy),
            (Packing::Gzip, gzip(text.as_bytes())),
            (Packing::Zstandard, zstandard),
        ] {
            assert_eq!(unpacked(packing, &packed).unwrap(), expected, "{packing:?}");
            if packing != Packing::None {
                assert!(unpacked(packing, &packed[..packed.len() / 2]).is_err(), "{packing:?}");
                assert!(unpacked(packing, b"no such page").is_err(), "{packing:?}");
            }
        }
        let long = vec![0; LONGEST_PAGE as usize];
        for (packing, packed) in [
            // The length of 4 GiB that is told before the first byte.
            (Packing::Snappy, vec![0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0]),
            (Packing::Gzip, gzip(&long)),
            (Packing::Zstandard, zstd::encode_all(long.as_slice(), 1).unwrap()),
        ] {
            let error = unpacked(packing, &packed).unwrap_err();
            assert!(error.ends_with("the parquet file has a page of more than 256 MiB"), "{packing:?}: {error}");
        }
    }

    #[test]
    fn numbers_are_counted_before_they_are_laid_out() {
        // Blocks of 128 in 4 miniblocks; 5 numbers from 7 on: a smallest delta of 2, widths 1, 0, 0, 0, and 32 numbers of one bit.
        let numbers = [0x80, 1, 4, 5, 14, 4, 1, 0, 0, 0, 0xFF, 0, 0, 0];
        assert_eq!(end_of_deltas(&[&numbers[..], b"texts"].concat(), 5).unwrap(), numbers.len());
        assert!(end_of_deltas(&numbers, 4).is_err());
        assert!((0..numbers.len()).all(|length| end_of_deltas(&numbers[..length], 5).is_err()));
        // One number has no block, and none has a first number all the same.
        assert_eq!(end_of_deltas(&[0x80, 1, 4, 1, 14], 1).unwrap(), 5);
        assert_eq!(end_of_deltas(&[0x80, 1, 4, 0, 0], 1).unwrap(), 5);
        let huge = [0x80, 1, 4, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 14];
        assert!(end_of_deltas(&huge, 1 << 20).is_err());
        assert!(end_of_deltas(&[0x80, 1, 0, 5, 14], 5).is_err());
    }
}
