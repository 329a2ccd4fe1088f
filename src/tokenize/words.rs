//! The tokenizer of ELMo's taggers and readers: a word is a token. Taggers get their words from the data, readers by a segmentation.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jieba_rs::Jieba;
use serde_json::Value;

use super::config::{MAX_LENGTH, Specials, TokenizerConfig};
use super::elmo::WordVocabulary;
use super::replacements::Replacements;
use super::{Common, PairEncoding, Segmentation, TextTokenizer, Token, TokenizerKind};
use crate::error::{Error, Problem, Result};

/// The file of replaced words in a folder, as LAC has it.
const REPLACEMENTS: &str = "q2b.dic";
/// The word of tokenizer_config.json for the segmentation.
const SEGMENTATION: &str = "segmentation";

/// jieba with its own dictionary, which takes a while to read.
static JIEBA: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// Words by their numbers in a vocabulary.
#[derive(Debug)]
pub struct WordTokenizer {
    vocabulary: WordVocabulary,
    replacements: Replacements,
    segmentation: Segmentation,
    common: Common,
}

impl WordTokenizer {
    /// Reads the vocabulary in `dir`, and the words that are read as others from `replacements` or, without it, from the folder's
    /// `q2b.dic` if there is one.
    ///
    /// # Errors
    /// A file is missing, or is not of its form.
    pub fn from_dir(dir: &Path, replacements: Option<&Path>, segmentation: Option<Segmentation>) -> Result<Self> {
        let file = WordVocabulary::find(dir).ok_or_else(|| {
            let names = WordVocabulary::NAMES.join(" or ");
            let problem = Problem::new(format!("holds no {names}")).in_file(dir);
            Error::from(problem.help("the vocabulary is a word a line, with <S>, </S> and <UNK> among them"))
        })?;
        let vocabulary = WordVocabulary::open(&file)?;
        let own = dir.join(REPLACEMENTS);
        let file: Option<PathBuf> = replacements.map(Path::to_path_buf).or_else(|| own.exists().then_some(own));
        let replacements = file.map(|file| Replacements::open(&file)).transpose()?.unwrap_or_default();
        let WordVocabulary { begin, end, unknown, .. } = vocabulary;
        // Padding is never seen, whatever it is.
        let specials = Specials { cls: begin, pad: begin, sep: end, unk: unknown, mask: unknown, texts: Vec::new() };
        let config = TokenizerConfig::read(dir)?;
        let own = config.value(SEGMENTATION, "\"whitespace\", \"jieba\" or \"characters\"")?;
        let segmentation = segmentation.or(own).unwrap_or_default();
        let files = [(WordVocabulary::NAMES[0], vocabulary.to_text()), (REPLACEMENTS, replacements.to_text())];
        let common = Common {
            kind: TokenizerKind::Words,
            specials,
            pairs: PairEncoding::Standard,
            rules: vec!["words".to_string(), segmentation.word().to_string()],
            files: files.map(|(name, text)| (name, text.into_bytes())).into(),
            config,
            class: "WordTokenizer",
            // The length comes first, and has its value when it is saved.
            options: vec![(MAX_LENGTH, Value::Null), (SEGMENTATION, segmentation.word().into())],
        };
        Ok(Self { vocabulary, replacements, segmentation, common })
    }

    pub fn vocabulary(&self) -> &WordVocabulary {
        &self.vocabulary
    }

    /// The number of a word, whatever is in it.
    pub fn word(&self, word: &str) -> u32 {
        self.vocabulary.id(self.replacements.of(word))
    }

    /// The words of a text, one after the other, with what is between them: put together they are the text.
    fn cut<'a>(&self, text: &'a str) -> Vec<&'a str> {
        match self.segmentation {
            // A space and what stands before it.
            Segmentation::Whitespace => text.split_inclusive(char::is_whitespace).collect(),
            Segmentation::Characters => text.split_inclusive(|_| true).collect(),
            Segmentation::Jieba => JIEBA.cut(text, true).into_iter().map(|token| token.word).collect(),
        }
    }
}

impl TextTokenizer for WordTokenizer {
    /// The words of `text`, without the spaces round them.
    fn each_token(&self, text: &str, emit: &mut dyn FnMut(&str, Token)) {
        let mut place = 0;
        for part in self.cut(text) {
            let word = part.trim();
            if !word.is_empty() {
                let before = part.chars().take_while(|c| c.is_whitespace()).count() as u32;
                let (start, length) = (place + before, word.chars().count() as u32);
                emit(self.replacements.of(word), Token { id: self.word(word), start, end: start + length });
            }
            place += part.chars().count() as u32;
        }
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    fn token(&self, id: u32) -> &str {
        self.vocabulary.word(id)
    }

    fn without_tokenizer_json(&self) -> Option<&'static str> {
        Some("a token is a whole word here, and transformers has no such model")
    }

    fn tokenizer_json(&self) -> tokenizers::Result<Option<String>> {
        Ok(None)
    }

    fn as_words(&self) -> Option<&WordTokenizer> {
        Some(self)
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
    fn words_know_their_characters() {
        let folder = folder(&[("vocab.txt", WORDS)]);
        let of = |segmentation| WordTokenizer::from_dir(folder.path(), None, segmentation).unwrap();
        let words = of(None);
        let found = words.ids("  他 来了\t来");
        let token = |id, start, end| Token { id, start, end };
        assert_eq!(found, [token(3, 2, 3), token(2, 4, 6), token(4, 7, 8)]);
        let found = of(Some(Segmentation::Characters)).ids("\u{3000}来了 他");
        assert_eq!(found, [token(4, 1, 2), token(2, 2, 3), token(3, 4, 5)]);
        let jieba = of(Some(Segmentation::Jieba)).tokenize("他来到 北京大学，");
        let found: Vec<(&str, u32, u32)> =
            jieba.iter().map(|found| (found.text.as_str(), found.token.start, found.token.end)).collect();
        assert_eq!(found, [("他", 0, 1), ("来到", 1, 3), ("北京大学", 4, 8), ("，", 8, 9)]);
        let pair = words.encode("他 来", Some("来 来 来"), Some(4));
        assert_eq!((pair.ids.as_slice(), pair.type_ids.as_slice()), (&[3, 4, 4, 4][..], &[0, 0, 1, 1][..]));
    }

    /// A model folder keeps how texts were cut and what words were read as, so that predictions read them alike.
    #[test]
    fn options_go_with_the_folder() {
        let source = folder(&[("vocab.txt", WORDS), ("other.dic", "Ａ\tA\n")]);
        let plain = WordTokenizer::from_dir(source.path(), None, None).unwrap();
        let file = source.path().join("other.dic");
        let words = WordTokenizer::from_dir(source.path(), Some(&file), Some(Segmentation::Characters)).unwrap();
        assert_eq!((plain.word("Ａ"), words.word("Ａ")), (2, 5));
        assert_ne!(plain.fingerprint(), words.fingerprint());
        let saved = folder(&[]);
        words.save(saved.path(), 512).unwrap();
        let again = WordTokenizer::from_dir(saved.path(), None, None).unwrap();
        assert_eq!((again.word("Ａ"), again.fingerprint()), (5, words.fingerprint()));
        assert_eq!((plain.max_length(), again.max_length()), (None, Some(512)));
    }
}
