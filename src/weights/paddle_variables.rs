//! Variables of Paddle's static graphs, a file each: what `paddle.static.save_vars` (before 2.0: `fluid.io.save_vars`)
//! writes.
//!
//! A file is called like its variable and holds, least significant byte first: u32 version, 0; u64 number of levels of
//! detail, and for each a u64 length and as many bytes; u32 version, 0; i32 length of a protobuf message
//! `VarType.TensorDesc`, and the message; then the numbers, row after row (`SerializeToStream` in
//! paddle/fluid/framework/lod_tensor.cc and `TensorToStream` in tensor_util.cc; the numbers of the types are those of
//! framework.proto; Paddle 2.6).

use std::path::Path;

use super::entry::{Dtype, Entry, Piece, Place, count};
use super::{Fault, Named};
use crate::error::{Error, Problem, Result};

/// Bytes by which such a file is known.
pub(super) const VERSION: [u8; 4] = [0; 4];

/// The highest rank of a tensor in Paddle (`DDim::kMaxRank`).
const MAX_RANK: usize = 9;

/// The variable in a file; `bytes` is the whole file.
pub(super) fn entries(path: &Path, bytes: &[u8], file: usize) -> Result<Vec<Named>, Fault> {
    let mut reader = Reader { bytes, at: 0 };
    let (dtype, shape) = reader.head()?;
    let size = count(&shape).and_then(|count| count.checked_mul(dtype.bitsize() / 8));
    let size = size.ok_or_else(|| reader.damaged(format!("its shape {shape:?} is too large")))?;
    let numbers = reader.at..reader.at.saturating_add(size);
    reader.take(size)?;
    let rest = &bytes[reader.at..];
    if rest.starts_with(&VERSION) {
        return Err(combined());
    }
    if !rest.is_empty() {
        return Err(reader.damaged(format!("its numbers end here, and {} bytes follow", rest.len())));
    }
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(Problem::new("has a name that is not UTF-8, and the variable in it is called like the file").into());
    };
    let entry = Entry::new(shape, dtype, Place::dense(file, Piece::Bytes(numbers)), bytes)
        .map_err(|why| Problem::new(format!("is damaged: {why}")))?;
    Ok(vec![(name.to_string(), entry)])
}

fn combined() -> Fault {
    Problem::new("holds several variables of Paddle's, without their names")
        .help(
            "the names are in the program that was saved with it; with both, in Python, \
             `program = paddle.static.load_inference_model(PREFIX, executor)[0]` and \
             `paddle.distributed.io.save_persistables(executor, FOLDER, program)` write a folder that Kiln reads",
        )
        .into()
}

/// The element type that has this number in framework.proto.
fn element_type(number: u64) -> Option<Dtype> {
    Some(match number {
        0 => Dtype::BOOL,
        1 => Dtype::I16,
        2 => Dtype::I32,
        3 => Dtype::I64,
        4 => Dtype::F16,
        5 => Dtype::F32,
        6 => Dtype::F64,
        20 => Dtype::U8,
        21 => Dtype::I8,
        22 => Dtype::BF16,
        _ => return None,
    })
}

/// Writes a variable of f32 under its name.
///
/// # Errors
/// The file cannot be written.
pub fn write_variable(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    // The message: the type f32, and the lengths.
    let mut description = vec![0x08, 5];
    for length in shape {
        description.push(0x10);
        let mut rest = *length as u64;
        while rest >= 0x80 {
            description.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        description.push(rest as u8);
    }
    let mut bytes = [&VERSION[..], &0u64.to_le_bytes(), &VERSION].concat();
    bytes.extend((description.len() as i32).to_le_bytes());
    bytes.extend(description);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes).map_err(|cause| Error::writing(path, &cause))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// A problem at the present place.
    fn damaged(&self, what: impl std::fmt::Display) -> Fault {
        Problem::new(format!("is damaged at byte {}: {what}", self.at)).help("fetch or copy the file again").into()
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Fault> {
        let end = self.at.saturating_add(length);
        let held = self.bytes.len();
        let Some(taken) = self.bytes.get(self.at..end) else {
            return Err(Problem::new(format!("is cut short: it has {held} bytes, its variable goes on to byte {end}"))
                .help("fetch or copy the file again")
                .into());
        };
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn version(&mut self) -> Result<(), Fault> {
        match self.fixed()? {
            VERSION => Ok(()),
            other => Err(self.damaged(format!("version {} is not known", u32::from_le_bytes(other)))),
        }
    }

    fn length(&mut self) -> Result<usize, Fault> {
        let length = u64::from_le_bytes(self.fixed()?);
        usize::try_from(length).map_err(|_| self.damaged("a length does not fit this machine"))
    }

    /// What stands before the numbers: their type and the shape.
    fn head(&mut self) -> Result<(Dtype, Vec<usize>), Fault> {
        self.version()?;
        // A level takes eight bytes at least, so the file's length bounds the loop.
        for _ in 0..self.length()? {
            let length = self.length()?;
            self.take(length)?;
        }
        self.version()?;
        let length = usize::try_from(i32::from_le_bytes(self.fixed()?));
        let length = length.map_err(|_| self.damaged("its description has a negative length"))?;
        self.description(self.at.saturating_add(length))
    }

    /// The message `TensorDesc`, up to byte `end`: field 1 is the type, field 2, once for each dimension, a length.
    fn description(&mut self, end: usize) -> Result<(Dtype, Vec<usize>), Fault> {
        let mut dtype = None;
        let mut shape = Vec::new();
        while self.at < end {
            match self.fixed()? {
                [0x08] => dtype = Some(self.varint()?),
                [0x10] if shape.len() < MAX_RANK => {
                    // A negative length is written as the u64 of the same bits.
                    let length = i64::try_from(self.varint()?).ok().and_then(|length| usize::try_from(length).ok());
                    shape.push(length.ok_or_else(|| self.damaged("a dimension is negative"))?);
                }
                [0x10] => return Err(self.damaged(format!("it has more than {MAX_RANK} dimensions"))),
                [field] => return Err(self.damaged(format!("its description has an unknown field {field:#04x}"))),
            }
        }
        if self.at != end {
            return Err(self.damaged("its description is longer than it says"));
        }
        let number = dtype.ok_or_else(|| self.damaged("its description names no type"))?;
        let dtype = element_type(number).ok_or_else(|| {
            Problem::new(format!("holds elements of Paddle's type number {number}"))
                .help("Kiln reads floating point numbers, integers and truth values")
        })?;
        Ok((dtype, shape))
    }

    /// Seven bits a byte, the lowest first; all but the last byte have the eighth bit set.
    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number has more than ten bytes"))
    }
}
