//! The files of an ERNIE-M tokenizer, and whether they belong together.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Problem, Result};
use crate::recipe::PieceSplitting;
use crate::tokenize::sentencepiece::{PieceKind, SentencePiece};
use crate::tokenize::vocab::Vocab;

const MODEL_FILE: &str = "sentencepiece.bpe.model";
const VOCAB_FILE: &str = "vocab.txt";
const CONFIG_FILE: &str = "tokenizer_config.json";
/// The key of the config file that says how pieces are split; only Kiln reads it.
const SPLITTING_KEY: &str = "piece_splitting";
/// The keys of the config file that name the special tokens, and what they are without it.
const SPECIAL_KEYS: [(&str, &str); 5] = [
    ("cls_token", "[CLS]"),
    ("pad_token", "[PAD]"),
    ("sep_token", "[SEP]"),
    ("unk_token", "[UNK]"),
    ("mask_token", "[MASK]"),
];

/// The files as they were read.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
    pub model_data: Vec<u8>,
    pub vocab_data: Vec<u8>,
    config: Map<String, Value>,
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

impl Files {
    /// Reads what is in `dir`; the config file may be missing.
    pub fn read(dir: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = dir.join(name);
            std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause))
        };
        let config = dir.join(CONFIG_FILE);
        let config = if config.exists() { parse_config(&read(CONFIG_FILE)?, &config)? } else { Map::new() };
        Ok(Self { dir: dir.to_path_buf(), model_data: read(MODEL_FILE)?, vocab_data: read(VOCAB_FILE)?, config })
    }

    /// Parses the SentencePiece model.
    pub fn model(&self) -> Result<SentencePiece> {
        SentencePiece::from_bytes(&self.model_data, &self.dir.join(MODEL_FILE))
    }

    /// Parses the vocabulary.
    pub fn vocab(&self) -> Result<Vocab> {
        Vocab::from_bytes(&self.vocab_data, &self.dir.join(VOCAB_FILE))
    }

    /// Whether texts are lower-cased; not, if the config file says nothing.
    pub fn lower_case(&self) -> Result<bool> {
        match self.config.get("do_lower_case") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(lower_case)) => Ok(*lower_case),
            Some(other) => Err(self.config_problem("do_lower_case", other, "true or false")),
        }
    }

    /// How pieces are split, if the config file says so.
    pub fn splitting(&self) -> Result<Option<PieceSplitting>> {
        let Some(value) = self.config.get(SPLITTING_KEY) else { return Ok(None) };
        let known = [PieceSplitting::PaddleNlp, PieceSplitting::HuggingFace];
        match known.into_iter().find(|splitting| value.as_str() == Some(splitting.word())) {
            Some(splitting) => Ok(Some(splitting)),
            None => Err(self.config_problem(SPLITTING_KEY, value, "\"paddlenlp\" or \"huggingface\"")),
        }
    }

    /// Finds the special tokens in the vocabulary, whatever their ids are.
    pub fn specials(&self, vocab: &Vocab) -> Result<Specials> {
        let mut texts = Vec::with_capacity(SPECIAL_KEYS.len());
        let mut missing = Vec::new();
        for (key, default) in SPECIAL_KEYS {
            let text = self.special_text(key)?.unwrap_or(default);
            match vocab.id(text) {
                Some(id) => texts.push((text.to_string(), id)),
                None => missing.push(text),
            }
        }
        let &[(_, cls), (_, pad), (_, sep), (_, unk), (_, mask)] = texts.as_slice() else {
            let what = format!("the vocabulary has no {}", missing.join(", no "));
            let help = "ERNIE-M's vocab.txt holds [CLS], [PAD], [SEP], [UNK] and [MASK]; other names stand in tokenizer_config.json";
            return Err(Problem::new(what).in_file(&self.dir.join(VOCAB_FILE)).help(help).into());
        };
        Ok(Specials { cls, pad, sep, unk, mask, texts })
    }

    /// A special token of the config file: a string, or an object whose `content` is one.
    fn special_text(&self, key: &str) -> Result<Option<&str>> {
        let value = match self.config.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(token)) => token.get("content").unwrap_or(&Value::Null),
            Some(value) => value,
        };
        match value.as_str() {
            Some(text) if !text.is_empty() => Ok(Some(text)),
            _ => Err(self.config_problem(key, value, "a token, such as \"[CLS]\"")),
        }
    }

    /// Checks that the vocabulary was made from the model. A few pieces without an id are a warning, because texts with
    /// them still work; with more, or with a vocabulary the model hardly uses, the files come from two models.
    pub fn check_fit(&self, model: &SentencePiece, vocab: &Vocab) -> Result<()> {
        let pieces = model.pieces().iter().filter(|p| matches!(p.kind, PieceKind::Normal | PieceKind::UserDefined));
        let pieces: Vec<&str> = pieces.map(|piece| piece.text.as_str()).collect();
        let missing: Vec<&str> = pieces.iter().copied().filter(|piece| vocab.id(piece).is_none()).collect();
        let (file, model_file) = (self.dir.join(VOCAB_FILE), self.dir.join(MODEL_FILE));
        let does_not_fit = |what: String| {
            let help = format!("{} and vocab.txt belong together: take both from one model", model_file.display());
            Err(Problem::new(what).in_file(&file).help(help).into())
        };
        let examples = missing.iter().take(5).map(|piece| format!("{piece:?}")).collect::<Vec<_>>().join(", ");
        if missing.len() * 100 > pieces.len() {
            let (count, all) = (missing.len(), pieces.len());
            return does_not_fit(format!(
                "{count} of the {all} pieces of {MODEL_FILE} are not in the vocabulary (such as {examples})"
            ));
        }
        let found = pieces.len() - missing.len();
        if found * 2 < vocab.len() {
            return does_not_fit(format!(
                "{MODEL_FILE} gives only {found} of the {} tokens of the vocabulary",
                vocab.len()
            ));
        }
        if !missing.is_empty() {
            tracing::warn!(
                "{}: {} pieces of {MODEL_FILE} are not in the vocabulary and become the unknown token: {examples}",
                file.display(),
                missing.len()
            );
        }
        Ok(())
    }

    /// `model_max_length`, where it is a length: transformers writes 1e30 for "none".
    pub fn max_length(&self) -> Option<usize> {
        usize::try_from(self.config.get("model_max_length")?.as_u64()?).ok()
    }

    /// Writes the two files byte for byte, and the config file with what it held before and these options.
    pub fn save(
        &self,
        dir: &Path,
        specials: &Specials,
        lower_case: bool,
        splitting: PieceSplitting,
        max_length: usize,
    ) -> Result<()> {
        let mut config = self.config.clone();
        config.insert("tokenizer_class".into(), "ErnieMTokenizer".into());
        config.insert("do_lower_case".into(), lower_case.into());
        config.insert(SPLITTING_KEY.into(), splitting.word().into());
        config.insert("model_max_length".into(), max_length.into());
        for ((key, _), (text, _)) in SPECIAL_KEYS.iter().zip(&specials.texts) {
            config.insert((*key).into(), text.as_str().into());
        }
        let config = format!("{:#}\n", Value::Object(config));
        let files =
            [(MODEL_FILE, &self.model_data[..]), (VOCAB_FILE, &self.vocab_data), (CONFIG_FILE, config.as_bytes())];
        for (name, data) in files {
            let file = dir.join(name);
            std::fs::write(&file, data).map_err(|cause| Error::writing(&file, &cause))?;
        }
        Ok(())
    }

    fn config_problem(&self, key: &str, value: &Value, right: &str) -> Error {
        let problem = Problem::new(format!("{key} cannot be {value}")).in_file(&self.dir.join(CONFIG_FILE));
        problem.help(format!("{key} is {right}")).into()
    }
}

fn parse_config(data: &[u8], file: &Path) -> Result<Map<String, Value>> {
    serde_json::from_slice(data).map_err(|cause| {
        // serde_json counts lines from 1, and says line 0 if there is no place.
        let place = cause.line().max(1);
        Problem::new(format!("not a tokenizer configuration: {cause}"))
            .at(file, place, Some(cause.column().max(1)))
            .into()
    })
}
