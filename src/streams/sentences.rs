//! Sentences in memory: four bytes a word, and each different word once.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Problem, Result};
use crate::hash::hex;
use crate::lines::Lines;
use crate::tokenize::elmo::WordVocabulary;

/// The sentences of some files, in the files' order.
pub struct Sentences {
    /// Numbers in `words`, sentence after sentence.
    tokens: Vec<u32>,
    /// Where each sentence ends in `tokens`.
    ends: Vec<u64>,
    /// The files, each with the numbers of its sentences.
    pub files: Vec<(PathBuf, Range<usize>)>,
    /// Each word that occurs, with its number in the vocabulary.
    pub words: Vec<(String, u32)>,
    /// What the sentences are: the same for the same content of the files in the same order.
    pub fingerprint: String,
}

impl Sentences {
    /// Reads what `patterns` (files, folders, or patterns such as `train/*.txt.gz`) lead to, each file once, sorted by name.
    ///
    /// # Errors
    /// A pattern that no file fits, a file that cannot be read, and files without a sentence.
    pub fn read(patterns: &[String], vocabulary: &WordVocabulary) -> Result<Self> {
        let mut files = Vec::new();
        for pattern in patterns {
            files.extend(files_of(pattern)?);
        }
        files.sort();
        files.dedup();
        let mut reader = Reader { vocabulary, numbers: HashMap::new(), words: Vec::new(), hash: Sha256::new() };
        let (mut tokens, mut ends, mut shards) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let first = ends.len();
            reader.read(&file, &mut tokens, &mut ends)?;
            shards.push((file, first..ends.len()));
        }
        if ends.is_empty() {
            let problem = Problem::new(format!("no sentence in {}", patterns.join(", ")));
            return Err(problem.help("a sentence is a line of words with spaces between them").into());
        }
        let fingerprint = hex(&reader.hash.finalize()[..16]);
        Ok(Self { tokens, ends, files: shards, words: reader.words, fingerprint })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// How many words are guessed in one pass over all sentences in one direction: each word and each end.
    pub fn targets(&self) -> u64 {
        self.tokens.len() as u64 + self.ends.len() as u64
    }

    /// How many of the words the vocabulary does not have.
    pub fn unknown(&self, vocabulary: &WordVocabulary) -> usize {
        self.tokens.iter().filter(|word| self.words[**word as usize].1 == vocabulary.unknown).count()
    }

    /// The words of a sentence, by their numbers among the words that occur.
    pub fn sentence(&self, number: usize) -> &[u32] {
        &self.tokens[self.start(number)..self.ends[number] as usize]
    }

    /// How many words a sentence has.
    pub fn length(&self, number: usize) -> usize {
        self.ends[number] as usize - self.start(number)
    }

    fn start(&self, number: usize) -> usize {
        if number == 0 { 0 } else { self.ends[number - 1] as usize }
    }
}

struct Reader<'a> {
    vocabulary: &'a WordVocabulary,
    numbers: HashMap<String, u32>,
    words: Vec<(String, u32)>,
    hash: Sha256,
}

impl Reader<'_> {
    fn read(&mut self, file: &Path, tokens: &mut Vec<u32>, ends: &mut Vec<u64>) -> Result<()> {
        let mut lines = Lines::open(file)?;
        while let Some(line) = lines.next_line()? {
            let before = tokens.len();
            for word in line.split_whitespace() {
                tokens.push(self.number(word));
                self.hash.update(word.as_bytes());
                self.hash.update(b" ");
            }
            if tokens.len() > before {
                ends.push(tokens.len() as u64);
                self.hash.update(b"\n");
            }
        }
        Ok(())
    }

    fn number(&mut self, word: &str) -> u32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = self.words.len() as u32;
        self.words.push((word.to_string(), self.vocabulary.id(word)));
        self.numbers.insert(word.to_string(), number);
        number
    }
}

/// The files of a pattern, a folder or a file.
fn files_of(pattern: &str) -> Result<Vec<PathBuf>> {
    let none = |help: &str| {
        let problem = Problem::new("leads to no file").in_file(Path::new(pattern));
        Error::from(problem.help(help))
    };
    let pattern = match Path::new(pattern).is_dir() {
        true => format!("{}/*", glob::Pattern::escape(pattern)),
        false => pattern.to_string(),
    };
    let found = glob::glob(&pattern).map_err(|cause| none(&format!("the pattern is wrong: {cause}")))?;
    let files: Vec<PathBuf> = found.filter_map(std::result::Result::ok).filter(|path| path.is_file()).collect();
    if files.is_empty() {
        return Err(none(
            "files, folders and patterns such as \"data/train/sentence_file_*\" are relative to this folder",
        ));
    }
    Ok(files)
}
