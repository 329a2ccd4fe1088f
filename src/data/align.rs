//! From tagged words to the ids a token-level model reads, and from its best tags back to one tag a word.
//!
//! Each word is cut for itself, as transformers (4.46) and PaddleNLP (2.8) do with `is_split_into_words`. Its first id
//! has its tag; further ids have none, or the tag again. A word may end up without any id: the tokenizer makes nothing
//! of it (a zero-width space), or its ids were cut off. No tag is learnt for it then, and none is predicted: it counts
//! as a word outside all chunks ([`NO_TAG`]), so that the tags after it keep their words and a gold chunk that it
//! belongs to counts as missed. The figures are thus over all words of the data, whatever the longest row is;
//! transformers' examples leave such words out.

use super::rows::TaggedRow;
use crate::tokenize::{Specials, Tokenizer};

/// The label of an id for which no tag is learnt, as in transformers and PaddleNLP.
pub const IGNORED: i32 = -100;

/// Stands in predicted tags for words the model has not seen.
pub const NO_TAG: u32 = u32::MAX;

/// How words become a row.
#[derive(Debug, Clone, Copy)]
pub struct AlignOptions {
    /// The most ids a row may have, the special ones included.
    pub max_length: usize,
    /// Whether all ids of a word have its tag to learn, not only the first. Predictions are read from the first either
    /// way.
    pub label_all_pieces: bool,
}

/// A row of words as a model reads it, not padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlignedRow {
    /// `[CLS]`, the words' ids, `[SEP]`.
    pub ids: Vec<u32>,
    /// For each id the tag to learn, or [`IGNORED`].
    pub labels: Vec<i32>,
    /// For each word where its first id stands in `ids`; `None` for a word without any.
    pub starts: Vec<Option<u32>>,
    /// Words whose tags were cut off with their ids.
    pub cut: usize,
    /// Words that the tokenizer makes nothing of.
    pub vanished: usize,
}

impl AlignedRow {
    /// A row of words, each cut by `tokenizer`, between its special ids.
    pub fn tokenised(row: &TaggedRow, tokenizer: &Tokenizer, options: AlignOptions) -> Self {
        if let Some(words) = tokenizer.as_words() {
            return Self::new(row, |word| vec![words.word(word)], None, options);
        }
        let pieces = |word: &str| tokenizer.tokenize(word).iter().map(|token| token.token.id).collect();
        Self::new(row, pieces, Some(tokenizer.specials()), options)
    }

    /// A row of words. `pieces` gives the ids of a word cut for itself, without special ones; a model of whole words
    /// has one a word and no `specials`. What is too long goes from the end, and if not even the special ids fit, the
    /// row is cut.
    pub fn new(
        row: &TaggedRow,
        pieces: impl Fn(&str) -> Vec<u32>,
        specials: Option<&Specials>,
        options: AlignOptions,
    ) -> Self {
        let added = if specials.is_some() { 2 } else { 0 };
        let room = options.max_length.saturating_sub(added);
        let (mut ids, mut labels) = (Vec::new(), Vec::new());
        let (mut cut, mut vanished) = (0, 0);
        let mut starts = Vec::with_capacity(row.tokens.len());
        let first = specials.map(|specials| specials.cls);
        for (word, tag) in row.tokens.iter().zip(&row.tags) {
            let found = pieces(word);
            let kept = found.len().min(room - ids.len());
            vanished += usize::from(found.is_empty());
            cut += usize::from(!found.is_empty() && kept == 0);
            starts.push((kept > 0).then_some((ids.len() + usize::from(first.is_some())) as u32));
            // Labels are numbered by a card, which has far fewer than an i32 counts.
            let further = if options.label_all_pieces { *tag as i32 } else { IGNORED };
            labels.extend((0..kept).map(|piece| if piece == 0 { *tag as i32 } else { further }));
            ids.extend_from_slice(&found[..kept]);
        }
        if let Some(specials) = specials {
            ids.insert(0, specials.cls);
            ids.push(specials.sep);
            labels.insert(0, IGNORED);
            labels.push(IGNORED);
        }
        ids.truncate(options.max_length);
        labels.truncate(options.max_length);
        Self { ids, labels, starts, cut, vanished }
    }
}

/// One tag for each word, from the best tag of each id of its row (and of any padding after it): that of its first id,
/// which stands at its place in `starts`, or [`NO_TAG`].
pub fn word_tags(starts: &[Option<u32>], best: &[u32]) -> Vec<u32> {
    let tag = |start: &Option<u32>| start.and_then(|start| best.get(start as usize).copied()).unwrap_or(NO_TAG);
    starts.iter().map(tag).collect()
}
