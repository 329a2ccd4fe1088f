//! Which files of a repository a dataset card asks for.

use std::collections::BTreeSet;

use super::card::{Card, Source, Split};
use super::{find, shards};
use crate::error::{Problem, Result};
use crate::recipe::Data;

/// Those among `files` that hold the splits in the languages that a recipe reads; for each language those of the first place that has
/// any, as in a folder. Languages without a file are named where the files are opened.
///
/// # Errors
/// There is none for one of the splits, or a part of several is not there.
pub fn needed(card: &Card, data: &Data, splits: &[Split], files: &[String]) -> Result<Vec<String>> {
    let mut all: BTreeSet<String> =
        card.labels_files.iter().filter(|name| files.contains(name)).take(1).cloned().collect();
    for &split in splits {
        let mut found: BTreeSet<String> = BTreeSet::new();
        for language in languages(card, data, split) {
            let places = find::patterns(card, split, &language);
            let first = places.iter().map(|place| matching(place, files)).find(|names| !names.is_empty());
            let names = first.unwrap_or_default();
            if let Some(fault) = shards::fault(&names) {
                let what = format!("`{}` is there, but not all of its parts", names[0]);
                return Err(Problem::new(what).help(fault.to_string()).into());
            }
            found.extend(names);
        }
        let sources = card.sources(split);
        if found.is_empty() && !sources.is_empty() {
            return Err(nothing(card, split, sources, files).into());
        }
        all.extend(found);
    }
    Ok(all.into_iter().collect())
}

/// The languages of a split that may be read.
fn languages(card: &Card, data: &Data, split: Split) -> Vec<String> {
    let chosen = if split == Split::Train { &data.train_languages } else { &data.eval_languages };
    if let Some(chosen) = chosen {
        return chosen.clone();
    }
    if split == Split::Train {
        return card.protocols.get(data.protocol.word()).unwrap_or(&card.languages).clone();
    }
    // Files of all languages together count as a language of their own.
    let own = card.sources(split).iter().filter_map(|source| source.language.clone());
    card.languages.iter().cloned().chain(own).collect()
}

/// The files that a path or pattern of a card stands for, or the path's as `.gz`, as in a folder.
fn matching(place: &str, files: &[String]) -> Vec<String> {
    let found: Vec<String> = files.iter().filter(|file| shards::matches(place, file)).cloned().collect();
    let packed = format!("{place}.gz");
    if found.is_empty() && !shards::is_pattern(place) && files.contains(&packed) {
        return vec![packed];
    }
    found
}

fn nothing(card: &Card, split: Split, sources: &[Source], files: &[String]) -> Problem {
    let some = |names: Vec<&str>| {
        let more = if names.len() > 20 { "\n  ..." } else { "" };
        names.into_iter().take(20).map(|name| format!("\n  {name}")).collect::<String>() + more
    };
    let wanted = some(sources.iter().map(|source| source.files.as_str()).collect());
    let there = some(files.iter().map(String::as_str).collect());
    Problem::new(format!("no {split} file of the card `{}` is in the repository", card.name)).help(format!(
        "the card asks for one of{wanted}\nthe repository has{there}\na card of your own says what is in these"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CARD: &str = r#"
title = "x"
languages = ["de", "zh"]
labels = ["a", "b"]
protocols = { cross-lingual-transfer = ["zh"] }
[[train]]
files = "old/{lang}.tsv"
format = "tsv"
columns = { text = 1, label = 2 }
[[train]]
files = "{lang}/train-*.tsv"
format = "tsv"
columns = { text = 1, label = 2 }
[[dev]]
files = "dev.tsv"
format = "tsv"
header = true
columns = { text = "t", label = "l", language = "language" }
"#;

    fn found(files: &[&str], splits: &[Split]) -> Result<Vec<String>> {
        let card = Card::parse(Path::new("x.toml"), CARD).unwrap();
        let files: Vec<String> = files.iter().map(|name| name.to_string()).collect();
        needed(&card, &Data::default(), splits, &files)
    }

    #[test]
    fn the_files_of_the_languages_that_are_read_are_taken() {
        let files =
            ["README.md", "de/train-0.tsv", "dev.tsv.gz", "zh/x/train-1.tsv", "zh/train-0.tsv", "zh/test-0.tsv"];
        assert_eq!(found(&files, &[Split::Train, Split::Dev]).unwrap(), ["dev.tsv.gz", "zh/train-0.tsv"]);
        assert_eq!(found(&["old/zh.tsv", "zh/train-0.tsv"], &[Split::Train]).unwrap(), ["old/zh.tsv"]);
        let error = found(&["README.md"], &[Split::Dev]).unwrap_err();
        assert_eq!(error.to_string(), "no dev file of the card `x` is in the repository");
    }

    #[test]
    fn a_part_without_the_others_is_not_taken_for_the_whole() {
        let [first, second] = ["zh/train-00000-of-00002.tsv", "zh/train-00001-of-00002.tsv"];
        assert_eq!(found(&[first, second], &[Split::Train]).unwrap(), [first, second]);
        assert!(found(&[second], &[Split::Train]).unwrap_err().to_string().ends_with("not all of its parts"));
    }
}
