//! Pairs of sentences in two languages: which files hold them, and one pair after the other.
//!
//! A pair goes through the work as the text of a document does: two lines, of which the first is the source.

use std::path::{Path, PathBuf};

use super::text_file::{LeftOut, TextFile, has_ending, is_jsonl, leave_out, without_packing};
use crate::data::jsonl::Fault;
use crate::error::{Error, Problem, Result};
use crate::lines::{self, Lines, RowError};
use crate::recipe::{CorpusOptions, TextFormat};
use crate::suggest;

/// How a file holds documents or pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    PairsJson,
    PairsTable,
    /// The source's half of two files.
    Source,
    /// The target's.
    Target,
}

impl Form {
    /// That of a file, by its name unless the options say it.
    pub(super) fn find(path: &Path, options: &CorpusOptions) -> Result<Self> {
        let is_json = is_jsonl(options.format, path);
        let Some([source, target]) = options.pair() else { return Ok(if is_json { Self::Json } else { Self::Text }) };
        let half = match (has_ending(path, source), has_ending(path, target)) {
            (true, _) => Some(Self::Source),
            (_, true) => Some(Self::Target),
            _ => None,
        };
        match options.format {
            TextFormat::Tsv | TextFormat::Text => Ok(Self::PairsTable),
            TextFormat::Jsonl => Ok(Self::PairsJson),
            TextFormat::Moses => half.ok_or_else(|| {
                let problem = Problem::new("the name tells no language").in_file(path);
                problem.help(format!("two files are a pair: `x.{source}` and `x.{target}`")).into()
            }),
            TextFormat::Auto => Ok(half.unwrap_or(if is_json { Self::PairsJson } else { Self::PairsTable })),
        }
    }

    /// What a corpus's key says of a file.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Text => "false",
            Self::Json => "true",
            Self::PairsJson => "pairs jsonl",
            Self::PairsTable => "pairs tsv",
            Self::Source => "pairs source",
            Self::Target => "pairs target",
        }
    }
}

/// Puts the two halves of each pair of files side by side, the source first.
///
/// # Errors
/// A half is missing, or there twice.
pub(super) fn arrange(paths: Vec<PathBuf>, options: &CorpusOptions, languages: [&str; 2]) -> Result<Vec<PathBuf>> {
    let forms = paths.iter().map(|path| Form::find(path, options)).collect::<Result<Vec<_>>>()?;
    let mut arranged = Vec::with_capacity(paths.len());
    for (path, form) in paths.iter().zip(&forms) {
        let halves = [Form::Source, Form::Target].map(|half| {
            let others = paths.iter().zip(&forms).filter(|(other, form)| **form == half && stem(other) == stem(path));
            others.map(|(other, _)| other.clone()).collect::<Vec<_>>()
        });
        match (form, halves.each_ref().map(Vec::len)) {
            (Form::Source, [1, 1]) => arranged.extend(halves.into_iter().flatten()),
            (Form::Target, [1, 1]) => {}
            (Form::Source | Form::Target, [1, 0] | [0, 1]) => {
                let missing = stem(path).with_added_extension(languages[usize::from(*form == Form::Source)]);
                let problem = Problem::new("the other half of these pairs is not among the inputs").in_file(path);
                return Err(problem.help(format!("it would be {}, plain, .gz or .zst", missing.display())).into());
            }
            (Form::Source | Form::Target, _) => {
                return Err(Problem::new("this half of the pairs is there twice").in_file(path).into());
            }
            _ => arranged.push(path.clone()),
        }
    }
    Ok(arranged)
}

/// `x` of `x.en.gz`.
fn stem(path: &Path) -> PathBuf {
    let name = without_packing(path);
    path.with_file_name(name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem))
}

/// Where the two sentences of a row stand, from 0.
pub(super) struct Columns {
    numbers: [usize; 2],
    /// Cells of a row, where a header tells.
    pub(super) width: Option<usize>,
}

/// A pair as a document's text: each sentence on a line.
pub(super) fn joined(pair: [String; 2]) -> String {
    pair.map(|side| side.replace(['\n', '\r'], " ")).join("\n")
}

/// The next line of both files.
pub(super) fn next_of_two(
    [source, target]: &mut [TextFile; 2],
    options: &CorpusOptions,
    left_out: &mut LeftOut,
) -> Result<Option<String>> {
    loop {
        let problem = match (source.next_line(), target.next_line()) {
            (Err(RowError::File(problem)), _) | (_, Err(RowError::File(problem))) => return Err((*problem).into()),
            (Ok(None), Ok(None)) => return Ok(None),
            (Ok(None), _) | (_, Ok(None)) => return Err(unlike(source, target)),
            (Ok(Some(first)), Ok(Some(second))) => {
                return Ok(Some(joined([first, second].map(str::to_string))));
            }
            (Err(RowError::Row(problem)), _) | (_, Err(RowError::Row(problem))) => *problem,
        };
        leave_out(problem, options.bad_rows, left_out)?;
    }
}

/// What is wrong with two files, one of which has ended before the other.
fn unlike(source: &mut TextFile, target: &mut TextFile) -> Error {
    let counts = source.count_rest().and_then(|count| Ok((count, target.count_rest()?)));
    let (first, second) = match counts {
        Ok(counts) => counts,
        Err(error) => return error.into(),
    };
    let what = format!("{first} lines, but {} has {second}", target.path().display());
    let problem = Problem::new(what).in_file(source.path());
    problem.help("lines of the same number are a pair: both files must have as many").into()
}

impl Columns {
    /// Those of a file, by their names in its header or their numbers.
    pub(super) fn find(path: &Path, names: Option<&[String]>) -> Result<Self> {
        let Some([source, target]) = names else { return Ok(Self { numbers: [0, 1], width: None }) };
        let numbers = [source, target].map(|name| name.parse::<usize>().ok().filter(|number| *number > 0));
        if let [Some(first), Some(second)] = numbers {
            return Ok(Self { numbers: [first - 1, second - 1], width: None });
        }
        let reading = |cause| Error::from(RowError::reading(path, None, &cause));
        let mut lines = Lines::new(lines::open(path).map_err(reading)?, path)?;
        let header = lines.next_line()?.unwrap_or_default();
        let cells: Vec<&str> = header.split('\t').map(str::trim).collect();
        let mut numbers = [0; 2];
        for (number, name) in numbers.iter_mut().zip([source, target]) {
            *number = cells.iter().position(|cell| cell == name).ok_or_else(|| {
                let problem = Problem::new(format!("there is no column `{name}`")).at(path, 1, None);
                problem.help(suggest::known(name, "the header's columns", cells.iter().copied()))
            })?;
        }
        Ok(Self { numbers, width: Some(cells.len()) })
    }

    /// The pair in a row.
    pub(super) fn pair(&self, line: &str) -> Result<[String; 2], Fault> {
        let cells: Vec<&str> = line.split('\t').collect();
        let least = self.numbers[0].max(self.numbers[1]) + 1;
        if self.width.is_some_and(|width| width != cells.len()) || cells.len() < least {
            let wanted = self.width.map_or_else(|| format!("at least {least}"), |width| width.to_string());
            let what = format!("{} columns where {wanted} are expected", cells.len());
            return Err(Fault::new(Problem::new(what).help("a tab is missing, or a text holds one")));
        }
        Ok(self.numbers.map(|number| cells[number].to_string()))
    }
}
