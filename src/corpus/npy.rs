//! Headers of NumPy's `.npy` files (format versions 1 to 3, the NumPy documentation, `numpy.lib.format`).
//!
//! Only what corpora hold is read: little-endian whole numbers in one dimension. The header is a Python literal; a
//! general reader of those can be made to recurse without bound by a hostile file, so the one form that NumPy writes is
//! looked for.

use crate::data::ints::Dtype;

const MAGIC: &[u8] = b"\x93NUMPY";
/// No header of a plain array is longer (bytes).
const LONGEST: usize = 65_536;

/// What the header of a one-dimensional array says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) dtype: Dtype,
    /// Numbers in the array.
    pub(super) count: u64,
    /// Where they begin (bytes from the start of the file).
    pub(super) data: usize,
}

/// How many bytes suffice to read any header.
pub(super) const HEAD: usize = LONGEST + 12;

impl Header {
    /// Reads the header at the beginning of `bytes`; the error says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (text, data) = header_text(bytes)?;
        let dtype = dtype(value(text, "descr").ok_or("its header names no type (descr)")?)?;
        let shape = value(text, "shape").ok_or("its header names no shape")?;
        Ok(Self { dtype, count: length_of(shape)?, data })
    }
}

/// The dictionary in the header at the beginning of `bytes`, and where the numbers begin.
pub(super) fn header_text(bytes: &[u8]) -> Result<(&str, usize), String> {
    let not_npy = || "not a NumPy .npy array".to_string();
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(not_npy)?;
    let (start, length) = match rest {
        [1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        [version, ..] => return Err(format!("a NumPy array of the unknown format version {version}")),
        [] => return Err(not_npy()),
    };
    let text = bytes.get(start..start + length.min(LONGEST)).filter(|text| text.len() == length);
    let text = text.ok_or("its header is cut short")?;
    Ok((std::str::from_utf8(text).map_err(|_| "its header is damaged")?, start + length))
}

/// The text behind a key of the header's dictionary.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let quoted = |quote: char| text.split_once(&format!("{quote}{key}{quote}")).map(|(_, rest)| rest);
    let rest = quoted('\'').or_else(|| quoted('"'))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

fn dtype(text: &str) -> Result<Dtype, String> {
    let word: String = text.chars().take(12).skip(1).take_while(|c| *c != '\'' && *c != '"').collect();
    let descr = match word.as_str() {
        "<u1" => "|u1",
        "<i1" => "|i1",
        descr => descr,
    };
    Dtype::of_descr(descr).ok_or_else(|| format!("its type `{word}` is not a little-endian whole number"))
}

fn length_of(shape: &str) -> Result<u64, String> {
    let inside = shape.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inside, _)| inside.trim());
    let inside = inside.ok_or("its shape is damaged")?;
    let only = inside.strip_suffix(',').unwrap_or(inside).trim_end();
    only.parse().map_err(|_| format!("its shape ({inside}) is not that of one row of numbers"))
}

/// Length of what [`header_of`] writes (bytes): numpy aligns the numbers to 64, and no shape here needs more than 128.
pub(super) const HEADER_LENGTH: usize = 128;

/// The header of `count` numbers, of the same length whatever the count, so that it can be written again at the end.
pub(super) fn header(dtype: Dtype, count: u64) -> Vec<u8> {
    header_of(dtype, &format!("({count},)"))
}

/// The header of an array of this type and shape.
pub(super) fn header_of(dtype: Dtype, shape: &str) -> Vec<u8> {
    let descr = dtype.descr();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let length = HEADER_LENGTH - 10;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0, length as u8, 0]);
    bytes.extend(format!("{text:<width$}\n", width = length - 1).bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for dtype in [Dtype::U8, Dtype::I8, Dtype::U16, Dtype::I16, Dtype::U32, Dtype::I32, Dtype::U64, Dtype::I64] {
            for count in [0, 7, u64::MAX] {
                let bytes = header(dtype, count);
                assert_eq!(bytes.len(), HEADER_LENGTH);
                assert_eq!(Header::parse(&bytes), Ok(Header { dtype, count, data: HEADER_LENGTH }));
            }
        }
    }

    #[test]
    fn other_arrays_and_damage_are_named() {
        let of = |text: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.bytes());
            Header::parse(&bytes).unwrap_err()
        };
        assert!(of("{'descr': '<f4', 'shape': (3,), }").contains("`<f4` is not a little-endian whole number"));
        assert!(of("{'descr': '>i4', 'shape': (3,), }").contains("`>i4`"));
        assert!(of("{'descr': '<i4', 'shape': (3, 4), }").contains("(3, 4)"));
        assert!(of("{'descr': '<i4', 'shape': (-3,), }").contains("shape (-3,)"));
        assert!(of("{'shape': (3,), }").contains("no type"));
        assert!(of("{'descr': '<i4'}").contains("no shape"));
        assert!(Header::parse(b"PK\x03\x04").unwrap_err().contains("not a NumPy"));
        let whole = header(Dtype::U16, 5);
        for length in 0..whole.len() {
            assert!(Header::parse(&whole[..length]).is_err(), "cut to {length} bytes");
        }
    }
}
