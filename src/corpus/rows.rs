//! Rows of the original ERNIE 1.0 as samples: all files in memory, in a new order each epoch.
//!
//! Sample `e * n + p` of `n` rows is the one at position `p` in the order of epoch `e`. Its row, its mode and its draws follow
//! from that number and the seed, so that a run can go on anywhere. The original shuffles its list of files for each epoch
//! and reads them through; here all rows are shuffled together. Rows to evaluate on keep the order of their files and are
//! masked as in the first epoch.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::knowledge::{KnowledgeReader, KnowledgeRow, file_mode, read_file_list};
use super::options::SampleOptions;
use super::sample::Sample;
use super::vocabulary::Vocabulary;
use crate::data::Order;
use crate::data::card::Split;
use crate::data::read::BadRowList;
use crate::error::{Error, Problem, Result};
use crate::files::expand;
use crate::hash::hex;
use crate::lines::Lines;
use crate::recipe::Data;

/// The probability of a file that no list names: always by words.
const ALWAYS_WORDS: f64 = 1.1;

/// The rows of one part.
pub struct RowSet {
    rows: Rows,
    files: Vec<RowFile>,
    vocabulary: Vocabulary,
    /// Share of the tokens that is masked.
    share: f64,
    seed: u64,
    /// Whether each epoch has an order of its own.
    shuffled: bool,
    /// Rows that could not be read and were left out.
    pub skipped: usize,
    /// The order of the epoch that was asked for last.
    order: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

struct RowFile {
    path: PathBuf,
    word_probability: f64,
    /// Rows of it and of the files before it.
    end: usize,
}

/// Rows one after the other: five bytes a token and 24 a row.
#[derive(Default)]
struct Rows {
    entries: Vec<Entry>,
    ids: Vec<u32>,
    /// Segmentation labels.
    segments: Vec<i8>,
}

struct Entry {
    /// Where its tokens end.
    end: usize,
    /// How many of them are of the first text.
    first: u32,
    /// The line of its file, from 1.
    line: u32,
    sentence_label: u8,
}

impl RowSet {
    /// The rows for `split`; `None` where the options name none.
    ///
    /// # Errors
    /// Files that are not there or cannot be read; bad rows, unless `data.bad_rows` skips them; no row at all.
    pub fn open(options: &SampleOptions, vocabulary: Vocabulary, split: Split) -> Result<Option<Self>> {
        let SampleOptions { pretraining, data, seed, .. } = *options;
        let (names, limit) = match split {
            Split::Train => (pretraining.rows.as_ref(), data.max_train_rows),
            Split::Dev => (pretraining.dev_rows.as_ref(), data.max_eval_rows),
            Split::Test => (None, None),
        };
        let Some(names) = names else { return Ok(None) };
        let (mut rows, mut files, mut skipped, mut long) = (Rows::default(), Vec::new(), 0, 0);
        for (path, word_probability) in self::files(names)? {
            let before = rows.entries.len();
            let left_out = rows.read(&path, &vocabulary, data, limit.unwrap_or(usize::MAX))?;
            tracing::info!(
                "{split} {}: {} rows ({} left out as unreadable, {} as longer than {} tokens), by words with the probability {}",
                path.display(),
                rows.entries.len() - before,
                left_out.bad,
                left_out.long,
                data.max_seq_length,
                word_probability.min(1.0)
            );
            files.push(RowFile { path, word_probability, end: rows.entries.len() });
            skipped += left_out.bad;
            long += left_out.long;
        }
        if rows.entries.is_empty() {
            return Err(no_row(names, data, skipped, long));
        }
        Ok(Some(Self {
            rows,
            files,
            vocabulary,
            share: pretraining.masked_lm_prob,
            seed,
            shuffled: split == Split::Train,
            skipped,
            order: Mutex::new(None),
        }))
    }

    /// Rows, each of which an epoch has once; never 0.
    pub fn rows(&self) -> u64 {
        self.rows.entries.len() as u64
    }

    /// The samples of an optimizer step (from 0) of `size` rows. An epoch's last step may have fewer.
    pub fn step(&self, step: u64, size: u64) -> Range<u64> {
        let steps = self.rows().div_ceil(size);
        let epoch = step / steps * self.rows();
        let [start, end] = [step % steps, step % steps + 1].map(|step| epoch + (step * size).min(self.rows()));
        start..end
    }

    /// A sample.
    pub fn sample(&self, number: u64) -> Sample {
        let (epoch, row) = self.locate(number);
        let file = self.file(row);
        let mode = file_mode(self.seed, epoch, file as u64, self.files[file].word_probability);
        self.rows.get(row).sample(mode, &self.vocabulary, self.share, self.seed, epoch, row as u64)
    }

    /// Where a sample's row stands, for messages.
    pub fn place(&self, number: u64) -> String {
        let row = self.locate(number).1;
        format!("{}:{}", self.files[self.file(row)].path.display(), self.rows.entries[row].line)
    }

    /// What the rows and their modes are: the same for the same content, wherever it lies.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            hash.update((file.end as u64).to_le_bytes());
            hash.update(file.word_probability.to_le_bytes());
        }
        for entry in &self.rows.entries {
            hash.update((entry.end as u64).to_le_bytes());
            hash.update(entry.first.to_le_bytes());
            hash.update([entry.sentence_label]);
        }
        self.rows.ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        self.rows.segments.iter().for_each(|label| hash.update(label.to_le_bytes()));
        hex(&hash.finalize()[..16])
    }

    /// The epoch of a sample, and its row.
    fn locate(&self, number: u64) -> (u64, usize) {
        let (epoch, position) = (number / self.rows(), (number % self.rows()) as usize);
        let row = if self.shuffled { self.order(epoch)[position] as usize } else { position };
        (epoch, row)
    }

    fn order(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut held = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((of, order)) if *of == epoch => order.clone(),
            _ => {
                let order = Order { seed: self.seed, rows: self.rows.entries.len(), rows_per_step: 1 };
                let order = Arc::new(order.permutation(epoch));
                *held = Some((epoch, order.clone()));
                order
            }
        }
    }

    /// The file that a row is of.
    fn file(&self, row: usize) -> usize {
        self.files.partition_point(|file| file.end <= row)
    }
}

/// Rows of a file that are not trained on.
struct LeftOut {
    bad: usize,
    long: usize,
}

impl Rows {
    /// Appends the rows of a file, until there are `limit` of all files.
    fn read(&mut self, path: &Path, vocabulary: &Vocabulary, data: &Data, limit: usize) -> Result<LeftOut> {
        let before = self.entries.len();
        let mut reader = KnowledgeReader::open(path, vocabulary, data.max_seq_length)?;
        let mut bad = BadRowList::default();
        while self.entries.len() < limit
            && let Some(row) = reader.next()
        {
            if let Some(row) = bad.sift(row)? {
                self.push(&row)?;
            }
        }
        bad.check(data.bad_rows, self.entries.len() - before + reader.skipped, path)?;
        Ok(LeftOut { bad: bad.count, long: reader.skipped })
    }

    fn push(&mut self, row: &KnowledgeRow) -> Result<()> {
        if self.entries.len() == u32::MAX as usize {
            return Err(Error::input(format!("more than {} rows", u32::MAX)));
        }
        self.ids.extend_from_slice(&row.ids);
        self.segments.extend_from_slice(&row.segments);
        self.entries.push(Entry {
            end: self.ids.len(),
            first: row.type_ids.partition_point(|kind| *kind == 0) as u32,
            line: u32::try_from(row.line).unwrap_or(u32::MAX),
            sentence_label: row.sentence_label,
        });
        Ok(())
    }

    fn get(&self, row: usize) -> KnowledgeRow {
        let entry = &self.entries[row];
        let tokens = row.checked_sub(1).map_or(0, |before| self.entries[before].end)..entry.end;
        let mut type_ids = vec![0; entry.first as usize];
        type_ids.resize(tokens.len(), 1);
        KnowledgeRow {
            ids: self.ids[tokens.clone()].to_vec(),
            segments: self.segments[tokens].to_vec(),
            type_ids,
            sentence_label: entry.sentence_label,
            line: entry.line as usize,
        }
    }
}

/// The files of rows that `names` stand for, with the probability that each is masked by words.
fn files(names: &[String]) -> Result<Vec<(PathBuf, f64)>> {
    let mut files = Vec::new();
    for name in names {
        let found = expand(name)?;
        if found.is_empty() {
            let problem = Problem::new("there are no rows here").in_file(Path::new(name));
            let help = "rows are in a file, a folder, a list of files, or what a pattern with * and ? matches; the name is \
                        relative to where Kiln is started";
            return Err(problem.help(help).into());
        }
        for path in found {
            match is_list(&path)? {
                true => files.extend(read_file_list(&path)?),
                false => files.push((path, ALWAYS_WORDS)),
            }
        }
    }
    Ok(files)
}

/// Whether a file is a list of files, whose lines have a tab, and not rows, whose fields `;` and spaces part.
fn is_list(path: &Path) -> Result<bool> {
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next_line()? {
        if !line.trim().is_empty() {
            return Ok(line.contains('\t'));
        }
    }
    Ok(false)
}

fn no_row(names: &[String], data: &Data, bad: usize, long: usize) -> Error {
    let most = data.max_seq_length;
    let problem = match bad + long {
        0 => Problem::new("there are no rows in it"),
        _ => Problem::new(format!("no rows left: {bad} cannot be read, {long} are longer than {most} tokens"))
            .help("rows are not cut: data.max_seq_length is the longest that is taken"),
    };
    problem.in_file(Path::new(names.first().map_or("", String::as_str))).into()
}
