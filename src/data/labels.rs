//! The labels of a dataset: their numbers, other spellings, and the marks of rows nobody could label.

use std::collections::BTreeMap;

use crate::error::Problem;
pub(super) use crate::lines::shorten;
use crate::suggest;

/// What a word in a label column stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// The label of this number (from 0, in the card's order).
    Is(u32),
    /// A mark for "no label": the row is left out, without being an error.
    Dropped,
}

/// What a cell of the label column stands for; `None` for a mark of "no label".
pub type ReadLabel<L> = fn(&Labels, &str) -> Result<Option<L>, Box<Problem>>;

/// What stands between two labels of a cell if the card does not say, and between those of a list.
const LABEL_SEPARATOR: &str = ",";
pub(super) const LIST_SEPARATOR: char = '\u{1f}';

/// The label words of one dataset.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    names: Vec<String>,
    /// What stands between two labels of a cell.
    pub(super) separator: String,
    words: BTreeMap<String, Label>,
}

impl Labels {
    /// `aliases` maps other spellings to the index of a name; `dropped` are the words of unlabelled rows.
    pub fn new(names: Vec<String>, aliases: BTreeMap<String, u32>, dropped: Vec<String>) -> Self {
        let mut words: BTreeMap<String, Label> = dropped.into_iter().map(|word| (word, Label::Dropped)).collect();
        words.extend(aliases.into_iter().map(|(word, index)| (word, Label::Is(index))));
        words.extend((0..).zip(&names).map(|(index, name)| (name.clone(), Label::Is(index))));
        Self { names, separator: LABEL_SEPARATOR.to_string(), words }
    }

    /// The number of the label that a cell holds; `None` for a mark.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn class(&self, cell: &str) -> Result<Option<u32>, Box<Problem>> {
        Ok(match self.find(cell)? {
            Label::Is(class) => Some(class),
            Label::Dropped => None,
        })
    }

    /// The words of a cell that holds several labels, or none.
    pub fn split<'a>(&'a self, cell: &'a str) -> impl Iterator<Item = &'a str> {
        let words = cell.split(self.separator.as_str()).flat_map(|words| words.split(LIST_SEPARATOR));
        words.filter(|word| !word.trim().is_empty())
    }

    /// The names, in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What `word` stands for; blanks around it do not count. The error has no place yet.
    pub fn find(&self, word: &str) -> Result<Label, Box<Problem>> {
        self.get(word).ok_or_else(|| {
            let problem = Problem::new(format!("unknown label `{}`", shorten(word.trim())));
            Box::new(problem.help(self.known(word)))
        })
    }

    /// As [`Self::find`], for callers with a message of their own.
    pub(super) fn get(&self, word: &str) -> Option<Label> {
        self.words.get(word.trim()).copied()
    }

    /// What would have been right instead of `word`.
    pub(super) fn known(&self, word: &str) -> String {
        suggest::known(word.trim(), "the dataset card knows", self.words.keys().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nli() -> Labels {
        let names = ["entailment", "neutral", "contradiction"].map(String::from).to_vec();
        let aliases = [("contradictory".to_string(), 2), ("0".to_string(), 0)].into();
        Labels::new(names, aliases, vec!["-".to_string()])
    }

    #[test]
    fn names_aliases_and_marks_are_told_apart() {
        assert_eq!(nli().find("neutral").unwrap(), Label::Is(1));
        assert_eq!(nli().find(" contradictory ").unwrap(), Label::Is(2));
        assert_eq!(nli().find("0").unwrap(), Label::Is(0));
        assert_eq!(nli().find("-").unwrap(), Label::Dropped);
    }

    #[test]
    fn an_unknown_label_names_the_known_and_the_nearest() {
        let problem = nli().find("entailement").unwrap_err();
        assert_eq!(problem.to_string(), "unknown label `entailement`");
        let help = miette::Diagnostic::help(&*problem).unwrap().to_string();
        assert!(help.contains("did you mean `entailment`?") && help.contains("contradictory"), "{help}");
    }

    #[test]
    fn a_whole_sentence_in_the_label_column_is_cut_short() {
        let problem = nli().find(&"字".repeat(500)).unwrap_err();
        assert!(problem.to_string().chars().count() < 70);
    }
}
