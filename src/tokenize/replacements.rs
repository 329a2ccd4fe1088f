//! Words that are read as others, as LAC's `q2b.dic` has them: full-width characters as half-width ones, capitals as small letters.
//!
//! (LAC's ELMo demo reads the file by line numbers, so that no word is ever found in it.)

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Problem, Result};
use crate::lines::{self, Lines, RowError, shorten};

/// A word, and what it is read as.
#[derive(Debug, Clone, Default)]
pub struct Replacements(BTreeMap<String, String>);

impl Replacements {
    /// Reads a file with a word, a tab and what it is read as on each line. Only whole words are looked for.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is not of this form, a word that stands there twice.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = lines::open(path).map_err(|cause| RowError::reading(path, None, &cause))?;
        Self::read(Lines::new(bytes, path)?, path)
    }

    fn read(mut lines: Lines, file: &Path) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut number = 0;
        while let Some(line) = lines.next_line()? {
            number += 1;
            // Not trimmed: the word may be a space.
            let wrong = match line.split_once('\t') {
                None if line.is_empty() => continue,
                None => Problem::new("no tab").help("each line is a word, a tab, and the word that it is read as"),
                Some((word, other)) if word.is_empty() || other.is_empty() => {
                    Problem::new("nothing on one side of the tab").help("a word cannot be replaced by nothing")
                }
                Some((word, other)) => match found.insert(word.to_string(), other.to_string()) {
                    None => continue,
                    Some(_) => Problem::new(format!("the word `{}` stands here twice", shorten(word))),
                },
            };
            return Err(wrong.at(file, number, None).into());
        }
        Ok(Self(found))
    }

    /// What a word is read as: another, or itself.
    pub fn of<'a>(&'a self, word: &'a str) -> &'a str {
        self.0.get(word).map_or(word, String::as_str)
    }

    /// The file's lines, sorted.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|(word, other)| format!("{word}\t{other}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(text: &str) -> Result<Replacements, String> {
        let file = Path::new("q2b.dic");
        let bytes = Box::new(Cursor::new(text.as_bytes().to_vec()));
        let lines = Lines::new(bytes, file).map_err(|error| error.into_problem().to_string())?;
        Replacements::read(lines, file).map_err(|error| error.to_string())
    }

    #[test]
    fn whole_words_are_replaced_once() {
        let words = read("Ａ\tA\nA\ta\n\u{3000}\t \n \t,\n").unwrap();
        assert_eq!(
            ["Ａ", "A", "ＡＡ", "\u{3000}", " ", "x"].map(|word| words.of(word)),
            ["A", "a", "ＡＡ", " ", ",", "x"]
        );
    }

    #[test]
    fn faults_name_their_line() {
        let of = |text: &str| read(text).unwrap_err();
        assert_eq!(of("a\tb\nc\n"), "q2b.dic:2: no tab");
        assert_eq!(of("a\tb\na\tc\n"), "q2b.dic:2: the word `a` stands here twice");
        assert_eq!(of("a\t\n"), "q2b.dic:1: nothing on one side of the tab");
    }
}
