//! The files that a card's path stands for: one, or with `*` or `?` in its name all that fit, such as the shards of a split.

use std::path::Path;

use glob::{MatchOptions, Pattern};

use crate::error::Problem;

/// How a name is compared with a pattern: hidden files fit none.
const EXACT: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Whether a path stands for all files that fit it.
pub(super) fn is_pattern(files: &str) -> bool {
    files.contains(['*', '?'])
}

/// The folder of a path and its last part, without the slash between.
pub(super) fn split(files: &str) -> (&str, &str) {
    files.rsplit_once('/').unwrap_or(("", files))
}

/// A card's path for a language, with `{lang}` filled in.
pub(super) fn of_language(files: &str, language: &str) -> String {
    if is_pattern(files) {
        files.replace("{lang}", &Pattern::escape(language))
    } else {
        files.replace("{lang}", language)
    }
}

/// Whether the file `path`, below a data root, is one of those that `files` stands for.
pub fn matches(files: &str, path: &str) -> bool {
    if !is_pattern(files) {
        return files == path;
    }
    let ((folder, pattern), (of, name)) = (split(files), split(path));
    folder == of && Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_with(name, EXACT))
}

/// The files below `root` that `files` stands for, sorted by name; each is told by its path below `root`.
pub(super) fn expand(root: &Path, files: &str) -> Vec<String> {
    if !is_pattern(files) {
        return if root.join(files).is_file() { vec![files.to_string()] } else { Vec::new() };
    }
    let (folder, _) = split(files);
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let paths = names.map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") });
    let mut found: Vec<String> = paths.filter(|path| matches(files, path) && root.join(path).is_file()).collect();
    found.sort();
    found
}

/// What is wrong with a split's files, by the names they have on the hub: `train-00000-of-00002.parquet`.
pub(super) fn fault(files: &[String]) -> Option<Problem> {
    let numbers: Vec<Option<(usize, usize)>> = files.iter().map(|file| numbered(split(file).1)).collect();
    let (first, (_, count)) = files.iter().zip(&numbers).find_map(|(file, number)| Some((file, (*number)?)))?;
    let other = |number: &Option<(usize, usize)>| number.is_none_or(|(_, other)| other != count);
    if let Some((file, _)) = files.iter().zip(&numbers).find(|(_, number)| other(number)) {
        let problem = Problem::new(format!("{file} and {first} are not of the same set of files"));
        return Some(problem.help("all files of a split are read: put what does not belong to it elsewhere"));
    }
    let indices: Vec<usize> = numbers.into_iter().flatten().map(|(index, _)| index).collect();
    let earlier = |at: usize| indices[..at].iter().position(|index| *index == indices[at]);
    if let Some((one, other)) = (0..files.len()).find_map(|at| Some((earlier(at)?, at))) {
        let problem = Problem::new(format!("{} and {} have the same number", files[one], files[other]));
        return Some(problem.help("all files of a split are read: put what does not belong to it elsewhere"));
    }
    let missing = (0..count).find(|index| !indices.contains(index))?;
    let problem = Problem::new(format!("{} of {count} files are there, number {missing:05} is not", indices.len()));
    Some(problem.help(format!("fetch the one that stands beside {first}")))
}

/// The number of a file and how many there are, of a name with `-00000-of-00002`.
fn numbered(name: &str) -> Option<(usize, usize)> {
    let (before, after) = name.split_once("-of-")?;
    let (_, index) = before.rsplit_once('-')?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let count = &after[..digits];
    (is_number(index) && is_number(count)).then(|| Some((index.parse().ok()?, count.parse().ok()?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(files: &[&str]) -> Option<String> {
        let files: Vec<String> = files.iter().map(ToString::to_string).collect();
        fault(&files).map(|problem| problem.to_string())
    }

    #[test]
    fn a_pattern_is_of_names_in_one_folder() {
        for (files, path, fits) in [
            ("en/train-*.parquet", "en/train-00000-of-00001.parquet", true),
            ("en/train-*.parquet", "en/more/train-0.parquet", false),
            ("en/train-*.parquet", "de/train-0.parquet", false),
            ("train-?.parquet", "train-1.parquet", true),
            ("train-?.parquet", "train-12.parquet", false),
            ("*.parquet", ".hidden.parquet", false),
            ("en/a[0].tsv", "en/a[0].tsv", true),
            ("en/a[0].tsv", "en/a0.tsv", false),
        ] {
            assert_eq!(matches(files, path), fits, "{files} {path}");
        }
        assert_eq!(of_language("{lang}/train-*", "[x]"), "[[]x[]]/train-*");
        assert_eq!(of_language("{lang}/train", "[x]"), "[x]/train");
    }

    #[test]
    fn files_come_in_the_order_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("en/train-folder.parquet")).unwrap();
        let names =
            ["en/train-00002-of-00003.parquet", "en/train-00000-of-00003.parquet", "en/train-00001-of-00003.parquet"];
        for name in names.iter().chain(&["en/dev-0.parquet"]) {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let mut sorted = names.map(String::from);
        sorted.sort();
        assert_eq!(expand(root.path(), "en/train-*.parquet"), sorted);
        assert_eq!(expand(root.path(), "en/dev-0.parquet"), ["en/dev-0.parquet"]);
        assert!(expand(root.path(), "de/train-*.parquet").is_empty());
    }

    #[test]
    fn all_shards_have_to_be_there() {
        let [a, b, c] = [
            "en/train-00000-of-00003.parquet",
            "en/train-00001-of-00003-ab12.parquet",
            "en/train-00002-of-00003.parquet",
        ];
        assert_eq!(problem(&[a, b, c]), None);
        assert_eq!(problem(&["0000.parquet", "0001.parquet"]), None);
        assert_eq!(problem(&["train-1-of-2.parquet"]), None, "a name that only looks like a number");
        assert_eq!(problem(&[a, c]).unwrap(), "2 of 3 files are there, number 00001 is not");
        assert_eq!(problem(&[a, b]).unwrap(), "2 of 3 files are there, number 00002 is not");
        let other = "en/train-00000-of-00001.parquet";
        assert_eq!(problem(&[other, a]).unwrap(), format!("{a} and {other} are not of the same set of files"));
        assert_eq!(
            problem(&[a, "en/x.parquet"]).unwrap(),
            format!("en/x.parquet and {a} are not of the same set of files")
        );
        let twin = "en/train-00001-of-00003.parquet";
        assert_eq!(problem(&[a, b, twin, c]).unwrap(), format!("{b} and {twin} have the same number"));
    }
}
