//! Word counts, and the vocabulary that is made of them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::progress::Progress;
use super::state;
use crate::error::{Error, Problem, Result};
use crate::lines;
use crate::ranks::Ranks;
use crate::tokenize::elmo::WordVocabulary;

/// How often each word stands in files.
pub(super) struct WordCounts(HashMap<String, u64>);

impl WordCounts {
    /// Counts the words of all lines, on all threads.
    ///
    /// # Errors
    /// A file cannot be read; [`Error::Interrupted`] after a stop.
    pub(super) fn count(files: &[PathBuf], stop: &AtomicBool) -> Result<Self> {
        let bytes = files.iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum();
        Self::count_and_tell(files, &Progress::start("counting", bytes), stop)
    }

    fn count_and_tell(files: &[PathBuf], progress: &Progress, stop: &AtomicBool) -> Result<Self> {
        let count = |mut counts: HashMap<String, u64>, file: &PathBuf| {
            add(file, progress, stop, &mut counts)?;
            Ok::<_, Error>(counts)
        };
        let merge = |one, other| Ok(merged(one, other));
        files.par_iter().try_fold(HashMap::new, count).try_reduce(HashMap::new, merge).map(Self)
    }

    /// As [`Self::count`], each rank the words of files of its own; the first has the counts of all, which the others leave in the work
    /// folder.
    ///
    /// # Errors
    /// As [`Self::count`], on any rank; a file cannot be written.
    pub(super) fn of_ranks(files: &[PathBuf], work: &Path, ranks: &Ranks, stop: &AtomicBool) -> Result<Self> {
        if ranks.is_alone() {
            return Self::count(files, stop);
        }
        let left = |rank: usize| work.join(format!("counts-{rank}.json"));
        let own: Vec<PathBuf> = files.iter().skip(ranks.rank()).step_by(ranks.size()).cloned().collect();
        let counts = ranks.together(stop, || {
            if ranks.is_first() {
                return Self::count(&own, stop);
            }
            let counts = Self::count_and_tell(&own, &Progress::silent(), stop)?;
            state::write(&left(ranks.rank()), &counts.0)?;
            Ok(Self(HashMap::new()))
        })?;
        ranks.together(stop, || {
            let others = if ranks.is_first() { 1..ranks.size() } else { 0..0 };
            others.map(left).try_fold(counts, |counts, file| {
                let unread = || Error::from(Problem::new("cannot be read: another rank has written it").in_file(&file));
                let more: HashMap<String, u64> = state::read(&file).ok_or_else(unread)?;
                Ok(Self(merged(counts.0, more)))
            })
        })
    }

    /// The words that can be a vocabulary's, the most frequent first, of equals the one that comes first by its bytes.
    pub(super) fn sorted(&self) -> Vec<(&str, u64)> {
        let mut words: Vec<_> = self.0.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        words.retain(|(word, _)| !WordVocabulary::is_reserved(word));
        words.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then(a.cmp(b)));
        words
    }

    /// How many of the words, each as often as it stands there, a vocabulary lacks.
    pub(super) fn unknown(&self, vocabulary: &WordVocabulary) -> u64 {
        let is_unknown = |word: &str| vocabulary.id(word) == vocabulary.unknown;
        self.0.iter().filter(|(word, _)| is_unknown(word)).map(|(_, count)| count).sum()
    }
}

fn merged(one: HashMap<String, u64>, other: HashMap<String, u64>) -> HashMap<String, u64> {
    let (mut most, fewer) = if one.len() < other.len() { (other, one) } else { (one, other) };
    for (word, count) in fewer {
        *most.entry(word).or_default() += count;
    }
    most
}

fn add(file: &Path, progress: &Progress, stop: &AtomicBool, counts: &mut HashMap<String, u64>) -> Result<()> {
    let reading = |cause| Error::reading(file, &cause);
    let mut reader = BufReader::with_capacity(1 << 18, lines::open(file).map_err(reading)?);
    let mut line = String::new();
    loop {
        line.clear();
        let bytes = reader.read_line(&mut line).map_err(reading)?;
        if bytes == 0 {
            return Ok(());
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        for word in line.split_whitespace() {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.to_string(), 1)),
            }
        }
        progress.add(bytes as u64);
    }
}

/// The text of a vocabulary of those of the `sorted` words that stand `min_count` times or more, and of `most` words at most.
///
/// # Errors
/// There is no such word.
pub(super) fn made_of(sorted: &[(&str, u64)], min_count: u64, most: Option<usize>) -> Result<String> {
    let often = sorted.partition_point(|(_, count)| *count >= min_count);
    if often == 0 {
        let problem = Problem::new(format!("no word stands min_count = {min_count} times in the sentences"));
        return Err(problem.help("lower corpus.min_count; 1 takes every word").into());
    }
    let count = most.map_or(often, |most| often.min(most.saturating_sub(3)));
    Ok(WordVocabulary::text_of(sorted[..count].iter().map(|(word, _)| *word)))
}

/// What vocabularies of other sizes would lack, for whoever wonders how large one should be: `min_count 2: 812 words lack 3.10 %`.
pub(super) fn other_sizes(sorted: &[(&str, u64)], words: u64) -> String {
    let mut said = Vec::new();
    for min_count in [1, 2, 5, 10, 20, 50, 100, 1000] {
        let size = sorted.partition_point(|(_, count)| *count >= min_count);
        let known: u64 = sorted[..size].iter().map(|(_, count)| count).sum();
        if size > 0 {
            said.push(format!("{min_count}: {} words, {:.2} %", size + 3, percent(words - known, words)));
        }
    }
    said.join("; ")
}

pub(super) fn percent(part: u64, of: u64) -> f64 {
    100.0 * part as f64 / of.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_is_in_the_order_of_frequency() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["b a c a\n<S> 的 b\n", "c\td a 的 <UNK> !!!MAXTERMID\n"].into_iter().enumerate();
        let files: Vec<PathBuf> = files
            .map(|(number, text)| {
                let file = folder.path().join(number.to_string());
                std::fs::write(&file, text).unwrap();
                file
            })
            .collect();
        let counts = WordCounts::count(&files, &AtomicBool::new(false)).unwrap();
        let sorted = counts.sorted();
        assert_eq!(sorted, [("a", 3), ("b", 2), ("c", 2), ("的", 2), ("d", 1)]);
        let made = |min_count, most| made_of(&sorted, min_count, most).unwrap();
        assert_eq!(made(1, None), "<S>\n</S>\n<UNK>\na\nb\nc\n的\nd\n");
        assert_eq!(made(2, Some(5)), "<S>\n</S>\n<UNK>\na\nb\n");
        assert_eq!(made(2, Some(50)), "<S>\n</S>\n<UNK>\na\nb\nc\n的\n");
        assert!(made_of(&sorted, 4, None).unwrap_err().to_string().contains("no word stands min_count = 4 times"));
        let vocabulary = WordVocabulary::from_bytes(made(2, Some(5)).as_bytes(), Path::new("vocab.txt")).unwrap();
        // c twice, 的 twice, d, <UNK> and !!!MAXTERMID.
        assert_eq!(counts.unknown(&vocabulary), 7);
        assert_eq!(other_sizes(&sorted, 13), "1: 8 words, 23.08 %; 2: 7 words, 30.77 %");
    }
}
