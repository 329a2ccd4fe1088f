//! What every tokenizer does, and which one a folder holds.

use std::fmt::Debug;
use std::ops::Deref;
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::config::{Specials, TokenizerConfig, write};
use super::elmo::WordVocabulary;
use super::ernie::ErnieTokenizer;
use super::ernie_m::ErnieMTokenizer;
use super::hugging_face::HuggingFaceTokenizer;
use super::normalizer::SPACE;
use super::options::{PairEncoding, TokenizerOptions, TypedSpecials, WordSplitting};
use super::rembert::RemBertTokenizer;
use super::tokenizer_json;
use super::words::WordTokenizer;
use super::xlm_roberta::XlmRobertaTokenizer;
use super::{Encoding, TextToken, Token};
use crate::error::{Problem, Result};

/// How rows of a batch are made equally long.
#[derive(Debug, Clone, Copy)]
pub struct Padding {
    /// The id to fill up with.
    pub id: u32,
    /// Whether the two texts of a row are padded apart, as PaddleNLP's RemBERT example does: the first texts to the longest of them,
    /// the second texts to theirs (`[CLS] A [SEP] [PAD].. [CLS] B [SEP] [PAD]..`), and every row is cut to its first
    /// `max_length` tokens. Padding has the type id of its text, and every token that is the padding's is masked, also in the middle;
    /// positions count on over it. Else rows are padded at their ends, with type id 0.
    pub apart: bool,
    /// Whether the second text has the type id 1; else all have 0.
    pub types: bool,
    /// Tokens that a row may have.
    pub max_length: usize,
}

/// Cuts texts for a model.
pub trait TextTokenizer: Debug + Send + Sync {
    /// Gives the tokens of `text` with their texts, as they stand after normalisation, without any added.
    fn each_token(&self, text: &str, emit: &mut dyn FnMut(&str, Token));

    /// What it has as every tokenizer does.
    fn common(&self) -> &Common;

    /// How many ids there are; a model may have more rows.
    fn vocab_size(&self) -> usize;

    /// The token of an id; the unknown token for ids that do not exist, as in the libraries.
    fn token(&self, id: u32) -> &str;

    /// The ids of the special tokens.
    fn specials(&self) -> &Specials {
        &self.common().specials
    }

    /// Hex SHA-256 over everything that decides which ids a row gets: a key for cached tokens.
    fn fingerprint(&self) -> String {
        let Common { rules, files, .. } = self.common();
        let files = files.iter().map(|(_, data)| data.as_slice());
        crate::hash::of_parts(rules.iter().map(String::as_bytes).chain(files))
    }

    /// Why there is no [`Self::tokenizer_json`]; `None` where there is one.
    fn without_tokenizer_json(&self) -> Option<&'static str> {
        None
    }

    /// What Hugging Face's `tokenizers` reads; `None` where that cannot say what this tokenizer does.
    ///
    /// # Errors
    /// A special token has a name that the crate cannot take.
    fn tokenizer_json(&self) -> tokenizers::Result<Option<String>>;

    /// Writes files that transformers, PaddleNLP and Kiln read: the vocabulary or model as it was read, [`Self::tokenizer_json`] if
    /// there is one, and a `tokenizer_config.json` of what it held before, this tokenizer's options, and `max_length`, the longest row
    /// the model was trained on.
    ///
    /// # Errors
    /// A file cannot be written.
    fn save(&self, dir: &Path, max_length: usize) -> Result<()> {
        let Common { specials, config, class, options, files, .. } = self.common();
        let json = self.checked_json(dir)?;
        let reads = if json.is_some() { tokenizer_json::CLASS } else { class };
        config.save(dir, (class, reads), specials, options, max_length)?;
        json.map_or(Ok(()), |json| write(&dir.join(tokenizer_json::FILE), json.as_bytes()))?;
        files.iter().filter(|(_, data)| !data.is_empty()).try_for_each(|(name, data)| write(&dir.join(name), data))
    }

    /// Writes [`Self::tokenizer_json`] and a `tokenizer_config.json` that names nothing but it, for a model of another family than the
    /// tokenizer's, whose other files would be taken for those of that family's own tokenizer.
    ///
    /// # Errors
    /// A file cannot be written.
    fn save_json(&self, dir: &Path, max_length: usize) -> Result<()> {
        let Common { specials, config, options, .. } = self.common();
        let class = tokenizer_json::CLASS;
        // Which inputs there are is no matter of the family.
        let inputs: Vec<_> = options.iter().filter(|(key, _)| *key == "model_input_names").cloned().collect();
        config.save(dir, (class, class), specials, &inputs, max_length)?;
        self.checked_json(dir)?.map_or(Ok(()), |json| write(&dir.join(tokenizer_json::FILE), json.as_bytes()))
    }

    /// [`Self::tokenizer_json`], for a file of `dir`.
    ///
    /// # Errors
    /// As there.
    fn checked_json(&self, dir: &Path) -> Result<Option<String>> {
        self.tokenizer_json().map_err(|cause| {
            let problem = Problem::new(format!("a special token does not fit: {cause}"));
            let help = "name it otherwise in tokenizer_config.json";
            problem.in_file(&dir.join(tokenizer_json::FILE)).help(help).into()
        })
    }

    /// The text of `ids` without special tokens, as far as tokens tell it: unknown characters and spaces that the tokenizer drops
    /// are lost, and what normalisation changed stays changed. Words have a space between them, Chinese characters of WordPiece too.
    fn decode(&self, ids: &[u32]) -> String {
        let tokens = ids.iter().filter(|id| !self.specials().contains(**id)).map(|id| self.token(*id));
        let text = match self.common().kind {
            TokenizerKind::WordPiece(..) => tokens.collect::<Vec<_>>().join(" ").replace(" ##", ""),
            TokenizerKind::Words => tokens.collect::<Vec<_>>().join(" "),
            _ => tokens.collect::<String>().replace(SPACE, " "),
        };
        text.trim().to_string()
    }

    /// The type ids of the `[SEP]`s between the two texts of a pair; `None` for a tokenizer that adds no special tokens.
    fn separators(&self) -> Option<&'static [u8]> {
        self.common().kind.separators()
    }

    /// How a pair of texts is read.
    fn pair_encoding(&self) -> PairEncoding {
        self.common().pairs
    }

    /// Itself, if its tokens are whole words.
    fn as_words(&self) -> Option<&WordTokenizer> {
        None
    }

    /// Itself, if it is BERT's, whose tokens know where a word goes on.
    fn as_word_piece(&self) -> Option<&ErnieTokenizer> {
        None
    }

    /// The tokens of `text`, without any added.
    fn tokenize(&self, text: &str) -> Vec<TextToken> {
        let mut tokens = Vec::new();
        self.each_token(text, &mut |text, token| tokens.push(TextToken { text: text.to_string(), token }));
        tokens
    }

    /// [`Self::tokenize`] without the texts.
    fn ids(&self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        self.each_token(text, &mut |_, token| tokens.push(token));
        tokens
    }

    /// One text as `[CLS] A [SEP]`, or two with [`Self::separators`] between them and a `[SEP]` behind, of at most `max_length`
    /// tokens: the longer text gives first, from its end, and the second where they are equally long. Type ids are 0 for A, 1 for
    /// B and the `[SEP]` after it. If not even the added tokens fit, the row is cut.
    ///
    /// With [`PairEncoding::Apart`] a pair is `[CLS] A [SEP] [CLS] B [SEP]`, with type ids 0 and 1, and is not cut here, because
    /// where it is cut depends on its batch.
    fn encode(&self, text: &str, pair: Option<&str>, max_length: Option<usize>) -> Encoding {
        let (first, second) = (self.ids(text), pair.map(|pair| self.ids(pair)));
        match (self.separators(), &second) {
            (None, _) => Encoding::without_specials(&first, second.as_deref(), max_length),
            (_, Some(second)) if self.pair_encoding() == PairEncoding::Apart => {
                Encoding::apart([&first, second], self.specials())
            }
            (Some(between), _) => Encoding::of(&first, second.as_deref(), between, self.specials(), max_length),
        }
    }

    /// [`Self::encode`] for many rows, on all threads; the results are in the order of the rows.
    fn encode_batch(&self, rows: &[(&str, Option<&str>)], max_length: usize) -> Vec<Encoding> {
        rows.par_iter().map(|(text, pair)| self.encode(text, *pair, Some(max_length))).collect()
    }

    /// The tokens of two texts as one row, as [`Self::encode`] makes it of a pair, whole.
    fn pair(&self, first: &[Token], second: &[Token]) -> Encoding {
        match self.separators() {
            None => Encoding::without_specials(first, Some(second), None),
            Some(between) => Encoding::of(first, Some(second), between, self.specials(), None),
        }
    }

    /// How many special tokens a pair has.
    fn added_to_pair(&self) -> usize {
        self.separators().map_or(0, |between| between.len() + 2)
    }

    /// How rows of at most `max_length` tokens are made equally long.
    fn padding(&self, max_length: usize) -> Padding {
        let apart = self.pair_encoding() == PairEncoding::Apart;
        Padding { id: self.specials().pad, apart, types: self.common().kind.has_types(), max_length }
    }

    /// The longest row that the model was trained on, if the tokenizer's folder says so.
    fn max_length(&self) -> Option<usize> {
        self.common().config.max_length()
    }
}

/// What every tokenizer has.
#[derive(Debug)]
pub struct Common {
    pub(super) kind: TokenizerKind,
    pub(super) specials: Specials,
    pub(super) pairs: PairEncoding,
    /// What decides the ids beside the files: a part of the fingerprint.
    pub(super) rules: Vec<String>,
    /// The files of the vocabulary or model as they are written; those that are empty are not.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// `tokenizer_config.json` as it was read, and what is written into it: a class that transformers has, and options.
    pub(super) config: TokenizerConfig,
    pub(super) class: &'static str,
    pub(super) options: Vec<(&'static str, Value)>,
}

/// Which tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerKind {
    /// BERT's, in one of two libraries' ways, which are the usual options.
    WordPiece(WordSplitting, TypedSpecials),
    ErnieM,
    RemBert,
    XlmRoberta,
    /// Of ELMo's taggers and readers.
    Words,
    /// Of a `tokenizer.json` alone, which says what stands between two texts.
    HuggingFace {
        separators: &'static [u8],
        has_types: bool,
    },
}

impl TokenizerKind {
    /// By the `tokenizer_class` of either library, `usual` being the options that a folder may leave out.
    fn of_class(class: &str, usual: Self) -> Option<Self> {
        Some(match class.strip_suffix("Fast").unwrap_or(class) {
            "BertTokenizer" | "ErnieTokenizer" => match usual {
                Self::WordPiece(..) => usual,
                _ => Self::WordPiece(WordSplitting::HuggingFace, TypedSpecials::HuggingFace),
            },
            "ErnieMTokenizer" => Self::ErnieM,
            "RemBertTokenizer" => Self::RemBert,
            "XLMRobertaTokenizer" => Self::XlmRoberta,
            _ => return None,
        })
    }

    /// # Errors
    /// An option is given that another tokenizer has.
    fn check(self, options: &TokenizerOptions, dir: &Path) -> Result<()> {
        let word_piece = matches!(self, Self::WordPiece(..));
        let given = [
            ("piece_splitting", options.piece_splitting.is_some(), self == Self::ErnieM),
            ("word_splitting", options.word_splitting.is_some(), word_piece),
            ("typed_specials", options.typed_specials.is_some(), word_piece || self == Self::RemBert),
            ("pair_encoding", options.pair_encoding.is_some(), self == Self::RemBert),
        ];
        match given.into_iter().find(|(_, is_given, fits)| *is_given && !fits) {
            Some((key, ..)) => {
                let problem = Problem::new(format!("`model.{key}` has no effect on the tokenizer here")).in_file(dir);
                Err(problem.help("leave it out: it is of another kind of tokenizer").into())
            }
            None => Ok(()),
        }
    }

    /// Whether its files are in a folder.
    fn is_in(self, dir: &Path) -> bool {
        let has = |name: &str| dir.join(name).exists();
        match self {
            Self::WordPiece(..) => has(super::ernie::VOCAB_FILE),
            Self::ErnieM => has(super::ernie_m::VOCAB_FILE) && has(super::ernie_m::MODEL_FILE),
            Self::RemBert => super::rembert::MODEL_FILES.into_iter().any(has),
            Self::XlmRoberta => has(super::xlm_roberta::MODEL_FILE),
            Self::Words => WordVocabulary::find(dir).is_some(),
            Self::HuggingFace { .. } => has(tokenizer_json::FILE),
        }
    }

    /// The type ids of the `[SEP]`s between the two texts of a pair; `None` if nothing is added to a text.
    pub const fn separators(self) -> Option<&'static [u8]> {
        match self {
            Self::WordPiece(..) | Self::RemBert => Some(&[0]),
            Self::ErnieM | Self::XlmRoberta => Some(&[1, 1]),
            Self::Words => None,
            Self::HuggingFace { separators, .. } => Some(separators),
        }
    }

    /// Whether a model is told which text a token is of.
    pub(super) const fn has_types(self) -> bool {
        !matches!(self, Self::XlmRoberta | Self::HuggingFace { has_types: false, .. })
    }
}

/// A tokenizer of any kind.
#[derive(Debug)]
pub struct Tokenizer(Box<dyn TextTokenizer>);

impl<T: TextTokenizer + 'static> From<T> for Tokenizer {
    fn from(tokenizer: T) -> Self {
        Self(Box::new(tokenizer))
    }
}

impl Deref for Tokenizer {
    type Target = dyn TextTokenizer;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Tokenizer {
    /// Whether the files of one of these kinds, or a `tokenizer.json`, are in a folder.
    pub fn is_in(usual: &[TokenizerKind], dir: &Path) -> bool {
        usual.iter().any(|kind| kind.is_in(dir)) || dir.join(tokenizer_json::FILE).exists()
    }

    /// Reads a tokenizer's files from `dir`. Which one they are of says the `tokenizer_class` of `tokenizer_config.json`; without a
    /// known one it is the first of `usual`, the kinds that the model's family comes with, whose files are there. If its files are not
    /// there and a `tokenizer.json` is, that one is read.
    ///
    /// # Errors
    /// A file is missing or damaged, or does not belong to the others.
    pub fn from_dir(usual: &[TokenizerKind], dir: &Path, options: TokenizerOptions) -> Result<Self> {
        let first = usual[0];
        let class = TokenizerConfig::read(dir)?.class()?;
        let kind = match class.and_then(|class| TokenizerKind::of_class(&class, first)) {
            Some(kind) if first != TokenizerKind::Words => kind,
            _ => usual.iter().copied().find(|kind| kind.is_in(dir)).unwrap_or(first),
        };
        let alone = TokenizerKind::HuggingFace { separators: &[], has_types: true };
        let kind = if !kind.is_in(dir) && first != TokenizerKind::Words && alone.is_in(dir) { alone } else { kind };
        kind.check(&options, dir)?;
        let TokenizerOptions { piece_splitting, word_splitting, typed_specials, pair_encoding, .. } = options;
        Ok(match kind {
            TokenizerKind::WordPiece(splitting, typed) => {
                let usual = (splitting, typed);
                ErnieTokenizer::from_dir_or(dir, word_splitting, typed_specials, usual)?.into()
            }
            TokenizerKind::ErnieM => ErnieMTokenizer::from_dir(dir, piece_splitting)?.into(),
            TokenizerKind::RemBert => RemBertTokenizer::from_dir(dir, typed_specials, pair_encoding)?.into(),
            TokenizerKind::XlmRoberta => XlmRobertaTokenizer::from_dir(dir)?.into(),
            TokenizerKind::HuggingFace { .. } => HuggingFaceTokenizer::from_dir(dir)?.into(),
            TokenizerKind::Words => {
                WordTokenizer::from_dir(dir, options.replacements.as_deref(), options.segmentation)?.into()
            }
        })
    }
}
