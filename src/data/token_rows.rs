//! Tokenised files as one data set, and their rows as the steps of a run or of an evaluation.

use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError};

use super::compact_vocabulary::CompactVocabulary;
use super::loader::StepSource;
use super::order::{Order, bucket_by_length};
use super::tokens::{TokenCache, TokenRow, cache_key};
use crate::error::{Error, Problem, Result};
use crate::ranks::Place;

/// Several tokenised files as one data set, one after the other.
pub struct TokenRows {
    parts: Vec<Arc<TokenCache>>,
    /// Rows before each part.
    offsets: Vec<usize>,
    rows: usize,
    /// How the tokens are numbered, if not as in the files.
    vocabulary: Option<Arc<CompactVocabulary>>,
}

impl TokenRows {
    pub fn new(parts: Vec<Arc<TokenCache>>) -> Self {
        let mut offsets = Vec::new();
        let mut rows = 0;
        for part in &parts {
            offsets.push(rows);
            rows += part.len();
        }
        Self { parts, offsets, rows, vocabulary: None }
    }

    /// The same rows with the tokens' numbers in a vocabulary that has all of them.
    pub fn numbered(self, vocabulary: Option<Arc<CompactVocabulary>>) -> Self {
        Self { vocabulary, ..self }
    }

    /// The ids that the rows have in the files; some may come again.
    pub fn met(&self) -> impl Iterator<Item = u32> + '_ {
        self.parts.iter().flat_map(|part| part.met())
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
        self.parts[part].info.place(line)
    }

    /// The rows with these numbers.
    ///
    /// # Errors
    /// The file of a row was damaged after it was opened.
    pub fn rows(&self, numbers: &[usize]) -> Result<Vec<TokenRow>> {
        let damaged = |cause: DatasetError| Error::run(Problem::new(cause.to_string()));
        numbers.iter().map(|&row| self.get(row).map_err(damaged)).collect()
    }
}

impl Dataset<TokenRow> for TokenRows {
    fn get(&self, index: usize) -> std::result::Result<TokenRow, DatasetError> {
        let (part, row) = self.locate(index);
        let mut row = self.parts[part].get(row)?;
        if let Some(vocabulary) = &self.vocabulary {
            row.ids.iter_mut().for_each(|id| *id = vocabulary.number(*id));
        }
        Ok(row)
    }

    fn len(&self) -> usize {
        self.rows
    }
}

/// How a training step's rows are cut into batches.
#[derive(Debug, Clone, Copy)]
pub struct MicroBatching {
    /// Rows of a block: the recipe's batch size.
    pub batch_size: usize,
    /// What a batch costs beside its tokens, in tokens: a block's rows are cut into batches of like length. `None` keeps the block
    /// whole, and the order of its rows.
    pub overhead: Option<usize>,
}

/// The rows of one batch, and which block of its step they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRows {
    pub block: usize,
    pub rows: Vec<usize>,
}

/// The steps of a training run; one is the rows of each batch of a rank's blocks.
pub struct TrainingSteps {
    pub data: Arc<TokenRows>,
    pub order: Order,
    pub micro_batching: MicroBatching,
    pub total: u64,
    pub place: Place,
}

impl TrainingSteps {
    fn batches(&self, rows: &[u32]) -> Vec<BlockRows> {
        let blocks: Vec<&[u32]> = rows.chunks(self.micro_batching.batch_size).collect();
        let own = self.place.blocks(blocks.len());
        own.flat_map(|block| self.cut(blocks[block]).into_iter().map(move |rows| BlockRows { block, rows })).collect()
    }

    /// The batches of a block's rows.
    fn cut(&self, rows: &[u32]) -> Vec<Vec<usize>> {
        let rows: Vec<usize> = rows.iter().map(|&row| row as usize).collect();
        let MicroBatching { batch_size, overhead } = self.micro_batching;
        let Some(overhead) = overhead else { return vec![rows] };
        let lengths: Vec<usize> = rows.iter().map(|&row| self.data.length(row)).collect();
        let buckets = bucket_by_length(&lengths, batch_size, overhead).into_iter();
        buckets.map(|bucket| bucket.into_iter().map(|i| rows[i]).collect()).collect()
    }
}

impl StepSource for TrainingSteps {
    type Step = Vec<BlockRows>;

    fn steps(&self) -> u64 {
        self.total
    }

    fn starting_at(&self, first: u64) -> Box<dyn Iterator<Item = Result<Self::Step>> + '_> {
        let per_epoch = self.order.steps_per_epoch();
        // The epoch at hand and its permutation.
        let mut held: Option<(u64, Vec<u32>)> = None;
        Box::new((first..).map(move |step| {
            let (epoch, step) = (step / per_epoch, step % per_epoch);
            if held.as_ref().is_none_or(|(of, _)| *of != epoch) {
                held = Some((epoch, self.order.permutation(epoch)));
            }
            let permutation = held.as_ref().map_or(&[][..], |(_, permutation)| permutation);
            Ok(self.batches(self.order.step(permutation, step)))
        }))
    }
}

/// All rows of a data set once, the longest of each part first, for evaluation: results are counts, so that the order does not
/// matter. A step is the rows of one batch, all of one part.
#[derive(Default)]
pub struct EvaluationSteps {
    batches: Vec<Vec<usize>>,
}

impl EvaluationSteps {
    pub fn new(data: &TokenRows, batch_size: usize) -> Self {
        let mut rows: Vec<(usize, usize)> = (0..data.len()).map(|row| (data.locate(row).0, row)).collect();
        rows.sort_by_key(|&(part, row)| (part, std::cmp::Reverse(data.length(row))));
        let parts = rows.chunk_by(|(one, _), (other, _)| one == other);
        let batches = parts.flat_map(|part| part.chunks(batch_size));
        Self { batches: batches.map(|batch| batch.iter().map(|(_, row)| *row).collect()).collect() }
    }
}

impl StepSource for EvaluationSteps {
    type Step = Vec<BlockRows>;

    fn steps(&self) -> u64 {
        self.batches.len() as u64
    }

    fn starting_at(&self, first: u64) -> Box<dyn Iterator<Item = Result<Self::Step>> + '_> {
        Box::new(
            self.batches.iter().skip(first as usize).map(|batch| Ok(vec![BlockRows { block: 0, rows: batch.clone() }])),
        )
    }
}
