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
    /// Reads the bytes of `file`, whose name is for messages. An empty line keeps its number and matches nothing.
    ///
    /// # Errors
    /// The text is not UTF-8; a token or an id stands twice; an id is not a number, or leaves a gap.
    pub fn from_bytes(data: &[u8], file: &Path) -> Result<Self> {
        let text = std::str::from_utf8(data).map_err(|cause| {
            let line = data[..cause.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            Error::from(Problem::new("the vocabulary is not UTF-8").at(file, line, None))
        })?;
        // Not `lines()` of other libraries: tokens may hold characters that count as line ends elsewhere (U+0085).
        let lines: Vec<&str> =
            text.split_terminator('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        let mut tokens: Vec<Option<(&str, usize)>> = vec![None; lines.len()];
        let mut ids = HashMap::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let problem = |what: String| Problem::new(what).at(file, index + 1, None);
            let (token, id) = match line.split_once('\t') {
                None => (*line, index),
                Some((token, id)) => {
                    let id = id.trim().parse().map_err(|_| {
                        problem(format!("{id:?} is not an id"))
                            .help("a line is a token, or a token, a tab and its id (a whole number from 0)")
                    })?;
                    (token, id)
                }
            };
            let count = lines.len();
            let slot = tokens.get_mut(id).ok_or_else(|| {
                problem(format!("id {id} is out of range: the file has {count} tokens"))
                    .help("ids run from 0 to the number of tokens less one, without gaps")
            })?;
            if let Some((other, line)) = slot {
                let what = format!("id {id} of {token:?} is already the id of {other:?} (line {line})");
                return Err(problem(what).into());
            }
            *slot = Some((token, index + 1));
            if !token.is_empty()
                && let Some(first) = ids.insert(token.to_string(), id as u32)
            {
                let what = format!("token {token:?} stands twice: it already has id {first}");
                return Err(problem(what)
                    .help("every token stands once; restore the file that came with the model")
                    .into());
            }
        }
        let tokens = tokens.into_iter().flatten().map(|(token, _)| token.to_string()).collect();
        Ok(Self { tokens, ids })
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
        let bad = Vocab::from_bytes(b"a\n\xFF\n", Path::new("vocab.txt")).unwrap_err();
        assert_eq!(bad.to_string(), "vocab.txt:2: the vocabulary is not UTF-8");
    }
}
