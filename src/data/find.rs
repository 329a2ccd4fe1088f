//! From a card and a data root to files and languages: what is there, and exactly what is missing.

use std::path::{Path, PathBuf};

use super::card::{Card, Source, Split};
use crate::error::{Problem, Result};
use crate::recipe::Data;
use crate::suggest;

/// The file that holds a language of a split.
#[derive(Debug)]
pub struct Found<'a> {
    /// The file.
    pub path: PathBuf,
    /// The source it belongs to.
    pub source: &'a Source,
    /// The path below the root, without `.gz`: what the card's hashes are listed by.
    pub relative: String,
}

impl Found<'_> {
    /// A warning when the card knows the file's hash and it is another.
    pub fn check_hash(&self, card: &Card, sha256: &str) -> Option<Problem> {
        let expected = card.sha256.get(&self.relative).filter(|expected| !expected.eq_ignore_ascii_case(sha256))?;
        let problem = Problem::new(format!("differs from the file the card of `{}` was written for", card.name));
        Some(problem.in_file(&self.path).help(format!("its SHA-256 is {sha256}, the card's {expected}")))
    }
}

/// The first file that is there, in the order of the card's sources, plain before `.gz`.
///
/// # Errors
/// None is: the message names every path that was tried.
pub fn find<'a>(card: &'a Card, root: &Path, split: Split, language: &str) -> Result<Found<'a>> {
    look(card, root, split, language).ok_or_else(|| missing(card, root, split, language).into())
}

fn look<'a>(card: &'a Card, root: &Path, split: Split, language: &str) -> Option<Found<'a>> {
    sources(card, split, language).find_map(|source| {
        let relative = source.files.replace("{lang}", language);
        let both = [root.join(&relative), root.join(format!("{relative}.gz"))];
        let path = both.into_iter().find(|path| path.is_file())?;
        Some(Found { path, source, relative })
    })
}

/// The sources that may hold a language.
fn sources<'a>(card: &'a Card, split: Split, language: &str) -> impl Iterator<Item = &'a Source> {
    card.sources(split).iter().filter(move |source| source.language.as_deref().is_none_or(|own| own == language))
}

fn missing(card: &Card, root: &Path, split: Split, language: &str) -> Problem {
    let name = &card.name;
    if card.sources(split).is_empty() {
        let splits =
            [Split::Train, Split::Dev, Split::Test].into_iter().filter(|split| !card.sources(*split).is_empty());
        let splits: Vec<String> = splits.map(|split| split.to_string()).collect();
        return Problem::new(format!("the dataset `{name}` has no {split} split"))
            .help(format!("it has {}", splits.join(", ")));
    }
    let tried: Vec<String> = sources(card, split, language)
        .map(|source| format!("  {}[.gz]", source.files.replace("{lang}", language)))
        .collect();
    let root_note = if root.is_dir() { "" } else { " (there is no such folder)" };
    Problem::new(format!(
        "no {split} file of `{name}` for the language `{language}` below {}{root_note}",
        root.display()
    ))
    .help(format!(
        "set data.root to the folder that holds one of\n{}\n{} comes from {}",
        tried.join("\n"),
        card.title,
        card.homepage
    ))
}

/// The languages to train on: those the recipe names in `data.train_languages`, or the protocol's.
///
/// Every one has a file. A protocol never shrinks to what happens to be there: the error shows the override that would run
/// with the files present.
pub fn train_languages(card: &Card, root: &Path, protocol: &str, chosen: Option<&[String]>) -> Result<Vec<String>> {
    let languages = match chosen {
        Some(chosen) => chosen.to_vec(),
        None => protocol_languages(card, protocol)?,
    };
    require_languages(card, root, Split::Train, &languages, "data.train_languages")?;
    Ok(languages)
}

/// The languages to evaluate a split on: those the recipe names in `data.eval_languages`, or all of the card's. If none of these is
/// there, but a file whose rows the card counts as a language of their own, that one.
///
/// # Errors
/// As [`require_languages`].
pub fn eval_languages(card: &Card, data: &Data, split: Split) -> Result<Vec<String>> {
    let there = |language: &String| look(card, &data.root, split, language).is_some();
    let languages = match &data.eval_languages {
        Some(chosen) => chosen.clone(),
        None if card.languages.iter().any(there) => card.languages.clone(),
        None => {
            let merged = card.sources(split).iter().filter_map(|source| source.language.clone()).find(there);
            merged.map_or(card.languages.clone(), |language| vec![language])
        }
    };
    require_languages(card, &data.root, split, &languages, "data.eval_languages")?;
    Ok(languages)
}

/// A card without protocols has nothing to choose: all its languages are trained on.
fn protocol_languages(card: &Card, protocol: &str) -> Result<Vec<String>> {
    if card.protocols.is_empty() {
        return Ok(card.languages.clone());
    }
    card.protocols.get(protocol).cloned().ok_or_else(|| {
        let known = card.protocols.keys().map(String::as_str);
        let problem = Problem::new(format!("the dataset `{}` has no protocol `{protocol}`", card.name));
        problem.help(suggest::known(protocol, "its protocols", known)).into()
    })
}

/// Checks that the card has all these languages, each once, and that each has a file of this split. `key` is the recipe key a
/// user would set to choose them.
///
/// # Errors
/// An unknown or repeated language; missing files, with the `key=[...]` that would run with those present.
fn require_languages(card: &Card, root: &Path, split: Split, languages: &[String], key: &str) -> Result<()> {
    if languages.is_empty() {
        return Err(Problem::new(format!("{key} is empty"))
            .help("name at least one language, or leave the key out")
            .into());
    }
    for (index, language) in languages.iter().enumerate() {
        let of_a_file = |source: &Source| source.language.as_ref() == Some(language);
        if !card.languages.contains(language) && !card.sources(split).iter().any(of_a_file) {
            let help = suggest::known(language, "its languages", card.languages.iter().map(String::as_str));
            return Err(Problem::new(format!("the dataset `{}` has no language `{language}`", card.name))
                .help(help)
                .into());
        }
        if languages[..index].contains(language) {
            return Err(Problem::new(format!("{key} names `{language}` twice")).help("name each language once").into());
        }
    }
    let is_there = |language: &&String| look(card, root, split, language).is_some();
    let (present, absent): (Vec<&String>, Vec<&String>) = languages.iter().partition(is_there);
    match (absent.as_slice(), present.is_empty()) {
        ([], _) => Ok(()),
        ([first, ..], true) => Err(missing(card, root, split, first).into()),
        (absent, false) => {
            let list = |words: &[&String], mark: &str| {
                words.iter().map(|word| format!("{mark}{word}{mark}")).collect::<Vec<_>>().join(", ")
            };
            let paths: Vec<String> =
                card.sources(split).iter().map(|source| format!("  {}[.gz]", source.files)).collect();
            let what = format!(
                "no {split} files of `{}` for {} of {} languages below {}: {}",
                card.name,
                absent.len(),
                languages.len(),
                root.display(),
                list(absent, "")
            );
            let help = format!(
                "each is looked for at\n{}\nthe files present run with {key}='[{}]'",
                paths.join("\n"),
                list(&present, "\"")
            );
            Err(Problem::new(what).help(help).into())
        }
    }
}
