//! The pipeline of `kiln prepare`, in two stages: documents are spilled into buckets (if their order is to be random), then made into what
//! the [`Product`] is and written. Both say in the [`State`] how far they are, so that they can be stopped or killed at
//! any moment.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::documents::Documents;
use super::inputs::{self, Input};
use super::nothing_left;
use super::progress::Progress;
use super::shuffle::{self, Shuffled, Spill};
use super::state::{State, Summary, Work};
use super::text_file::{Place, Position, Source};
use crate::error::{Error, Result};
use crate::recipe::CorpusOptions;

/// Work that a kill may undo: time between two saved states.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// What documents become, and how that is written.
pub(super) trait Product: Sync {
    /// What a document becomes.
    type Made: Send;
    type Writer: Send;
    /// How much is certain to be written.
    type Written: Clone + Default + Send + Serialize + DeserializeOwned;

    /// What happens to documents, for whoever waits.
    const WORK: &'static str;

    fn make(&self, text: &str) -> Self::Made;

    /// Goes on with the files in the work folder behind what is `written`; what else stands in them is cut off.
    ///
    /// # Errors
    /// A file cannot be written, or is shorter than `written` says ([`Error::Input`]).
    fn writer(&self, folder: &Path, written: &Self::Written) -> Result<Self::Writer>;

    /// Appends what the next document has become, and counts it.
    ///
    /// # Errors
    /// A file cannot be written.
    fn write(&self, writer: &mut Self::Writer, made: &Self::Made, summary: &mut Summary) -> Result<()>;

    /// Makes sure that everything written is on the disk.
    ///
    /// # Errors
    /// A file cannot be written.
    fn sync(writer: &mut Self::Writer) -> Result<Self::Written>;

    /// Completes the files.
    ///
    /// # Errors
    /// A file cannot be written.
    fn finish(_writer: Self::Writer) -> Result<()> {
        Ok(())
    }

    /// Whether the files in the work folder are complete already.
    fn is_finished(&self, _folder: &Path) -> bool {
        false
    }
}

/// What both stages need.
pub(super) struct Job<'a> {
    pub(super) options: &'a CorpusOptions,
    pub(super) inputs: &'a [Input],
    pub(super) work: &'a Work,
    pub(super) stop: &'a AtomicBool,
}

impl Job<'_> {
    /// Goes on with the work of a key, or begins it, and ends it. Before it begins with what was made of other text or by other options,
    /// which `is_again` tells, it says so.
    ///
    /// # Errors
    /// A file cannot be read or written, or was changed meanwhile; there is no document; [`Error::Interrupted`] after a stop. What was
    /// done by then is saved.
    pub(super) fn run<P: Product>(&self, product: &P, key: String, is_again: bool) -> Result<State<P::Written>> {
        let (output, folder) = (self.options.output.display(), self.work.path());
        let is_good = |state: &State<P::Written>| product.is_finished(folder) || self.holds(product, state);
        let mut state = match self.work.state(&key).filter(is_good) {
            Some(state) => {
                let stage = if state.spilling { "shuffling" } else { P::WORK };
                tracing::info!("{output}: going on with {stage}; so far {}", state.summary);
                state
            }
            None => {
                if is_again {
                    tracing::info!("{output}: the text or the options have changed; it is prepared again");
                }
                self.work.begin(self.inputs)?;
                self.beginning(key)
            }
        };
        if !product.is_finished(folder) {
            if state.spilling {
                self.spill(&mut state)?;
            }
            self.make(product, &mut state)?;
        }
        inputs::check_unchanged(self.inputs)?;
        if state.summary.documents == 0 {
            self.work.remove()?;
            return Err(nothing_left(&state.summary, self.options));
        }
        Ok(state)
    }

    /// The state before anything is done.
    fn beginning<W: Default>(&self, key: String) -> State<W> {
        let buckets = if self.options.shuffle { vec![0; shuffle::bucket_count(self.bytes())] } else { Vec::new() };
        State { key, spilling: self.options.shuffle, buckets, ..State::default() }
    }

    fn bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.bytes).sum()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Spills what is left of the documents into buckets.
    ///
    /// # Errors
    /// A file cannot be read or written; [`Error::Interrupted`] after a stop. What was done by then is saved.
    fn spill<W: Serialize>(&self, state: &mut State<W>) -> Result<()> {
        let progress = Progress::start("shuffling", self.bytes());
        let mut documents = Documents::new(self.inputs, self.options, state.position(), &progress);
        let mut spill = Spill::open(self.work.path(), state.buckets.clone(), self.options.seed, state.spilled)?;
        let (mut saved, mut spilled) = (Instant::now(), state.spilled);
        loop {
            let next = if self.stopped() { Err(Error::Interrupted) } else { documents.next() };
            let goes_on = matches!(next, Ok(Some(_)));
            if let Ok(Some(text)) = &next {
                spill.push(text)?;
                spilled += 1;
                progress.say();
            }
            if goes_on && saved.elapsed() < SAVE_EVERY {
                continue;
            }
            state.buckets = spill.sync()?;
            state.spilled = spilled;
            state.stand_at(documents.position());
            if matches!(next, Ok(None)) {
                (state.spilling, state.place) = (false, Place::default());
            }
            self.work.save(state)?;
            saved = Instant::now();
            if !goes_on {
                return next.map(drop);
            }
        }
    }

    /// Makes and writes what is left of the documents.
    ///
    /// While all threads work at one portion, the next is read and the one before is written. A portion is a quarter of
    /// the buffer; its ids take four bytes for a Chinese character, which takes three as text.
    ///
    /// # Errors
    /// A file cannot be read or written; [`Error::Interrupted`] after a stop. What was done by then is saved.
    fn make<P: Product>(&self, product: &P, state: &mut State<P::Written>) -> Result<()> {
        let mut writer = product.writer(self.work.path(), &state.written)?;
        let bytes = if self.options.shuffle { state.buckets.iter().sum() } else { self.bytes() };
        let progress = Progress::start(P::WORK, bytes);
        let mut source: Box<dyn Source + '_> = match self.options.shuffle {
            true => Box::new(Shuffled::new(self.work.path(), state.buckets.clone(), state.position(), &progress)),
            false => Box::new(Documents::new(self.inputs, self.options, state.position(), &progress)),
        };
        let mut saved = Instant::now();
        let mut ahead = self.read(&mut *source);
        let mut made = None;
        let ended = loop {
            let portion = match ahead {
                Ok(portion) if portion.documents.is_empty() => break Ok(portion),
                Ok(portion) => portion,
                Err(error) => break Err(error),
            };
            let (next, (written, done)) = rayon::join(
                || self.read(&mut *source),
                || {
                    rayon::join(
                        || write(product, &mut writer, made.take(), state),
                        || self.make_portion(product, portion),
                    )
                },
            );
            written?;
            progress.say();
            if saved.elapsed() >= SAVE_EVERY {
                self.save::<P>(&mut writer, state)?;
                saved = Instant::now();
            }
            made = done;
            ahead = if made.is_some() { next } else { Err(Error::Interrupted) };
        };
        write(product, &mut writer, made, state)?;
        if let Ok(last) = &ended {
            // Nothing was kept of what stands behind the last document.
            state.stand_at(Position { place: state.place, left_out: last.position.left_out });
        }
        self.save::<P>(&mut writer, state)?;
        ended?;
        P::finish(writer)
    }

    /// Whether the files are there that the state speaks of.
    fn holds<P: Product>(&self, product: &P, state: &State<P::Written>) -> bool {
        let buckets = || match state.spilling {
            true => Spill::open(self.work.path(), state.buckets.clone(), 0, 0).is_ok(),
            false => shuffle::holds(self.work.path(), &state.buckets),
        };
        product.writer(self.work.path(), &state.written).is_ok() && buckets()
    }

    fn save<P: Product>(&self, writer: &mut P::Writer, state: &mut State<P::Written>) -> Result<()> {
        state.written = P::sync(writer)?;
        self.work.save(state)
    }

    /// The next quarter of the buffer; nothing after the last document.
    fn read(&self, source: &mut dyn Source) -> Result<Portion<String>> {
        let (mut documents, mut bytes) = (Vec::new(), 0);
        while bytes < self.options.buffer_bytes / 4 {
            if self.stopped() {
                return Err(Error::Interrupted);
            }
            let Some(text) = source.next()? else { break };
            bytes += text.len();
            documents.push(text);
        }
        Ok(Portion { documents, position: source.position() })
    }

    /// Nothing after a stop.
    fn make_portion<P: Product>(&self, product: &P, portion: Portion<String>) -> Option<Portion<P::Made>> {
        let make = |text: String| (!self.stopped()).then(|| product.make(&text));
        let documents = portion.documents.into_par_iter().map(make).collect::<Option<_>>()?;
        Some(Portion { documents, position: portion.position })
    }
}

/// Documents that are read together, or what became of them.
struct Portion<T> {
    documents: Vec<T>,
    position: Position,
}

fn write<P: Product>(
    product: &P,
    writer: &mut P::Writer,
    portion: Option<Portion<P::Made>>,
    state: &mut State<P::Written>,
) -> Result<()> {
    let Some(portion) = portion else { return Ok(()) };
    for document in &portion.documents {
        product.write(writer, document, &mut state.summary)?;
    }
    state.stand_at(portion.position);
    Ok(())
}
