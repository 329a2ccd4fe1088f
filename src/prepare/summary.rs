//! The summary that `kiln prepare` ends with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a corpus was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Summary {
    pub documents: u64,
    pub sentences: u64,
    pub tokens: u64,
    /// Words of several tokens that are masked as a whole because the segmentation or the dictionary says so.
    pub joined_words: u64,
    /// Those of them that come from the dictionary.
    pub dictionary_words: u64,
    /// Tokens that the vocabulary does not have.
    pub unknown_tokens: u64,
    /// Lines that could not be read and were left out.
    pub skipped_rows: u64,
    /// Documents not longer than `min_document_length`, which were left out.
    pub short_documents: u64,
    /// Documents without a token, and pairs with an empty side, which were left out.
    pub empty_documents: u64,
    /// Of ERNIE 1.0: documents of one sentence. Training with sentence-order prediction passes over them.
    pub single_sentence_documents: u64,
    /// Of ERNIE 1.0: documents of several sentences, one of them of more than 512 tokens. Training passes over them.
    pub overlong_documents: u64,
    /// Nothing was done: the corpus was there already, from the same text and options.
    #[serde(skip)]
    pub reused: bool,
}

impl Summary {
    /// Adds what a document was made of.
    pub(super) fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.sentences += other.sentences;
        self.tokens += other.tokens;
        self.joined_words += other.joined_words;
        self.dictionary_words += other.dictionary_words;
        self.unknown_tokens += other.unknown_tokens;
        self.empty_documents += other.empty_documents;
        self.single_sentence_documents += other.single_sentence_documents;
        self.overlong_documents += other.overlong_documents;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, {} sentences, {} tokens", self.documents, self.sentences, self.tokens)?;
        let mut also = |count: u64, what: &str| if count > 0 { write!(f, "; {count} {what}") } else { Ok(()) };
        also(self.joined_words, "words of several tokens")?;
        also(self.dictionary_words, "of them from the dictionary")?;
        also(self.unknown_tokens, "unknown tokens")?;
        also(self.skipped_rows, "lines left out as unreadable")?;
        also(self.short_documents, "documents left out as too short")?;
        also(self.empty_documents, "documents left out as empty")
    }
}
