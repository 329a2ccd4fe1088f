//! From a dataset card to tokenised rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::card::{Card, Split};
use super::rows::{ReadOptions, Row, read_split};
use super::tokens::{TokenCache, TokenInfo, TokenRow, cache_key};
use crate::error::Result;
use crate::recipe::Data;
use crate::tokenize::{Encoding, Tokenizer};

/// What all splits of a run are read and tokenised with.
pub struct Preparation<'a> {
    pub card: &'a Card,
    pub data: &'a Data,
    pub tokenizer: &'a Tokenizer,
}

impl Preparation<'_> {
    /// One language of one split: read, and tokenised unless that was done before with the same content.
    pub fn rows(&self, split: Split, language: &str) -> Result<Arc<TokenCache>> {
        let max_rows = if split == Split::Train { self.data.max_train_rows } else { self.data.max_eval_rows };
        let options = ReadOptions { bad_rows: self.data.bad_rows, empty_text: self.data.empty_text, max_rows };
        let read = read_split(self.card, &self.data.root, split, language, options)?;
        if let Some(unexpected) = &read.unexpected {
            tracing::warn!("{unexpected}");
        }
        read.skipped.iter().for_each(|problem| tracing::warn!("left out: {problem}"));

        let length = self.data.max_seq_length.to_string();
        let fingerprint = self.tokenizer.fingerprint();
        let given = format!("{options:?} {}", read.file.display());
        let key = cache_key(&[
            &read.sha256,
            &fingerprint,
            &length,
            language,
            &given,
            self.card.labels.names().join("\t").as_str(),
        ]);
        let folder = self.cache();
        if let Some(cache) = folder.as_deref().and_then(|folder| TokenCache::open(folder, &key)) {
            return Ok(Arc::new(cache));
        }
        let rows = self.tokenise(&read.rows);
        let truncated = rows.iter().filter(|row| row.ids.len() >= self.data.max_seq_length).count();
        let info = TokenInfo {
            source: read.file,
            sha256: read.sha256,
            rows: rows.len(),
            skipped: read.skipped_count,
            empty: read.empty,
            truncated,
        };
        Ok(Arc::new(TokenCache::create(folder.as_deref(), &key, info, &rows)?))
    }

    fn tokenise(&self, rows: &[Row]) -> Vec<TokenRow> {
        let texts: Vec<(&str, Option<&str>)> =
            rows.iter().map(|row| (row.text.as_str(), row.text_pair.as_deref())).collect();
        let encodings = self.tokenizer.encode_batch(&texts, self.data.max_seq_length);
        let token_row = |(encoding, row): (Encoding, &Row)| TokenRow {
            first: encoding.first_length() as u32,
            ids: encoding.ids,
            label: row.label.map_or(-100, |label| label as i32),
            line: row.line,
        };
        encodings.into_iter().zip(rows).map(token_row).collect()
    }

    fn cache(&self) -> Option<PathBuf> {
        let given = self.data.cache.as_deref().map(Path::to_path_buf);
        given.or_else(|| Some(dirs::cache_dir()?.join("kiln").join("tokens")))
    }
}
