//! Tokenizers that a folder has as a `tokenizer.json` alone, read with Hugging Face's `tokenizers`, which is what that file means:
//! WordPiece, Unigram and BPE, with rows as BERT and XLM-R have them.
//!
//! Where a SentencePiece model or a vocab.txt is in the folder, Kiln's own tokenizers read those: they give the ids of the libraries
//! that the weights were trained with (see [`tokenizer_json`](super::tokenizer_json)).

mod checked;

use std::path::Path;

use tokenizers::Tokenizer as HuggingFace;

use super::config::{BERT_SPECIALS, TokenizerConfig};
use super::tokenizer_json::{CLASS, FILE, IGNORES_TYPED};
use super::xlm_roberta::SPECIALS as XLM_ROBERTA_SPECIALS;
use super::{Common, PairEncoding, TextTokenizer, Token, TokenizerKind};
use crate::error::{Error, Problem, Result, caught};

const LIBRARY: &str = "tokenizers";
/// A text that needs the unknown token, or whatever else a model has for characters that it does not know.
const UNKNOWN_TEXT: &str = "\u{10FFFD}";

/// Cuts texts as a `tokenizer.json` says. Made by [`HuggingFaceTokenizer::from_dir`].
#[derive(Debug)]
pub struct HuggingFaceTokenizer {
    tokenizer: HuggingFace,
    /// The tokens by their ids; empty where there is none.
    tokens: Vec<String>,
    common: Common,
}

impl HuggingFaceTokenizer {
    /// Reads `tokenizer.json` and, if it is there, `tokenizer_config.json` from `dir`. Padding and truncation of the file are left out.
    ///
    /// # Errors
    /// A file is missing or damaged, a special token is missing, or its rows are not `[CLS] A [SEP]` and `[CLS] A [SEP].. B [SEP]`.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let file = dir.join(FILE);
        let data = std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause))?;
        let problem = |what: String| Problem::new(what).in_file(&file);
        let not_read =
            |cause: String| problem(format!("not a tokenizer.json that the crate tokenizers reads: {cause}"));
        checked::check(&data).map_err(not_read)?;
        let read = caught(LIBRARY, || HuggingFace::from_bytes(&data).map_err(|cause| cause.to_string()));
        let mut tokenizer = read.flatten().map_err(not_read)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|cause| problem(cause.to_string()))?;
        let config = TokenizerConfig::read(dir)?;
        let typed_are_text = config.value(IGNORES_TYPED, "true or false")?.unwrap_or(false);
        tokenizer.set_encode_special_tokens(typed_are_text);
        let id = |text: &str| tokenizer.token_to_id(text);
        let usual = if id(BERT_SPECIALS[0]).is_some() { BERT_SPECIALS } else { XLM_ROBERTA_SPECIALS };
        let help = "the special tokens are [CLS], [PAD], [SEP], [UNK] and [MASK], or <s>, <pad>, </s>, <unk> and <mask>; other \
                    names stand in tokenizer_config.json";
        let specials = config.specials(&file, FILE, usual, help, id)?;
        let unknown = caught(LIBRARY, || tokenizer.encode(UNKNOWN_TEXT, false).map_err(|cause| cause.to_string()));
        unknown.flatten().map_err(|cause| {
            problem(format!("a character that is not in the vocabulary cannot be read: {cause}"))
                .help("the model of a tokenizer.json names its unknown token as unk_token or unk_id")
        })?;
        let kind =
            caught(LIBRARY, || rows(&tokenizer, specials.cls, specials.sep)).ok().flatten().ok_or_else(|| {
                problem("its rows are not the first special token, a text, and the last one".into())
                    .help("Kiln's models read `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`, or two [SEP] in the middle")
            })?;
        let vocabulary = tokenizer.get_vocab(true);
        let count = vocabulary.values().max().map_or(0, |last| *last as usize + 1);
        // An id that is far behind the others would make a table of it.
        if count > 4 * vocabulary.len() {
            let (what, last) = (vocabulary.len(), count - 1);
            return Err(problem(format!("it has {what} tokens, and ids of up to {last}")).into());
        }
        let mut tokens = vec![String::new(); count];
        vocabulary.into_iter().for_each(|(token, id)| tokens[id as usize] = token);
        let common = Common {
            kind,
            pairs: PairEncoding::Standard,
            rules: vec![format!("tokenizer.json 1 {typed_are_text} {kind:?} {:?}", specials.texts)],
            specials,
            files: vec![(FILE, data)],
            config,
            class: CLASS,
            options: Vec::new(),
        };
        Ok(Self { tokenizer, tokens, common })
    }
}

/// How the file makes rows of two texts, if it does as Kiln's models read them: one or two separators, all tokens before the second
/// text's of one type.
fn rows(tokenizer: &HuggingFace, cls: u32, sep: u32) -> Option<TokenizerKind> {
    let row = tokenizer.encode(("a", "a"), true).ok()?;
    let (ids, types, of) = (row.get_ids(), row.get_type_ids(), row.get_sequence_ids());
    let special = |wanted: u32, at: usize| of.get(at) == Some(&None) && ids.get(at) == Some(&wanted);
    let last = ids.len().checked_sub(1)?;
    let end_of_first = of.iter().rposition(|of| *of == Some(0))?;
    let start_of_second = of.iter().position(|of| *of == Some(1))?;
    let between = end_of_first + 1..start_of_second;
    let plain = special(cls, 0) && special(sep, last) && between.clone().all(|at| special(sep, at));
    // Nothing else stands round the texts.
    let plain = plain && of.iter().filter(|of| of.is_none()).count() == between.len() + 2;
    let types_of = |at: usize| types.get(at).copied().unwrap_or_default();
    let second = types_of(start_of_second);
    let (has_types, fits) = (second == 1, second <= 1 && types_of(0) == 0 && types_of(last) == second);
    let separators: &'static [u8] = match between.map(types_of).collect::<Vec<_>>().as_slice() {
        [0] => &[0],
        [1] => &[1],
        // Without types the rows of XLM-R, whose separators Kiln counts to the second text.
        [0, 0] if !has_types => &[1, 1],
        [0, 0] => &[0, 0],
        [1, 1] => &[1, 1],
        _ => return None,
    };
    (plain && fits).then_some(TokenizerKind::HuggingFace { separators, has_types })
}

impl TextTokenizer for HuggingFaceTokenizer {
    fn each_token(&self, text: &str, emit: &mut dyn FnMut(&str, Token)) {
        let Ok(Ok(row)) = caught(LIBRARY, || self.tokenizer.encode_char_offsets(text, false)) else {
            // Every text that the crate refuses is one that has an unknown character, which was tried when the file was read; a damaged
            // file may fail at others.
            tracing::warn!("tokenizer.json cannot cut {:?}", crate::lines::shorten(text));
            return;
        };
        let is_space: Vec<bool> = text.chars().map(char::is_whitespace).collect();
        for ((id, token), (start, end)) in row.get_ids().iter().zip(row.get_tokens()).zip(row.get_offsets()) {
            // The space in front of a word is not part of it.
            let spaces = is_space.get(*start..*end).map_or(0, |of| of.iter().take_while(|is| **is).count());
            let start = if start + spaces < *end { start + spaces } else { *start };
            // A mark of a space that was put in stands for nothing in the text; the crate gives it the next character's place.
            let is_put_in = token == "▁" && is_space.get(start) == Some(&false);
            let end = if is_put_in { start } else { *end };
            emit(token, Token { id: *id, start: start as u32, end: end as u32 });
        }
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    fn token(&self, id: u32) -> &str {
        let token = self.tokens.get(id as usize).filter(|token| !token.is_empty());
        token.or_else(|| self.tokens.get(self.common.specials.unk as usize)).map_or("", String::as_str)
    }

    fn decode(&self, ids: &[u32]) -> String {
        let text = caught(LIBRARY, || self.tokenizer.decode(ids, true).unwrap_or_default()).unwrap_or_default();
        text.trim().to_string()
    }

    /// As it was read: it is among the files.
    fn tokenizer_json(&self) -> tokenizers::Result<Option<String>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer of two words with a normalizer, and the special tokens that its rows know.
    fn read(normalizer: &str, known: &str) -> Result<HuggingFaceTokenizer> {
        let of = |token: &str, kind: u8| format!(r#"{{"SpecialToken": {{"id": "{token}", "type_id": {kind}}}}}"#);
        let text = |name: &str, kind: u8| format!(r#"{{"Sequence": {{"id": "{name}", "type_id": {kind}}}}}"#);
        let single = [of("[CLS]", 0), text("A", 0), of("[SEP]", 0)].join(", ");
        let pair = [single.clone(), text("B", 1), of("[SEP]", 1)].join(", ");
        let processor = format!(
            r#"{{"type": "TemplateProcessing", "single": [{single}], "pair": [{pair}], "special_tokens": {{{known}}}}}"#
        );
        let model = r###"{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9,
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "b": 6}}"###;
        let json = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {normalizer},
            "pre_tokenizer": {{"type": "BertPreTokenizer"}}, "post_processor": {processor}, "decoder": null, "model": {model}}}"#
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), json).unwrap();
        HuggingFaceTokenizer::from_dir(folder.path())
    }

    const KNOWN: &str = r#""[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
        "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}"#;

    fn ids(tokenizer: &HuggingFaceTokenizer, text: &str) -> Vec<u32> {
        tokenizer.ids(text).iter().map(|token| token.id).collect()
    }

    /// Fuzzing found each of these: the crate panics.
    #[test]
    fn what_the_crate_cannot_cope_with_is_an_error() {
        assert_eq!(ids(&read("null", KNOWN).unwrap(), "a b q"), [5, 6, 1]);
        let message = |normalizer, known| read(normalizer, known).unwrap_err().to_string();
        let without_table = message(r#"{"type": "Precompiled"}"#, KNOWN);
        assert!(without_table.ends_with("the library `tokenizers` cannot cope with it"), "{without_table}");
        // A table whose first place leads out of it.
        let out = message(r#"{"type": "Precompiled", "precompiled_charsmap": "BAAAAAD8//9hAA=="}"#, KNOWN);
        assert!(out.ends_with("cannot be read: the library `tokenizers` cannot cope with it"), "{out}");
        assert!(message("null", "").contains("its rows are not"), "{}", message("null", ""));
    }

    /// A table of characters that only the letter q leads out of.
    #[test]
    fn a_text_that_the_crate_cannot_cope_with_has_no_tokens() {
        let table = ["AAQA", &"AAAA".repeat(151), "cf3/fwAA", &"AAAA".repeat(189), "AA=="].concat();
        let normalizer = format!(r#"{{"type": "Precompiled", "precompiled_charsmap": "{table}"}}"#);
        let tokenizer = read(&normalizer, KNOWN).unwrap();
        assert_eq!(ids(&tokenizer, "a b"), [5, 6]);
        assert_eq!(ids(&tokenizer, "a q"), [0; 0]);
    }
}
