//! From raw text to what "bidirectional-lm" learns from: files of sentences and a vocabulary.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::inputs::{self, Input};
use super::pipeline::Job;
use super::segmented::{DEV, LinesWritten, Segmentation, TRAIN};
use super::state::{self, State, Summary, Work};
use super::vocabulary::{WordCounts, made_of, other_sizes, percent};
use crate::corpus::remove;
use crate::error::{Error, Problem, Result};
use crate::files::write_file;
use crate::hash::hex;
use crate::ranks::Ranks;
use crate::recipe::CorpusOptions;
use crate::tokenize::elmo::WordVocabulary;

/// What the files were made of, in the folder that they are in.
const MANIFEST: &str = "prepare.json";
/// What stands in the place of a tokenizer.
const WORDS: &str = "sentences of words";
const VOCABULARY: &str = "vocab.txt";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Manifest {
    /// The version of Kiln that made them.
    kiln: String,
    key: String,
    options: CorpusOptions,
    written: LinesWritten,
    summary: Summary,
    /// The files of sentences, from this one's folder on, with their lengths (bytes).
    files: Vec<(PathBuf, u64)>,
    /// The vocabulary that was last made here (bytes).
    vocabulary: Option<u64>,
    counted: Option<Counted>,
    inputs: Vec<Input>,
}

/// What was found of the words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    /// Of which vocabulary.
    key: String,
    /// How many words that has.
    size: usize,
    /// How many of the words to train on it lacks.
    unknown: u64,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentenceSummary {
    pub documents: u64,
    /// Sentences to train on, and their words.
    pub train: (u64, u64),
    /// Those of the dev files.
    pub dev: (u64, u64),
    /// Words of the vocabulary, `<S>`, `</S>` and `<UNK>` among them.
    pub vocabulary: usize,
    /// How many of the words to train on are not in it.
    pub unknown: u64,
    /// Lines that could not be read and documents that were too short or without a word, which were left out.
    pub left_out: [u64; 3],
    /// Nothing was done: everything was there already, from the same text and options.
    pub reused: bool,
}

/// Makes the files of sentences that `options` describe, and a vocabulary of their words if none is given; goes on with making
/// them, or finds that they are there already. Ranks, threads and `stop` are as in [`super::run`].
///
/// # Errors
/// As [`super::run`]; and a `given` vocabulary cannot be read.
pub fn segment(
    options: &CorpusOptions,
    given: Option<&Path>,
    ranks: &Ranks,
    stop: &AtomicBool,
) -> Result<SentenceSummary> {
    let folder = options.output.as_path();
    let (found, own) = ranks.first_alone(stop, || find(options, given, stop))?.unzip();
    let Found { inputs, key, is_again, is_segmented, made } = ranks.of_first(found)?;
    if let Some(summary) = made {
        return Ok(summary);
    }
    let (old, vocabulary) = own.unzip();
    let old: Option<Manifest> = old.flatten();
    let work = Work::of_first(ranks.first_alone(stop, || Work::open(folder))?, folder, ranks)?;
    let manifest = if is_segmented {
        old
    } else {
        let own_key = || state::key(options, None, WORDS, &inputs);
        let segmentation = || {
            inputs::check_same(&inputs, &key, ranks, own_key)?;
            Ok(Segmentation::new(options))
        };
        let segmentation = ranks.together(stop, segmentation)?;
        let job = Job { options, inputs: &inputs, work: &work, ranks, stop };
        let state = job.run(&segmentation, key, is_again)?;
        ranks.first_alone(stop, || {
            let manifest = Manifest::of(state, &segmentation, options, inputs.clone(), work.path());
            publish(work.path(), &manifest, old.as_ref(), folder)?;
            Ok(manifest)
        })?
    };
    let train = ranks.of_first(manifest.as_ref().map(|manifest| manifest.train(folder)))?;
    let counts = WordCounts::of_ranks(&train, work.path(), ranks, stop)?;
    let complete = || {
        let complete = |(mut manifest, vocabulary): (Manifest, Vocabulary)| {
            count(&mut manifest, options, vocabulary, &counts)?;
            work.remove()?;
            let summary = manifest.summary(false);
            advise(&summary, options);
            Ok(summary)
        };
        manifest.zip(vocabulary).map(complete).transpose()
    };
    ranks.of_first(ranks.together(stop, complete)?)
}

/// What there is before any work.
#[derive(Serialize, Deserialize)]
struct Found {
    inputs: Vec<Input>,
    key: String,
    /// Whether something was made there before.
    is_again: bool,
    /// Whether that are the sentences of the same text and options.
    is_segmented: bool,
    /// What was made, if all is there.
    made: Option<SentenceSummary>,
}

/// A vocabulary that is given or to be made.
struct Vocabulary {
    given: Option<WordVocabulary>,
    /// What decides it, besides the sentences.
    key: String,
}

/// What there is, with the account of what was made there before.
fn find(
    options: &CorpusOptions,
    given: Option<&Path>,
    stop: &AtomicBool,
) -> Result<(Found, (Option<Manifest>, Vocabulary))> {
    let folder = options.output.as_path();
    check_name(folder)?;
    let given = given.map(WordVocabulary::open).transpose()?;
    let old: Option<Manifest> = state::read(&folder.join(MANIFEST));
    let own = folder.canonicalize().ok();
    let is_own =
        |file: &Path| own.as_ref().is_some_and(|own| file.canonicalize().is_ok_and(|file| file.starts_with(own)));
    let paths = inputs::find(&options.input, is_own)?;
    let known = state::inputs(folder, old.as_ref().map(|old| &old.inputs));
    let inputs = inputs::identify(paths, &known, stop)?;
    let key = state::key(options, None, WORDS, &inputs);
    let vocabulary = Vocabulary { key: words_key(options, given.as_ref()), given };

    let segmented = old.as_ref().filter(|old| old.key == key && old.are_there(folder));
    let is_counted = |made: &&Manifest| {
        made.counted.as_ref().is_some_and(|counted| counted.key == vocabulary.key)
            && (vocabulary.given.is_some()
                || made.vocabulary.is_some_and(|bytes| length(&folder.join(VOCABULARY)) == Some(bytes)))
    };
    let made = segmented.filter(is_counted).map(|made| made.summary(true));
    if made.is_some() {
        tracing::info!("{}: prepared already, from the same text and options", folder.display());
        state::clear(folder)?;
    } else {
        refuse_strangers(folder, old.as_ref(), vocabulary.given.is_none())?;
        if segmented.is_some() {
            tracing::info!("{}: the sentences are there already", folder.display());
        }
    }
    let found = Found { inputs, key, is_again: old.is_some(), is_segmented: segmented.is_some(), made };
    Ok((found, (old, vocabulary)))
}

fn check_name(folder: &Path) -> Result<()> {
    let wrong =
        |what| Err(Problem::new(what).in_file(folder).help("the output is a folder that is made for it").into());
    match folder.file_name() {
        None => wrong("the output has no name"),
        Some(_) if folder.exists() && !folder.is_dir() => wrong("the output is a file"),
        Some(_) => Ok(()),
    }
}

/// What decides the vocabulary, besides the sentences.
fn words_key(options: &CorpusOptions, given: Option<&WordVocabulary>) -> String {
    match given {
        Some(vocabulary) => hex(&Sha256::digest(vocabulary.to_text())),
        None => format!("min_count {}, max_vocab_size {:?}", min_count(options), options.max_vocab_size),
    }
}

fn min_count(options: &CorpusOptions) -> u64 {
    options.min_count.unwrap_or(5)
}

fn length(file: &Path) -> Option<u64> {
    std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
}

/// What was not made here is not replaced, and nothing is mixed with it.
fn refuse_strangers(folder: &Path, old: Option<&Manifest>, makes_vocabulary: bool) -> Result<()> {
    let is_empty = |folder: &Path| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    let of_sentences = [TRAIN, DEV].map(|name| folder.join(name));
    let strange = of_sentences.into_iter().find(|part| old.is_none() && part.exists() && !is_empty(part));
    let words = Some(folder.join(VOCABULARY));
    let words =
        words.filter(|file| makes_vocabulary && file.exists() && old.is_none_or(|old| old.vocabulary.is_none()));
    match strange.or(words) {
        Some(path) => {
            let problem = Problem::new("this is there already, and not from `kiln prepare`").in_file(&path);
            Err(problem.help("move it away, or choose another output").into())
        }
        None => Ok(()),
    }
}

/// Moves the files from the work folder to where they belong; those of `old` go first. The manifest says which files are whole: killed
/// in between, they are made again.
fn publish(work: &Path, manifest: &Manifest, old: Option<&Manifest>, folder: &Path) -> Result<()> {
    let failed = |file: &Path, cause| Error::writing(file, &cause);
    let vocabulary = Path::new(VOCABULARY);
    let old_files = old.into_iter().flat_map(|old| {
        let files = old.files.iter().map(|(file, _)| file.as_path());
        files.chain(old.vocabulary.map(|_| vocabulary))
    });
    old_files.map(|file| folder.join(file)).try_for_each(|file| remove(&file))?;
    std::fs::create_dir_all(folder).map_err(|cause| failed(folder, cause))?;
    state::write(&folder.join(MANIFEST), manifest)?;
    for name in [TRAIN, DEV].map(|name| folder.join(name)) {
        // An empty folder would be a pattern that leads nowhere.
        let _ = std::fs::remove_dir(&name);
    }
    for (file, _) in &manifest.files {
        let (from, to) = (work.join(file), folder.join(file));
        let parent = to.parent().unwrap_or(folder);
        let moved = std::fs::create_dir_all(parent).and_then(|()| std::fs::rename(&from, &to));
        moved.map_err(|cause| failed(&to, cause))?;
    }
    Ok(())
}

/// Counts what the vocabulary lacks of the words to train on; makes it if none is given.
fn count(
    manifest: &mut Manifest,
    options: &CorpusOptions,
    Vocabulary { given, key }: Vocabulary,
    counts: &WordCounts,
) -> Result<()> {
    let folder = options.output.as_path();
    let mut text = None;
    let vocabulary = match given {
        Some(vocabulary) => vocabulary,
        None => {
            let sorted = counts.sorted();
            let sizes = other_sizes(&sorted, manifest.written.train.words);
            tracing::info!(
                "vocabularies by min_count, and the share of the words to train on that each lacks: {sizes}"
            );
            let text = text.insert(made_of(&sorted, min_count(options), options.max_vocab_size)?);
            WordVocabulary::from_bytes(text.as_bytes(), &folder.join(VOCABULARY))?
        }
    };
    if let Some(text) = &text {
        manifest.vocabulary = Some(text.len() as u64);
    }
    manifest.options = options.clone();
    manifest.counted = Some(Counted { key, size: vocabulary.len(), unknown: counts.unknown(&vocabulary) });
    // First what says that the file is its own.
    state::write(&folder.join(MANIFEST), manifest)?;
    text.map_or(Ok(()), |text| write_file(&folder.join(VOCABULARY), text.as_bytes()))
}

impl Manifest {
    /// That of the sentences in the work folder, which have no vocabulary yet.
    fn of(
        state: State<LinesWritten>,
        segmentation: &Segmentation,
        options: &CorpusOptions,
        inputs: Vec<Input>,
        work: &Path,
    ) -> Self {
        let State { key, written, summary, .. } = state;
        let with_length = |file: PathBuf| {
            let bytes = length(&work.join(&file)).unwrap_or(0);
            (file, bytes)
        };
        Self {
            kiln: env!("CARGO_PKG_VERSION").to_string(),
            key,
            options: options.clone(),
            written,
            summary,
            files: segmentation.files(&written).into_iter().map(with_length).collect(),
            vocabulary: None,
            counted: None,
            inputs,
        }
    }

    /// The files of sentences to train on.
    fn train(&self, folder: &Path) -> Vec<PathBuf> {
        let files = self.files.iter().map(|(file, _)| file).filter(|file| file.starts_with(TRAIN));
        files.map(|file| folder.join(file)).collect()
    }

    /// Whether all files of sentences are, as long as they were made.
    fn are_there(&self, folder: &Path) -> bool {
        self.files.iter().all(|(file, bytes)| length(&folder.join(file)) == Some(*bytes))
    }

    fn summary(&self, reused: bool) -> SentenceSummary {
        let LinesWritten { train, dev } = self.written;
        let counted = self.counted.as_ref();
        SentenceSummary {
            documents: self.summary.documents,
            train: (train.sentences, train.words),
            dev: (dev.sentences, dev.words),
            vocabulary: counted.map_or(0, |counted| counted.size),
            unknown: counted.map_or(0, |counted| counted.unknown),
            left_out: [self.summary.skipped_rows, self.summary.short_documents, self.summary.empty_documents],
            reused,
        }
    }
}

impl fmt::Display for SentenceSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((sentences, words), dev) = (self.train, self.dev);
        write!(f, "{} documents, {sentences} sentences of {words} words to train on", self.documents)?;
        if dev.0 > 0 {
            write!(f, ", {} of {} to evaluate on", dev.0, dev.1)?;
        }
        let share = percent(self.unknown, words);
        write!(f, "; {} words in the vocabulary, which lacks {share:.2} % of those to train on", self.vocabulary)?;
        let what = ["lines left out as unreadable", "documents left out as too short", "documents left out as empty"];
        for (count, what) in self.left_out.into_iter().zip(what).filter(|(count, _)| *count > 0) {
            write!(f, "; {count} {what}")?;
        }
        Ok(())
    }
}

/// Says what would surprise in training.
fn advise(summary: &SentenceSummary, options: &CorpusOptions) {
    let (sentences, words) = summary.train;
    if words < 2 * sentences {
        tracing::warn!("most sentences are one word: corpus.words says what words are told by");
    }
    if summary.unknown.saturating_mul(10) > words {
        let share = percent(summary.unknown, words);
        tracing::warn!(
            "{share:.0} % of the words are unknown: lower corpus.min_count, or take a vocabulary of such text"
        );
    }
    if options.dev_every.is_some() && summary.dev.0 == 0 {
        let count = summary.documents;
        tracing::warn!(
            "{count} documents are too few for corpus.dev_every: there are no dev files. An empty line ends a document"
        );
    }
}
