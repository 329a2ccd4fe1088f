//! The tokenizer of ELMo's taggers and readers: a word is a token.

use std::path::{Path, PathBuf};

use super::config::{Specials, write};
use super::elmo::WordVocabulary;
use super::{Encoding, TextToken, Token, hash};
use crate::data::replacements::Replacements;
use crate::error::{Error, Problem, Result};

/// The file of replaced words in a folder, as LAC has it.
const REPLACEMENTS: &str = "q2b.dic";

/// Words by their numbers in a vocabulary.
#[derive(Debug)]
pub struct WordTokenizer {
    vocabulary: WordVocabulary,
    replacements: Replacements,
    specials: Specials,
}

impl WordTokenizer {
    /// Reads the vocabulary in `dir`, and the words that are read as others from `replacements` or, without it, from the folder's
    /// `q2b.dic` if there is one.
    ///
    /// # Errors
    /// A file is missing, or is not of its form.
    pub fn from_dir(dir: &Path, replacements: Option<&Path>) -> Result<Self> {
        let file = WordVocabulary::find(dir).ok_or_else(|| {
            let names = WordVocabulary::NAMES.join(" or ");
            let problem = Problem::new(format!("holds no {names}")).in_file(dir);
            Error::from(problem.help("the vocabulary is a word a line, with <S>, </S> and <UNK> among them"))
        })?;
        let vocabulary = WordVocabulary::open(&file)?;
        let own = dir.join(REPLACEMENTS);
        let file: Option<PathBuf> = replacements.map(Path::to_path_buf).or_else(|| own.exists().then_some(own));
        let replacements = file.map(|file| Replacements::open(&file)).transpose()?.unwrap_or_default();
        let (begin, end, unknown) = (vocabulary.begin(), vocabulary.end(), vocabulary.unknown());
        // Padding is never seen, whatever it is.
        let specials = Specials { cls: begin, pad: begin, sep: end, unk: unknown, mask: unknown, texts: Vec::new() };
        Ok(Self { vocabulary, replacements, specials })
    }

    pub fn vocabulary(&self) -> &WordVocabulary {
        &self.vocabulary
    }

    /// The number of a word, whatever is in it.
    pub fn word(&self, word: &str) -> u32 {
        self.vocabulary.id(self.replacements.of(word))
    }

    /// The words between the spaces of `text`.
    pub fn tokenize(&self, text: &str) -> Vec<TextToken> {
        let mut tokens = Vec::new();
        let mut word = (String::new(), 0);
        for (place, c) in (0..).zip(text.chars().chain([' '])) {
            if !c.is_whitespace() {
                word.0.push(c);
            } else if !word.0.is_empty() {
                let token = Token { id: self.word(&word.0), start: word.1, end: place };
                tokens.push(TextToken { text: self.replacements.of(&word.0).to_string(), token });
                word.0.clear();
            }
            if word.0.is_empty() {
                word.1 = place + 1;
            }
        }
        tokens
    }

    /// [`Self::tokenize`] without the texts.
    pub fn ids(&self, text: &str) -> Vec<Token> {
        self.tokenize(text).into_iter().map(|token| token.token).collect()
    }

    /// The words of one text, or of two one after the other, of at most `max_length`: the longer text gives first.
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: Option<usize>) -> Encoding {
        let (first, second) = (self.ids(text), pair.map(|pair| self.ids(pair)));
        Encoding::without_specials(&first, second.as_deref(), max_length)
    }

    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    /// Hex SHA-256 over everything that decides which number a word gets.
    pub fn fingerprint(&self) -> String {
        hash(&[b"words", self.vocabulary.to_text().as_bytes(), self.replacements.to_text().as_bytes()])
    }

    /// Writes the vocabulary, and the words that are read as others if there are any.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        write(&dir.join(WordVocabulary::NAMES[0]), self.vocabulary.to_text().as_bytes())?;
        match self.replacements.is_empty() {
            true => Ok(()),
            false => write(&dir.join(REPLACEMENTS), self.replacements.to_text().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        folder
    }

    const WORDS: &str = "<S>\n</S>\n<UNK>\n他\n来\nA\n";

    #[test]
    fn words_stand_between_spaces_and_know_their_characters() {
        let folder = folder(&[("vocab.txt", WORDS)]);
        let words = WordTokenizer::from_dir(folder.path(), None).unwrap();
        let found = words.ids("  他 来了\t来");
        let token = |id, start, end| Token { id, start, end };
        assert_eq!(found, [token(3, 2, 3), token(2, 4, 6), token(4, 7, 8)]);
        let pair = words.encode("他 来", Some("来 来 来"), Some(4));
        assert_eq!((pair.ids.as_slice(), pair.type_ids.as_slice()), (&[3, 4, 4, 4][..], &[0, 0, 1, 1][..]));
    }

    /// A model folder keeps what its words were read as, so that predictions read them alike.
    #[test]
    fn replaced_words_go_with_the_folder() {
        let source = folder(&[("vocab.txt", WORDS), ("other.dic", "Ａ\tA\n")]);
        let plain = WordTokenizer::from_dir(source.path(), None).unwrap();
        let words = WordTokenizer::from_dir(source.path(), Some(&source.path().join("other.dic"))).unwrap();
        assert_eq!((plain.word("Ａ"), words.word("Ａ")), (2, 5));
        assert_ne!(plain.fingerprint(), words.fingerprint());
        let saved = folder(&[]);
        words.save(saved.path()).unwrap();
        let again = WordTokenizer::from_dir(saved.path(), None).unwrap();
        assert_eq!((again.word("Ａ"), again.fingerprint()), (5, words.fingerprint()));
    }
}
