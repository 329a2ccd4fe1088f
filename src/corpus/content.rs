//! The account beside a prepared corpus: whether it holds text or pairs, and in which languages.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::with_ending;
use crate::error::{Error, Problem, Result};

/// What the account of a corpus ends with.
pub(crate) const ACCOUNT: &str = ".prepare.json";

/// What the documents of a corpus are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Text: any number of sentences.
    #[default]
    Text,
    /// Two sentences, of which the second is the translation of the first.
    Pairs,
}

/// What a corpus holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub kind: Kind,
    /// That of the text, or the two of the pairs; none where the recipe named none.
    pub languages: Vec<String>,
}

/// The part of `P.prepare.json` that training reads.
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    /// Fingerprint of the tokenizer.
    pub(super) tokenizer: String,
    #[serde(default)]
    pub(super) content: Content,
}

impl Account {
    /// That of the corpus `prefix`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(super) fn read(prefix: &Path) -> Result<Self> {
        let file = with_ending(prefix, ACCOUNT);
        let help = "`kiln prepare` writes it beside a corpus, with its languages; copy it along with the corpus";
        let bytes = std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause).with_help(help))?;
        serde_json::from_slice(&bytes).map_err(|cause| {
            Problem::new(format!("not what `kiln prepare` wrote: {cause}")).in_file(&file).help(help).into()
        })
    }
}
