//! The two stages of the work: documents are spilled into buckets (if their order is to be random), then encoded and
//! written. Both say in the [`State`] how far they are, so that they can be stopped or killed at any moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::documents::{Documents, LeftOut, Place};
use super::encode::{Encoded, Encoder};
use super::inputs::Input;
use super::progress::Progress;
use super::shuffle::{self, Shuffled, Spill};
use super::state::{State, Work};
use super::summary::Summary;
use crate::corpus::{CorpusWriter, is_finished};
use crate::error::{Error, Result};
use crate::recipe::CorpusOptions;

/// Work that a kill may undo: time between two saved states.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// What both stages need.
pub(super) struct Job<'a> {
    pub(super) options: &'a CorpusOptions,
    pub(super) inputs: &'a [Input],
    pub(super) work: &'a Work,
    pub(super) stop: &'a AtomicBool,
}

impl Job<'_> {
    /// The state before anything is done.
    pub(super) fn beginning(&self, key: String) -> State {
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
    pub(super) fn spill(&self, state: &mut State) -> Result<()> {
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

    /// Encodes and writes what is left of the documents.
    ///
    /// While all threads encode one portion, the next is read and the one before is written. A portion is a quarter of
    /// the buffer; its ids take four bytes for a Chinese character, which takes three as text.
    ///
    /// # Errors
    /// A file cannot be read or written; [`Error::Interrupted`] after a stop. What was done by then is saved.
    pub(super) fn encode(&self, encoder: &Encoder, state: &mut State) -> Result<()> {
        let mut writer = self.writer(encoder, state)?;
        let mut source = self.source(state);
        let progress = Progress::start("tokenising", source.bytes());
        progress.resume_at(source.bytes_read());
        let mut saved = Instant::now();
        let mut ahead = self.read(&mut source);
        let mut encoded = None;
        let ended = loop {
            let portion = match ahead {
                Ok(portion) if portion.texts.is_empty() => break Ok(portion),
                Ok(portion) => portion,
                Err(error) => break Err(error),
            };
            let (next, (written, ids)) = rayon::join(
                || self.read(&mut source),
                || rayon::join(|| write(&mut writer, encoded.take(), state), || self.encode_portion(encoder, portion)),
            );
            written?;
            progress.set(source.bytes_read());
            if saved.elapsed() >= SAVE_EVERY {
                self.save(&mut writer, state)?;
                saved = Instant::now();
            }
            encoded = ids;
            ahead = if encoded.is_some() { next } else { Err(Error::Interrupted) };
        };
        write(&mut writer, encoded, state)?;
        if let Ok(last) = &ended {
            // Nothing was kept of what stands behind the last document.
            leave_out(&mut state.summary, last.left_out);
        }
        self.save(&mut writer, state)?;
        ended?;
        writer.finish()
    }

    /// Whether the files are there that the state speaks of.
    pub(super) fn holds(&self, encoder: &Encoder, state: &State) -> bool {
        let buckets = || match state.spilling {
            true => Spill::open(self.work.path(), state.buckets.clone(), 0, 0).is_ok(),
            false => shuffle::holds(self.work.path(), &state.buckets),
        };
        is_finished(self.work.path()) || (self.writer(encoder, state).is_ok() && buckets())
    }

    fn writer(&self, encoder: &Encoder, state: &State) -> Result<CorpusWriter> {
        let id_count = encoder.continuations.id_count();
        CorpusWriter::open(self.work.path(), self.options.layout, id_count, state.written)
    }

    fn save(&self, writer: &mut CorpusWriter, state: &mut State) -> Result<()> {
        state.written = writer.sync()?;
        self.work.save(state)
    }

    fn source(&self, state: &State) -> Source<'_> {
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
    fn encode_portion(&self, encoder: &Encoder, portion: Portion) -> Option<EncodedPortion> {
        let encode = |text: String| (!self.stopped()).then(|| encoder.document(&text));
        let documents = portion.texts.into_par_iter().map(encode).collect::<Option<_>>()?;
        Some(EncodedPortion { documents, place: portion.place, left_out: portion.left_out })
    }
}

/// Documents that are read together.
struct Portion {
    texts: Vec<String>,
    /// Behind the last of them.
    place: Place,
    left_out: LeftOut,
}

/// A portion as a corpus holds it.
struct EncodedPortion {
    documents: Vec<Encoded>,
    place: Place,
    left_out: LeftOut,
}

fn write(writer: &mut CorpusWriter, portion: Option<EncodedPortion>, state: &mut State) -> Result<()> {
    let Some(portion) = portion else { return Ok(()) };
    for document in &portion.documents {
        writer.push(&document.ids, &document.lens)?;
        state.summary.add(&document.summary);
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
