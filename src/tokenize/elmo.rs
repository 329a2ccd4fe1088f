//! The words of ELMo: numbers of a vocabulary (Baidu's), or their bytes (AllenAI's).
//!
//! References: `Vocabulary` in ELMo/data.py of PaddlePaddle/ERNIE; `ELMoCharacterMapper` of AllenNLP 2.10.1, which is
//! `UnicodeCharsVocabulary` of bilm-tf with 1 added to every number, so that 0 is padding.

use std::path::{Path, PathBuf};

use super::vocab::Vocab;
use crate::error::{Error, Problem, Result};

const BEGIN: &str = "<S>";
const END: &str = "</S>";
const UNKNOWN: &str = "<UNK>";
/// Lines that Baidu's loader passes over.
const IGNORED: &[u8] = b"!!!MAXTERMID";

/// The words a model knows: one a line, from number 0 on, with `<S>`, `</S>` and `<UNK>` among them.
#[derive(Debug)]
pub struct WordVocabulary {
    vocab: Vocab,
    /// The number of `<S>`, a sentence's begin.
    pub begin: u32,
    /// The number of `</S>`, a sentence's end.
    pub end: u32,
    /// The number of `<UNK>`, a word that is not known.
    pub unknown: u32,
}

impl WordVocabulary {
    /// What a folder's file of words may be called: as Kiln writes it, or as Baidu does.
    pub const NAMES: [&str; 2] = ["vocab.txt", "vocabulary_min5k.txt"];

    /// The file of words in a folder.
    pub fn find(folder: &Path) -> Option<PathBuf> {
        Self::NAMES.iter().map(|name| folder.join(name)).find(|file| file.exists())
    }

    /// # Errors
    /// The file cannot be read, is not UTF-8, has a word twice, or lacks a special one.
    pub fn open(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).map_err(|cause| Error::reading(file, &cause))?;
        Self::from_bytes(&bytes, file)
    }

    /// Reads the bytes of `file`, whose name is for messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(bytes: &[u8], file: &Path) -> Result<Self> {
        let kept = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.trim_ascii() != IGNORED);
        let vocab = Vocab::from_bytes(&kept.collect::<Vec<_>>().concat(), file)?;
        let special = |word: &str| {
            vocab.id(word).ok_or_else(|| {
                let help = "the words of an ELMo are one a line, with <S>, </S> and <UNK> among them";
                Error::from(Problem::new(format!("has no {word}")).in_file(file).help(help))
            })
        };
        let (begin, end, unknown) = (special(BEGIN)?, special(END)?, special(UNKNOWN)?);
        Ok(Self { vocab, begin, end, unknown })
    }

    /// The text of a file with these words, the first of them the most frequent, behind the special ones.
    pub fn text_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
        let all = [BEGIN, END, UNKNOWN].into_iter().chain(words);
        all.flat_map(|word| [word, "\n"]).collect()
    }

    /// Whether a word of a text cannot be one of the vocabulary's: it would be a special one, or be passed over.
    pub fn is_reserved(word: &str) -> bool {
        [BEGIN, END, UNKNOWN].contains(&word) || word.as_bytes() == IGNORED
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.vocab.len()
    }

    /// Never: there are three words at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a word; an unknown word's is that of `<UNK>`.
    pub fn id(&self, word: &str) -> u32 {
        self.vocab.id(word).unwrap_or(self.unknown)
    }

    /// The word with a number; `<UNK>` for numbers that do not exist.
    pub fn word(&self, id: u32) -> &str {
        self.vocab.token(id).unwrap_or(UNKNOWN)
    }

    /// The words, one a line.
    pub fn to_text(&self) -> String {
        self.vocab.to_text()
    }
}

// Numbers beside those of the bytes, with 1 added.
const SENTENCE_BEGIN: i64 = 257;
const SENTENCE_END: i64 = 258;
const WORD_BEGIN: i64 = 259;
const WORD_END: i64 = 260;
const PADDING: i64 = 261;

/// A word's characters as AllenAI's model reads them: its begin, its UTF-8 bytes as far as there is room, its end, padding;
/// `count` numbers in all, 50 in the published models. 0 is for words that are not there.
///
/// # Panics
/// If `count` is below 3, which no checked configuration says.
pub fn character_ids(word: &str, count: usize) -> Vec<i64> {
    match word {
        BEGIN => sentence_begin(count),
        END => sentence_end(count),
        _ => framed(word.bytes().take(count - 2).map(|byte| i64::from(byte) + 1), count),
    }
}

/// What stands in front of a sentence and behind it, for a model that reads `count` characters of a word.
pub fn sentence_boundaries(count: usize) -> [Vec<i64>; 2] {
    [sentence_begin(count), sentence_end(count)]
}

/// What stands in front of a sentence.
pub fn sentence_begin(count: usize) -> Vec<i64> {
    framed([SENTENCE_BEGIN].into_iter(), count)
}

/// What stands behind a sentence.
pub fn sentence_end(count: usize) -> Vec<i64> {
    framed([SENTENCE_END].into_iter(), count)
}

fn framed(characters: impl Iterator<Item = i64>, count: usize) -> Vec<i64> {
    let mut ids: Vec<i64> = std::iter::once(WORD_BEGIN).chain(characters).collect();
    ids.push(WORD_END);
    ids.resize(count, PADDING);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WordVocabulary> {
        WordVocabulary::from_bytes(text.as_bytes(), Path::new("vocab.txt"))
    }

    #[test]
    fn words_are_numbered_by_line_and_others_are_unknown() {
        let words = read("<S>\n!!!MAXTERMID\n</S>\n<UNK>\n，\n的\n").unwrap();
        assert_eq!(["<S>", "</S>", "<UNK>", "，", "的", "字"].map(|word| words.id(word)), [0, 1, 2, 3, 4, 2]);
        assert_eq!((words.begin, words.end, words.len()), (0, 1, 5));
        assert_eq!(words.to_text(), "<S>\n</S>\n<UNK>\n，\n的\n");
    }

    #[test]
    fn a_vocabulary_without_its_special_words_is_another_models() {
        assert_eq!(read("<S>\n</S>\n的\n").unwrap_err().to_string(), "vocab.txt: has no <UNK>");
    }

    #[test]
    fn long_words_are_cut_and_still_end() {
        assert_eq!(character_ids("é", 6), [259, 0xc3 + 1, 0xa9 + 1, 260, 261, 261]);
        assert_eq!(character_ids("abcdef", 5), [259, 98, 99, 100, 260]);
        assert_eq!(character_ids("</S>", 4), [259, 258, 260, 261]);
    }
}
