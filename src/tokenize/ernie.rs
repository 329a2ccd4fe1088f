//! ERNIE 1.0's tokenizer: BERT's. Words, cut into the longest pieces that `vocab.txt` has (WordPiece).
//!
//! The rules are those of PaddleNLP 2.8 (`ErnieTokenizer`) and of transformers 4.46 (`BertTokenizer`, which its ERNIE
//! models use), which differ: see [`WordSplitting`] and [`TypedSpecials`]. PaddleNLP itself has two ways with special
//! tokens typed in a text: they are text for a tokenizer made of a vocabulary, `ErnieTokenizer(file)`, and tokens for
//! one made of a folder or a name, `ErnieTokenizer.from_pretrained`.

mod characters;
mod word_piece_json;
mod wordpiece;
mod words;

use std::path::Path;

use self::wordpiece::{Scratch, WordPiece};
use self::words::{Form, Letter, Words};
use super::config::{BERT_SPECIALS, LIBRARIES, TokenizerConfig};
use super::text::Reading;
use super::tokenizer_json::IGNORES_TYPED;
use super::vocab::Vocab;
use super::{Common, PairEncoding, TextTokenizer, Token, TokenizerKind, TypedSpecials, WordSplitting};
use crate::error::{Error, Problem, Result};

pub(super) const VOCAB_FILE: &str = "vocab.txt";
/// The keys of the config file for [`WordSplitting`] and [`TypedSpecials`]; only Kiln reads them.
const SPLITTING_KEY: &str = "word_splitting";
const TYPED_KEY: &str = "typed_specials";
/// Switches of transformers' tokenizer that are always on here.
const ALWAYS_ON: [&str; 2] = ["do_basic_tokenize", "tokenize_chinese_chars"];

/// Cuts texts for ERNIE 1.0. Made by [`ErnieTokenizer::from_dir`].
#[derive(Debug)]
pub struct ErnieTokenizer {
    vocab: Vocab,
    wordpiece: WordPiece,
    words: Words,
    splitting: WordSplitting,
    typed: TypedSpecials,
    common: Common,
}

impl ErnieTokenizer {
    /// Reads `vocab.txt`, in Baidu's layout (`token<TAB>id`) or PaddleNLP's (one token a line), and, if it is there,
    /// `tokenizer_config.json` from `dir`. Texts are lower-cased unless its `do_lower_case` is false. Without
    /// `splitting` its `word_splitting` holds, and without that PaddleNLP's rules; without `typed` its
    /// `typed_specials`, and without that special tokens typed in a text are text. Of transformers' options
    /// [`WordSplitting::HuggingFace`] has `strip_accents`; PaddleNLP has none.
    ///
    /// # Errors
    /// A file is missing or damaged, the vocabulary lacks a special token, or transformers' options ask for what is not
    /// here.
    pub fn from_dir(dir: &Path, splitting: Option<WordSplitting>, typed: Option<TypedSpecials>) -> Result<Self> {
        Self::from_dir_or(dir, splitting, typed, Default::default())
    }

    /// [`Self::from_dir`] with other rules where nothing else says which.
    pub(super) fn from_dir_or(
        dir: &Path,
        splitting: Option<WordSplitting>,
        typed: Option<TypedSpecials>,
        usual: (WordSplitting, TypedSpecials),
    ) -> Result<Self> {
        let file = dir.join(VOCAB_FILE);
        if !file.exists() {
            let problem = Problem::new(format!("there is no {VOCAB_FILE} here")).in_file(dir);
            return Err(problem.help(format!("ERNIE's tokenizer is the file {VOCAB_FILE}, beside the weights")).into());
        }
        let data = std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause))?;
        let vocab = Vocab::from_bytes(&data, &file)?;
        let config = TokenizerConfig::read(dir)?;
        let help =
            "ERNIE's vocab.txt holds [CLS], [PAD], [SEP], [UNK] and [MASK]; other names stand in tokenizer_config.json";
        let specials = config.specials(&file, "the vocabulary", BERT_SPECIALS, help, |text| vocab.id(text))?;
        let splitting = splitting.or(config.value(SPLITTING_KEY, LIBRARIES)?).unwrap_or(usual.0);
        let typed = typed.or(config.value(TYPED_KEY, LIBRARIES)?).unwrap_or(usual.1);
        let words = words(&config, splitting)?;
        let wordpiece = WordPiece::new(&vocab, specials.unk)
            .map_err(|what| Problem::new(format!("its tokens cannot be looked up: {what}")).in_file(&file))?;
        let (splitting_word, typed_word) = (splitting.word(), typed.word());
        let common = Common {
            kind: TokenizerKind::WordPiece(splitting, typed),
            pairs: PairEncoding::Standard,
            rules: vec![format!("ernie 1 {splitting_word} {typed_word} {words:?} {:?}", specials.texts)],
            specials,
            // One token a line, which transformers, PaddleNLP and Kiln read. Line numbers are the ids, because a vocabulary whose
            // ids leave gaps is not read in the first place. So the layout that was read makes no difference to the fingerprint.
            files: vec![(VOCAB_FILE, vocab.to_text().into_bytes())],
            config,
            // Both libraries have a class of this name that reads the file; transformers has no ErnieTokenizer.
            class: "BertTokenizer",
            options: vec![
                ("do_lower_case", words.lower_case.into()),
                (SPLITTING_KEY, splitting_word.into()),
                (TYPED_KEY, typed_word.into()),
                (IGNORES_TYPED, (typed == TypedSpecials::PaddleNlp).into()),
            ],
        };
        Ok(Self { vocab, wordpiece, words, splitting, typed, common })
    }

    /// The id of a token as it stands in the vocabulary, `##` included.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.vocab.id(token)
    }

    /// Whether a word reads as a special token once characters are dropped from it, as "[MASK]" with a zero-width space
    /// in it. transformers leaves such a word whole, PaddleNLP does not.
    fn is_special_word(&self, word: &[Letter]) -> bool {
        let is = |special: &str| special.chars().eq(word.iter().map(|letter| letter.char));
        self.splitting == WordSplitting::HuggingFace
            && self.common.specials.texts.iter().any(|(special, _)| is(special))
    }
}

impl TextTokenizer for ErnieTokenizer {
    fn each_token(&self, text: &str, emit: &mut dyn FnMut(&str, Token)) {
        let typed_specials = self.typed == TypedSpecials::HuggingFace;
        let reading = Reading {
            specials: &self.common.specials,
            // Words are lower-cased anyway; before that it matters only to how special tokens are found.
            lower_case: self.words.lower_case && typed_specials,
            typed_specials,
            strips_left: None,
        };
        let whole = |word: &[Letter]| typed_specials && self.is_special_word(word);
        let cut = |text: &str, emit: &mut dyn FnMut(&str, Token)| {
            let mut scratch = Scratch::default();
            let mut emit = |token: Token| emit(self.vocab.token(token.id).unwrap_or_default(), token);
            self.words.each(text, whole, |word| self.wordpiece.each_piece(word, &mut scratch, &mut emit));
        };
        reading.each_token(text, cut, emit);
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    fn token(&self, id: u32) -> &str {
        self.vocab.token(id).or_else(|| self.vocab.token(self.common.specials.unk)).unwrap_or_default()
    }

    fn tokenizer_json(&self) -> tokenizers::Result<Option<String>> {
        word_piece_json::word_piece(&self.vocab, &self.words, &self.common).map(Some)
    }

    fn as_word_piece(&self) -> Option<&ErnieTokenizer> {
        Some(self)
    }
}

fn words(config: &TokenizerConfig, splitting: WordSplitting) -> Result<Words> {
    let right = "true or false";
    let lower_case = config.value("do_lower_case", right)?.unwrap_or(true);
    let switch = |key| config.value::<bool>(key, right);
    Ok(match splitting {
        WordSplitting::PaddleNlp => {
            let form = if lower_case { Form::WithoutAccents } else { Form::AsWritten };
            Words { lower_case, form, symbols: true }
        }
        WordSplitting::HuggingFace => {
            for key in ALWAYS_ON {
                if switch(key)? == Some(false) {
                    return Err(config.problem(key, &false.into(), "always true in Kiln"));
                }
            }
            let strip = switch("strip_accents")?.unwrap_or(lower_case);
            Words { lower_case, form: if strip { Form::WithoutAccents } else { Form::Composed }, symbols: false }
        }
    })
}
