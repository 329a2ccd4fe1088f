//! What is looked at in a file's footer before the crate `parquet` reads it: its place, its size, and how deep its columns are nested,
//! because the crate follows them without a limit.
//!
//! The footer is a struct of Thrift's compact protocol, its length in four bytes, and "PAR1":
//! <https://parquet.apache.org/docs/file-format/>.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::error::Problem;

const MAGIC: [u8; 4] = *b"PAR1";
/// Where the footer is encrypted.
const ENCRYPTED: [u8; 4] = *b"PARE";

/// The length and the magic number, which end the file.
const TAIL: u64 = 8;

/// No honest footer is longer (bytes): that of a thousand columns in a thousand row groups is not.
const LONGEST: u64 = 16 << 20;

/// No honest column is nested deeper.
const DEEPEST: usize = 32;

/// The footer's field with the columns, and the field of a column that tells how many are below it.
const SCHEMA: i16 = 2;
const CHILDREN: i16 = 5;

/// What is wrong with a file before its footer is read; `None` of one that can be read on.
pub(super) fn fault(file: &mut File) -> io::Result<Option<Problem>> {
    let length = file.seek(SeekFrom::End(0))?;
    if length < TAIL + MAGIC.len() as u64 {
        return Ok(Some(not_parquet()));
    }
    let (mut start, mut tail) = ([0; 4], [0; 8]);
    file.rewind()?;
    file.read_exact(&mut start)?;
    file.seek(SeekFrom::Start(length - TAIL))?;
    file.read_exact(&mut tail)?;
    let [l0, l1, l2, l3, magic @ ..] = tail;
    if start == ENCRYPTED || magic == ENCRYPTED {
        return Ok(Some(Problem::new("the parquet file is encrypted").help("Kiln reads no encrypted files")));
    }
    if start != MAGIC {
        return Ok(Some(not_parquet()));
    }
    if magic != MAGIC {
        let problem = Problem::new("the parquet file ends too early: the footer is not there");
        return Ok(Some(problem.help("it was cut short, by an unfinished download perhaps: fetch it again")));
    }
    let size = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    if size > length - TAIL - MAGIC.len() as u64 {
        let what = format!("the parquet file is damaged: a footer of {size} bytes in a file of {length}");
        return Ok(Some(Problem::new(what).help("fetch it again")));
    }
    if size > LONGEST {
        return Ok(Some(Problem::new(format!("the parquet file has a footer of more than {} MiB", LONGEST >> 20))));
    }
    let mut footer = vec![0; size as usize];
    file.seek(SeekFrom::Start(length - TAIL - size))?;
    file.read_exact(&mut footer)?;
    Ok(match depth(&footer) {
        None => Some(Problem::new("the parquet file is damaged: the footer cannot be read").help("fetch it again")),
        Some(depth) if depth > DEEPEST => {
            Some(Problem::new(format!("the parquet file has columns that are nested deeper than {DEEPEST}")))
        }
        Some(_) => None,
    })
}

fn not_parquet() -> Problem {
    let problem = Problem::new("not a parquet file: it does not begin with \"PAR1\"");
    problem.help("a file that Git LFS keeps elsewhere is a short text that names it: fetch the file itself")
}

/// How deep the columns of a footer are nested; `None` if it ends too early.
fn depth(footer: &[u8]) -> Option<usize> {
    let mut thrift = Thrift { left: footer };
    let (mut field, mut deepest) = (0, 0);
    while let Some(kind) = thrift.field(&mut field)? {
        if field == SCHEMA && kind == Kind::List {
            deepest = deepest.max(schema(&mut thrift)?);
            if deepest > DEEPEST {
                break;
            }
        } else {
            thrift.skip(kind, DEEPEST)?;
        }
    }
    Some(deepest)
}

/// The depth of the list of columns, each of which tells how many of those that follow are below it.
fn schema(thrift: &mut Thrift) -> Option<usize> {
    let (count, kind) = thrift.list()?;
    // How many columns are still to come on each level.
    let (mut levels, mut deepest): (Vec<i64>, usize) = (Vec::new(), 0);
    for _ in 0..count {
        while levels.last() == Some(&0) {
            levels.pop();
        }
        if let Some(left) = levels.last_mut() {
            *left -= 1;
        }
        levels.push(if kind == Kind::Struct {
            children(thrift)?
        } else {
            thrift.element(kind, DEEPEST).map(|()| 0)?
        });
        deepest = deepest.max(levels.len());
        if deepest > DEEPEST {
            break;
        }
    }
    Some(deepest)
}

/// How many columns are below the one that comes.
fn children(thrift: &mut Thrift) -> Option<i64> {
    let (mut field, mut children) = (0, 0);
    while let Some(kind) = thrift.field(&mut field)? {
        match kind {
            Kind::Number if field == CHILDREN => {
                let number = thrift.number()?;
                children = ((number >> 1) as i64 ^ -((number & 1) as i64)).max(0);
            }
            kind => thrift.skip(kind, DEEPEST)?,
        }
    }
    Some(children)
}

/// The types of the compact protocol, as far as they differ in how they are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In a field the type is the value; in a list it is one byte.
    Truth,
    Byte,
    Number,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 | 2 => Self::Truth,
            3 => Self::Byte,
            4..=6 => Self::Number,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            _ => return None,
        })
    }
}

/// Reads the compact protocol; `None` where the bytes end, or mean nothing.
struct Thrift<'a> {
    left: &'a [u8],
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, left) = self.left.split_first()?;
        self.left = left;
        Some(*byte)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.left = self.left.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The kind of the next field, whose number is left in `field`; `Some(None)` at the end of a struct.
    fn field(&mut self, field: &mut i16) -> Option<Option<Kind>> {
        let header = self.byte()?;
        if header == 0 {
            return Some(None);
        }
        *field = match header >> 4 {
            0 => {
                let number = self.number()?;
                (number >> 1) as i16 ^ -((number & 1) as i16)
            }
            step => field.wrapping_add(i16::from(step)),
        };
        Kind::of(header & 0x0F).map(Some)
    }

    /// How many elements a list has, and of which kind.
    fn list(&mut self) -> Option<(u64, Kind)> {
        let header = self.byte()?;
        let count = match header >> 4 {
            0x0F => self.number()?,
            count => u64::from(count),
        };
        Some((count, Kind::of(header & 0x0F)?))
    }

    /// Passes over the value of a field, which may hold others `depth` times.
    fn skip(&mut self, kind: Kind, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            Kind::Truth => Some(()),
            Kind::Byte => self.pass(1),
            Kind::Number => self.number().map(drop),
            Kind::Double => self.pass(8),
            Kind::Binary => self.number().and_then(|length| self.pass(length)),
            Kind::List => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.element(kind, depth))
            }
            Kind::Map => {
                let count = self.number()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 0x0F)?);
                (0..count).try_for_each(|_| self.element(key, depth).and_then(|()| self.element(value, depth)))
            }
            Kind::Struct => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth)?;
                }
                Some(())
            }
        }
    }

    fn element(&mut self, kind: Kind, depth: usize) -> Option<()> {
        if kind == Kind::Truth { self.pass(1) } else { self.skip(kind, depth) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer of `columns`, each with how many are below it.
    fn footer(columns: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x15, 0x02, 0x19, 0xFC, columns.len() as u8];
        for children in columns {
            // A name, and the number of children in the zigzag code.
            bytes.extend([0x48, 1, b'a', 0x15, children << 1, 0]);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn the_depth_of_columns_is_counted() {
        assert_eq!(depth(&footer(&[2, 0, 0])), Some(2));
        assert_eq!(depth(&footer(&[2, 1, 1, 0, 0])), Some(4));
        assert_eq!(depth(&footer(&[2, 1, 0, 1, 1, 0])), Some(4));
        assert!(depth(&footer(&[1; 120])).unwrap() > DEEPEST);
        assert_eq!(depth(&[0]), Some(0));
    }

    #[test]
    fn a_footer_that_ends_too_early_is_none() {
        let whole = footer(&[1, 0]);
        for length in 0..whole.len() {
            assert_eq!(depth(&whole[..length]), None, "{length} bytes");
        }
        // Structs in structs without an end, a list and a string of impossible lengths.
        assert_eq!(depth(&[0x3C; 1 << 20]), None);
        assert_eq!(depth(&[0x39, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0]), None);
        assert_eq!(depth(&[0x38, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]), None);
    }
}
