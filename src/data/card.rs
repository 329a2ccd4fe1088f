//! Dataset cards: one TOML file says where a dataset's files are, how they are laid out and what its labels mean.
//!
//! The cards of `datasets/` are part of the program; a user's own is named by its path. `datasets/xnli.toml` shows every key.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::labels::Labels;
use super::layout::{Column, Columns, Format, Layout, Quoting};
use crate::error::{Error, Problem, Result};
use crate::recipe::Data;
use crate::suggest;

macro_rules! cards {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("../../datasets/", $name, ".toml")))),+] };
}

/// The cards that are part of the program, by name. A test holds the list and the folder together.
const CARDS: &[(&str, &str)] = cards!["ocnli", "paws-x", "quickstart-nli", "xnli"];

/// Part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// To train on.
    Train,
    /// To choose by.
    Dev,
    /// To report.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
        })
    }
}

/// A place where a split's files may be.
#[derive(Debug, Clone)]
pub struct Source {
    /// A path below the data root; `{lang}` stands for the language. `.gz` is tried as well.
    pub files: String,
    /// The only language it holds; any where there is none.
    pub language: Option<String>,
    /// How the rows are laid out.
    pub layout: Layout,
}

/// A checked dataset card.
#[derive(Debug, Clone)]
pub struct Card {
    /// What recipes call it.
    pub name: String,
    /// Its full name.
    pub title: String,
    /// Where it comes from.
    pub homepage: String,
    /// What one may do with it.
    pub licence: String,
    /// Its languages, in the order they are concatenated and reported.
    pub languages: Vec<String>,
    /// Its labels.
    pub labels: Labels,
    pub(super) protocols: BTreeMap<String, Vec<String>>,
    splits: BTreeMap<Split, Vec<Source>>,
    sha256: BTreeMap<String, String>,
}

impl Card {
    /// The card of this name, or the file when `name` ends in `.toml`.
    ///
    /// # Errors
    /// An unknown name, a file that cannot be read, and everything that is wrong in a card, with its place.
    pub fn load(name: &str) -> Result<Self> {
        let path = Path::new(name);
        if path.extension().is_some_and(|ending| ending == "toml") {
            let text = std::fs::read_to_string(path).map_err(|cause| Error::reading(path, &cause))?;
            return Self::parse(path, &text);
        }
        match CARDS.iter().find(|(card, _)| *card == name) {
            Some((_, text)) => Self::parse(&Path::new("datasets").join(format!("{name}.toml")), text),
            None => {
                let help = suggest::known(name, "there are cards for", Self::names());
                Err(Problem::new(format!("unknown dataset `{name}`"))
                    .help(format!("{help}; your own card is named by its path, ending in .toml"))
                    .into())
            }
        }
    }

    /// The card of a recipe's `data.dataset`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of(data: &Data) -> Result<Self> {
        match &data.dataset {
            Some(name) => Self::load(name),
            None => Err(Error::input("the recipe names no data.dataset")),
        }
    }

    /// The names of the cards that are part of the program, in alphabetical order.
    pub fn names() -> Vec<&'static str> {
        CARDS.iter().map(|(name, _)| *name).collect()
    }

    /// Reads and checks the text of a card; its name is the file's. Everything wrong is reported at once, except that TOML
    /// which cannot be read ends at its first fault.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let raw: Raw = toml::from_str(text).map_err(|error| toml_problem(&error, file, text))?;
        let mut check = Check { file, text, problems: Vec::new() };
        let card = raw.check(&mut check);
        if check.problems.is_empty() { Ok(card) } else { Err(Error::Input(check.problems)) }
    }

    /// The places where a split's files may be, in the order they are tried; none when the dataset has no such split.
    pub fn sources(&self, split: Split) -> &[Source] {
        self.splits.get(&split).map_or(&[], Vec::as_slice)
    }

    /// A warning when the card knows the hash of the file `relative` to the root (without `.gz`) and it is another.
    pub(super) fn check_hash(&self, relative: &str, file: &Path, sha256: &str) -> Option<Problem> {
        let expected = self.sha256.get(relative).filter(|expected| !expected.eq_ignore_ascii_case(sha256))?;
        let problem = Problem::new(format!("differs from the file the card of `{}` was written for", self.name));
        Some(problem.in_file(file).help(format!("its SHA-256 is {sha256}, the card's {expected}")))
    }
}

fn toml_problem(error: &toml::de::Error, file: &Path, text: &str) -> Problem {
    let message = error.message();
    let span = error.span().unwrap_or(0..0);
    // serde's "unknown field `x`, expected one of `a`, `b`": the words between backticks, the wrong one first.
    let mut words = message.split('`').skip(1).step_by(2);
    let suggestion = match (message.starts_with("unknown"), words.next()) {
        (true, Some(wrong)) => suggest::nearest(wrong, words).map(|near| format!("did you mean `{near}`?")),
        _ => None,
    };
    let problem = Problem::new(message.trim_end().replace('\n', ", ")).span(file, text, span);
    match suggestion {
        Some(suggestion) => problem.help(suggestion),
        None => problem.help("`datasets/xnli.toml` shows every key of a card"),
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    title: String,
    #[serde(default)]
    homepage: String,
    #[serde(default)]
    licence: String,
    languages: Vec<Spanned<String>>,
    #[serde(default)]
    labels: Vec<Spanned<String>>,
    #[serde(default)]
    label_aliases: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    drop_labels: Vec<Spanned<String>>,
    #[serde(default)]
    protocols: BTreeMap<String, Spanned<RawProtocol>>,
    #[serde(default)]
    train: Vec<RawSource>,
    #[serde(default)]
    dev: Vec<RawSource>,
    #[serde(default)]
    test: Vec<RawSource>,
    #[serde(default)]
    sha256: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected \"all\" or a list of languages")]
enum RawProtocol {
    Some(Vec<String>),
    All(All),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum All {
    All,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    files: Spanned<String>,
    language: Option<Spanned<String>>,
    format: Format,
    header: Option<Spanned<bool>>,
    quoting: Option<Spanned<Quoting>>,
    width: Option<Spanned<usize>>,
    columns: Spanned<Columns>,
}

/// Collects what is wrong.
struct Check<'a> {
    file: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn wrong(&mut self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(what).help(help).span(self.file, self.text, span));
    }

    fn distinct(&mut self, words: &[Spanned<String>], what: &str) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        for word in words {
            if seen.contains(word.get_ref()) {
                self.wrong(word.span(), format!("the {what} `{}` stands here twice", word.get_ref()), "name it once");
            }
            seen.push(word.get_ref().clone());
        }
        seen
    }
}

impl Raw {
    fn check(self, check: &mut Check<'_>) -> Card {
        let languages = check.distinct(&self.languages, "language");
        if languages.is_empty() {
            check.wrong(0..0, "`languages` is empty", "name at least one, such as languages = [\"en\"]");
        }
        let labels = self.check_labels(check);
        let protocols = check_protocols(self.protocols, &languages, check);
        let mut splits = BTreeMap::new();
        for (split, sources) in [(Split::Train, self.train), (Split::Dev, self.dev), (Split::Test, self.test)] {
            let sources: Vec<Source> =
                sources.into_iter().map(|source| source.check(&languages, &labels, check)).collect();
            splits.insert(split, sources);
        }
        if splits.values().all(Vec::is_empty) {
            check.wrong(0..0, "no split has a source", "add a [[train]], [[dev]] or [[test]] table");
        }
        for hash in self.sha256.values() {
            if hash.get_ref().len() != 64 || !hash.get_ref().bytes().all(|byte| byte.is_ascii_hexdigit()) {
                check.wrong(hash.span(), "not a SHA-256", "64 hexadecimal digits, as `sha256sum FILE` prints them");
            }
        }
        let sha256 = self.sha256.into_iter().map(|(file, hash)| (file, hash.into_inner())).collect();
        let name = check.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Self { title, homepage, licence, .. } = self;
        Card { name, title, homepage, licence, languages, labels, protocols, splits, sha256 }
    }

    fn check_labels(&self, check: &mut Check<'_>) -> Labels {
        let names = check.distinct(&self.labels, "label");
        let mut aliases = BTreeMap::new();
        for (alias, name) in &self.label_aliases {
            match (0..).zip(&names).find(|(_, known)| *known == name.get_ref()) {
                Some((index, _)) => drop(aliases.insert(alias.clone(), index)),
                None => {
                    let help = suggest::known(name.get_ref(), "labels", names.iter().map(String::as_str));
                    check.wrong(
                        name.span(),
                        format!("`{alias}` stands for the unknown label `{}`", name.get_ref()),
                        help,
                    );
                }
            }
            if names.contains(alias) {
                check.wrong(
                    name.span(),
                    format!("`{alias}` is a label itself"),
                    "an alias is another spelling of a label",
                );
            }
        }
        for word in &self.drop_labels {
            if names.contains(word.get_ref()) || self.label_aliases.contains_key(word.get_ref()) {
                check.wrong(word.span(), format!("`{}` is a label", word.get_ref()), "it cannot mean \"none\" as well");
            }
        }
        Labels::new(names, aliases, check.distinct(&self.drop_labels, "word"))
    }
}

fn check_protocols(
    protocols: BTreeMap<String, Spanned<RawProtocol>>,
    languages: &[String],
    check: &mut Check<'_>,
) -> BTreeMap<String, Vec<String>> {
    let mut checked = BTreeMap::new();
    for (name, protocol) in protocols {
        let span = protocol.span();
        let chosen = match protocol.into_inner() {
            RawProtocol::All(All::All) => languages.to_vec(),
            RawProtocol::Some(chosen) => chosen,
        };
        for unknown in chosen.iter().filter(|language| !languages.contains(language)) {
            let help = suggest::known(unknown, "languages", languages.iter().map(String::as_str));
            check.wrong(span.clone(), format!("`{unknown}` is not among the card's languages"), help);
        }
        if chosen.is_empty() {
            check.wrong(span, "no language to train on", "\"all\", or a list of languages");
        }
        checked.insert(name, chosen);
    }
    checked
}

impl RawSource {
    fn check(self, languages: &[String], labels: &Labels, check: &mut Check<'_>) -> Source {
        let (columns, span) = (self.columns.get_ref(), self.columns.span());
        let tells = [self.files.get_ref().contains("{lang}"), columns.language.is_some(), self.language.is_some()];
        if !tells.contains(&true) && languages.len() > 1 {
            let help = "put {lang} into the path, name the column `language`, or give the file's `language`";
            check.wrong(self.files.span(), "one file for several languages, and nothing tells them apart", help);
        }
        if let Some(language) = self.language.as_ref().filter(|_| tells[0] || tells[1]) {
            let help = "a file's own `language` is for one without {lang} and without such a column";
            check.wrong(language.span(), "the language is told twice", help);
        }
        if columns.label.is_some() && labels.names().is_empty() {
            check.wrong(span.clone(), "a column `label`, but the card has no labels", "add labels = [...]");
        }
        let header = self.header.as_ref().is_some_and(|header| *header.get_ref());
        let is_named = columns.iter().any(|column| matches!(column, Column::Name(_)));
        let last = columns.iter().filter_map(|c| if let Column::Number(n) = c { Some(*n) } else { None }).max();
        if self.format == Format::Jsonl {
            let spans =
                [self.header.map(|h| h.span()), self.quoting.map(|q| q.span()), self.width.as_ref().map(Spanned::span)];
            for span in spans.into_iter().flatten() {
                check.wrong(span, "JSON lines have no header, quoting or width", "leave it out");
            }
            if last.is_some() {
                check.wrong(span, "columns of JSON lines have names, not numbers", "name the objects' keys");
            }
            let (format, quoting, columns) = (self.format, Quoting::None, self.columns.into_inner());
            return Source {
                files: self.files.into_inner(),
                language: self.language.map(Spanned::into_inner),
                layout: Layout { format, header: false, quoting, width: None, columns },
            };
        }
        if !header && is_named {
            check.wrong(span, "columns have names, but the file has no header", "header = true, or numbers from 1");
        }
        let width = self.width.as_ref().map(|width| *width.get_ref());
        if let Some(raw) = &self.width {
            if header {
                check.wrong(raw.span(), "the header tells the width", "leave `width` out");
            } else if last.is_some_and(|last| last > *raw.get_ref()) {
                check.wrong(raw.span(), "`width` is less than a column's number", "count all columns of the file");
            }
        }
        let default = if self.format == Format::Csv { Quoting::Csv } else { Quoting::None };
        let quoting = self.quoting.map_or(default, Spanned::into_inner);
        let layout = Layout { format: self.format, header, quoting, width, columns: self.columns.into_inner() };
        Source { files: self.files.into_inner(), language: self.language.map(Spanned::into_inner), layout }
    }
}
