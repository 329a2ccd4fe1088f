//! Writing Paddle's `.pdparams`: a pickle (protocol 4) of a dictionary from names to numpy arrays of f32, which is what `paddle.save`
//! writes for a state dictionary (Paddle 2.6).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Problem, Result};

/// A file in the making, whose arrays come one after the other, each at once or in parts.
pub struct PdparamsWriter {
    path: PathBuf,
    file: BufWriter<File>,
    missing: BTreeMap<String, Vec<usize>>,
    /// The array that is being written, and how many of its bytes are still to come.
    current: Option<(String, usize)>,
}

impl PdparamsWriter {
    /// Begins a file of arrays of these names and shapes.
    pub fn create(path: &Path, shapes: BTreeMap<String, Vec<usize>>) -> Result<Self> {
        let file = File::create(path).map_err(|cause| Error::writing(path, &cause))?;
        let mut writer = Self { path: path.to_path_buf(), file: BufWriter::new(file), missing: shapes, current: None };
        // Protocol 4, an empty dictionary, a mark before its items.
        writer.write(b"\x80\x04}(")?;
        Ok(writer)
    }

    /// Writes the numbers of one of the arrays, row after row, or the next of them.
    pub fn put(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let (current, left) = match self.current.take() {
            Some(current) => current,
            None => self.begin(name)?,
        };
        let bytes = 4 * values.len();
        if current != name || bytes > left {
            let what = format!("has {left} bytes for `{current}`, not {bytes} for `{name}`");
            return Err(Error::run(Problem::new(what).in_file(&self.path)));
        }
        let numbers: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.write(&numbers)?;
        match left - bytes {
            // The state's tuple is whole: BUILD.
            0 => self.write(b"tb")?,
            left => self.current = Some((current, left)),
        }
        Ok(())
    }

    /// Everything of an array up to its numbers.
    fn begin(&mut self, name: &str) -> Result<(String, usize)> {
        let Some(shape) = self.missing.remove(name) else {
            return Err(Error::run(Problem::new(format!("has no place for an array `{name}`")).in_file(&self.path)));
        };
        let size = 4 * shape.iter().product::<usize>();
        let mut head = Vec::new();
        text(&mut head, name);
        // _reconstruct(ndarray, (0,), b"b")
        head.extend(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R");
        // Its state: version 1, the shape, the type, the order (not Fortran's), the numbers.
        head.extend(b"(K\x01(");
        shape.iter().for_each(|length| integer(&mut head, *length));
        head.extend(b"tcnumpy\ndtype\n\x8c\x02f4\x89\x88\x87R");
        head.extend(b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89");
        head.push(0x8e); // BINBYTES8
        head.extend((size as u64).to_le_bytes());
        if size == 0 {
            head.extend(b"tb");
        }
        self.write(&head)?;
        Ok((name.to_string(), size))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|cause| Error::writing(&self.path, &cause))
    }

    /// Ends the file, which must have all its arrays by now.
    pub fn finish(mut self) -> Result<()> {
        if let Some(name) = self.current.as_ref().map(|(name, _)| name).or(self.missing.keys().next()) {
            return Err(Error::run(Problem::new(format!("lacks numbers of the array `{name}`")).in_file(&self.path)));
        }
        // SETITEMS, STOP.
        self.write(b"u.")?;
        self.file.flush().map_err(|cause| Error::writing(&self.path, &cause))
    }
}

/// BINUNICODE.
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// LONG1 of eight bytes, which every length fits.
fn integer(out: &mut Vec<u8>, number: usize) {
    out.extend([0x8a, 8]);
    out.extend((number as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Layout, Weights};

    #[test]
    fn what_is_written_in_parts_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model_state.pdparams");
        let shapes = BTreeMap::from([("a.weight".to_string(), vec![2, 3]), ("b".to_string(), vec![1])]);
        let mut writer = PdparamsWriter::create(&path, shapes.clone()).unwrap();
        writer.put("a.weight", &[1.0, 2.0]).unwrap();
        writer.put("a.weight", &[3.0, 4.0, 5.0, -6.5]).unwrap();
        writer.put("b", &[7.0]).unwrap();
        writer.finish().unwrap();
        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.layout(), Layout::Paddle);
        assert_eq!(weights.get("a.weight").unwrap().shape, [2, 3]);
        assert_eq!(weights.read_f32("a.weight").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, -6.5]);
        assert_eq!(weights.read_f32("b").unwrap(), [7.0]);

        let mut writer = PdparamsWriter::create(&path, shapes).unwrap();
        assert!(writer.put("c", &[1.0]).is_err());
        writer.put("b", &[7.0]).unwrap();
        assert!(writer.finish().is_err());
    }
}
