//! Where the numbers of one tensor lie in a checkpoint file, and how to read them.
//!
//! Every container comes down to this: a tensor is a piece of a mapped file (or a few pieces in a row), an element type
//! and, when the elements do not lie row after row, strides. So a checkpoint is opened without reading its numbers.

use std::borrow::Cow;
use std::ops::Range;

use half::{bf16, f16};
use rayon::prelude::*;
pub use safetensors::Dtype;

/// Fewer elements than this are not worth another thread.
const PORTION: usize = 1 << 16;

/// What is known of a tensor before its numbers are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Lengths of the dimensions, as the file has them; empty for a single number.
    pub shape: Vec<usize>,
    /// The element type in the file.
    pub dtype: Dtype,
    place: Place,
}

/// Where the elements lie.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// Which of the checkpoint's files: an index into the list that [`super::Weights`] holds.
    pub file: usize,
    /// The pieces that make up the tensor's storage, in order.
    pub pieces: Vec<Piece>,
    /// The first element, counted in elements of the storage.
    pub offset: usize,
    /// The step of each dimension in elements; `None` when the elements lie row after row.
    pub strides: Option<Vec<usize>>,
    /// Whether the elements are stored most significant byte first.
    pub big_endian: bool,
}

/// A run of bytes of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// The bytes as they are.
    Bytes(Range<usize>),
    /// UTF-8 text whose characters U+0000 to U+00FF stand for one byte each: how Python writes bytes into a pickle of
    /// protocol 2.
    Latin1(Range<usize>),
}

impl Piece {
    fn bytes<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        let cut = || "its numbers lie beyond the end of the file".to_string();
        match self {
            Self::Bytes(range) => Ok(Cow::Borrowed(file.get(range.clone()).ok_or_else(cut)?)),
            Self::Latin1(range) => {
                let text = str::from_utf8(file.get(range.clone()).ok_or_else(cut)?).map_err(|e| e.to_string())?;
                let bytes = text.chars().map(|c| u8::try_from(u32::from(c))).collect::<Result<Vec<u8>, _>>();
                Ok(Cow::Owned(bytes.map_err(|_| "its numbers are not written as bytes".to_string())?))
            }
        }
    }

    /// How many bytes the piece stands for, without decoding it.
    fn len(&self, file: &[u8]) -> usize {
        match self {
            Self::Bytes(range) => range.len(),
            // In UTF-8 every character has one byte that is not of the form 10xxxxxx.
            Self::Latin1(range) => {
                file.get(range.clone()).map_or(0, |text| text.iter().filter(|byte| **byte & 0xC0 != 0x80).count())
            }
        }
    }
}

impl Place {
    /// Elements that lie row after row in one piece of a file, least significant byte first.
    pub(super) fn dense(file: usize, piece: Piece) -> Self {
        Self { file, pieces: vec![piece], offset: 0, strides: None, big_endian: false }
    }
}

impl Entry {
    /// An entry whose elements all lie inside `file`; else a sentence that says what does not fit.
    pub(super) fn new(shape: Vec<usize>, dtype: Dtype, mut place: Place, file: &[u8]) -> Result<Self, String> {
        let count = count(&shape).ok_or_else(|| format!("its shape {shape:?} is too large"))?;
        if place.strides.as_ref().is_some_and(|strides| is_row_major(&shape, strides)) {
            place.strides = None;
        }
        let bytes: usize = place.pieces.iter().map(|piece| piece.len(file)).sum();
        // Pieces of one tensor do not overlap; a file that names one piece many times could ask for any number of bytes.
        if bytes > file.len() {
            return Err("its storage is larger than the file".to_string());
        }
        let held = bytes.checked_mul(8).ok_or("its storage is too large")? / dtype.bitsize();
        let last = match &place.strides {
            _ if count == 0 => Some(0),
            None => place.offset.checked_add(count),
            Some(strides) => last_element(&shape, strides, place.offset),
        };
        if last.is_none_or(|last| last > held) {
            let at = if place.offset > 0 { format!(" from element {} on", place.offset) } else { String::new() };
            return Err(format!("its shape {shape:?} asks for {count} elements{at}, its storage holds {held}"));
        }
        // A view that repeats elements (stride 0) could name any number of them: nothing in the file bounds it.
        if count > held {
            return Err(format!("its shape {shape:?} repeats the {held} elements of its storage"));
        }
        Ok(Self { shape, dtype, place })
    }

    /// How many elements the tensor has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Which file of the checkpoint holds it.
    pub(super) fn file(&self) -> usize {
        self.place.file
    }

    /// Some of the rows of a matrix, as an entry of its own.
    pub(super) fn rows(&self, rows: Range<usize>) -> Self {
        let &[all, width] = self.shape.as_slice() else { return self.clone() };
        let step = self.place.strides.as_ref().map_or(width, |strides| strides[0]);
        let rows = rows.start.min(all)..rows.end.min(all);
        let place = Place { offset: self.place.offset + rows.start * step, ..self.place.clone() };
        Self { shape: vec![rows.len(), width], dtype: self.dtype, place }
    }

    /// The elements as float32, row after row; `file` is the whole file. Float64 is rounded to the nearest.
    pub(super) fn read_f32(&self, file: &[u8]) -> Result<Vec<f32>, String> {
        match self.dtype {
            Dtype::F32 => self.elements(file, f32::from_le_bytes),
            Dtype::F64 => self.elements(file, |bytes| f64::from_le_bytes(bytes) as f32),
            Dtype::F16 => self.elements(file, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => self.elements(file, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            _ => Err(self.not("floating point numbers")),
        }
    }

    /// The elements as float64, row after row: exact for every floating point type.
    pub(super) fn read_f64(&self, file: &[u8]) -> Result<Vec<f64>, String> {
        match self.dtype {
            Dtype::F64 => self.elements(file, f64::from_le_bytes),
            _ => Ok(self.read_f32(file)?.into_iter().map(f64::from).collect()),
        }
    }

    /// The elements of an integer or truth value tensor, row after row.
    pub(super) fn read_i64(&self, file: &[u8]) -> Result<Vec<i64>, String> {
        match self.dtype {
            Dtype::BOOL => self.elements(file, |[byte]| i64::from(byte != 0)),
            Dtype::U8 => self.elements(file, |bytes| u8::from_le_bytes(bytes).into()),
            Dtype::I8 => self.elements(file, |bytes| i8::from_le_bytes(bytes).into()),
            Dtype::U16 => self.elements(file, |bytes| u16::from_le_bytes(bytes).into()),
            Dtype::I16 => self.elements(file, |bytes| i16::from_le_bytes(bytes).into()),
            Dtype::U32 => self.elements(file, |bytes| u32::from_le_bytes(bytes).into()),
            Dtype::I32 => self.elements(file, |bytes| i32::from_le_bytes(bytes).into()),
            Dtype::I64 => self.elements(file, i64::from_le_bytes),
            Dtype::U64 => self
                .elements(file, u64::from_le_bytes)?
                .into_iter()
                .map(|value| i64::try_from(value).map_err(|_| format!("holds {value}, which is too large")))
                .collect(),
            _ => Err(self.not("whole numbers")),
        }
    }

    fn not(&self, wanted: &str) -> String {
        format!("holds {}, not {wanted}", self.dtype)
    }

    /// The elements of `N` bytes each, row after row, each read by `from` from its bytes, least significant first.
    fn elements<const N: usize, T: Send>(
        &self,
        file: &[u8],
        from: impl Fn([u8; N]) -> T + Sync,
    ) -> Result<Vec<T>, String> {
        let storage = match &self.place.pieces[..] {
            [one] => one.bytes(file)?,
            many => many.iter().map(|piece| piece.bytes(file)).collect::<Result<Vec<_>, _>>()?.concat().into(),
        };
        let (stored, _) = storage.as_chunks::<N>();
        let element = |mut bytes: [u8; N]| {
            if self.place.big_endian {
                bytes.reverse();
            }
            from(bytes)
        };
        // `new` has checked that every index below lies inside the storage.
        Ok(match &self.place.strides {
            None => {
                let stored = &stored[self.place.offset..][..self.count()];
                stored.par_iter().with_min_len(PORTION).map(|bytes| element(*bytes)).collect()
            }
            Some(strides) => {
                let storage_index = |mut row_major: usize| {
                    let dimensions = self.shape.iter().zip(strides).rev();
                    dimensions.fold(self.place.offset, |at, (length, stride)| {
                        let step = row_major % length;
                        row_major /= length;
                        at + step * stride
                    })
                };
                (0..self.count()).map(|index| element(stored[storage_index(index)])).collect()
            }
        })
    }
}

/// The product of the dimensions, unless it is too large.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length))
}

/// One past the highest element that a strided, non-empty view touches.
fn last_element(shape: &[usize], strides: &[usize], offset: usize) -> Option<usize> {
    shape
        .iter()
        .zip(strides)
        .try_fold(offset, |at, (length, stride)| at.checked_add((length - 1).checked_mul(*stride)?))?
        .checked_add(1)
}

/// Whether the strides step through the elements in row-major order; a dimension of length 1 may have any stride.
fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(length, stride)| {
        let fits = *length == 1 || *stride == expected;
        expected = expected.saturating_mul(*length);
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn view(shape: &[usize], strides: &[usize], offset: usize, file: &[u8]) -> Result<Entry, String> {
        let strides = Some(strides.to_vec());
        let place = Place { offset, strides, ..Place::dense(0, Piece::Bytes(0..file.len())) };
        Entry::new(shape.to_vec(), Dtype::F32, place, file)
    }

    #[test]
    fn a_strided_view_is_read_in_row_major_order() {
        let file = bytes(&[0., 1., 2., 3., 4., 5., 6.]);
        let transposed = view(&[3, 2], &[1, 3], 1, &file).unwrap();
        assert_eq!(transposed.read_f32(&file).unwrap(), [1., 4., 2., 5., 3., 6.]);
        let deep = view(&[2, 1, 2], &[3, 9, 2], 0, &file).unwrap();
        assert_eq!(deep.read_f32(&file).unwrap(), [0., 2., 3., 5.]);
        assert_eq!(transposed.rows(1..3).read_f32(&file).unwrap(), [2., 5., 3., 6.]);
        assert_eq!(transposed.rows(2..9).rows(0..1).read_f32(&file).unwrap(), [3., 6.]);
    }

    #[test]
    fn a_view_beyond_its_storage_is_refused() {
        let file = bytes(&[0., 1., 2., 3.]);
        assert!(view(&[2, 2], &[1, 2], 1, &file).unwrap_err().contains("asks for 4 elements from element 1 on"));
        assert!(view(&[usize::MAX, 2], &[1, 1], 0, &file).unwrap_err().contains("too large"));
        assert!(view(&[2], &[usize::MAX], 1, &file).is_err());
        assert!(view(&[1 << 40], &[0], 0, &file).unwrap_err().contains("repeats the 4 elements"));
    }

    #[test]
    fn an_empty_tensor_and_a_single_number_are_read() {
        let file = bytes(&[7.]);
        assert_eq!(view(&[0, 3], &[3, 1], 0, &file).unwrap().read_f32(&file).unwrap(), [0f32; 0]);
        assert_eq!(view(&[], &[], 0, &file).unwrap().read_f64(&file).unwrap(), [7.]);
    }

    #[test]
    fn every_floating_point_and_integer_type_converts() {
        let read = |dtype, bytes: &[u8]| {
            let entry = Entry::new(vec![1], dtype, Place::dense(0, Piece::Bytes(0..bytes.len())), bytes).unwrap();
            match entry.read_f32(bytes) {
                Ok(values) => Ok(f64::from(values[0])),
                Err(_) => entry.read_i64(bytes).map(|values| values[0] as f64),
            }
        };
        assert_eq!(read(Dtype::F64, &1.5f64.to_le_bytes()), Ok(1.5));
        assert_eq!(read(Dtype::F16, &f16::from_f32(-2.5).to_le_bytes()), Ok(-2.5));
        assert_eq!(read(Dtype::BF16, &bf16::from_f32(3.0).to_le_bytes()), Ok(3.0));
        assert_eq!(read(Dtype::I64, &(-9i64).to_le_bytes()), Ok(-9.0));
        assert_eq!(read(Dtype::U16, &65535u16.to_le_bytes()), Ok(65535.0));
        assert_eq!(read(Dtype::BOOL, &[2]), Ok(1.0));
        assert_eq!(
            read(Dtype::U64, &u64::MAX.to_le_bytes()).unwrap_err(),
            "holds 18446744073709551615, which is too large"
        );
        assert_eq!(read(Dtype::C64, &[0; 8]).unwrap_err(), "holds C64, not whole numbers");
    }

    #[test]
    fn big_endian_numbers_and_latin1_text_are_decoded() {
        let big: Vec<u8> = [1.0f32, -0.1].iter().flat_map(|value| value.to_be_bytes()).collect();
        let text: String = big.iter().map(|byte| char::from(*byte)).collect();
        let place = Place { big_endian: true, ..Place::dense(0, Piece::Latin1(0..text.len())) };
        let entry = Entry::new(vec![2], Dtype::F32, place, text.as_bytes()).unwrap();
        assert_eq!(entry.read_f32(text.as_bytes()).unwrap(), [1.0, -0.1]);
    }
}
