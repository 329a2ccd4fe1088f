//! From a card and a data root to files and languages: what is there, and exactly what is missing.

use std::path::{Path, PathBuf};

use super::card::{Card, Source, Split};
use super::shards;
use crate::error::{Problem, Result};
use crate::recipe::Data;
use crate::suggest;

/// The files that hold a language of a split: one, or its shards.
#[derive(Debug)]
pub struct Found<'a> {
    /// What messages call them: the file, or the pattern that its shards fit.
    pub path: PathBuf,
    /// The files, in the order they are read.
    pub files: Vec<FoundFile>,
    /// The source they belong to.
    pub source: &'a Source,
}

/// One of the files that hold a language of a split.
#[derive(Debug)]
pub struct FoundFile {
    /// The file.
    pub path: PathBuf,
    /// The path below the root, without `.gz`: what the card's hashes are listed by.
    pub relative: String,
}

impl FoundFile {
    /// A warning when the card knows the file's hash and it is another.
    pub fn check_hash(&self, card: &Card, sha256: &str) -> Option<Problem> {
        let expected = card.sha256.get(&self.relative).filter(|expected| !expected.eq_ignore_ascii_case(sha256))?;
        let problem = Problem::new(format!("differs from the file the card of `{}` was written for", card.name));
        Some(problem.in_file(&self.path).help(format!("its SHA-256 is {sha256}, the card's {expected}")))
    }
}

/// Where the files of a language of a split may be below a data root, in the order they are tried: paths, and patterns with `*` and `?` in
/// the last part, which stand for all files that fit ([`matches`] tells which). The first that has a file is read, and no other.
pub fn patterns(card: &Card, split: Split, language: &str) -> Vec<String> {
    sources(card, split, language).map(|source| shards::of_language(&source.files, language)).collect()
}

pub use super::shards::matches;

/// The first files that are there, in the order of the card's sources, plain before `.gz`.
///
/// # Errors
/// None is: the message names every path that was tried. A shard is missing.
pub fn find<'a>(card: &'a Card, root: &Path, split: Split, language: &str) -> Result<Found<'a>> {
    let found = look(card, root, split, language).ok_or_else(|| missing(card, root, split, language))?;
    check_whole(&found)?;
    Ok(found)
}

fn check_whole(found: &Found) -> Result<()> {
    let names: Vec<String> = found.files.iter().map(|file| file.relative.clone()).collect();
    shards::fault(&names).map_or(Ok(()), |problem| Err(problem.in_file(&found.path).into()))
}

fn look<'a>(card: &'a Card, root: &Path, split: Split, language: &str) -> Option<Found<'a>> {
    sources(card, split, language).find_map(|source| {
        let relative = shards::of_language(&source.files, language);
        let file = |relative: String| FoundFile { path: root.join(&relative), relative };
        let mut files: Vec<FoundFile> = shards::expand(root, &relative).into_iter().map(file).collect();
        let packed = root.join(format!("{relative}.gz"));
        if files.is_empty() && may_be_packed(source) && packed.is_file() {
            files.push(FoundFile { path: packed, relative: relative.clone() });
        }
        let path = match files.as_slice() {
            [] => return None,
            [only] => only.path.clone(),
            _ => root.join(&relative),
        };
        Some(Found { path, files, source })
    })
}

/// Whether a file may be there as `.gz`: a pattern says what its files are called, and parquet packs its pages itself.
fn may_be_packed(source: &Source) -> bool {
    !shards::is_pattern(&source.files) && !source.layout.is_parquet()
}

/// A source's path, as messages name it.
fn named(source: &Source, files: &str) -> String {
    format!("  {files}{}", if may_be_packed(source) { "[.gz]" } else { "" })
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
        .map(|source| named(source, &shards::of_language(&source.files, language)))
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
    for found in languages.iter().filter_map(|language| look(card, root, split, language)) {
        check_whole(&found)?;
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
            let paths: Vec<String> = card.sources(split).iter().map(|source| named(source, &source.files)).collect();
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
