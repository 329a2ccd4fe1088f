//! Tag dictionaries, as LAC and its ELMo demo have them: a tag a line, or its number, a tab and the tag.
//!
//! Without numbers the lines count from 0. With numbers, tags that share one are spellings of the same label, which is
//! called by the last of them: so does LAC, whose `PER-B` is its `nr-B`.

use std::collections::BTreeMap;
use std::path::Path;

use super::labels::{Labels, shorten};
use crate::error::{Problem, Result};
use crate::lines::{Bytes, Lines};

/// No honest dictionary has more tags; a file of another kind must not fill the memory.
const MOST_TAGS: usize = 100_000;

const FORM: &str = "either every line is a tag, or every line is a number, a tab and the tag";

/// The labels of the dictionary in `reader`, which messages call `file`. `dropped` are the words of unlabelled rows.
///
/// # Errors
/// A file that cannot be read or has no tags, a line that does not fit, a tag that stands there twice, a
/// number without a tag.
pub(super) fn read(reader: Bytes, file: &Path, dropped: Vec<String>) -> Result<Labels> {
    let lines = lines_of(reader, file)?;
    let is_numbered = lines.first().is_some_and(|line| line.contains('\t'));
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    let mut names: BTreeMap<u32, &str> = BTreeMap::new();
    for (index, line) in (0..).zip(&lines) {
        let wrong = |problem: Problem| problem.at(file, index as usize + 1, None);
        let found = if is_numbered { numbered(line) } else { plain(line, index) };
        let (number, tag) = found.map_err(|problem| wrong(*problem))?;
        if dropped.iter().any(|word| word == tag) {
            let problem = Problem::new(format!("`{tag}` is among the card's `drop_labels`"));
            return Err(wrong(problem.help("it cannot mean \"none\" as well")).into());
        }
        if numbers.insert(tag, number).is_some() {
            return Err(wrong(Problem::new(format!("the tag `{}` stands here twice", shorten(tag)))).into());
        }
        names.insert(number, tag);
    }
    let Some(last) = names.keys().last() else {
        return Err(Problem::new("the tag dictionary is empty").in_file(file).help("one tag a line").into());
    };
    if let Some(missing) = (0..*last).find(|number| !names.contains_key(number)) {
        let problem = Problem::new(format!("no tag has the number {missing}, but one has {last}")).in_file(file);
        return Err(problem.help("the numbers count from 0 and leave none out").into());
    }
    let aliases = numbers.iter().filter(|(tag, number)| names[*number] != **tag);
    let aliases = aliases.map(|(tag, number)| (tag.to_string(), *number)).collect();
    Ok(Labels::new(names.values().map(ToString::to_string).collect(), aliases, dropped))
}

/// All lines but the empty ones at the end.
fn lines_of(reader: Bytes, file: &Path) -> Result<Vec<String>> {
    let mut lines = Lines::new(reader, file)?;
    let mut all = Vec::new();
    while let Some(line) = lines.next_line()? {
        all.push(line.to_string());
        if all.len() > MOST_TAGS {
            let problem = Problem::new(format!("more than {MOST_TAGS} lines")).in_file(file);
            return Err(problem.help("is this a tag dictionary, with one tag a line?").into());
        }
    }
    while all.last().is_some_and(|line| line.trim().is_empty()) {
        all.pop();
    }
    Ok(all)
}

fn plain(line: &str, index: u32) -> Result<(u32, &str), Box<Problem>> {
    let wrong = |what: &str, help: &str| Err(Box::new(Problem::new(what).help(help)));
    match line.trim() {
        "" => wrong("an empty line among the tags", "it would shift the numbers of those below"),
        tag if tag.contains('\t') => wrong("a tab, in a dictionary whose first line has none", FORM),
        tag => Ok((index, tag)),
    }
}

fn numbered(line: &str) -> Result<(u32, &str), Box<Problem>> {
    let wrong = |what: String| Err(Box::new(Problem::new(what).help(FORM)));
    let Some((number, tag)) = line.split_once('\t') else { return wrong("no tab".to_string()) };
    match (number.trim().parse(), tag.trim()) {
        (Err(_), _) => wrong(format!("`{}` is not a number", shorten(number))),
        (Ok(_), "") => wrong("no tag after the number".to_string()),
        (Ok(number), tag) => Ok((number, tag)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::labels::Label;
    use super::*;

    fn read_text(text: &str) -> Result<Labels, String> {
        let dropped = vec!["?".to_string()];
        let bytes: Bytes = Box::new(Cursor::new(text.as_bytes().to_vec()));
        read(bytes, Path::new("tag.dic"), dropped).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_count_from_0_with_or_without_a_last_line_end() {
        for text in ["a\na-B\na-I", "a\r\na-B\r\na-I\r\n", "\u{feff}a\na-B\na-I\n\n"] {
            assert_eq!(read_text(text).unwrap().names(), ["a", "a-B", "a-I"], "{text:?}");
        }
    }

    #[test]
    fn a_shared_number_is_called_by_its_last_tag() {
        let labels = read_text("0\tn-B\n2\tO\n1\tnr-B\n1\tPER-B\n").unwrap();
        assert_eq!(labels.names(), ["n-B", "PER-B", "O"]);
        assert_eq!(labels.find("nr-B").unwrap(), Label::Is(1));
        assert_eq!(labels.find("?").unwrap(), Label::Dropped);
    }

    #[test]
    fn faults_name_their_line() {
        let of = |text: &str| read_text(text).unwrap_err();
        assert_eq!(of(""), "tag.dic: the tag dictionary is empty");
        assert_eq!(of("a\n\nb\n"), "tag.dic:2: an empty line among the tags");
        assert_eq!(of("a\n1\tb\n"), "tag.dic:2: a tab, in a dictionary whose first line has none");
        assert_eq!(of("a\nb\na\n"), "tag.dic:3: the tag `a` stands here twice");
        assert_eq!(of("a\n?\n"), "tag.dic:2: `?` is among the card's `drop_labels`");
        assert_eq!(of("0\ta\nb\n"), "tag.dic:2: no tab");
        assert_eq!(of("0\ta\n-1\tb\n"), "tag.dic:2: `-1` is not a number");
        assert_eq!(of("0\ta\n1\t \n"), "tag.dic:2: no tag after the number");
        assert_eq!(of("a\t0\nb\t1\n"), "tag.dic:1: `a` is not a number");
        assert_eq!(of("0\ta\n4294967295\tb\n"), "tag.dic: no tag has the number 1, but one has 4294967295");
        assert_eq!(of(&"x\n".repeat(MOST_TAGS + 1)), "tag.dic: more than 100000 lines");
    }
}
