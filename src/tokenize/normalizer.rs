//! SentencePiece's text normalisation, which also remembers where each character came from.
//!
//! Follows `Normalizer::Normalize` of SentencePiece 0.2: at each position the longest rule of the compiled character map
//! applies, spaces are squeezed and trimmed, one is put in front, and all of them become `▁`.

use super::double_array::DoubleArray;

/// What SentencePiece writes for a space.
pub const SPACE: char = '▁';

/// What a rule may put in the place of a character (bytes), so that no text grows without bound. Unicode's own longest is 33.
const LONGEST_REPLACEMENT: usize = 256;

/// How a model wants its text: `normalizer_spec` of the file, and what belongs to it in `trainer_spec`.
#[derive(Debug)]
pub struct Normalizer {
    pub rules: Option<Rules>,
    /// Symbols that stay as they are, whatever the rules say.
    pub user_symbols: Option<DoubleArray>,
    pub add_dummy_prefix: bool,
    pub remove_extra_whitespaces: bool,
    pub escape_whitespaces: bool,
    pub treat_whitespace_as_suffix: bool,
}

/// A compiled character map: a trie over what is replaced, into the replacements, each ended by a zero byte.
#[derive(Debug)]
pub struct Rules {
    trie: DoubleArray,
    replacements: String,
}

impl Rules {
    /// Reads a `precompiled_charsmap`: the size of the trie in bytes (u32), the trie, the replacements.
    pub fn read(blob: &[u8]) -> Result<Self, &'static str> {
        let (size, rest) = blob.split_first_chunk::<4>().ok_or("the normalisation rules are cut short")?;
        let size = u32::from_le_bytes(*size) as usize;
        let (trie, replacements) = rest.split_at_checked(size).ok_or("the normalisation rules are cut short")?;
        let replacements = std::str::from_utf8(replacements).map_err(|_| "the normalisation rules are not UTF-8")?;
        if replacements.split('\0').any(|replacement| replacement.len() > LONGEST_REPLACEMENT) {
            return Err("a normalisation rule puts a whole text in the place of a character");
        }
        Ok(Self { trie: DoubleArray::from_bytes(trie), replacements: replacements.to_string() })
    }

    /// The bytes of the longest replacement.
    pub fn longest_replacement(&self) -> usize {
        self.replacements.split('\0').map(str::len).max().unwrap_or(0)
    }

    /// The `precompiled_charsmap` that it was read from.
    pub fn to_bytes(&self) -> Vec<u8> {
        let trie = self.trie.to_bytes();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, self.replacements.as_bytes()].concat()
    }

    /// The longest rule at the start of `text`: what replaces it and how many bytes it replaces.
    fn longest(&self, text: &str) -> Option<(&str, usize)> {
        if self.trie.has_none_of(text.as_bytes()) {
            return None;
        }
        let (length, at) = self.trie.prefixes(text.as_bytes()).last()?;
        let replacement = self.replacements.get(at as usize..)?;
        let end = replacement.find('\0').unwrap_or(replacement.len());
        text.is_char_boundary(length).then(|| (&replacement[..end], length))
    }
}

/// A normalised text.
#[derive(Debug, Default)]
pub struct Normalized {
    pub text: String,
    /// For each character of `text`, the characters of the original it came from (start, end); empty for a space put in.
    pub spans: Vec<(u32, u32)>,
}

impl Normalized {
    #[inline]
    fn push(&mut self, c: char, span: (u32, u32)) {
        self.text.push(c);
        self.spans.push(span);
    }
}

impl Normalizer {
    /// Normalises `text`.
    pub fn normalize(&self, text: &str) -> Normalized {
        let space = if self.escape_whitespaces { SPACE } else { ' ' };
        let mut rest = text;
        let mut at = 0;
        if self.remove_extra_whitespaces {
            loop {
                let length = match self.rule(rest) {
                    Some((" ", length)) => length,
                    None if rest.starts_with(' ') => 1,
                    _ => break,
                };
                at += count(&rest[..length]);
                rest = &rest[length..];
            }
        }
        let mut out = Normalized::default();
        if rest.is_empty() {
            return out;
        }
        out.text.reserve(rest.len() + rest.len() / 2);
        out.spans.reserve(rest.len());
        if self.add_dummy_prefix && !self.treat_whitespace_as_suffix {
            out.push(space, (at, at));
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some(first) = rest.chars().next() {
            let Some((mut replacement, length)) = self.rule(rest) else {
                let is_space = first == ' ';
                if !(is_space && after_space) {
                    out.push(if is_space { space } else { first }, (at, at + 1));
                }
                after_space = self.remove_extra_whitespaces && is_space;
                rest = &rest[first.len_utf8()..];
                at += 1;
                continue;
            };
            let span = (at, at + count(&rest[..length]));
            if after_space {
                replacement = replacement.trim_start_matches(' ');
            }
            for c in replacement.chars() {
                out.push(if c == ' ' { space } else { c }, span);
            }
            if !replacement.is_empty() {
                after_space = self.remove_extra_whitespaces && replacement.ends_with(' ');
            }
            rest = &rest[length..];
            at = span.1;
        }
        if self.remove_extra_whitespaces {
            let kept = out.text.trim_end_matches(space).len();
            out.spans.truncate(out.spans.len() - (out.text.len() - kept) / space.len_utf8());
            out.text.truncate(kept);
        }
        if self.add_dummy_prefix && self.treat_whitespace_as_suffix {
            out.push(space, (at, at));
        }
        out
    }

    /// What the start of `text` becomes, and how many bytes of it that covers, if it is more than its first character as it is.
    fn rule<'a>(&'a self, text: &'a str) -> Option<(&'a str, usize)> {
        let symbols = self.user_symbols.as_ref().filter(|trie| !trie.has_none_of(text.as_bytes()));
        if let Some((length, _)) = symbols.and_then(|trie| trie.prefixes(text.as_bytes()).last()) {
            return Some((&text[..length], length));
        }
        self.rules.as_ref().and_then(|rules| rules.longest(text))
    }
}

/// Characters, as the offsets count them. A text of 2^32 characters does not fit a batch anyway.
fn count(text: &str) -> u32 {
    text.chars().count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Normalizer {
        Normalizer {
            rules: None,
            user_symbols: None,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            treat_whitespace_as_suffix: false,
        }
    }

    /// Rules from (what, replacement) pairs, through the file's own layout.
    fn rules(pairs: &[(&str, &str)]) -> Rules {
        let mut replacements = String::new();
        let mut keys = Vec::new();
        for (what, replacement) in pairs {
            keys.push((what.as_bytes(), replacements.len() as u32));
            replacements += replacement;
            replacements.push('\0');
        }
        let trie = DoubleArray::build(keys).unwrap().to_bytes();
        let blob = [&(trie.len() as u32).to_le_bytes()[..], &trie, replacements.as_bytes()].concat();
        Rules::read(&blob).unwrap()
    }

    #[test]
    fn squeezes_and_trims_spaces_and_keeps_their_places() {
        let out = plain().normalize("  a  b ");
        assert_eq!(out.text, "▁a▁b");
        assert_eq!(out.spans, [(2, 2), (2, 3), (3, 4), (5, 6)]);
    }

    #[test]
    fn nothing_but_spaces_is_nothing() {
        assert_eq!(plain().normalize("   ").text, "");
        assert_eq!(plain().normalize("").text, "");
    }

    #[test]
    fn keeps_spaces_where_the_model_says_so() {
        let keep = Normalizer { remove_extra_whitespaces: false, ..plain() };
        assert_eq!(keep.normalize(" a  b ").text, "▁▁a▁▁b▁");
        let suffix = Normalizer { treat_whitespace_as_suffix: true, ..plain() };
        assert_eq!(suffix.normalize("a b").text, "a▁b▁");
    }

    #[test]
    fn the_longest_rule_wins_and_its_characters_share_one_span() {
        let mapped = Normalizer {
            rules: Some(rules(&[("e\u{301}", "é"), ("e", "E"), ("ﬁ", "fi"), ("\u{7}", ""), ("\t", " ")])),
            ..plain()
        };
        let out = mapped.normalize("e\u{301}\u{7}eﬁ\t");
        assert_eq!(out.text, "▁éEfi");
        assert_eq!(out.spans, [(0, 0), (0, 2), (3, 4), (4, 5), (4, 5)]);
    }

    #[test]
    fn user_symbols_are_not_touched_by_rules() {
        let normalizer = Normalizer {
            rules: Some(rules(&[("<", "(")])),
            user_symbols: DoubleArray::build(vec![(b"<x>", 0)]).ok(),
            ..plain()
        };
        assert_eq!(normalizer.normalize("<<x>").text, "▁(<x>");
    }

    #[test]
    fn damaged_rules_are_refused() {
        assert!(Rules::read(&[1, 0]).is_err());
        assert!(Rules::read(&[200, 0, 0, 0, 1, 2]).is_err());
        assert!(Rules::read(&[0, 0, 0, 0, 0xFF]).is_err());
        let of = |length: usize| Rules::read(&[&[0; 4], "a".repeat(length).as_bytes(), &[0]].concat());
        assert_eq!(of(256).unwrap().longest_replacement(), 256);
        assert!(of(257).unwrap_err().contains("in the place of a character"));
    }
}
