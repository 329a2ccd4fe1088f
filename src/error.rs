//! Errors as the user meets them: what is wrong, where, and what would be right.
//!
//! A [`Problem`] is one finding. An [`Error`] is why a command ends, and carries its exit code; an input error holds
//! every problem that was found, because a user should not have to run a command five times to mend five typos.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use miette::{Diagnostic, NamedSource, SourceSpan};

/// What most functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One thing that is wrong.
#[derive(Debug, Clone, thiserror::Error, Diagnostic)]
#[error("{}{what}", place.as_ref().map_or(String::new(), |place| format!("{place}: ")))]
pub struct Problem {
    place: Option<String>,
    what: String,
    #[help]
    help: Option<String>,
    #[source_code]
    text: Option<NamedSource<String>>,
    #[label]
    span: Option<SourceSpan>,
}

impl Problem {
    /// A problem without a place. `what` is one sentence, without a capital or a full stop.
    pub fn new(what: impl Into<String>) -> Self {
        Self { place: None, what: printable(&what.into()), help: None, text: None, span: None }
    }

    /// Names the file, without a line.
    pub fn in_file(mut self, file: &Path) -> Self {
        self.place = Some(file.display().to_string());
        self
    }

    /// Names the file and the line (from 1), and the column (from 1, in characters) where there is one.
    pub fn at(mut self, file: &Path, line: usize, column: Option<usize>) -> Self {
        self.place = Some(match column {
            Some(column) => format!("{}:{line}:{column}", file.display()),
            None => format!("{}:{line}", file.display()),
        });
        self
    }

    /// Says what would be right.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(printable(&help.into()));
        self
    }

    /// Shows the piece of `text` (the whole text of `file`) between two byte offsets; names the place as well.
    pub fn span(self, file: &Path, text: &str, span: std::ops::Range<usize>) -> Self {
        let start = span.start.min(text.len());
        let before = &text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Self {
            text: Some(NamedSource::new(file.display().to_string(), printable(text))),
            span: Some((start, span.end.saturating_sub(start)).into()),
            ..self.at(file, line, Some(column))
        }
    }
}

/// A text that a file may have written a part of, without what a terminal takes for commands; as many bytes as before.
fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '\n' | '\t' => plain.push(c),
            '\r' if text[at..].starts_with("\r\n") => plain.push(c),
            // One byte or two.
            c if c.is_control() => plain.push_str(&"??"[..c.len_utf8()]),
            c => plain.push(c),
        }
    }
    plain
}

/// Why a command ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recipe, the data, the weights or the arguments are wrong: exit code 2.
    #[error("{}", first(.0))]
    Input(Vec<Problem>),
    /// The run could not go on (no space left, a loss that is not finite): exit code 1.
    #[error("{0}")]
    Run(Box<Problem>),
    /// Stopped by Ctrl-C or SIGTERM after everything was saved: exit code 130.
    #[error("interrupted")]
    Interrupted,
    /// Another rank has ended with this exit code, and tells why.
    #[error("another rank could not go on")]
    Elsewhere(u8),
}

fn first(problems: &[Problem]) -> String {
    match problems {
        [] => "the input is wrong".to_string(),
        [only] => only.to_string(),
        [one, rest @ ..] => format!("{one} (and {} more)", rest.len()),
    }
}

impl Error {
    /// An input error of one problem, without a place.
    pub fn input(what: impl Into<String>) -> Self {
        Problem::new(what).into()
    }

    /// A failure of the run itself.
    pub fn run(problem: Problem) -> Self {
        Self::Run(Box::new(problem))
    }

    /// A file that could not be read: the user named it, so it is the user's to mend.
    pub fn reading(path: &Path, cause: &std::io::Error) -> Self {
        Problem::new(format!("cannot be read: {cause}")).in_file(path).into()
    }

    /// A file that could not be written.
    pub fn writing(path: &Path, cause: &std::io::Error) -> Self {
        let problem = Problem::new(format!("cannot be written: {cause}")).in_file(path);
        Self::run(match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => problem
                .help("free some space and give the same command again; a run goes on from its last whole checkpoint"),
            _ => problem,
        })
    }

    /// Names the file of the problems that have no place yet.
    pub fn in_file(mut self, file: &Path) -> Self {
        if let Self::Input(problems) = &mut self {
            for problem in problems.iter_mut().filter(|problem| problem.place.is_none()) {
                problem.place = Some(file.display().to_string());
            }
        }
        self
    }

    /// Names the rank whose error it is.
    pub fn on_rank(mut self, rank: usize) -> Self {
        let problems = match &mut self {
            Self::Input(problems) => problems.as_mut_slice(),
            Self::Run(problem) => std::slice::from_mut(&mut **problem),
            Self::Interrupted | Self::Elsewhere(_) => &mut [],
        };
        for problem in problems {
            problem.what = format!("rank {rank}: {}", problem.what);
        }
        self
    }

    /// Adds a line to what would be right.
    pub fn with_help(mut self, line: &str) -> Self {
        if let Self::Input(problems) = &mut self {
            for problem in problems {
                let help = problem.help.take().map_or(String::new(), |help| help + "\n");
                problem.help = Some(help + line);
            }
        }
        self
    }

    /// The problems to print.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Input(problems) => problems,
            Self::Run(problem) => std::slice::from_ref(problem),
            Self::Interrupted | Self::Elsewhere(_) => &[],
        }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Run(_) => 1,
            Self::Interrupted => 130,
            Self::Elsewhere(code) => *code,
        }
    }
}

/// What a library makes of a file that may come from anyone; a panic of its own is an error like any other. `library` is its name.
///
/// # Errors
/// What is wrong, without a place.
pub(crate) fn caught<T>(library: &str, call: impl FnOnce() -> T) -> Result<T, String> {
    // What the call was changing is dropped with it, or is only read again in ways that a library's own lock guards.
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| format!("the library `{library}` cannot cope with it"))
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Input(vec![problem])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_no_command_to_the_terminal() {
        let problem = Problem::new("a \u{1b}]0;x\u{7} title\r\u{9b}2J").help("\u{1b}[31mred");
        assert_eq!((problem.to_string().as_str(), problem.help.as_deref()), ("a ?]0;x? title???2J", Some("?[31mred")));
        assert_eq!(printable("two\r\nlines\tand 字"), "two\r\nlines\tand 字");
    }

    #[test]
    fn a_panic_of_a_library_is_an_error() {
        let message = caught("one", || -> usize { panic!("out of bounds") });
        assert_eq!(message.unwrap_err(), "the library `one` cannot cope with it");
        assert_eq!(caught("one", || 3), Ok(3));
    }
}
