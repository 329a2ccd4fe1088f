//! Where a piece of a recipe was written, so that every message can point at it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Problem, Result};

/// A text that values come from.
#[derive(Debug)]
pub struct Source {
    /// Order of reports: the recipe itself, then what it extends, then the arguments.
    pub rank: usize,
    pub origin: Origin,
    /// The whole text, without a byte order mark.
    pub text: String,
}

/// What kind of text.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A recipe file, on disk or shipped.
    File(PathBuf),
    /// The `key=value` argument of this number (from 1).
    Argument(usize),
}

/// A piece of a source.
#[derive(Debug, Clone)]
pub struct Place {
    pub source: Arc<Source>,
    /// Byte offsets in the text of the source.
    pub span: Range<usize>,
}

impl Place {
    /// A problem at this place.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        let text = &self.source.text;
        match &self.source.origin {
            Origin::File(path) => {
                let start = text.floor_char_boundary(self.span.start.min(text.len()));
                let end = text.floor_char_boundary(self.span.end.clamp(start, text.len()));
                Problem::new(what).span(path, text, start..end)
            }
            Origin::Argument(number) => {
                Problem::new(what).in_file(Path::new(&format!("argument {number}: `{}`", shortened(text))))
            }
        }
    }

    /// `recipes/x.toml:12` or `argument 2`.
    pub fn short(&self) -> String {
        match &self.source.origin {
            Origin::File(path) => {
                let before = &self.source.text.as_bytes()[..self.span.start.min(self.source.text.len())];
                format!("{}:{}", path.display(), before.iter().filter(|byte| **byte == b'\n').count() + 1)
            }
            Origin::Argument(number) => format!("argument {number}"),
        }
    }

    /// Sorts reports: first by source, then by place in it.
    pub fn order(&self) -> (usize, usize) {
        (self.source.rank, self.span.start)
    }

    pub fn is_argument(&self) -> bool {
        matches!(self.source.origin, Origin::Argument(_))
    }
}

/// At most 60 characters of a text, on one line, for messages.
pub fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

/// Reads a text file: UTF-8, with or without a byte order mark.
pub fn read_text(path: &Path) -> Result<String> {
    if path.is_dir() {
        let problem = Problem::new("is a folder, not a recipe file").in_file(path);
        return Err(match path.join("recipe.toml") {
            inside if inside.is_file() => problem.help(format!("did you mean `{}`?", inside.display())).into(),
            _ => problem.into(),
        });
    }
    let mut bytes = std::fs::read(path).map_err(|cause| Error::reading(path, &cause))?;
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|cause| {
        let good = String::from_utf8_lossy(&cause.as_bytes()[..cause.utf8_error().valid_up_to()]);
        let line = good.matches('\n').count() + 1;
        let column = good.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let problem = Problem::new("is not UTF-8 text").at(path, line, Some(column));
        problem.help("save the file as UTF-8").into()
    })
}
