//! Tasks on rows of a data set: how rows become batches, and how a model that was trained on them predicts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;

use super::batch::{Batch, LossTerm};
use super::model::{TaskBatch, TaskHead, TaskModel};
use super::scorer::NewScorer;
use crate::data::card::{Card, RowKind, Split};
use crate::data::find::{Found, FoundFile, find};
use crate::data::read::{ReadOptions, Rows, sha256_of};
use crate::data::{
    BlockRows, InputRow, Loader, StepSource, TokenCache, TokenInfo, TokenRow, TokenRows, WordCounts, cache_key, pad,
    source_index,
};
use crate::error::{Problem, Result};
use crate::lines::RowError;
use crate::models::EncoderInput;
use crate::recipe::Data;
use crate::tokenize::Padding;
use crate::tokenize::Tokenizer;

/// A task on rows of a data set.
pub trait RowTask: TaskHead {
    /// The rows it learns from.
    const ROWS: RowKind;
    /// What predictions are compared with, beside the rows' targets: a set's questions with their answers.
    type Gold: Send + Sync + 'static;
    /// A row of `kiln predict`.
    type Row;

    /// One language of one split: read, and tokenised unless that was done before with the same content.
    ///
    /// # Errors
    /// Rows that cannot be read.
    fn read(data: &RowData, options: &Self::Options, split: Split, language: &str) -> Result<Tokenised<Self::Gold>>;

    /// What the options have to say of the rows that the model was trained on.
    fn options_for(options: Self::Options, _data: &TokenRows) -> Self::Options {
        options
    }

    /// The labels of rows, made as long as their `input`, and how many of them count.
    fn labels(options: &Self::Options, rows: &[TokenRow], input: &EncoderInput) -> (Self::Labels, usize);

    /// What makes a counter of a set's predictions for an evaluation, given the card of the labels and the set's gold.
    ///
    /// # Errors
    /// Labels that do not say what is to be counted.
    fn scorer(
        options: &Self::Options,
        card: &Card,
        rows: &Arc<TokenRows>,
        gold: Self::Gold,
    ) -> Result<NewScorer<TaskModel<Self>>>;

    /// Opens the rows to predict; `-` is standard input.
    ///
    /// # Errors
    /// A file that cannot be opened.
    fn open_rows(file: &Path, options: &Self::Options) -> Result<InputRows<Self::Row>>;

    /// What has to hold before a model predicts.
    ///
    /// # Errors
    /// Options that do not fit the model.
    fn check_predictor(_predictor: &Predictor<Self>) -> Result<()> {
        Ok(())
    }

    /// A line of JSON for each row, in their order.
    fn predict(predictor: &Predictor<Self>, rows: &[Self::Row]) -> Vec<Value>;
}

/// One language of one split.
pub struct Tokenised<G> {
    pub rows: Arc<TokenCache>,
    /// What predictions are compared with.
    pub gold: G,
    /// For the log, where the languages come in their order: they are read side by side.
    pub remarks: Vec<Remark>,
}

/// Something to say of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    Count(String),
    Warning(String),
}

impl Remark {
    pub fn log(&self) {
        match self {
            Self::Count(text) => tracing::info!("{text}"),
            Self::Warning(text) => tracing::warn!("{text}"),
        }
    }
}

/// Rows of `kiln predict`.
pub type InputRows<R> = Box<dyn Iterator<Item = std::result::Result<R, RowError>>>;

/// What all splits of a run are read and tokenised with.
pub struct RowData<'a> {
    pub card: &'a Card,
    pub data: &'a Data,
    pub tokenizer: &'a Tokenizer,
    /// What decides what the tokenizer makes of a row.
    rules: String,
    /// Where tokenised rows are kept.
    cache: Option<PathBuf>,
}

/// A language of a split, and how its rows are made.
pub struct Part<'a> {
    pub split: Split,
    pub language: &'a str,
    /// What decides its rows beside the file, the card, the tokenizer and the longest length.
    pub given: String,
    /// Whether a row of the longest length may have been cut.
    pub truncates: bool,
}

impl<'a> RowData<'a> {
    pub fn new(card: &'a Card, data: &'a Data, tokenizer: &'a Tokenizer) -> Self {
        let cache = data.cache.clone().or_else(|| Some(dirs::cache_dir()?.join("kiln").join("tokens")));
        Self { card, data, tokenizer, rules: tokenizer.fingerprint(), cache }
    }

    /// How a split is read.
    pub fn read_options(&self, split: Split) -> ReadOptions {
        let data = self.data;
        let max_rows = if split == Split::Train { data.max_train_rows } else { data.max_eval_rows };
        ReadOptions { bad_rows: data.bad_rows, empty_text: data.empty_text, max_rows }
    }

    /// What `tokenise` makes of the rows that `read` gives, or made of them before: then the file is not even read.
    ///
    /// # Errors
    /// As `read`; the cache cannot be laid out.
    pub fn tokenised<R>(
        &self,
        part: &Part,
        read: impl FnOnce() -> Result<Rows<R>>,
        tokenise: impl Fn(&[R]) -> (Vec<TokenRow>, WordCounts),
    ) -> Result<Tokenised<()>> {
        let found = find(self.card, &self.data.root, part.split, part.language)?;
        let (rows, unexpected) = match self.unread(part, &found) {
            Some(known) => known,
            None => {
                let read = read()?;
                (self.made_of(part, &found, &read, tokenise)?, read.unexpected)
            }
        };
        let remarks = remarks(&rows.info, unexpected.as_ref());
        Ok(Tokenised { rows, gold: (), remarks })
    }

    /// [`Self::tokenised`] of rows that have been read.
    ///
    /// # Errors
    /// The cache cannot be laid out.
    pub fn tokenised_of<R>(
        &self,
        part: &Part,
        read: Rows<R>,
        tokenise: impl Fn(&[R]) -> (Vec<TokenRow>, WordCounts),
    ) -> Result<Tokenised<Vec<R>>> {
        let found = find(self.card, &self.data.root, part.split, part.language)?;
        let rows = self.made_of(part, &found, &read, tokenise)?;
        let remarks = remarks(&rows.info, read.unexpected.as_ref());
        Ok(Tokenised { rows, gold: read.rows, remarks })
    }

    /// The rows of files whose content is known, and a warning if it is not what the card expects.
    fn unread(&self, part: &Part, found: &Found) -> Option<(Arc<TokenCache>, Option<Problem>)> {
        let folder = self.cache.as_deref()?;
        let known = |file: &FoundFile| source_index::sha256_of(folder, &file.path);
        let hashes = found.files.iter().map(known).collect::<Option<Vec<_>>>()?;
        let rows = TokenCache::open(folder, &self.key(part, found, &sha256_of(&hashes)))?;
        let unexpected = found.files.iter().zip(&hashes).find_map(|(file, hash)| file.check_hash(self.card, hash));
        Some((Arc::new(rows), unexpected))
    }

    fn made_of<R>(
        &self,
        part: &Part,
        found: &Found,
        read: &Rows<R>,
        tokenise: impl Fn(&[R]) -> (Vec<TokenRow>, WordCounts),
    ) -> Result<Arc<TokenCache>> {
        let folder = self.cache.as_deref();
        let key = self.key(part, found, &read.sha256);
        let rows = match folder.and_then(|folder| TokenCache::open(folder, &key)) {
            Some(rows) => rows,
            None => {
                let (rows, words) = tokenise(&read.rows);
                let max_length = self.data.max_seq_length;
                let is_cut = |row: &&TokenRow| part.truncates && row.ids.len() >= max_length;
                let info = TokenInfo {
                    source: read.file.clone(),
                    sha256: read.sha256.clone(),
                    shards: shards(read),
                    rows: rows.len(),
                    skipped: read.skipped_count,
                    left_out: read.skipped.iter().map(ToString::to_string).collect(),
                    empty: read.empty,
                    truncated: rows.iter().filter(is_cut).count(),
                    words,
                };
                TokenCache::create(folder, &key, info, &rows)?
            }
        };
        for file in &read.files {
            if let (Some(folder), Some(stamp)) = (folder, file.stamp) {
                source_index::keep(folder, &file.path, stamp, &file.sha256);
            }
        }
        Ok(Arc::new(rows))
    }

    /// Of all that decides which rows there are, and which tokens.
    fn key(&self, part: &Part, found: &Found, sha256: &str) -> String {
        cache_key(&[
            sha256,
            &self.rules,
            &self.data.max_seq_length.to_string(),
            &part.given,
            &found.path.display().to_string(),
            &format!("{:?}", found.source.layout),
            &format!("{:?}", self.card.labels),
        ])
    }
}

/// Several files, each with the lines before it; none of a single one.
fn shards<R>(read: &Rows<R>) -> Vec<(PathBuf, u32)> {
    match read.files.as_slice() {
        [_] => Vec::new(),
        files => files.iter().map(|file| (file.path.clone(), file.lines_before)).collect(),
    }
}

/// What is to be said of a file that was read now or before.
fn remarks(info: &TokenInfo, unexpected: Option<&Problem>) -> Vec<Remark> {
    let unexpected = unexpected.map(ToString::to_string).into_iter();
    let left_out = info.left_out.iter().map(|problem| format!("left out: {problem}"));
    unexpected.chain(left_out).map(Remark::Warning).collect()
}

/// Makes rows equally long and puts them on `device`, with their labels. `is_packed` is whether the model leaves the padding out again.
///
/// # Errors
/// The file of a row was damaged after it was opened.
pub fn collate<T: RowTask>(
    data: &TokenRows,
    BlockRows { block, rows }: BlockRows,
    options: &T::Options,
    padding: Padding,
    is_packed: bool,
    device: &Device,
) -> Result<TaskBatch<T>> {
    let found = data.rows(&rows)?;
    let inputs: Vec<InputRow> = found.iter().map(|row| InputRow { ids: &row.ids, first: row.first as usize }).collect();
    let input = pad(&inputs, padding, 0, device);
    let (labels, weight) = T::labels(options, &found, &input);
    let tokens = found.iter().map(|row| row.ids.len()).sum();
    Ok(Batch {
        tokens,
        padded_tokens: if is_packed { tokens } else { input.input_ids.dims().iter().product() },
        input,
        labels,
        terms: vec![LossTerm::mean("loss", weight)],
        rows,
        block,
    })
}

/// The steps of a run or of an evaluation, each as its batches; `is_packed` is as [`collate`] has it.
pub fn loader<T: RowTask, S: StepSource<Step = Vec<BlockRows>>>(
    steps: S,
    data: Arc<TokenRows>,
    options: T::Options,
    padding: Padding,
    is_packed: bool,
    device: Device,
) -> Loader<S, Vec<TaskBatch<T>>> {
    Loader::new(Arc::new(steps), device, move |batches, device| {
        let batches = batches.into_iter().map(|rows| collate::<T>(&data, rows, &options, padding, is_packed, device));
        batches.collect::<Result<Vec<_>>>()
    })
}

/// A model with what brings rows to it.
pub struct Predictor<T: RowTask> {
    pub model: TaskModel<T>,
    pub options: T::Options,
    pub labels: Vec<String>,
    pub tokenizer: Tokenizer,
    /// Ids of the longest row.
    pub max_length: usize,
    pub device: Device,
}

/// Rows that go through a model at once.
const BATCH: usize = 32;

impl<T: RowTask> Predictor<T> {
    /// What `read` makes of the logits of each batch, given the numbers of its rows, in the order of the rows.
    pub fn each<R>(&self, rows: &[InputRow], read: impl Fn(T::Logits, &[usize]) -> Vec<R>) -> Vec<R> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| rows[row].ids.len());
        let mut all: Vec<(usize, R)> = Vec::with_capacity(rows.len());
        for batch in order.chunks(BATCH) {
            let batch_rows: Vec<InputRow> = batch.iter().map(|&row| rows[row]).collect();
            let padding = self.tokenizer.padding(self.max_length);
            let input = pad(&batch_rows, padding, 0, &self.device);
            all.extend(batch.iter().copied().zip(read(self.model.logits(&input), batch)));
        }
        all.sort_by_key(|(row, _)| *row);
        all.into_iter().map(|(_, found)| found).collect()
    }
}

/// To six places: further digits of an f32 say nothing.
pub(super) fn rounded(number: f32) -> f64 {
    (f64::from(number) * 1e6).round() / 1e6
}

/// Whole numbers, such as a label for each row, `[numbers]`.
pub(super) fn integers(labels: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::from(labels.as_slice()), device)
}
