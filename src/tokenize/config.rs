//! `tokenizer_config.json`, and the special tokens it names.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Problem, Result};

/// The key of the longest row.
pub const MAX_LENGTH: &str = "model_max_length";
const FILE: &str = "tokenizer_config.json";
/// The key for a class of PaddleNLP's, and of Kiln's.
const PADDLE_CLASS: &str = "init_class";
/// The keys that name the special tokens, and what BERT's are without the file.
const SPECIAL_KEYS: [&str; 5] = ["cls_token", "pad_token", "sep_token", "unk_token", "mask_token"];
/// What may stand under a key that picks one of two libraries' ways.
pub const LIBRARIES: &str = "\"paddlenlp\" or \"huggingface\"";
pub const BERT_SPECIALS: [&str; 5] = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"];

/// The file as it was read; empty if there is none.
#[derive(Debug)]
pub struct TokenizerConfig {
    file: PathBuf,
    values: Map<String, Value>,
}

/// Ids of the special tokens; `texts` has all five with their ids.
#[derive(Debug)]
pub struct Specials {
    pub cls: u32,
    pub pad: u32,
    pub sep: u32,
    pub unk: u32,
    pub mask: u32,
    pub texts: Vec<(String, u32)>,
}

impl TokenizerConfig {
    /// Reads the file of `dir`, which may be missing.
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join(FILE);
        let values = if file.exists() {
            let data = std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause))?;
            parse(&data, &file)?
        } else {
            Map::new()
        };
        Ok(Self { file, values })
    }

    /// The class of the tokenizer, of either library: `init_class`, which PaddleNLP looks at first, or `tokenizer_class`, which may name
    /// the reader of `tokenizer.json`.
    pub fn class(&self) -> Result<Option<String>> {
        let right = "the name of a class, such as \"BertTokenizer\"";
        Ok(self.value(PADDLE_CLASS, right)?.or(self.value("tokenizer_class", right)?))
    }

    /// Whether texts are lower-cased; not, if the file says nothing.
    pub fn lower_case(&self) -> Result<bool> {
        Ok(self.value("do_lower_case", "true or false")?.unwrap_or(false))
    }

    /// `model_max_length`, where it is a length: transformers writes 1e30 for "none".
    pub fn max_length(&self) -> Option<usize> {
        usize::try_from(self.values.get(MAX_LENGTH)?.as_u64()?).ok()
    }

    /// What stands under `key`, if anything does; `right` says what may stand there.
    pub fn value<T: DeserializeOwned>(&self, key: &str, right: &str) -> Result<Option<T>> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| self.problem(key, value, right)),
        }
    }

    /// Finds the special tokens, whatever their ids are. `file` has the tokens, `what` it is and `help` are for the message
    /// where one is missing, `usual` are those that this file does not name, and `id` gives the id of a token.
    pub fn specials(
        &self,
        file: &Path,
        what: &str,
        usual: [&'static str; 5],
        help: &str,
        id: impl Fn(&str) -> Option<u32>,
    ) -> Result<Specials> {
        let mut texts = Vec::with_capacity(SPECIAL_KEYS.len());
        let mut missing = Vec::new();
        for (key, default) in SPECIAL_KEYS.into_iter().zip(usual) {
            let text = self.special_text(key)?.unwrap_or(default);
            match id(text) {
                Some(id) => texts.push((text.to_string(), id)),
                None => missing.push(text),
            }
        }
        let &[(_, cls), (_, pad), (_, sep), (_, unk), (_, mask)] = texts.as_slice() else {
            let what = format!("{what} has no {}", missing.join(", no "));
            return Err(Problem::new(what).in_file(file).help(help).into());
        };
        Ok(Specials { cls, pad, sep, unk, mask, texts })
    }

    /// A special token: a string, or an object whose `content` is one.
    fn special_text(&self, key: &str) -> Result<Option<&str>> {
        let value = match self.values.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(token)) => token.get("content").unwrap_or(&Value::Null),
            Some(value) => value,
        };
        match value.as_str() {
            Some(text) if !text.is_empty() => Ok(Some(text)),
            _ => Err(self.problem(key, value, "a token, such as \"[CLS]\"")),
        }
    }

    /// Writes the file to `dir`: what it held before, the name of the tokenizer's `class` and of what `reads` it in transformers,
    /// `options`, the longest row, and the special tokens.
    pub fn save(
        &self,
        dir: &Path,
        (class, reads): (&str, &str),
        specials: &Specials,
        options: &[(&str, Value)],
        max_length: usize,
    ) -> Result<()> {
        let mut values = self.values.clone();
        values.insert("tokenizer_class".into(), reads.into());
        match class == reads {
            true => values.shift_remove(PADDLE_CLASS),
            false => values.insert(PADDLE_CLASS.into(), class.into()),
        };
        values.extend(options.iter().map(|(key, value)| (key.to_string(), value.clone())));
        values.insert(MAX_LENGTH.into(), max_length.into());
        let texts = specials.texts.iter().map(|(text, _)| Value::from(text.as_str()));
        values.extend(SPECIAL_KEYS.map(String::from).into_iter().zip(texts));
        write(&dir.join(FILE), format!("{:#}\n", Value::Object(values)).as_bytes())
    }

    /// A value that cannot be under `key`; `right` says what may stand there.
    pub fn problem(&self, key: &str, value: &Value, right: &str) -> Error {
        let problem = Problem::new(format!("{key} cannot be {value}")).in_file(&self.file);
        problem.help(format!("{key} is {right}")).into()
    }
}

impl Specials {
    /// Whether `id` is one of them.
    pub fn contains(&self, id: u32) -> bool {
        self.texts.iter().any(|(_, special)| *special == id)
    }
}

/// Writes one of a tokenizer's files.
pub fn write(file: &Path, data: &[u8]) -> Result<()> {
    std::fs::write(file, data).map_err(|cause| Error::writing(file, &cause))
}

fn parse(data: &[u8], file: &Path) -> Result<Map<String, Value>> {
    serde_json::from_slice(data).map_err(|cause| {
        // serde_json counts lines from 1, and says line 0 if there is no place.
        let place = cause.line().max(1);
        Problem::new(format!("not a tokenizer configuration: {cause}"))
            .at(file, place, Some(cause.column().max(1)))
            .into()
    })
}
