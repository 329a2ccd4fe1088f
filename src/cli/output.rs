//! Where predictions go.

use std::fs::File;
use std::io::{BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::keep_apart;
use crate::error::{Error, Problem, Result};

/// Where the lines go.
pub enum Output {
    Standard(BufWriter<StdoutLock<'static>>),
    File(BufWriter<File>, PathBuf),
}

impl Output {
    /// Opens the output of rows that come from `input`; `-` is standard output.
    ///
    /// # Errors
    /// The output is the input, which would be gone before it is read.
    pub fn open(output: &Path, input: &Path) -> Result<Self> {
        if output.as_os_str() == "-" {
            return Ok(Self::Standard(BufWriter::new(std::io::stdout().lock())));
        }
        keep_apart(input, output)?;
        let file = File::create(output).map_err(|cause| Error::writing(output, &cause))?;
        Ok(Self::File(BufWriter::new(file), output.to_path_buf()))
    }

    /// Writes a line; false where nobody reads any more.
    pub fn write(&mut self, line: &Value) -> Result<bool> {
        let written = match self {
            Self::Standard(output) => writeln!(output, "{line}"),
            Self::File(output, _) => writeln!(output, "{line}"),
        };
        self.check(written)
    }

    pub fn flush(&mut self) -> Result<bool> {
        let flushed = match self {
            Self::Standard(output) => output.flush(),
            Self::File(output, _) => output.flush(),
        };
        self.check(flushed)
    }

    fn check(&self, result: std::io::Result<()>) -> Result<bool> {
        match (result, self) {
            (Ok(()), _) => Ok(true),
            (Err(cause), Self::Standard(_)) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            (Err(cause), Self::Standard(_)) => {
                Err(Error::run(Problem::new(format!("standard output cannot be written: {cause}"))))
            }
            (Err(cause), Self::File(_, path)) => Err(Error::writing(path, &cause)),
        }
    }
}
