//! The text of a card: its keys, and what is wrong with what they say.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::source::{Kind, RawSource};
use super::{Card, Scoring, Split};
use crate::data::labels::Labels;
use crate::error::Problem;
use crate::suggest;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    title: String,
    #[serde(default)]
    homepage: String,
    #[serde(default)]
    licence: String,
    languages: Vec<Spanned<String>>,
    #[serde(default)]
    labels: Vec<Spanned<String>>,
    labels_file: Option<Spanned<OneOrMany>>,
    scoring: Option<Spanned<Scoring>>,
    #[serde(default)]
    label_aliases: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    drop_labels: Vec<Spanned<String>>,
    label_separator: Option<Spanned<String>>,
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
#[serde(untagged, expecting = "expected a path below the data root, or a list of paths")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
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

/// Collects what is wrong.
pub(super) struct Check<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) problems: Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn wrong(&mut self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
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
    pub(super) fn check(self, check: &mut Check<'_>) -> Card {
        let has_scores = self.check_kinds(check) == Some(Kind::Scores);
        let languages = check.distinct(&self.languages, "language");
        if languages.is_empty() {
            check.wrong(0..0, "`languages` is empty", "name at least one, such as languages = [\"en\"]");
        }
        let (mut labels, labels_files) = (self.check_labels(check), self.check_labels_file(check));
        if let Some(separator) = self.label_separator {
            if separator.get_ref().is_empty() {
                check.wrong(separator.span(), "an empty separator", "what stands between two labels, such as \",\"");
            }
            labels.separator = separator.into_inner();
        }
        let has_labels = !labels.names().is_empty() || !labels_files.is_empty();
        let protocols = check_protocols(self.protocols, &languages, check);
        let mut splits = BTreeMap::new();
        for (split, sources) in [(Split::Train, self.train), (Split::Dev, self.dev), (Split::Test, self.test)] {
            let checked = sources.into_iter().map(|source| source.check(&languages, has_labels, check));
            splits.insert(split, checked.collect::<Vec<_>>());
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
        Card {
            name,
            title: self.title,
            homepage: self.homepage,
            licence: self.licence,
            languages,
            labels,
            has_scores,
            scoring: self.scoring.map_or(Scoring::default(), Spanned::into_inner),
            labels_files,
            drop_labels: self.drop_labels.into_iter().map(Spanned::into_inner).collect(),
            protocols,
            splits,
            sha256,
        }
    }

    /// All sources have rows of one kind, which is returned.
    fn check_kinds(&self, check: &mut Check<'_>) -> Option<Kind> {
        let sources = || [&self.train, &self.dev, &self.test].into_iter().flatten();
        let kind = sources().next().map(RawSource::kind)?;
        for other in sources().filter(|source| source.kind() != kind) {
            let what = match (kind, other.kind()) {
                (Kind::Questions, _) | (_, Kind::Questions) => "some sources have questions and some have not",
                (Kind::Tokens, _) | (_, Kind::Tokens) => "some sources have texts and some have tokens",
                _ => "some sources have labels and some have scores",
            };
            check.wrong(other.span(), what, "a card is for one kind of task: make it two cards");
        }
        match (kind, &self.scoring) {
            (Kind::Questions, None) => {
                let help = "scoring = \"squad\", \"cmrc2018\" or \"dureader\": whose script compares answers";
                check.wrong(0..0, "a card of questions without `scoring`", help);
            }
            (Kind::Texts | Kind::Scores | Kind::Tokens, Some(scoring)) => {
                check.wrong(scoring.span(), "only answers to questions have a `scoring`", "leave it out");
            }
            _ => {}
        }
        if matches!(kind, Kind::Questions | Kind::Scores) {
            let what = if kind == Kind::Scores { "scores" } else { "questions" };
            for label in &self.labels {
                check.wrong(label.span(), format!("{what} have no labels"), "leave `labels` out");
            }
        }
        Some(kind)
    }

    /// The paths of `labels_file`.
    fn check_labels_file(&self, check: &mut Check<'_>) -> Vec<String> {
        let Some(raw) = &self.labels_file else { return Vec::new() };
        let files = match raw.get_ref() {
            OneOrMany::One(file) => vec![file.clone()],
            OneOrMany::Many(files) => files.clone(),
        };
        if files.is_empty() || files.iter().any(String::is_empty) {
            check.wrong(raw.span(), "no path of a tag dictionary", "such as labels_file = \"tag.dic\"");
        }
        if !self.labels.is_empty() {
            check.wrong(raw.span(), "the labels are told twice", "list them in `labels`, or name their file");
        }
        if !self.label_aliases.is_empty() {
            let help = "two lines of a dictionary with the same number are spellings of the same label";
            check.wrong(raw.span(), "`label_aliases` are for labels that the card lists", help);
        }
        files
    }

    fn check_labels(&self, check: &mut Check<'_>) -> Labels {
        let names = check.distinct(&self.labels, "label");
        let mut aliases = BTreeMap::new();
        for (alias, name) in &self.label_aliases {
            match (0..).zip(&names).find(|(_, known)| *known == name.get_ref()) {
                Some((index, _)) => drop(aliases.insert(alias.clone(), index)),
                None => {
                    let what = format!("`{alias}` stands for the unknown label `{}`", name.get_ref());
                    let help = suggest::known(name.get_ref(), "labels", names.iter().map(String::as_str));
                    check.wrong(name.span(), what, help);
                }
            }
            if names.contains(alias) {
                let what = format!("`{alias}` is a label itself");
                check.wrong(name.span(), what, "an alias is another spelling of a label");
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
