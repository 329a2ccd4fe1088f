//! Resuming `kiln prepare` where it was stopped: a work folder beside the corpus, and in it how much is certain
//! to have been done. And what stays beside a finished corpus: what it was made of, with the summary that `kiln prepare` ends with.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::inputs::Input;
use super::pairs::Form;
use super::text_file::{LeftOut, Place, Position};
use crate::corpus::content::Content;
use crate::corpus::{Written, remove};
use crate::error::{Error, Problem, Result};
use crate::files::write_file;
use crate::hash;
use crate::ranks::Ranks;
use crate::recipe::CorpusOptions;

/// Part of every key: a change of the code that changes what a text becomes takes a new number.
const VERSION: &str = "kiln prepare 1";

const STATE: &str = "state.json";
const INPUTS: &str = "inputs.json";
const LOCK: &str = "lock";

/// How much is certain to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State<W> {
    /// What the work is on: see [`key`].
    pub(super) key: String,
    /// Documents are still being spilled into buckets.
    pub(super) spilling: bool,
    /// Length of each bucket (bytes); none without a shuffle.
    pub(super) buckets: Vec<u64>,
    /// Documents in the buckets.
    pub(super) spilled: u64,
    /// Behind the last document that was spilled or written.
    pub(super) place: Place,
    pub(super) written: W,
    pub(super) summary: Summary,
}

impl<W> State<W> {
    /// How far documents have been spilled or written.
    pub(super) fn position(&self) -> Position {
        let left_out = LeftOut { rows: self.summary.skipped_rows, short: self.summary.short_documents };
        Position { place: self.place, left_out }
    }

    pub(super) fn stand_at(&mut self, Position { place, left_out }: Position) {
        self.place = place;
        (self.summary.skipped_rows, self.summary.short_documents) = (left_out.rows, left_out.short);
    }
}

/// What a finished corpus was made of, kept as `P.prepare.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The version of Kiln that made it.
    pub(super) kiln: String,
    pub(super) key: String,
    /// The tokenizer's fingerprint.
    pub(super) tokenizer: String,
    /// What training has to know.
    #[serde(default)]
    pub(super) content: Content,
    pub(super) options: CorpusOptions,
    pub(super) written: Written,
    pub(super) summary: Summary,
    pub(super) inputs: Vec<Input>,
}

/// What decides the bytes of a corpus or of files of sentences, as a hash: the content and order of the texts, the options but
/// for names, memory and the vocabulary's, the dictionary, the tokenizer (or what stands in its place).
pub(super) fn key(options: &CorpusOptions, dictionary: Option<&[u8]>, tokenizer: &str, inputs: &[Input]) -> String {
    let options = CorpusOptions {
        input: Vec::new(),
        output: PathBuf::new(),
        dictionary: None,
        buffer_bytes: 0,
        min_count: None,
        max_vocab_size: None,
        ..options.clone()
    };
    // A file whose name tells nothing was refused before.
    let form = |path: &Path| Form::find(path, &options).map_or("", Form::word);
    let inputs: Vec<String> = inputs.iter().map(|input| format!("{} {}", input.sha256, form(&input.path))).collect();
    // A struct of words and numbers is always written.
    let options = serde_json::to_vec(&options).unwrap_or_default();
    let parts = [VERSION.as_bytes(), tokenizer.as_bytes(), &options, dictionary.unwrap_or(b"-")];
    hash::of_parts(parts.into_iter().chain(inputs.iter().map(String::as_bytes)))
}

fn folder(prefix: &Path) -> PathBuf {
    let name = prefix.file_name().unwrap_or_default().to_string_lossy();
    prefix.with_file_name(format!(".{name}.preparing"))
}

/// The files as they were hashed when unfinished work on the corpus `prefix` began, and when an `old` one was made there.
pub(super) fn inputs(prefix: &Path, old: Option<&Vec<Input>>) -> Vec<Input> {
    let mut known: Vec<Input> = read(&folder(prefix).join(INPUTS)).unwrap_or_default();
    known.extend(old.into_iter().flatten().cloned());
    known
}

/// Removes what a kill has left of the work on a corpus that is finished.
///
/// # Errors
/// It cannot be removed, or another process works on it.
pub(super) fn clear(prefix: &Path) -> Result<()> {
    if folder(prefix).exists() { Work::open(prefix)?.remove() } else { Ok(()) }
}

/// The folder in which a corpus is made, held by one process, or by the first of several ranks.
pub(super) struct Work {
    path: PathBuf,
    /// Locked for as long as this lives; none of the other ranks.
    lock: Option<File>,
}

impl Work {
    /// Opens the work folder of the corpus `prefix`, and makes it if need be.
    ///
    /// # Errors
    /// It cannot be written, or another process works in it.
    pub(super) fn open(prefix: &Path) -> Result<Self> {
        let path = folder(prefix);
        std::fs::create_dir_all(&path).map_err(|cause| Error::writing(&path, &cause))?;
        let file = path.join(LOCK);
        let lock = File::create(&file).map_err(|cause| Error::writing(&file, &cause))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let problem = Problem::new("another `kiln prepare` is making this corpus").in_file(prefix);
                return Err(Error::run(problem.help("wait for it, or choose another output")));
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(cause)) => tracing::debug!("{}: not locked: {cause}", file.display()),
            Ok(()) => {}
        }
        Ok(Self { path, lock: Some(lock) })
    }

    /// The folder on all ranks, of which the first holds it.
    ///
    /// # Errors
    /// A rank sees another folder than the first.
    pub(super) fn of_first(held: Option<Self>, prefix: &Path, ranks: &Ranks) -> Result<Self> {
        let held = match held {
            Some(work) if ranks.is_alone() => return Ok(work),
            held => held,
        };
        let mark = held.as_ref().map(Self::mark).transpose();
        let mark = ranks.of_first(ranks.agree(mark)?)?;
        ranks.agree(held.map_or_else(|| Self::visit(prefix, &mark), Ok))
    }

    /// Marks the folder, so that other ranks know it.
    fn mark(&self) -> Result<String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{} {}", std::process::id(), since.as_nanos());
        let Some(mut lock) = self.lock.as_ref() else { return Ok(mark) };
        let written = lock.write_all(mark.as_bytes()).and_then(|()| lock.sync_all());
        written.map(|()| mark).map_err(|cause| Error::writing(&self.path.join(LOCK), &cause))
    }

    /// The folder that the first rank has marked, as another sees it.
    fn visit(prefix: &Path, mark: &str) -> Result<Self> {
        let path = folder(prefix);
        if std::fs::read(path.join(LOCK)).is_ok_and(|found| found == mark.as_bytes()) {
            return Ok(Self { path, lock: None });
        }
        let problem = Problem::new("what the first rank has written is not here");
        Err(problem.in_file(&path).help("the output has to be on a file system that all ranks share").into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How far the work of a key has come; `None` if it has not begun.
    pub(super) fn state<W: DeserializeOwned>(&self, key: &str) -> Option<State<W>> {
        read(&self.path.join(STATE)).filter(|state: &State<W>| state.key == key)
    }

    pub(super) fn save<W: Serialize>(&self, state: &State<W>) -> Result<()> {
        write(&self.path.join(STATE), state)
    }

    /// Removes what earlier work on anything else has left, and remembers the files.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn begin(&self, inputs: &[Input]) -> Result<()> {
        let failed = |cause| Error::writing(&self.path, &cause);
        // First what says that anything is done.
        remove(&self.path.join(STATE))?;
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            match file.is_dir() {
                true => std::fs::remove_dir_all(&file).map_err(failed)?,
                false if file.file_name() != Some(LOCK.as_ref()) => remove(&file)?,
                false => {}
            }
        }
        write(&self.path.join(INPUTS), &inputs)
    }

    /// Removes the folder.
    pub(super) fn remove(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.path).map_err(|cause| Error::writing(&self.path, &cause))
    }
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|cause| Error::run(Problem::new(format!("cannot be written as JSON: {cause}")).in_file(path)))?;
    write_file(path, &json)
}

/// What a corpus was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Summary {
    pub documents: u64,
    pub sentences: u64,
    pub tokens: u64,
    /// Words of several tokens that are masked as a whole because the segmentation or the dictionary says so.
    pub joined_words: u64,
    /// Those of them that come from the dictionary.
    pub dictionary_words: u64,
    /// Tokens that the vocabulary does not have.
    pub unknown_tokens: u64,
    /// Lines that could not be read and were left out.
    pub skipped_rows: u64,
    /// Documents not longer than `min_document_length`, which were left out.
    pub short_documents: u64,
    /// Documents without a token, and pairs with an empty side, which were left out.
    pub empty_documents: u64,
    /// Of ERNIE 1.0: documents of one sentence. Training with sentence-order prediction passes over them.
    pub single_sentence_documents: u64,
    /// Of ERNIE 1.0: documents of several sentences, one of them of more than 512 tokens. Training passes over them.
    pub overlong_documents: u64,
    /// Nothing was done: the corpus was there already, from the same text and options.
    #[serde(skip)]
    pub reused: bool,
}

impl Summary {
    /// What is counted of each document.
    pub(super) fn counts(&mut self) -> [&mut u64; 9] {
        [
            &mut self.documents,
            &mut self.sentences,
            &mut self.tokens,
            &mut self.joined_words,
            &mut self.dictionary_words,
            &mut self.unknown_tokens,
            &mut self.empty_documents,
            &mut self.single_sentence_documents,
            &mut self.overlong_documents,
        ]
    }

    /// Adds what a document was made of.
    pub(super) fn add(&mut self, other: &Self) {
        self.counts().into_iter().zip(other.clone().counts()).for_each(|(own, other)| *own += *other);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, {} sentences, {} tokens", self.documents, self.sentences, self.tokens)?;
        let mut also = |count: u64, what: &str| if count > 0 { write!(f, "; {count} {what}") } else { Ok(()) };
        also(self.joined_words, "words of several tokens")?;
        also(self.dictionary_words, "of them from the dictionary")?;
        also(self.unknown_tokens, "unknown tokens")?;
        also(self.skipped_rows, "lines left out as unreadable")?;
        also(self.short_documents, "documents left out as too short")?;
        also(self.empty_documents, "documents left out as empty")
    }
}
