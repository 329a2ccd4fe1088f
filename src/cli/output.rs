//! Where predictions go.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::keep_apart;
use crate::error::{Error, Problem, Result};

/// Where the lines go.
pub struct Output {
    lines: Box<dyn Write>,
    /// Nothing for standard output.
    file: Option<PathBuf>,
}

impl Output {
    /// Opens the output of rows that come from `input`; `-` is standard output.
    ///
    /// # Errors
    /// The output is the input, which would be gone before it is read.
    pub fn open(output: &Path, input: &Path) -> Result<Self> {
        if output.as_os_str() == "-" {
            return Ok(Self { lines: Box::new(BufWriter::new(stdout().lock())), file: None });
        }
        keep_apart(input, output)?;
        let file = File::create(output).map_err(|cause| Error::writing(output, &cause))?;
        Ok(Self { lines: Box::new(BufWriter::new(file)), file: Some(output.to_path_buf()) })
    }

    /// Writes a line; false where nobody reads any more.
    pub fn write(&mut self, line: &Value) -> Result<bool> {
        let written = writeln!(self.lines, "{line}");
        self.check(written)
    }

    pub fn flush(&mut self) -> Result<bool> {
        let flushed = self.lines.flush();
        self.check(flushed)
    }

    fn check(&self, result: std::io::Result<()>) -> Result<bool> {
        match &self.file {
            Some(path) => result.map(|()| true).map_err(|cause| Error::writing(path, &cause)),
            None => standard(result),
        }
    }
}

/// Whether standard output was written; false where nobody reads any more (`kiln ... | head`), which is no error.
fn standard(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(cause) => Err(Error::run(Problem::new(format!("standard output cannot be written: {cause}")))),
    }
}

/// Prints to standard output.
pub fn print(text: &str) -> Result<()> {
    standard(stdout().lock().write_all(text.as_bytes())).map(|_| ())
}
