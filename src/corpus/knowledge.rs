//! Rows of the original ERNIE 1.0 (PaddlePaddle/ERNIE, 2019, `batching.py` and `reader/pretraining.py`), in which a word, a
//! phrase or an entity is one unit, and the samples that knowledge masking makes of them.
//!
//! A row is a line of five fields separated by `;`: token ids, sentence types, positions, segmentation labels (0 begins
//! a unit, 1 continues it, -1 is a special token), and whether the second text follows the first. Files are gzip or
//! plain text. The original draws from an unseeded generator; here all follows from the seed, the epoch and the row's
//! number, so that a run can go on.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::masking::{KnowledgeMode, Masked, mask_units};
use super::sample::Sample;
use super::vocabulary::Vocabulary;
use crate::error::{Error, Problem, Result};
use crate::lines::{Lines, RowError};
use crate::random::{Keyed, Use};

/// One row as it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnowledgeRow {
    pub ids: Vec<u32>,
    pub type_ids: Vec<u8>,
    /// -1, 0 or 1 for each token.
    pub segments: Vec<i8>,
    /// 1 if the second text follows the first, 0 if it is another text's.
    pub sentence_label: u8,
    /// The line of its file, from 1.
    pub line: usize,
}

/// The mode of a whole file for one epoch: by units with this probability (the second column of the original's file
/// list, where 1.1 stands for always). `file` is its place in the list.
pub fn file_mode(seed: u64, epoch: u64, file: u64, word_probability: f64) -> KnowledgeMode {
    let drawn = Keyed::new(Use::FileMode, [seed, epoch, file]).uniform();
    if drawn < word_probability { KnowledgeMode::Word } else { KnowledgeMode::Character }
}

impl KnowledgeRow {
    /// The sample this row gives in an epoch. `number` is the row's own among all rows of the run: rows of two files
    /// that had the same would have the same draws. `share` is 0.15 in the original.
    pub fn sample(
        &self,
        mode: KnowledgeMode,
        vocabulary: &Vocabulary,
        share: f64,
        seed: u64,
        epoch: u64,
        number: u64,
    ) -> Sample {
        let mut rng = Keyed::new(Use::Row, [seed, epoch, number]);
        self.masked(mode, vocabulary, share, || (rng.uniform(), rng.between(1, vocabulary.size)))
    }

    /// The sample that given draws make: for each token in turn a number in [0, 1) and a token to put in its place.
    pub fn masked(
        &self,
        mode: KnowledgeMode,
        vocabulary: &Vocabulary,
        share: f64,
        draw: impl FnMut() -> (f64, u32),
    ) -> Sample {
        let mut ids = self.ids.clone();
        let units = match mode {
            KnowledgeMode::Character => {
                let tokens = (0..ids.len()).filter(|position| !vocabulary.is_boundary(ids[*position]));
                tokens.map(|position| vec![position]).collect()
            }
            KnowledgeMode::Word => units(&self.segments),
        };
        let units = units.iter().map(Vec::as_slice);
        let masked = mask_units(&mut ids, units, share, vocabulary.specials.mask, draw);
        let Masked { positions: masked_positions, labels } = masked;
        let (type_ids, sentence_label) = (self.type_ids.clone(), self.sentence_label);
        Sample { ids, type_ids, masked_positions, labels, sentence_label }
    }

    /// Reads the fields of one line.
    fn parse(text: &str, vocabulary: &Vocabulary, line: usize) -> Result<Self, Box<Problem>> {
        let fields: Vec<&str> = text.trim().split(';').collect();
        let [ids, types, positions, segments, label] = fields[..] else {
            let problem = Problem::new(format!("{} fields instead of 5", fields.len()));
            return Err(problem.help("token ids; sentence types; positions; segmentation labels; label").into());
        };
        let size = vocabulary.size;
        let row = Self {
            ids: numbers(ids, "token id", |id| *id < size, &format!("a number below {size}"))?,
            type_ids: numbers(types, "sentence type", |kind| *kind < 2, "0 or 1")?,
            segments: numbers(segments, "segmentation label", |label| (-1..=1).contains(label), "-1, 0 or 1")?,
            sentence_label: number(label, "label", |label| *label < 2, "0 or 1")?,
            line,
        };
        let positions: Vec<usize> = numbers(positions, "position", |_| true, "a number from 0")?;
        row.check(&positions, vocabulary)?;
        Ok(row)
    }

    /// Whether the fields belong together.
    fn check(&self, positions: &[usize], vocabulary: &Vocabulary) -> Result<(), Box<Problem>> {
        let count = self.ids.len();
        let others = [
            (self.type_ids.len(), "sentence types"),
            (positions.len(), "positions"),
            (self.segments.len(), "segmentation labels"),
        ];
        if let Some((other, name)) = others.into_iter().find(|(other, _)| *other != count) {
            return Err(Problem::new(format!("{other} {name} for {count} token ids")).into());
        }
        if let Some((at, position)) = positions.iter().enumerate().find(|(at, position)| at != *position) {
            let problem = Problem::new(format!("token {at} of the row has the position {position}"));
            return Err(problem.help("positions count from 0, as the network does").into());
        }
        if let Some(at) = (1..count).find(|at| self.type_ids[*at] < self.type_ids[at - 1]) {
            let problem = Problem::new(format!("token {at} of the row has the sentence type 0 after a token of 1"));
            return Err(problem.help("the first text, of type 0, stands before the second").into());
        }
        let is_wrong = |at: &usize| vocabulary.is_boundary(self.ids[*at]) && self.segments[*at] != -1;
        if let Some(at) = (0..count).find(is_wrong) {
            let label = self.segments[at];
            let problem =
                Problem::new(format!("token {at} of the row, [CLS] or [SEP], has the segmentation label {label}"));
            return Err(problem.help("special tokens have the label -1, and so are never masked").into());
        }
        Ok(())
    }
}

fn number<T: FromStr>(word: &str, name: &str, is_right: impl Fn(&T) -> bool, right: &str) -> Result<T, Box<Problem>> {
    let number = word.parse().ok().filter(is_right);
    number.ok_or_else(|| {
        let word: String = word.chars().take(40).collect();
        Problem::new(format!("the {name} {word:?} is not {right}")).into()
    })
}

fn numbers<T: FromStr>(
    field: &str,
    name: &str,
    is_right: impl Fn(&T) -> bool,
    right: &str,
) -> Result<Vec<T>, Box<Problem>> {
    field.split(' ').map(|word| number(word, name, &is_right, right)).collect()
}

/// The positions of each unit. Tokens labelled 1 without a 0 before them belong to none and are not masked, as in the
/// original, which also leaves a unit alone that begins or ends a row without a special token beside it.
fn units(segments: &[i8]) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut is_open = false;
    for (position, label) in segments.iter().enumerate() {
        match label {
            0 => {
                units.push(vec![position]);
                is_open = true;
            }
            1 if is_open => units.last_mut().into_iter().for_each(|unit| unit.push(position)),
            1 => {}
            _ => is_open = false,
        }
    }
    units
}

/// Reads a file row by row.
pub struct KnowledgeReader<'a> {
    lines: Lines,
    vocabulary: &'a Vocabulary,
    max_seq_length: usize,
    /// Rows that were too long so far.
    pub skipped: usize,
}

impl<'a> KnowledgeReader<'a> {
    /// Opens a file, gzip or not. Rows of more than `max_seq_length` tokens are left out, as in the original, and
    /// counted.
    pub fn open(file: &Path, vocabulary: &'a Vocabulary, max_seq_length: usize) -> Result<Self> {
        Ok(Self { lines: Lines::open(file)?, vocabulary, max_seq_length, skipped: 0 })
    }

    fn read(&mut self) -> Result<Option<KnowledgeRow>, RowError> {
        loop {
            let line = self.lines.number + 1;
            let Some(text) = self.lines.next_line()? else { return Ok(None) };
            let row = KnowledgeRow::parse(text, self.vocabulary, line);
            let row = row.map_err(|problem| RowError::Row(Box::new(problem.at(&self.lines.file, line, None))))?;
            if row.ids.len() <= self.max_seq_length {
                return Ok(Some(row));
            }
            self.skipped += 1;
        }
    }
}

impl Iterator for KnowledgeReader<'_> {
    type Item = Result<KnowledgeRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The original's list of files: on each line a path, a tab, and the probability that the file is masked by words. A
/// path that does not lead anywhere from where the program runs is looked for beside the list.
pub fn read_file_list(list: &Path) -> Result<Vec<(PathBuf, f64)>> {
    let text = std::fs::read_to_string(list).map_err(|cause| Error::reading(list, &cause))?;
    let mut files = Vec::new();
    for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let entry = text.trim().split_once('\t').and_then(|(path, probability)| {
            let probability: f64 = probability.trim().parse().ok()?;
            (probability >= 0.0).then(|| (PathBuf::from(path), probability))
        });
        let (path, probability) = entry.ok_or_else(|| {
            let problem = Problem::new("not a path, a tab and a probability").at(list, line + 1, None);
            problem.help("\"data/rows.gz<tab>1.1\" is always masked by words, \"...<tab>0.5\" in every second epoch")
        })?;
        let beside = list.parent().map(|folder| folder.join(&path)).filter(|beside| !path.exists() && beside.exists());
        files.push((beside.unwrap_or(path), probability));
    }
    Ok(files)
}
