//! From raw text to what pre-training learns from: `kiln prepare`.
//!
//! Files (`text_file`) are read as documents (`documents`), which are put in a random order if that is asked for (`shuffle`), cut
//! into sentences (`sentences`) and words (`words`), tokenised, and marked word by word (`marks`); `encode` puts the
//! last four together (the words and marks are ERNIE 1.0's alone). Pairs of sentences in two languages (`pairs`) take the same way.
//! `pipeline` runs it all in bounded memory on all threads, and `state` is what it goes on from
//! after a stop; several ranks share the dear part of it (`sharing`, `parts`). For a language model in words (`language_model`) sentences are not tokenised: they become lines of
//! words (`segmented`), of which a vocabulary is made (`vocabulary`).
//!
//! The result depends on the texts, the options and the tokenizer alone: not on the number of ranks or threads, the
//! memory given, or how often the work was interrupted.

mod documents;
mod encode;
mod inputs;
mod language_model;
mod marks;
mod pairs;
mod parts;
mod pipeline;
mod product;
mod progress;
mod segmented;
mod sentences;
mod sharing;
mod shuffle;
mod state;
mod text_file;
mod vocabulary;
mod words;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

pub use language_model::{SentenceSummary, segment};
pub use marks::Continuations;
pub use state::Summary;

use serde::{Deserialize, Serialize};

use self::encode::{Encoder, Marks};
use self::inputs::Input;
use self::pipeline::Job;
use self::state::{Manifest, State, Work};
use self::words::Dictionary;
use crate::corpus::content::{ACCOUNT, Content, Kind};
use crate::corpus::{self, Corpus, Written};
use crate::error::{Error, Problem, Result};
use crate::ranks::Ranks;
use crate::recipe::CorpusOptions;
use crate::tokenize::Tokenizer;

/// Makes the corpus that `options` describe, goes on with making it, or finds that it is there already. All `ranks` call this; they share
/// the work, and have to see the same files.
///
/// Work happens on the threads of the rayon pool it is called in. When `stop` becomes true it ends as soon as what was
/// done is saved.
///
/// # Errors
/// [`Error::Input`] for text that cannot be read and options that cannot be followed, [`Error::Run`] where a file
/// cannot be written, [`Error::Interrupted`] after a stop. What was done by then is kept, and gone on from when it is
/// called again with the same text and options, on any number of ranks.
pub fn run(options: &CorpusOptions, tokenizer: &Tokenizer, ranks: &Ranks, stop: &AtomicBool) -> Result<Summary> {
    let prefix = options.output.as_path();
    let read = |file: &PathBuf| std::fs::read(file).map_err(|cause| Error::reading(file, &cause));
    let dictionary = || options.dictionary.as_ref().map(read).transpose();
    let found = ranks.first_alone(stop, || find(options, tokenizer, dictionary, stop))?;
    let Found { inputs, key, is_own, made } = ranks.of_first(found)?;
    if let Some(summary) = made {
        return Ok(Summary { reused: true, ..summary });
    }
    let encoder = || {
        let dictionary = dictionary()?;
        let own_key = || state::key(options, dictionary.as_deref(), &tokenizer.fingerprint(), &inputs);
        inputs::check_same(&inputs, &key, ranks, own_key)?;
        encoder(options, tokenizer, dictionary)
    };
    let encoder = ranks.together(stop, encoder)?;
    let work = ranks.first_alone(stop, || refuse_strangers(prefix, is_own).and_then(|()| Work::open(prefix)))?;
    let work = Work::of_first(work, prefix, ranks)?;
    let job = Job { options, inputs: &inputs, work: &work, ranks, stop };
    let state = job.run(&encoder, key, is_own)?;
    let summary = ranks.first_alone(stop, || publish(options, tokenizer, state, inputs.clone(), &work))?;
    ranks.of_first(summary)
}

/// What there is before any work.
#[derive(Serialize, Deserialize)]
struct Found {
    inputs: Vec<Input>,
    key: String,
    /// Whether what stands at the output's place was made here.
    is_own: bool,
    /// What was made of the same text by the same options, if it is there.
    made: Option<Summary>,
}

fn find(
    options: &CorpusOptions,
    tokenizer: &Tokenizer,
    dictionary: impl FnOnce() -> Result<Option<Vec<u8>>>,
    stop: &AtomicBool,
) -> Result<Found> {
    let prefix = options.output.as_path();
    check_name(prefix)?;
    let manifest_file = corpus::with_ending(prefix, ACCOUNT);
    let manifest: Option<Manifest> = state::read(&manifest_file);
    let own = corpus::files(prefix).into_iter().chain([manifest_file]).collect::<Vec<_>>();
    let mut paths = inputs::find(&options.input, |file| own.iter().any(|own| is_same(own, file)))?;
    if let Some(languages) = options.pair() {
        paths = pairs::arrange(paths, options, languages)?;
    }
    let known = state::inputs(prefix, manifest.as_ref().map(|manifest| &manifest.inputs));
    let inputs = inputs::identify(paths, &known, stop)?;
    let key = state::key(options, dictionary()?.as_deref(), &tokenizer.fingerprint(), &inputs);
    let made = manifest.as_ref().filter(|manifest| is_there(manifest, &key, prefix));
    if made.is_some() {
        tracing::info!("{}: prepared already, from the same text and options", prefix.display());
        state::clear(prefix)?;
    }
    let made = made.map(|manifest| manifest.summary.clone());
    Ok(Found { inputs, key, is_own: manifest.is_some(), made })
}

fn encoder<'a>(
    options: &'a CorpusOptions,
    tokenizer: &'a Tokenizer,
    dictionary: Option<Vec<u8>>,
) -> Result<Encoder<'a>> {
    let marks = tokenizer.as_word_piece().map(|tokenizer| {
        let dictionary = match (&options.dictionary, dictionary) {
            (Some(file), Some(bytes)) => Dictionary::parse(&bytes, file, tokenizer, options.max_word_tokens)?,
            _ => Dictionary::default(),
        };
        Ok::<_, Error>(Marks::new(tokenizer, dictionary, options))
    });
    Ok(Encoder { tokenizer, marks: marks.transpose()?, options })
}

/// Puts the corpus in its place, with the account of what it was made of.
fn publish(
    options: &CorpusOptions,
    tokenizer: &Tokenizer,
    state: State<Written>,
    inputs: Vec<Input>,
    work: &Work,
) -> Result<Summary> {
    let prefix = options.output.as_path();
    corpus::withdraw(options.layout, prefix)?;
    let State { key, written, summary, .. } = state;
    let manifest = Manifest {
        kiln: env!("CARGO_PKG_VERSION").to_string(),
        key,
        tokenizer: tokenizer.fingerprint(),
        content: Content {
            kind: if options.pair().is_some() { Kind::Pairs } else { Kind::Text },
            languages: options.languages.clone().unwrap_or_default(),
        },
        options: options.clone(),
        written,
        summary: summary.clone(),
        inputs,
    };
    state::write(&corpus::with_ending(prefix, ACCOUNT), &manifest)?;
    corpus::publish(work.path(), options.layout, prefix)?;
    work.remove()?;
    advise(&summary);
    Ok(summary)
}

/// Whether two names are of one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let canonical = |file: &Path| file.canonicalize().ok();
    one.file_name() == other.file_name() && canonical(one).is_some_and(|one| canonical(other) == Some(one))
}

fn check_name(prefix: &Path) -> Result<()> {
    let ends_with_slash = prefix.to_string_lossy().ends_with(std::path::is_separator);
    if prefix.file_name().is_none() || ends_with_slash || prefix.is_dir() {
        let problem = Problem::new("the output is a folder where a name is needed").in_file(prefix);
        return Err(problem.help("the files of the output `folder/name` are `folder/name_ids.npy` and so on").into());
    }
    Ok(())
}

/// Whether the corpus of this key stands at its place, whole.
fn is_there(manifest: &Manifest, key: &str, prefix: &Path) -> bool {
    let counts = |corpus: Corpus| (corpus.tokens, corpus.sentences() as u64, corpus.documents() as u64);
    let written = manifest.written;
    let expected = (written.tokens, written.sentences, written.documents);
    manifest.key == key && Corpus::open(prefix).is_ok_and(|corpus| counts(corpus) == expected)
}

/// A corpus that was not made here is not replaced.
fn refuse_strangers(prefix: &Path, is_own: bool) -> Result<()> {
    let stranger = corpus::files(prefix).into_iter().find(|file| !is_own && file.exists());
    stranger.map_or(Ok(()), |file| {
        let problem = Problem::new("this file is there already, and not from `kiln prepare`").in_file(&file);
        Err(problem.help("move it away, or choose another output").into())
    })
}

fn nothing_left(summary: &Summary, options: &CorpusOptions) -> Error {
    if options.pair().is_some() {
        let what = format!(
            "the inputs hold no pair: {} with an empty side, {} lines unreadable",
            summary.empty_documents, summary.skipped_rows
        );
        return Problem::new(what).help("`columns` in [corpus] says where the two sentences of a pair stand").into();
    }
    let what = format!(
        "the inputs hold no document: {} too short, {} without a token, {} lines unreadable",
        summary.short_documents, summary.empty_documents, summary.skipped_rows
    );
    let help = format!(
        "documents are of more than min_document_length = {} characters; an empty line or document_delimiter ends one",
        options.min_document_length
    );
    Problem::new(what).help(help).into()
}

/// Says what would surprise in training.
fn advise(summary: &Summary) {
    if summary.unknown_tokens.saturating_mul(20) > summary.tokens {
        let share = summary.unknown_tokens * 100 / summary.tokens.max(1);
        tracing::warn!("{share} % of the tokens are unknown: is the vocabulary one for the language of this text?");
    }
    if summary.single_sentence_documents.saturating_mul(2) > summary.documents {
        tracing::warn!(
            "{} of {} documents have only one sentence, and sentence-order prediction passes over those; the option \
             `sentences` says where sentences end",
            summary.single_sentence_documents,
            summary.documents
        );
    }
    if summary.documents == 1 && summary.sentences > 100 {
        tracing::warn!("all the text is one document: an empty line, or the document_delimiter, ends one");
    }
    if summary.overlong_documents > 0 {
        let count = summary.overlong_documents;
        tracing::warn!("{count} documents have a sentence of more than 512 tokens, and training passes over them");
    }
}
