//! The files of an ERNIE-M tokenizer, and whether they belong together.

use std::path::{Path, PathBuf};

use crate::error::{Error, Problem, Result};
use crate::tokenize::PieceSplitting;
use crate::tokenize::config::{BERT_SPECIALS, Specials, TokenizerConfig, write};
use crate::tokenize::sentencepiece::{PieceKind, SentencePiece};
use crate::tokenize::vocab::Vocab;

pub(in crate::tokenize) const MODEL_FILE: &str = "sentencepiece.bpe.model";
pub(in crate::tokenize) const VOCAB_FILE: &str = "vocab.txt";
/// The key of the config file that says how pieces are split; only Kiln reads it.
const SPLITTING_KEY: &str = "piece_splitting";

/// The files as they were read.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
    pub model_data: Vec<u8>,
    pub vocab_data: Vec<u8>,
    pub config: TokenizerConfig,
}

impl Files {
    /// Reads what is in `dir`; the config file may be missing.
    pub fn read(dir: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = dir.join(name);
            std::fs::read(&file).map_err(|cause| Error::reading(&file, &cause))
        };
        let config = TokenizerConfig::read(dir)?;
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

    /// How pieces are split, if the config file says so.
    pub fn splitting(&self) -> Result<Option<PieceSplitting>> {
        self.config.value(SPLITTING_KEY, "\"paddlenlp\" or \"huggingface\"")
    }

    /// Finds the special tokens in the vocabulary.
    pub fn specials(&self, vocab: &Vocab) -> Result<Specials> {
        let help = "ERNIE-M's vocab.txt holds [CLS], [PAD], [SEP], [UNK] and [MASK]; other names stand in tokenizer_config.json";
        self.config.specials(&self.dir.join(VOCAB_FILE), "the vocabulary", BERT_SPECIALS, help, |text| vocab.id(text))
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

    /// Writes the two files byte for byte, and the config file with what it held before and these options.
    pub fn save(
        &self,
        dir: &Path,
        specials: &Specials,
        lower_case: bool,
        splitting: PieceSplitting,
        max_length: usize,
    ) -> Result<()> {
        let options = [
            ("do_lower_case", lower_case.into()),
            (SPLITTING_KEY, splitting.word().into()),
            ("model_max_length", max_length.into()),
        ];
        self.config.save(dir, "ErnieMTokenizer", specials, &options)?;
        write(&dir.join(MODEL_FILE), &self.model_data)?;
        write(&dir.join(VOCAB_FILE), &self.vocab_data)
    }
}
