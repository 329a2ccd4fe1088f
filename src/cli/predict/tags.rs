//! Predictions of token-classification: `{"tokens": [...], "tags": [...], "chunks": [...]}`.
//!
//! A word that the model has not seen, because it is beyond the longest row or the tokenizer makes nothing of it, has the tag null.
//! Chunks are read from the tags as conlleval does; each has its text, its type, its first word and the one after its last.

use std::cell::Cell;

use serde_json::{Value, json};

use super::Loaded;
use crate::data::align::{AlignOptions, AlignedRow};
use crate::data::tagged::TaggedRow;
use crate::evaluate::chunks::ChunkScheme;
use crate::models::InputRow;
use crate::recipe::ChunkCounting;
use crate::tasks::Logits;
use crate::tokenize::Tokenizer;

/// Gives each word its tag.
pub struct Tags {
    model: Loaded,
    /// `None` where the labels do not say what a chunk is.
    scheme: Option<ChunkScheme>,
    /// Whether it has been said that words were cut off: once is enough.
    has_warned: Cell<bool>,
}

impl Tags {
    pub fn new(mut model: Loaded) -> Self {
        if let Tokenizer::Words(_) = model.tokenizer {
            // There are no positions that could run out.
            model.max_length = usize::MAX;
        }
        let scheme = ChunkScheme::new(&model.opened.described.labels, ChunkCounting::Conll);
        let scheme = scheme.inspect_err(|error| tracing::warn!("the tags are not joined to chunks: {error}")).ok();
        Self { model, scheme, has_warned: Cell::new(false) }
    }

    /// One line a row, in the order of the rows.
    pub fn predict(&self, rows: &[Vec<String>]) -> Vec<Value> {
        let options = AlignOptions { max_length: self.model.max_length, label_all_pieces: false };
        let align = |words: &Vec<String>| {
            // What the tags are does not matter for the ids.
            let row = TaggedRow { tokens: words.clone(), tags: vec![0; words.len()], line: 0 };
            AlignedRow::tokenised(&row, &self.model.tokenizer, options)
        };
        let aligned: Vec<AlignedRow> = rows.iter().map(align).collect();
        self.warn_of_cut_words(&aligned);
        let inputs: Vec<InputRow> =
            aligned.iter().map(|row| InputRow { ids: &row.ids, first: row.ids.len() }).collect();
        self.model.lines(&inputs, |logits, numbers| {
            let Logits::Token(scores) = logits else { return Vec::new() }; // the command has seen to the head
            let starts: Vec<&[Option<u32>]> = numbers.iter().map(|&row| aligned[row].starts.as_slice()).collect();
            let tags = self.model.opened.model.word_tags(&scores, &starts);
            numbers.iter().zip(tags).map(|(&row, tags)| self.line(&rows[row], &tags)).collect()
        })
    }

    fn warn_of_cut_words(&self, rows: &[AlignedRow]) {
        if rows.iter().any(|row| row.cut > 0) && !self.has_warned.replace(true) {
            let length = self.model.max_length;
            tracing::warn!("words beyond the {length} tokens of the longest row have the tag null");
        }
    }

    fn line(&self, words: &[String], tags: &[u32]) -> Value {
        let names: Vec<Option<&String>> =
            tags.iter().map(|tag| self.model.opened.described.labels.get(*tag as usize)).collect();
        let mut line = json!({ "tokens": words, "tags": names });
        if let Some(scheme) = &self.scheme {
            let between = if self.model.opened.described.characters_as_words { "" } else { " " };
            let chunks = scheme.chunks(tags).into_iter().map(|chunk| {
                let text = words[chunk.start..chunk.end].join(between);
                let kind = &scheme.types()[chunk.kind as usize];
                json!({ "text": text, "type": kind, "start": chunk.start, "end": chunk.end })
            });
            line["chunks"] = chunks.collect();
        }
        line
    }
}
