//! Pairs of sentences in two languages: which files hold them, and one pair after the other.
//!
//! A pair goes through the work as the text of a document does: two lines, of which the first is the source.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::inputs::Input;
use super::text_file::{LeftOut, Line, Place, TextFile, has_ending, is_jsonl, leave_out, without_packing};
use crate::data::jsonl::{self, Fault};
use crate::error::{Error, Problem, Result};
use crate::lines::{self, Lines, RowError};
use crate::recipe::{CorpusOptions, TextFormat};
use crate::suggest;

/// How a file holds pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Jsonl,
    Table,
    /// The source's half of two files.
    Source,
    /// The target's.
    Target,
}

impl Form {
    /// That of a file, by its name unless the options say it.
    pub(super) fn find(path: &Path, options: &CorpusOptions, [source, target]: [&str; 2]) -> Result<Self> {
        let half = match (has_ending(path, source), has_ending(path, target)) {
            (true, _) => Some(Self::Source),
            (_, true) => Some(Self::Target),
            _ => None,
        };
        match options.format {
            TextFormat::Tsv | TextFormat::Text => Ok(Self::Table),
            TextFormat::Jsonl => Ok(Self::Jsonl),
            TextFormat::Moses => half.ok_or_else(|| {
                let problem = Problem::new("the name tells no language").in_file(path);
                problem.help(format!("two files are a pair: `x.{source}` and `x.{target}`")).into()
            }),
            TextFormat::Auto => Ok(half.unwrap_or(match is_jsonl(options.format, path) {
                true => Self::Jsonl,
                false => Self::Table,
            })),
        }
    }

    /// What a corpus's key says of a file.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Jsonl => "pairs jsonl",
            Self::Table => "pairs tsv",
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
    let forms = paths.iter().map(|path| Form::find(path, options, languages)).collect::<Result<Vec<_>>>()?;
    let mut arranged = Vec::with_capacity(paths.len());
    for (path, form) in paths.iter().zip(&forms) {
        let wanted = match form {
            Form::Jsonl | Form::Table => {
                arranged.push(path.clone());
                continue;
            }
            Form::Source => Form::Target,
            Form::Target => Form::Source,
        };
        let others = paths.iter().zip(&forms).filter(|(other, _)| stem(other) == stem(path));
        let of =
            |form: Form| others.clone().filter(|(_, other)| **other == form).map(|(path, _)| path).collect::<Vec<_>>();
        match (of(*form).as_slice(), of(wanted).as_slice()) {
            ([_], [other]) if *form == Form::Source => arranged.extend([path.clone(), PathBuf::clone(other)]),
            ([_], [_]) => {}
            ([_], []) => {
                let language = languages[usize::from(wanted == Form::Target)];
                let missing = stem(path).with_added_extension(language);
                let problem = Problem::new("the other half of these pairs is not among the inputs").in_file(path);
                return Err(problem.help(format!("it would be {}, plain, .gz or .zst", missing.display())).into());
            }
            _ => return Err(Problem::new("this half of the pairs is there twice").in_file(path).into()),
        }
    }
    Ok(arranged)
}

/// `x` of `x.en.gz`.
fn stem(path: &Path) -> PathBuf {
    let name = without_packing(path);
    path.with_file_name(name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem))
}

/// A file of pairs that is being read, or two.
pub(super) struct PairFile {
    reader: Reader,
    languages: [String; 2],
}

enum Reader {
    Jsonl(TextFile),
    Table { file: TextFile, columns: Columns },
    Moses([TextFile; 2]),
}

/// Where the two sentences of a row stand, from 0.
struct Columns {
    numbers: [usize; 2],
    /// Cells of a row, where a header tells.
    width: Option<usize>,
}

impl PairFile {
    /// Opens the pairs that begin with the file of `place`.
    ///
    /// # Errors
    /// A file cannot be read, or has not the columns that the options name.
    pub(super) fn open(
        inputs: &[Input],
        options: &CorpusOptions,
        languages: [&str; 2],
        place: Place,
        read: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let path = &inputs[place.part].path;
        let mut file = TextFile::open(path, place, read)?;
        let reader = match Form::find(path, options, languages)? {
            Form::Jsonl => Reader::Jsonl(file),
            Form::Table => {
                let columns = Columns::find(path, options.columns.as_deref())?;
                if columns.width.is_some() && place.offset == 0 {
                    file.next_line()?;
                }
                Reader::Table { file, columns }
            }
            // `arrange` has put the target behind its source.
            Form::Source | Form::Target => {
                let second = Place { offset: place.second, ..place };
                Reader::Moses([file, TextFile::open(&inputs[place.part + 1].path, second, read)?])
            }
        };
        Ok(Self { reader, languages: languages.map(String::from) })
    }

    /// How many files these are.
    pub(super) fn parts(&self) -> usize {
        if let Reader::Moses(_) = self.reader { 2 } else { 1 }
    }

    /// Behind the pair last returned.
    pub(super) fn place(&self, part: usize) -> Place {
        match &self.reader {
            Reader::Jsonl(file) | Reader::Table { file, .. } => file.place(part),
            Reader::Moses([source, target]) => Place { second: target.place(part).offset, ..source.place(part) },
        }
    }

    /// The next pair, each sentence on a line; `None` after the last.
    ///
    /// # Errors
    /// A file or a line cannot be read, unless the options say that such lines are left out.
    pub(super) fn next(&mut self, options: &CorpusOptions, left_out: &mut LeftOut) -> Result<Option<String>> {
        let pair = match &mut self.reader {
            Reader::Jsonl(file) => {
                let keys = options.columns.as_deref();
                next_of_lines(file, options, left_out, |line| match keys {
                    Some([source, target]) => jsonl::texts_of(line, [source, target]),
                    _ => jsonl::translation_of(line, [&self.languages[0], &self.languages[1]]),
                })
            }
            Reader::Table { file, columns } => next_of_lines(file, options, left_out, |line| columns.pair(line)),
            Reader::Moses(files) => next_of_two(files, options, left_out),
        };
        Ok(pair?.map(|pair| pair.map(|side| side.replace(['\n', '\r'], " ")).join("\n")))
    }
}

/// What `read` makes of the next line that is not blank.
fn next_of_lines(
    file: &mut TextFile,
    options: &CorpusOptions,
    left_out: &mut LeftOut,
    read: impl Fn(&str) -> Result<[String; 2], Fault>,
) -> Result<Option<[String; 2]>> {
    loop {
        let pair = match file.next_good_line(options.bad_rows, left_out)? {
            None => return Ok(None),
            Some(Line::LeftOut) => continue,
            Some(Line::Text(line)) if line.trim().is_empty() => continue,
            Some(Line::Text(line)) => read(line),
        };
        match pair {
            Ok(pair) => return Ok(Some(pair)),
            Err(fault) => leave_out(*fault.at(file.path(), file.number()), options.bad_rows, left_out)?,
        }
    }
}

/// The next line of both files.
fn next_of_two(
    [source, target]: &mut [TextFile; 2],
    options: &CorpusOptions,
    left_out: &mut LeftOut,
) -> Result<Option<[String; 2]>> {
    loop {
        let problem = match (source.next_line(), target.next_line()) {
            (Err(RowError::File(problem)), _) | (_, Err(RowError::File(problem))) => return Err((*problem).into()),
            (Ok(None), Ok(None)) => return Ok(None),
            (Ok(None), _) | (_, Ok(None)) => return Err(unlike(source, target)),
            (Ok(Some(first)), Ok(Some(second))) => return Ok(Some([first.to_string(), second.to_string()])),
            (Err(RowError::Row(problem)), _) | (_, Err(RowError::Row(problem))) => *problem,
        };
        leave_out(problem, options.bad_rows, left_out)?;
    }
}

/// What is wrong with two files, one of which has ended before the other.
fn unlike(source: &mut TextFile, target: &mut TextFile) -> Error {
    let mut counts = [0; 2];
    let (first, second) = (source.path().to_path_buf(), target.path().to_path_buf());
    for (file, count) in [source, target].into_iter().zip(&mut counts) {
        *count = match file.count_rest() {
            Ok(count) => count,
            Err(error) => return error.into(),
        };
    }
    let what = format!("{} lines, but {} has {}", counts[0], second.display(), counts[1]);
    let problem = Problem::new(what).in_file(&first);
    problem.help("lines of the same number are a pair: both files must have as many").into()
}

impl Columns {
    /// Those of a file, by their names in its header or their numbers.
    fn find(path: &Path, names: Option<&[String]>) -> Result<Self> {
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

    fn pair(&self, line: &str) -> Result<[String; 2], Fault> {
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
