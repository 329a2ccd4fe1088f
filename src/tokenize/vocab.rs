//! `vocab.txt`: one token a line, its id being the line number from 0; or `token<TAB>id`.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Problem, Result};

/// Tokens and ids, both ways. Ids are 0 to `len() - 1`, without gaps.
#[derive(Debug)]
pub struct Vocab {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Vocab {
    /// Reads the bytes of `file`, whose name is for messages. The first line tells which of the two layouts the file
    /// has. An empty line of the first keeps its number and matches nothing; in the second it is left out.
    ///
    /// # Errors
    /// The text is not UTF-8; a token or an id stands twice; an id is not a number, or leaves a gap; a line has the
    /// other layout.
    pub fn from_bytes(data: &[u8], file: &Path) -> Result<Self> {
        let text = std::str::from_utf8(data).map_err(|cause| {
            let line = data[..cause.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            Error::from(Problem::new("the vocabulary is not UTF-8").at(file, line, None))
        })?;
        // Not `lines()` of other libraries: tokens may hold characters that count as line ends elsewhere (U+0085).
        let lines = text.split_terminator('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let lines: Vec<(usize, &str)> = (1..).zip(lines).collect();
        let with_ids = lines.first().is_some_and(|(_, line)| line.contains('\t'));
        let mut entries = Vec::with_capacity(lines.len());
        for (number, line) in lines.into_iter().filter(|(_, line)| !(with_ids && line.is_empty())) {
            let wrong = |what: String| {
                let help = match with_ids {
                    true => "line 1 is a token, a tab and its id (a whole number from 0), so that all lines are",
                    false => "line 1 is a token without an id, so that all lines are; ids are then line numbers from 0",
                };
                Err(Error::from(Problem::new(what).at(file, number, None).help(help)))
            };
            let parts = line.rsplit_once('\t').map(|(token, id)| (token, id, id.trim().parse::<usize>()));
            let (token, id) = match parts {
                None if with_ids => return wrong(format!("{line:?} has no id")),
                Some((_, id, Err(_))) if with_ids => return wrong(format!("{id:?} is not an id")),
                Some((token, _, Ok(id))) if with_ids => (token, id),
                Some((.., Ok(_))) => return wrong(format!("{line:?} has an id")),
                // A token may hold a tab, but not a tab and a number at its end.
                _ => (line, entries.len()),
            };
            entries.push(Entry { token, id, number });
        }
        Self::from_entries(&entries, file)
    }

    fn from_entries(entries: &[Entry], file: &Path) -> Result<Self> {
        let count = entries.len();
        let mut slots: Vec<Option<&Entry>> = vec![None; count];
        let mut ids = HashMap::with_capacity(count);
        for entry in entries {
            let Entry { token, id, number } = *entry;
            let problem = |what: String| Problem::new(what).at(file, number, None);
            let slot = slots.get_mut(id).ok_or_else(|| {
                problem(format!("id {id} is out of range: the file has {count} tokens"))
                    .help("ids run from 0 to the number of tokens less one, without gaps")
            })?;
            if let Some(other) = slot {
                let what =
                    format!("id {id} of {token:?} is already the id of {:?} (line {})", other.token, other.number);
                return Err(problem(what).into());
            }
            *slot = Some(entry);
            if !token.is_empty()
                && let Some(first) = ids.insert(token.to_string(), id as u32)
            {
                let what = format!("token {token:?} stands twice: it already has id {first}");
                return Err(problem(what)
                    .help("every token stands once; restore the file that came with the model")
                    .into());
            }
        }
        let tokens = slots.into_iter().flatten().map(|entry| entry.token.to_string()).collect();
        Ok(Self { tokens, ids })
    }

    /// The vocabulary as one token a line, in the order of ids: what transformers and PaddleNLP read.
    pub fn to_text(&self) -> String {
        self.tokens.iter().flat_map(|token| [token.as_str(), "\n"]).collect()
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }
}

/// A token as it stands in the file.
struct Entry<'a> {
    token: &'a str,
    id: usize,
    /// The line, from 1.
    number: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vocab> {
        Vocab::from_bytes(text.as_bytes(), Path::new("vocab.txt"))
    }

    #[test]
    fn ids_are_line_numbers_or_stand_after_a_tab() {
        let plain = read("a\r\nb\n\u{85}\n\nc").unwrap();
        assert_eq!((plain.id("b"), plain.id("\u{85}"), plain.id("c"), plain.len()), (Some(1), Some(2), Some(4), 5));
        assert_eq!((plain.token(3), plain.token(5)), (Some(""), None));
        let tabbed = read("a\t1\nb\t0\n").unwrap();
        assert_eq!((tabbed.id("a"), tabbed.token(0)), (Some(1), Some("b")));
        assert_eq!(read("a\t1\r\n\r\nb\t0\r\n\n").unwrap().to_text(), "b\na\n");
        assert_eq!(plain.to_text(), "a\nb\n\u{85}\n\nc\n");
    }

    #[test]
    fn wrong_lines_are_named() {
        let message = |text| read(text).unwrap_err().to_string();
        assert_eq!(message("a\nb\na\n"), "vocab.txt:3: token \"a\" stands twice: it already has id 0");
        assert_eq!(message("a\tx\n"), "vocab.txt:1: \"x\" is not an id");
        assert_eq!(
            message("a\t0\nb\t4000000000\n"),
            "vocab.txt:2: id 4000000000 is out of range: the file has 2 tokens"
        );
        assert_eq!(message("a\t0\nb\t0\n"), "vocab.txt:2: id 0 of \"b\" is already the id of \"a\" (line 1)");
        assert_eq!(message("a\t0\nb\t2\n"), "vocab.txt:2: id 2 is out of range: the file has 2 tokens");
        assert_eq!(message("a\t0\nb\n"), "vocab.txt:2: \"b\" has no id");
        assert_eq!(message("a\nb\t1\n"), "vocab.txt:2: \"b\\t1\" has an id");
        let bad = Vocab::from_bytes(b"a\n\xFF\n", Path::new("vocab.txt")).unwrap_err();
        assert_eq!(bad.to_string(), "vocab.txt:2: the vocabulary is not UTF-8");
    }
}
