//! Tokenised rows on their way to a device, as Burn data loaders.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::{Dataset, DatasetError};
use burn::tensor::{Device, Tensor, TensorData};

use super::align::IGNORED;
use super::order::{Order, cut_by_length};
use super::tokens::{Target, TokenCache, TokenRow, cache_key};
use crate::models::{EncoderInput, InputRow, Padding};
use crate::recipe::Recipe;
use crate::tasks::{Batch, Input, Labels, Tagging};
use crate::tokenize::Tokenizer;

/// Several tokenised files as one data set, one after the other.
pub struct TokenRows {
    parts: Vec<Arc<TokenCache>>,
    /// Rows before each part.
    offsets: Vec<usize>,
    rows: usize,
}

impl TokenRows {
    pub fn new(parts: Vec<Arc<TokenCache>>) -> Self {
        let mut offsets = Vec::new();
        let mut rows = 0;
        for part in &parts {
            offsets.push(rows);
            rows += part.len();
        }
        Self { parts, offsets, rows }
    }

    /// What the rows are: the same for the same files, read and cut alike.
    pub fn fingerprint(&self) -> String {
        let parts: Vec<String> =
            self.parts.iter().map(|part| format!("{} {}", part.info.sha256, part.info.rows)).collect();
        cache_key(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The part a row is of, and its number there.
    pub fn locate(&self, row: usize) -> (usize, usize) {
        let part = self.offsets.partition_point(|&offset| offset <= row) - 1;
        (part, row - self.offsets[part])
    }

    /// Tokens of a row.
    pub fn length(&self, row: usize) -> usize {
        let (part, row) = self.locate(row);
        self.parts[part].length(row)
    }

    /// Whether all words of tagged rows are single characters. None are there in other rows.
    pub fn has_characters_as_words(&self) -> bool {
        let mut counts = self.parts.iter().map(|part| part.info.words);
        counts.clone().any(|words| words.all > 0) && counts.all(|words| words.long == 0)
    }

    /// Where a row was read: `file:line`, for messages.
    pub fn place(&self, row: usize) -> String {
        let (part, row) = self.locate(row);
        let line = self.parts[part].get(row).map_or(0, |row| row.line);
        format!("{}:{line}", self.parts[part].info.source.display())
    }
}

impl Dataset<TokenRow> for TokenRows {
    fn get(&self, index: usize) -> Result<TokenRow, DatasetError> {
        let (part, row) = self.locate(index);
        self.parts[part].get(row)
    }

    fn len(&self) -> usize {
        self.rows
    }
}

/// How rows become a batch.
#[derive(Debug, Clone, Copy)]
pub struct RowForm {
    /// How they are made equally long.
    pub padding: Padding,
    /// Whether a row's tags are learnt together, as one label, by a CRF.
    pub whole_rows: bool,
}

impl RowForm {
    /// Rows with a label each, or a label for each of their tokens.
    pub fn plain(padding: Padding) -> Self {
        Self { padding, whole_rows: false }
    }

    /// What a recipe's task needs.
    pub fn of(recipe: &Recipe, tokenizer: &Tokenizer) -> Self {
        let padding = tokenizer.padding(recipe.data.max_seq_length);
        Self { padding, whole_rows: Tagging::from(&recipe.task).crf }
    }
}

/// Makes rows equally long and puts them on `device`.
fn collate(data: &TokenRows, rows: Vec<usize>, form: RowForm, device: &Device) -> Result<Batch, DatasetError> {
    let found: Vec<TokenRow> = rows.iter().map(|&row| data.get(row)).collect::<Result<_, _>>()?;
    let input_rows: Vec<InputRow> =
        found.iter().map(|row| InputRow { ids: &row.ids, first: row.first as usize }).collect();
    let input = EncoderInput::from_rows(&input_rows, form.padding, 0, device);
    let (labels, weight) = match form.whole_rows {
        true => rows_of_tags(&found, device),
        false => labels(&found, &input, device),
    };
    Ok(Batch {
        tokens: found.iter().map(|row| row.ids.len()).sum(),
        input: Input::Tokens(input),
        labels,
        generate: None,
        scale: 1.0 / weight.max(1) as f64,
        weight,
        order_weight: 0,
        order_scale: 0.0,
        rows,
    })
}

/// The labels of rows of one kind, made as long as their `input`, and how many of them count.
fn labels(rows: &[TokenRow], input: &EncoderInput, device: &Device) -> (Labels, usize) {
    let width = input.input_ids.dims()[1];
    let (mut classes, mut tokens): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut starts, mut ends): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    for (number, row) in rows.iter().enumerate() {
        match &row.target {
            Target::Class(class) => classes.push(i64::from(*class)),
            Target::Tags(tags) => {
                tokens.extend(tags.labels.iter().map(|label| i64::from(*label)));
                tokens.resize((number + 1) * width, i64::from(IGNORED));
            }
            Target::Span(span) => {
                starts.push(i64::from(span.answer[0]));
                ends.push(i64::from(span.answer[1]));
            }
        }
    }
    // A window's start and end count together.
    let weight = classes.iter().chain(&tokens).chain(&starts).filter(|label| **label >= 0).count();
    let each = |labels: Vec<i64>| Tensor::from_data(TensorData::new(labels, [rows.len()]), device);
    let labels = match (tokens.is_empty(), starts.is_empty()) {
        (true, true) => Labels::Classes(each(classes)),
        (true, false) => Labels::Spans { first: each(starts), last: each(ends), among: input.attention_mask.clone() },
        (false, _) => Labels::Tokens(Tensor::from_data(TensorData::new(tokens, [rows.len(), width]), device)),
    };
    (labels, weight)
}

/// The tags of each row's words as one label, and how many rows have words that are seen.
fn rows_of_tags(rows: &[TokenRow], device: &Device) -> (Labels, usize) {
    let seen = rows.iter().map(|row| match &row.target {
        Target::Tags(tags) => {
            let words = tags.starts.iter().zip(&tags.gold);
            words.filter_map(|(start, tag)| Some((i64::from((*start)?), i64::from(*tag)))).collect()
        }
        Target::Class(_) | Target::Span(_) => Vec::new(),
    });
    let seen: Vec<Vec<(i64, i64)>> = seen.collect();
    let lengths: Vec<usize> = seen.iter().map(Vec::len).collect();
    let width = lengths.iter().copied().max().unwrap_or(0).max(1);
    let padded = seen.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat((0, 0))).take(width));
    let (places, classes): (Vec<i64>, Vec<i64>) = padded.unzip();
    let tensor = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, [rows.len(), width]), device);
    let weight = lengths.iter().filter(|length| **length > 0).count();
    (Labels::Rows { places: tensor(places), classes: tensor(classes), lengths }, weight)
}

/// How a training step's rows are cut into micro-batches.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Rows that a micro-batch may hold: the recipe's batch size.
    pub batch_size: usize,
    /// What a micro-batch costs beside its tokens, in tokens; `None` keeps the order of the rows and pads all alike.
    pub overhead: Option<usize>,
}

/// The steps of a whole run; an item is one optimizer step, as its micro-batches.
#[derive(Clone)]
pub struct StepLoader {
    data: Arc<TokenRows>,
    order: Order,
    cut: Cut,
    form: RowForm,
    device: Device,
    /// The steps that it yields, counted from the beginning of the run.
    steps: std::ops::Range<u64>,
}

impl StepLoader {
    /// A loader of the steps `0..total`.
    pub fn new(data: Arc<TokenRows>, order: Order, cut: Cut, form: RowForm, device: Device, total: u64) -> Self {
        Self { data, order, cut, form, device, steps: 0..total }
    }

    fn load(&self, permutation: &[u32], step: u64) -> Result<Vec<Batch>, DatasetError> {
        let rows: Vec<usize> = self.order.step(permutation, step).iter().map(|&row| row as usize).collect();
        let cuts: Vec<Vec<usize>> = match self.cut.overhead {
            Some(overhead) => {
                let lengths: Vec<usize> = rows.iter().map(|&row| self.data.length(row)).collect();
                cut_by_length(&lengths, self.cut.batch_size, overhead)
                    .into_iter()
                    .map(|batch| batch.into_iter().map(|i| rows[i]).collect())
                    .collect()
            }
            None => rows.chunks(self.cut.batch_size).map(<[usize]>::to_vec).collect(),
        };
        let mut batches: Vec<Batch> = cuts
            .into_iter()
            .map(|rows| collate(&self.data, rows, self.form, &self.device))
            .collect::<Result<_, _>>()?;
        let weight: usize = batches.iter().map(|batch| batch.weight).sum();
        for batch in &mut batches {
            batch.scale = 1.0 / weight.max(1) as f64;
        }
        Ok(batches)
    }
}

impl DataLoader<Vec<Batch>> for StepLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Vec<Batch>> + 'a> {
        Box::new(Steps { loader: self, next: self.steps.start, epoch: None })
    }

    fn num_items(&self) -> usize {
        (self.steps.end - self.steps.start) as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Vec<Batch>>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    /// Seeks: `start` and `end` count steps from the first of this loader's.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Vec<Batch>>> {
        let first = self.steps.start;
        let steps = (first + start as u64).min(self.steps.end)..(first + end as u64).min(self.steps.end);
        Arc::new(Self { steps, ..self.clone() })
    }
}

struct Steps<'a> {
    loader: &'a StepLoader,
    next: u64,
    /// The epoch at hand and its permutation.
    epoch: Option<(u64, Vec<u32>)>,
}

impl Iterator for Steps<'_> {
    type Item = Result<Vec<Batch>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.loader.steps.end {
            return None;
        }
        let order = self.loader.order;
        let epoch = self.next / order.steps_per_epoch();
        let step = self.next % order.steps_per_epoch();
        self.next += 1;
        if self.epoch.as_ref().is_none_or(|(held, _)| *held != epoch) {
            self.epoch = Some((epoch, order.permutation(epoch)));
        }
        let (_, permutation) = self.epoch.as_ref()?;
        Some(self.loader.load(permutation, step))
    }
}

impl DataLoaderIterator<Vec<Batch>> for Steps<'_> {
    fn progress(&self) -> Progress {
        let steps = &self.loader.steps;
        Progress::new((self.next - steps.start) as usize, (steps.end - steps.start) as usize, Some("steps".into()))
    }
}

/// All rows of a data set once, the longest first, for evaluation and prediction.
#[derive(Clone)]
pub struct EvalLoader {
    data: Arc<TokenRows>,
    /// Rows by falling length; the results are counts, so their order does not matter.
    rows: Arc<Vec<usize>>,
    batch_size: usize,
    form: RowForm,
    device: Device,
}

impl EvalLoader {
    pub fn new(data: Arc<TokenRows>, batch_size: usize, form: RowForm, device: Device) -> Self {
        let mut rows: Vec<usize> = (0..data.len()).collect();
        // One part after the other: a batch holds rows of one language.
        rows.sort_by_key(|&row| (data.locate(row).0, std::cmp::Reverse(data.length(row))));
        Self { data, rows: Arc::new(rows), batch_size, form, device }
    }

    /// Where a batch beginning at `start` ends: full, or at the end of its part.
    fn end(&self, start: usize) -> usize {
        let part = self.data.locate(self.rows[start]).0;
        let full = (start + self.batch_size).min(self.rows.len());
        start + self.rows[start..full].partition_point(|&row| self.data.locate(row).0 == part)
    }
}

impl DataLoader<Batch> for EvalLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(Batches { loader: self, next: 0 })
    }

    fn num_items(&self) -> usize {
        self.rows.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        let end = end.min(self.rows.len());
        let rows = Arc::new(self.rows[start.min(end)..end].to_vec());
        Arc::new(Self { rows, ..self.clone() })
    }
}

struct Batches<'a> {
    loader: &'a EvalLoader,
    next: usize,
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.loader.rows.len() {
            return None;
        }
        let end = self.loader.end(self.next);
        let rows = self.loader.rows[self.next..end].to_vec();
        self.next = end;
        Some(collate(&self.loader.data, rows, self.loader.form, &self.loader.device))
    }
}

impl DataLoaderIterator<Batch> for Batches<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.next, self.loader.rows.len(), Some("rows".into()))
    }
}
