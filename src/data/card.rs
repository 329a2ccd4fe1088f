//! Dataset cards: one TOML file says where a dataset's files are, how they are laid out and what its labels mean.
//!
//! The cards of `datasets/` are part of the program; a user's own is named by its path. `datasets/xnli.toml` shows
//! every key of a card of texts, `datasets/lac-demo.toml` those of tokens with tags, `datasets/cmrc2018.toml` those of
//! questions.

mod raw;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::raw::{Check, Raw};
use super::labels::Labels;
use super::layout::RowLayout;
use super::tag_dictionary;
use crate::error::{Error, Problem, Result};
use crate::lines;
use crate::recipe::Data;
use crate::suggest;

macro_rules! cards {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("../../datasets/", $name, ".toml")))),+] };
}

/// The cards that are part of the program, by name. A test holds the list and the folder together.
const CARDS: &[(&str, &str)] = cards![
    "cmrc2018",
    "dureader",
    "dureader-retrieval",
    "goemotions",
    "lac-demo",
    "lexical-analysis",
    "ocnli",
    "paws-x",
    "quickstart-nli",
    "squad",
    "sts-b",
    "xnli"
];

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

/// Whose script compares answers with those that people gave; see [`crate::metrics::answers`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scoring {
    /// SQuAD's, for languages with spaces between words.
    #[default]
    Squad,
    /// CMRC2018's, for Chinese.
    Cmrc2018,
    /// DuReader's: Rouge-L and Bleu-4 of characters.
    DuReader,
}

/// What the rows of a dataset are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// A text or two, with a label or several.
    Texts,
    /// A text or two, with a score.
    Scores,
    /// Tokens with a tag each.
    Tagged,
    /// Questions on texts, with answers.
    Questions,
}

impl RowKind {
    /// What they are, the task for them, and the cards that have them.
    fn said(self) -> [&'static str; 3] {
        match self {
            Self::Texts => [
                "texts with labels",
                "sequence-classification or multi-label-classification",
                "a card with the columns `text` and `label`",
            ],
            Self::Scores => ["texts with scores", "regression", "a card with the columns `text` and `score`"],
            Self::Tagged => ["tokens with tags", "token-classification", "a card with the columns `tokens` and `tags`"],
            Self::Questions => [
                "questions",
                "question-answering",
                "a card with format = \"squad\" or \"dureader\", or a column `question`",
            ],
        }
    }
}

/// A place where a split's files may be.
#[derive(Debug, Clone)]
pub struct Source {
    /// A path below the data root; `{lang}` stands for the language. With `*` or `?` it stands for all files that it fits; without,
    /// `.gz` is tried as well (see [`super::find::patterns`]).
    pub files: String,
    /// The only language it holds; any where there is none.
    pub language: Option<String>,
    /// How the rows are laid out.
    pub layout: RowLayout,
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
    /// Its labels. Those of a tag dictionary are there after [`Self::with_labels`].
    pub labels: Labels,
    /// Whether rows have a score in place of a label.
    has_scores: bool,
    /// Of questions: how answers are compared.
    pub scoring: Scoring,
    pub(super) labels_files: Vec<String>,
    drop_labels: Vec<String>,
    pub(super) protocols: BTreeMap<String, Vec<String>>,
    splits: BTreeMap<Split, Vec<Source>>,
    pub(super) sha256: BTreeMap<String, String>,
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

    /// The card of a recipe's `data.dataset`, with its labels.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::with_labels`].
    pub fn open(data: &Data) -> Result<Self> {
        match &data.dataset {
            Some(name) => Self::load(name)?.with_labels(&data.root),
            None => Err(Error::input("the recipe names no data.dataset")),
        }
    }

    /// The card with the labels of the first of its tag dictionaries that is below `root`; as it is, if it lists its
    /// labels.
    ///
    /// # Errors
    /// None of the dictionaries is there, or one cannot be read.
    pub fn with_labels(mut self, root: &Path) -> Result<Self> {
        if self.labels_files.is_empty() {
            return Ok(self);
        }
        let files: Vec<PathBuf> = self.labels_files.iter().map(|file| root.join(file)).collect();
        let Some(file) = files.iter().find(|file| file.is_file()) else {
            let problem = Problem::new(format!("no tag dictionary of `{}` below {}", self.name, root.display()));
            let help = format!("set data.root to the folder that holds {}", self.labels_files.join(" or "));
            return Err(problem.help(format!("{help}; {} comes from {}", self.title, self.homepage)).into());
        };
        let bytes = lines::open(file).map_err(|cause| Error::reading(file, &cause))?;
        self.labels = tag_dictionary::read(bytes, file, self.drop_labels.clone())?;
        Ok(self)
    }

    /// What its rows are.
    pub fn rows(&self) -> RowKind {
        match self.splits.values().flatten().next().map(|source| &source.layout) {
            Some(RowLayout::Tagged(_)) => RowKind::Tagged,
            Some(RowLayout::Questions(_)) => RowKind::Questions,
            Some(RowLayout::Texts(_)) if self.has_scores => RowKind::Scores,
            Some(RowLayout::Texts(_)) | None => RowKind::Texts,
        }
    }

    /// What is wrong where rows of another kind are wanted of it.
    pub fn has_other_rows(&self, wanted: RowKind) -> Problem {
        let ([are, task, _], [not, _, card]) = (self.rows().said(), wanted.said());
        let problem = Problem::new(format!("the dataset `{}` has {are}, not {not}", self.name));
        problem.help(format!("its task is {task}; this one needs {card}"))
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
        None => problem.help(
            "`datasets/xnli.toml` shows every key of a card, `datasets/lac-demo.toml` those for tokens with tags",
        ),
    }
}
