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
use super::inputs::Input;
use super::progress::Progress;
use super::shuffle::{self, Shuffled, Spill};
use super::state::{State, Summary, Work};
use super::text_file::{LeftOut, Place};
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
    fn write(writer: &mut Self::Writer, made: &Self::Made, summary: &mut Summary) -> Result<()>;

    /// Makes sure that everything written is on the disk.
    ///
    /// # Errors
    /// A file cannot be written.
    fn sync(writer: &mut Self::Writer) -> Result<Self::Written>;

    /// Completes the files.
    ///
    /// # Errors
    /// A file cannot be written.
    fn finish(writer: Self::Writer) -> Result<()>;
}

/// What both stages need.
pub(super) struct Job<'a> {
    pub(super) options: &'a CorpusOptions,
    pub(super) inputs: &'a [Input],
    pub(super) work: &'a Work,
    pub(super) stop: &'a AtomicBool,
}

impl Job<'_> {
    /// The state before anything is done.
    pub(super) fn beginning<W: Default>(&self, key: String) -> State<W> {
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
    pub(super) fn spill<W: Serialize>(&self, state: &mut State<W>) -> Result<()> {
        let mut documents = Documents::new(self.inputs, self.options, state.place, left_out(&state.summary));
        let mut spill = Spill::open(self.work.path(), state.buckets.clone(), self.options.seed, state.spilled)?;
        let progress = Progress::start("shuffling", self.bytes());
        progress.resume_at(documents.bytes_read());
        let (mut saved, mut spilled) = (Instant::now(), state.spilled);
        loop {
            let next = if self.stopped() { Err(Error::Interrupted) } else { documents.next() };
            let goes_on = matches!(next, Ok(Some(_)));
            if let Ok(Some(text)) = &next {
                spill.push(text)?;
                spilled += 1;
                progress.set(documents.bytes_read());
            }
            if goes_on && saved.elapsed() < SAVE_EVERY {
                continue;
            }
            state.buckets = spill.sync()?;
            (state.spilled, state.place) = (spilled, documents.place());
            leave_out(&mut state.summary, documents.left_out());
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
    pub(super) fn make<P: Product>(
        &self,
        product: &P,
        what: &'static str,
        state: &mut State<P::Written>,
    ) -> Result<()> {
        let mut writer = product.writer(self.work.path(), &state.written)?;
        let mut source = self.source(state);
        let progress = Progress::start(what, source.bytes());
        progress.resume_at(source.bytes_read());
        let mut saved = Instant::now();
        let mut ahead = self.read(&mut source);
        let mut made = None;
        let ended = loop {
            let portion = match ahead {
                Ok(portion) if portion.texts.is_empty() => break Ok(portion),
                Ok(portion) => portion,
                Err(error) => break Err(error),
            };
            let (next, (written, done)) = rayon::join(
                || self.read(&mut source),
                || rayon::join(|| write::<P>(&mut writer, made.take(), state), || self.make_portion(product, portion)),
            );
            written?;
            progress.set(source.bytes_read());
            if saved.elapsed() >= SAVE_EVERY {
                self.save::<P>(&mut writer, state)?;
                saved = Instant::now();
            }
            made = done;
            ahead = if made.is_some() { next } else { Err(Error::Interrupted) };
        };
        write::<P>(&mut writer, made, state)?;
        if let Ok(last) = &ended {
            // Nothing was kept of what stands behind the last document.
            leave_out(&mut state.summary, last.left_out);
        }
        self.save::<P>(&mut writer, state)?;
        ended?;
        P::finish(writer)
    }

    /// Whether the files are there that the state speaks of.
    pub(super) fn holds<P: Product>(&self, product: &P, state: &State<P::Written>) -> bool {
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

    fn source<W>(&self, state: &State<W>) -> Source<'_> {
        let left_out = left_out(&state.summary);
        match self.options.shuffle {
            true => {
                let shuffled = Shuffled::new(self.work.path(), state.buckets.clone(), state.place);
                Source::Shuffled(shuffled, left_out, state.buckets.iter().sum())
            }
            false => Source::Files(Documents::new(self.inputs, self.options, state.place, left_out), self.bytes()),
        }
    }

    /// The next quarter of the buffer; nothing after the last document.
    fn read(&self, source: &mut Source) -> Result<Portion> {
        let (mut texts, mut bytes) = (Vec::new(), 0);
        while bytes < self.options.buffer_bytes / 4 {
            if self.stopped() {
                return Err(Error::Interrupted);
            }
            let Some(text) = source.next()? else { break };
            bytes += text.len();
            texts.push(text);
        }
        Ok(Portion { texts, place: source.place(), left_out: source.left_out() })
    }

    /// Nothing after a stop.
    fn make_portion<P: Product>(&self, product: &P, portion: Portion) -> Option<MadePortion<P::Made>> {
        let make = |text: String| (!self.stopped()).then(|| product.make(&text));
        let documents = portion.texts.into_par_iter().map(make).collect::<Option<_>>()?;
        Some(MadePortion { documents, place: portion.place, left_out: portion.left_out })
    }
}

/// Documents that are read together.
struct Portion {
    texts: Vec<String>,
    /// Behind the last of them.
    place: Place,
    left_out: LeftOut,
}

/// What a portion has become.
struct MadePortion<M> {
    documents: Vec<M>,
    place: Place,
    left_out: LeftOut,
}

fn write<P: Product>(
    writer: &mut P::Writer,
    portion: Option<MadePortion<P::Made>>,
    state: &mut State<P::Written>,
) -> Result<()> {
    let Some(portion) = portion else { return Ok(()) };
    for document in &portion.documents {
        P::write(writer, document, &mut state.summary)?;
    }
    state.place = portion.place;
    leave_out(&mut state.summary, portion.left_out);
    Ok(())
}

fn left_out(summary: &Summary) -> LeftOut {
    LeftOut { rows: summary.skipped_rows, short: summary.short_documents }
}

fn leave_out(summary: &mut Summary, left_out: LeftOut) {
    summary.skipped_rows = left_out.rows;
    summary.short_documents = left_out.short;
}

/// Where documents come from, and how many bytes there are in all.
enum Source<'a> {
    Files(Documents<'a>, u64),
    /// With what was left out when the buckets were filled.
    Shuffled(Shuffled, LeftOut, u64),
}

impl Source<'_> {
    fn next(&mut self) -> Result<Option<String>> {
        match self {
            Self::Files(documents, _) => documents.next(),
            Self::Shuffled(shuffled, ..) => shuffled.next(),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Files(documents, _) => documents.place(),
            Self::Shuffled(shuffled, ..) => shuffled.place(),
        }
    }

    fn left_out(&self) -> LeftOut {
        match self {
            Self::Files(documents, _) => documents.left_out(),
            Self::Shuffled(_, left_out, _) => *left_out,
        }
    }

    fn bytes_read(&self) -> u64 {
        match self {
            Self::Files(documents, _) => documents.bytes_read(),
            Self::Shuffled(shuffled, ..) => shuffled.bytes_read(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Files(_, bytes) | Self::Shuffled(_, _, bytes) => *bytes,
        }
    }
}
