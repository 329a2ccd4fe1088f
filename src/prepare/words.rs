//! The words of a sentence: by jieba, by a delimiter, by spaces; and the entities and phrases of a user's dictionary,
//! which are words whatever the others say.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use aho_corasick::{AhoCorasick, MatchKind};
use jieba_rs::Jieba;

use super::marks::is_chinese;
use crate::error::{Error, Problem, Result};
use crate::lines::BOM;
use crate::recipe::{CorpusOptions, WordSource};
use crate::tokenize::TextTokenizer;
use crate::tokenize::ernie::ErnieTokenizer;

/// Cuts sentences into words.
pub(super) enum Segmenter {
    Jieba(Box<Jieba>),
    Delimiter(String),
    Whitespace,
    None,
}

impl Segmenter {
    pub(super) fn new(options: &CorpusOptions) -> Self {
        match options.words {
            WordSource::Jieba => Self::Jieba(Box::new(Jieba::new())),
            WordSource::Segmented => Self::Delimiter(options.word_delimiter.clone()),
            WordSource::Whitespace => Self::Whitespace,
            WordSource::None => Self::None,
        }
    }

    /// What the tokenizer is given, and the words of it that are told by the sentence alone.
    pub(super) fn read<'a>(&self, sentence: &'a str) -> (Cow<'a, str>, Vec<&'a str>) {
        match self {
            Self::Delimiter(delimiter) => {
                let words: Vec<&str> = sentence.split(delimiter.as_str()).collect();
                (Cow::Owned(join(&words, delimiter)), words)
            }
            Self::Whitespace => (Cow::Borrowed(sentence), sentence.split_whitespace().collect()),
            Self::Jieba(_) | Self::None => (Cow::Borrowed(sentence), Vec::new()),
        }
    }

    /// Calls `each` with every word of a sentence of a language model. None is empty or has white space in it, which is what will
    /// stand between them.
    pub(super) fn each_word(&self, sentence: &str, mut each: impl FnMut(&str)) {
        match self {
            Self::Jieba(jieba) => {
                jieba.cut(sentence, true).iter().flat_map(|token| token.word.split_whitespace()).for_each(each);
            }
            Self::Delimiter(delimiter) => {
                sentence.split(delimiter.as_str()).flat_map(str::split_whitespace).for_each(each);
            }
            Self::Whitespace => sentence.split_whitespace().for_each(each),
            Self::None => sentence.split_whitespace().for_each(|run| each_character(run, &mut each)),
        }
    }

    /// The words of a piece of text between two entries of the dictionary.
    pub(super) fn cut<'a>(&self, text: &'a str) -> Vec<&'a str> {
        match self {
            Self::Jieba(jieba) => jieba.cut(text, true).into_iter().map(|token| token.word).collect(),
            _ => Vec::new(),
        }
    }
}

/// The text whose words stand between delimiters, as in PaddleNLP's `create_pretraining_data.py`: words are put
/// together without anything between them, and two empty words in a row stand for a delimiter that is part of the text.
fn join(words: &[&str], delimiter: &str) -> String {
    let mut text = String::new();
    let mut empty_before = false;
    for word in words {
        if word.is_empty() {
            if empty_before {
                text.push_str(delimiter);
            }
            empty_before = !empty_before;
            continue;
        }
        empty_before = false;
        text.push_str(word);
    }
    text
}

/// Calls `each` with each Chinese character and each mark, and with letters and digits as far as they stand side by side.
fn each_character(run: &str, each: &mut impl FnMut(&str)) {
    let mut start = 0;
    for (at, c) in run.char_indices() {
        let behind = at + c.len_utf8();
        if !(is_latin(c) && run[behind..].starts_with(is_latin)) {
            each(&run[start..behind]);
            start = behind;
        }
    }
}

fn is_latin(c: char) -> bool {
    c.is_alphanumeric() && !is_chinese(c)
}

/// Entities and phrases; none by default.
#[derive(Default)]
pub(super) struct Dictionary {
    entries: Option<AhoCorasick>,
}

impl Dictionary {
    /// Reads a dictionary from the bytes of `file`. Entries that cannot become one word are named and left out: those
    /// of more than `max_word_tokens` tokens, and those that have no Chinese character but the first, because only such
    /// a character has a form that says it goes on with a word.
    ///
    /// # Errors
    /// It is not UTF-8, or too large to be searched for.
    pub(super) fn parse(bytes: &[u8], file: &Path, tokenizer: &ErnieTokenizer, max_word_tokens: usize) -> Result<Self> {
        let (mut entries, mut long, mut loose) = (Vec::new(), Vec::new(), Vec::new());
        let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = crate::lines::text_of(line, file, number)?;
            let entry = entry(line.trim());
            if entry.is_empty() {
                continue;
            }
            let tokens = tokenizer.tokenize(entry);
            let goes_on = tokens.iter().skip(1).any(|token| token.text.chars().all(is_chinese));
            match tokens.len() {
                count if count > max_word_tokens => long.push(entry),
                _ if !goes_on => loose.push(entry),
                _ => entries.push(entry),
            }
        }
        let complain = |entries: &[&str], why: &str| {
            if let Some(first) = entries.first() {
                tracing::warn!("{}: {} entries, such as `{first}`, {why}", file.display(), entries.len());
            }
        };
        complain(&long, &format!("are of more than max_word_tokens = {max_word_tokens} tokens and stay apart"));
        complain(&loose, "are one token or not Chinese, and are masked as they are without a dictionary");
        if entries.is_empty() {
            return Ok(Self::default());
        }
        // The tokenizer writes Latin letters small.
        let built = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(&entries)
            .map_err(|cause| Error::from(Problem::new(format!("cannot be searched for: {cause}")).in_file(file)))?;
        Ok(Self { entries: Some(built) })
    }

    /// Where entries stand in `text` (bytes), the longest at each place, none overlapping the one before.
    pub(super) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let Some(entries) = &self.entries else { return Vec::new() };
        let found = entries.find_iter(text).map(|entry| entry.range());
        found.filter(|range| !cuts_a_word(text, range.start) && !cuts_a_word(text, range.end)).collect()
    }
}

/// Whether Latin letters or digits stand on both sides.
fn cuts_a_word(text: &str, at: usize) -> bool {
    text[..at].ends_with(is_latin) && text[at..].starts_with(is_latin)
}

/// A line of jieba's dictionaries is `word[ frequency][ tag]`; the word itself may have spaces.
fn entry(line: &str) -> &str {
    let all = |word: &str, test: fn(&char) -> bool| !word.is_empty() && word.chars().all(|c| test(&c));
    let is_tag = |word: &str| all(word, char::is_ascii_lowercase);
    let is_frequency = |word: &str| all(word, char::is_ascii_digit);
    let without = |line, is: &dyn Fn(&str) -> bool| match str::rsplit_once(line, ' ') {
        Some((word, last)) if is(last) && !word.trim().is_empty() => word.trim_end(),
        _ => line,
    };
    without(without(line, &is_tag), &is_frequency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_jiebas_dictionaries_are_entries() {
        let lines = ["云计算", "云计算 5", "云计算 nz", "云计算 5 nz", "A股 市场 3", "New York", "5", "nz"];
        let expected = ["云计算", "云计算", "云计算", "云计算", "A股 市场", "New York", "5", "nz"];
        assert_eq!(lines.map(entry), expected);
    }

    #[test]
    fn words_of_a_language_model_have_no_white_space() {
        let of = |words: WordSource, sentence: &str| {
            let mut found = Vec::new();
            let plain = serde_json::from_value(serde_json::json!({ "input": [], "output": "c" })).unwrap();
            let options = CorpusOptions { words, word_delimiter: "/".into(), ..plain };
            Segmenter::new(&options).each_word(sentence, |word| found.push(word.to_string()));
            found
        };
        let sentence = "我爱\u{3000}北京, 2008 ok!";
        assert_eq!(of(WordSource::Jieba, sentence), ["我", "爱", "北京", ",", "2008", "ok", "!"]);
        assert_eq!(of(WordSource::Whitespace, sentence), ["我爱", "北京,", "2008", "ok!"]);
        assert_eq!(of(WordSource::None, sentence), ["我", "爱", "北", "京", ",", "2008", "ok", "!"]);
        assert_eq!(of(WordSource::Segmented, "我/爱/ 北京 //a b/"), ["我", "爱", "北京", "a", "b"]);
    }

    #[test]
    fn segmented_text_is_put_together() {
        let of = |text: &str| join(&text.split(' ').collect::<Vec<_>>(), " ");
        assert_eq!(of("我 爱 北京 ， 2008 年"), "我爱北京，2008年");
        assert_eq!(of("甲   乙"), "甲 乙", "two empty words are a delimiter, as in PaddleNLP");
        assert_eq!(of("甲  乙"), "甲乙");
        assert_eq!(of("用 Windows   XP 772.24 KB 。"), "用Windows XP772.24KB。");
        assert_eq!(of("甲     乙"), "甲  乙");
    }
}
