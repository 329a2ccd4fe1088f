//! What a recipe says about a tokenizer.

use std::path::PathBuf;

use crate::words::words;

words! {
    /// How SentencePiece pieces of ERNIE-M's tokenizer are split further; the two libraries give different ids before
    /// Chinese, Japanese and Korean characters, and only what is not split fits into a `tokenizer.json`.
    PieceSplitting: Default {
        /// As PaddleNLP, which the published weights were tuned with: a lone "▁" is always dropped.
        PaddleNlp = "paddlenlp",
        /// As Hugging Face transformers 4.40: a lone "▁" stays inside a text where the next piece has none.
        HuggingFace = "huggingface",
        /// Not at all: a model that is trained so leaves with a `tokenizer.json`, which other tools read. The published weights were not.
        Plain = "plain",
    }

    /// What special tokens typed in a text, such as "[MASK]", are to the tokenizers of ERNIE 1.0 and RemBERT.
    TypedSpecials: Default {
        /// Text like any other, as in a PaddleNLP tokenizer made of a vocabulary or model file.
        PaddleNlp = "paddlenlp",
        /// Those tokens, as in Hugging Face transformers and in PaddleNLP's `from_pretrained`.
        HuggingFace = "huggingface",
    }

    /// How ERNIE 1.0's tokenizer cuts a text into words; the two libraries give different ids for symbols, and for accents
    /// where capitals are kept.
    WordSplitting: Default {
        /// As PaddleNLP 2.8, which the published weights come with: symbols such as "°" and emoji stand alone.
        PaddleNlp = "paddlenlp",
        /// As `BertTokenizer` of Hugging Face transformers 4.46: symbols are letters, and accents that are kept are put
        /// together with theirs (Unicode's form NFC).
        HuggingFace = "huggingface",
    }

    /// How RemBERT reads a pair of texts.
    PairEncoding: Default {
        /// `[CLS] A [SEP] B [SEP]`, padded at the end.
        Standard = "standard",
        /// As PaddleNLP's RemBERT example: `[CLS] A [SEP]` and `[CLS] B [SEP]`, each padded to the longest of its batch, then put
        /// together and cut. The positions of B, and so the results, depend on which rows share a batch.
        Apart = "apart",
    }

    /// How ELMo's readers cut a text into words.
    Segmentation: Default {
        /// At its spaces: the text is segmented already.
        Whitespace = "whitespace",
        /// By jieba, for Chinese.
        Jieba = "jieba",
        /// Each character but spaces is a word.
        Characters = "characters",
    }
}

/// What a recipe says about a tokenizer; what it leaves out is as the tokenizer's own folder says.
#[derive(Debug, Clone, Default)]
pub struct TokenizerOptions {
    pub piece_splitting: Option<PieceSplitting>,
    pub word_splitting: Option<WordSplitting>,
    pub typed_specials: Option<TypedSpecials>,
    pub pair_encoding: Option<PairEncoding>,
    pub replacements: Option<PathBuf>,
    pub segmentation: Option<Segmentation>,
}
