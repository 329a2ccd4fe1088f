//! The section of a recipe that makes text a corpus.

use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::BadRows;
use crate::words::words;

/// `[corpus]`: how raw text becomes what is learnt from: a corpus of token ids, or, with "bidirectional-lm", files of sentences
/// and a vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorpusOptions {
    /// Text to read: files, folders (everything in them, sorted by name, but for hidden files) and patterns such as
    /// `news/*.jsonl.zst`. Plain, gzip or Zstandard, as their first bytes say.
    #[schemars(length(min = 1), inner(length(min = 1)), example = &["data/news"])]
    pub input: Vec<String>,
    /// What the names of the corpus's files begin with: `P` for `P_ids.npy` and `P_idx.npz`. With "bidirectional-lm" a folder, which
    /// gets the sentences in `train/sentence_file_00000.txt` and so on, and in `dev/`; and `vocab.txt`, if `model.tokenizer` is that
    /// folder.
    #[schemars(length(min = 1), example = &"data/corpus/news")]
    pub output: PathBuf,
    /// "ernie-m": the language of the text; or two, and the corpus is of pairs, each a sentence in the first language and its
    /// translation into the second. They are kept in `P.prepare.json`, from which training knows them.
    #[schemars(length(min = 1, max = 2), inner(length(min = 1)), example = &["en", "de"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// Pairs: where the two sentences stand: columns of a TSV file, by their names in its header or, without a header, by their
    /// numbers from 1 (`["1", "3"]`); keys of a JSON line. Left out: the first two columns of a file without a header; of a JSON line
    /// what its object under "translation" has under the two languages, as in Hugging Face's data sets.
    #[schemars(length(min = 2, max = 2), inner(length(min = 1)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// How documents lie in the files.
    #[serde(default)]
    pub format: TextFormat,
    /// The key that the text of a JSON line stands under.
    #[serde(default = "json_key")]
    #[schemars(length(min = 1))]
    pub json_key: String,
    /// The line that ends a document of a text file, without spaces round it. The default is an empty line.
    #[serde(default)]
    pub document_delimiter: String,
    /// Only documents of more characters than this are kept, line ends counted. 10 is the default of PaddleNLP's
    /// `trans_to_json.py`, which has it for text files only.
    #[serde(default = "min_document_length")]
    #[schemars(range(min = 0, max = 1_000_000_000_u64))]
    pub min_document_length: usize,
    /// Where sentences end.
    #[serde(default)]
    pub sentences: SentenceEnds,
    /// What tells the words: those that are masked as a whole, or those of a language model.
    #[serde(default)]
    pub words: WordSource,
    /// What stands between the words of text that is segmented already.
    #[serde(default = "word_delimiter")]
    #[schemars(length(min = 1))]
    pub word_delimiter: String,
    /// File of entities and phrases that are words whatever the segmentation says, so that they are masked as a whole:
    /// one a line, with a frequency and a tag behind it if you like, as in jieba's own dictionaries (both are not
    /// needed here).
    #[schemars(length(min = 1))]
    pub dictionary: Option<PathBuf>,
    /// Most tokens of a word that is masked as a whole; longer ones fall apart. 6 is PaddleNLP's limit; with a
    /// dictionary of long names, raise it.
    #[serde(default = "max_word_tokens")]
    #[schemars(range(min = 1, max = 512))]
    pub max_word_tokens: usize,
    /// Put the documents in a random order. Splits are cut off in the order of documents.
    #[serde(default = "yes")]
    pub shuffle: bool,
    /// Seed of the random order.
    #[serde(default = "seed")]
    #[schemars(range(min = 0, max = 9_223_372_036_854_775_807_u64))]
    pub seed: u64,
    /// The files that are written.
    #[serde(default)]
    pub layout: CorpusLayout,
    /// What happens to a line that cannot be read (broken UTF-8, no JSON object, no text under the key).
    #[serde(default)]
    pub bad_rows: BadRows,
    /// Text and tokens in memory at a time, about (bytes). Changes speed and memory, not results.
    #[serde(default = "buffer_bytes")]
    #[schemars(range(min = 65_536, max = 1_099_511_627_776_u64))]
    pub buffer_bytes: usize,
    /// "bidirectional-lm": each document whose number is a multiple of this goes to the dev files, not to the others. Left out: none.
    #[schemars(range(min = 2, max = 1_000_000_000_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_every: Option<u64>,
    /// "bidirectional-lm": sentences of a file. `streams.shuffle` mixes the sentences of a file, and the files. Left out: 100,000.
    #[schemars(range(min = 1, max = 1_000_000_000_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_sentences: Option<u64>,
    /// "bidirectional-lm": how often a word has to stand in the sentences to train on to be one of the vocabulary's. Left out: 5, as
    /// word2vec has it: of rarer words nothing can be learnt that would be worth a row of the softmax. (The name of Baidu's
    /// vocabulary_min5k.txt says 5,000, of a far larger text.)
    #[schemars(range(min = 1, max = 1_000_000_000_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_count: Option<u64>,
    /// "bidirectional-lm": most words of the vocabulary, of which the most frequent stay, `<S>`, `</S>` and `<UNK>` among them. Left
    /// out: any number.
    #[schemars(range(min = 4, max = 16_777_216))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_vocab_size: Option<usize>,
}

fn json_key() -> String {
    "text".to_string()
}

fn min_document_length() -> usize {
    10
}

fn word_delimiter() -> String {
    " ".to_string()
}

fn max_word_tokens() -> usize {
    6
}

fn yes() -> bool {
    true
}

fn seed() -> u64 {
    42
}

fn buffer_bytes() -> usize {
    64 << 20
}

impl CorpusOptions {
    /// The two languages of a corpus of pairs.
    pub fn pair(&self) -> Option<[&str; 2]> {
        match self.languages.as_deref() {
            Some([source, target]) => Some([source, target]),
            _ => None,
        }
    }

    /// Whether the vocabulary is made with the sentences: where the model's is in the folder of the output.
    pub fn makes_vocabulary(&self, tokenizer: Option<&Path>) -> bool {
        fn parts(path: &Path) -> impl Iterator<Item = Component<'_>> {
            path.components().filter(|part| *part != Component::CurDir)
        }
        tokenizer.is_some_and(|tokenizer| parts(tokenizer).eq(parts(&self.output)))
    }
}

words! {
    /// The files of a corpus.
    CorpusLayout: Default {
        /// `P_ids.npy` and `P_idx.npz`: what ERNIE 1.0's scripts of PaddleNLP read, in all versions.
        Npy = "npy",
        /// `P.bin` and `P.idx`: PaddleNLP from 2.6 on, and Megatron-LM.
        Mmap = "mmap",
    }

    /// How documents lie in a file.
    TextFormat: Default {
        /// JSON lines where the name ends in .jsonl, .ndjson or .json (before .gz or .zst), lines of text elsewhere. Pairs: "moses" where
        /// the name ends in one of the two languages, TSV elsewhere.
        Auto = "auto",
        /// Lines of text; a document ends at the delimiter and at the end of a file.
        Text = "text",
        /// One JSON object a line, each a document or a pair.
        Jsonl = "jsonl",
        /// Pairs: cells between tabs. Quotation marks are text.
        Tsv = "tsv",
        /// Pairs: two files, `x.en` and `x.de`, whose lines of the same number are a pair.
        Moses = "moses",
    }

    /// Where sentences end. Sentences are what a language model reads and what pairs for sentence-order prediction are put together from.
    SentenceEnds: Default {
        /// At the end of each line, as PaddleNLP's `--chinese`.
        Newline = "newline",
        /// At the end of each line and after 。？！；… and ? ! ; with the closing quotation marks and brackets behind them.
        Chinese = "chinese",
        /// English: where Unicode's rules (UAX #29) see an end and no abbreviation, initial or acronym stands before it.
        /// The lines of a paragraph are one text; an empty line ends a sentence.
        English = "english",
        /// At the end of each line and behind every single 。, ？ and ！, as the sentences of Baidu's ELMo: what closes a quotation begins
        /// the next one.
        BaiduElmo = "baidu-elmo",
        /// Nowhere: a document is one sentence. Sentence-order prediction then has nothing to learn from.
        None = "none",
    }

    /// What tells the words of a sentence.
    WordSource: Default {
        /// Jieba's Chinese segmentation, with its model of unknown words.
        Jieba = "jieba",
        /// The text is segmented already: `word_delimiter` stands between its words, which are put together without it.
        /// Where a delimiter is part of the text, such as the space between two English words, it stands three times, as in
        /// the files of PaddleNLP's `words_segmentation.py`. With "bidirectional-lm" its words stay apart.
        Segmented = "segmented",
        /// Spaces, as in English: a word is what the tokenizer makes of it, or a language model's as it stands.
        Whitespace = "whitespace",
        /// Nothing: every Chinese character is masked by itself. With "bidirectional-lm" it is a word, as are letters and digits side by
        /// side, and any other mark.
        None = "none",
    }
}
