//! The pipeline of `kiln prepare`, in two stages: documents are spilled into buckets (if their order is to be random), then made into what
//! the [`Product`] is and written. Both say in the [`State`] how far they are, so that they can be stopped or killed at
//! any moment.
//!
//! Among several ranks, the first spills; each makes documents of files or buckets of its own into [`parts`] (`sharing`); and the first
//! writes these in their order, as it would have written what it makes itself. So the state is that of one process, and any number of ranks
//! goes on from it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::Serialize;

use super::documents::Documents;
use super::inputs::{self, Input};
use super::nothing_left;
use super::parts::{self, Kept};
use super::product::{Portion, Product, Sink};
use super::progress::Progress;
use super::shuffle::{self, Shuffled, Spill};
use super::state::{State, Work};
use super::text_file::{LeftOut, Place, Position, Source};
use crate::error::{Error, Result};
use crate::ranks::Ranks;
use crate::recipe::CorpusOptions;

/// Work that a kill may undo: time between two saved states.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// Text that is read together where ranks share the work (bytes), at most: files may be small.
const PORTION: usize = 4 << 20;

/// What both stages need.
pub(super) struct Job<'a> {
    pub(super) options: &'a CorpusOptions,
    pub(super) inputs: &'a [Input],
    pub(super) work: &'a Work,
    pub(super) ranks: &'a Ranks,
    pub(super) stop: &'a AtomicBool,
}

impl Job<'_> {
    /// Goes on with the work of a key, or begins it, and ends it. Before it begins with what was made of other text or by other options,
    /// which `is_again` tells, it says so. The state is whole on the first rank.
    ///
    /// # Errors
    /// A file cannot be read or written, or was changed meanwhile; there is no document; [`Error::Interrupted`] after a stop. What was
    /// done by then is saved.
    pub(super) fn run<P: Product>(&self, product: &P, key: String, is_again: bool) -> Result<State<P::Written>> {
        let begun = self.ranks.first_alone(self.stop, || self.begin(product, key, is_again))?;
        let (mut state, mut kept) = self.ranks.of_first(begun)?;
        if !self.ranks.is_alone() {
            self.share(product, &state, &mut kept)?;
        }
        self.ranks.first_alone(self.stop, || self.complete(product, &mut state, &kept))?;
        Ok(state)
    }

    /// Up to where documents are made, and what is kept of parts.
    fn begin<P: Product>(&self, product: &P, key: String, is_again: bool) -> Result<Begun<P>> {
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
        if state.spilling && !product.is_finished(folder) {
            self.spill(&mut state)?;
        }
        if !self.ranks.is_alone() {
            // Without a state nobody would go on with parts.
            self.work.save(&state)?;
        }
        Ok((state, parts::found(folder)))
    }

    /// Writes what is left.
    fn complete<P: Product>(
        &self,
        product: &P,
        state: &mut State<P::Written>,
        kept: &BTreeMap<usize, Kept>,
    ) -> Result<()> {
        if !product.is_finished(self.work.path()) {
            self.write(product, state, kept)?;
        }
        inputs::check_unchanged(self.inputs)?;
        if state.summary.documents == 0 {
            self.work.remove()?;
            return Err(nothing_left(&state.summary, self.options));
        }
        Ok(())
    }

    /// The state before anything is done.
    fn beginning<W: Default>(&self, key: String) -> State<W> {
        let buckets = || shuffle::bucket_count(self.bytes(), self.ranks.size());
        let buckets = if self.options.shuffle { vec![0; buckets()] } else { Vec::new() };
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

    /// What a stage reads, in bytes: files, or buckets.
    pub(super) fn sizes<W>(&self, state: &State<W>) -> Vec<u64> {
        match self.options.shuffle {
            true => state.buckets.clone(),
            false => self.inputs.iter().map(|input| input.bytes).collect(),
        }
    }

    /// The documents from a position up to the file or bucket `end`.
    pub(super) fn source<'a, W>(
        &'a self,
        state: &State<W>,
        position: Position,
        end: usize,
        progress: &Progress,
    ) -> Box<dyn Source + 'a> {
        match self.options.shuffle {
            true => Box::new(Shuffled::new(self.work.path(), state.buckets[..end].to_vec(), position, progress)),
            false => Box::new(Documents::new(&self.inputs[..end], self.options, position, progress)),
        }
    }

    /// Makes what is left of the documents of a source, and has it written.
    ///
    /// While all threads work at one portion, the next is read and the one before is written. A portion is a quarter of
    /// the buffer; its ids take four bytes for a Chinese character, which takes three as text.
    ///
    /// # Errors
    /// A file cannot be read or written; [`Error::Interrupted`] after a stop. What was done by then is saved.
    pub(super) fn make<P: Product>(
        &self,
        product: &P,
        source: &mut dyn Source,
        sink: &mut dyn Sink<P::Made>,
        progress: &Progress,
    ) -> Result<()> {
        let mut saved = Instant::now();
        let mut ahead = self.read(source);
        let mut made: Option<Portion<P::Made>> = None;
        let ended = loop {
            let portion = match ahead {
                Ok(portion) if portion.documents.is_empty() => break Ok(portion),
                Ok(portion) => portion,
                Err(error) => break Err(error),
            };
            let (next, (written, done)) = rayon::join(
                || self.read(source),
                || {
                    rayon::join(
                        || made.take().map_or(Ok(()), |portion| sink.write(&portion)),
                        || self.make_portion(product, portion),
                    )
                },
            );
            written?;
            progress.say();
            if saved.elapsed() >= SAVE_EVERY {
                sink.save()?;
                saved = Instant::now();
            }
            made = done;
            ahead = if made.is_some() { next } else { Err(Error::Interrupted) };
        };
        if let Some(portion) = made {
            sink.write(&portion)?;
        }
        if let Ok(last) = &ended {
            sink.end(last.position)?;
        }
        sink.save()?;
        ended.map(drop)
    }

    /// Makes and writes what is left of the documents; what other ranks have made, or an earlier start, is only written.
    ///
    /// # Errors
    /// A file cannot be read or written; [`Error::Interrupted`] after a stop. What was done by then is saved.
    fn write<P: Product>(
        &self,
        product: &P,
        state: &mut State<P::Written>,
        kept: &BTreeMap<usize, Kept>,
    ) -> Result<()> {
        let folder = self.work.path();
        let sizes = self.sizes(state);
        let progress = Progress::start(P::WORK, sizes.iter().sum());
        let writer = product.writer(folder, &state.written)?;
        let mut corpus = Corpus { product, writer, state, work: self.work };
        for (start, kept) in kept {
            self.make_up_to(*start, &mut corpus, &progress)?;
            self.join(*start, kept, &mut corpus)?;
            progress.resume_at(sizes.iter().take(corpus.state.place.part).sum());
            parts::forget(folder, *start)?;
        }
        self.make_up_to(sizes.len(), &mut corpus, &progress)?;
        corpus.save()?;
        P::finish(corpus.writer)
    }

    /// Makes and writes the documents in front of the file or bucket `end`, if there are any left.
    fn make_up_to<P: Product>(&self, end: usize, corpus: &mut Corpus<P>, progress: &Progress) -> Result<()> {
        if corpus.state.place.part >= end {
            return Ok(());
        }
        let mut source = self.source(corpus.state, corpus.state.position(), end, progress);
        self.make(corpus.product, &mut *source, corpus, progress)
    }

    /// Writes what is kept of a part and was not written yet.
    fn join<P: Product>(&self, start: usize, kept: &Kept, corpus: &mut Corpus<P>) -> Result<()> {
        if !kept.position.place.is_behind(corpus.state.place) {
            return Ok(());
        }
        let mut reader = parts::Reader::open(self.work.path(), start, kept)?;
        // What was left out in front of the part.
        let mut before = corpus.state.position().left_out;
        let mut saved = Instant::now();
        while let Some(mut portion) = reader.next::<P>()? {
            let LeftOut { rows, short } = portion.position.left_out;
            if !portion.position.place.is_behind(corpus.state.place) {
                let so_far = corpus.state.position().left_out;
                before = LeftOut { rows: so_far.rows.saturating_sub(rows), short: so_far.short.saturating_sub(short) };
                continue;
            }
            portion.position.left_out = LeftOut { rows: before.rows + rows, short: before.short + short };
            corpus.write(&portion)?;
            if self.stopped() || saved.elapsed() >= SAVE_EVERY {
                corpus.save()?;
                saved = Instant::now();
            }
            if self.stopped() {
                return Err(Error::Interrupted);
            }
        }
        corpus.save()
    }

    /// Whether the files are there that the state speaks of.
    fn holds<P: Product>(&self, product: &P, state: &State<P::Written>) -> bool {
        let buckets = || match state.spilling {
            true => Spill::open(self.work.path(), state.buckets.clone(), 0, 0).is_ok(),
            false => shuffle::holds(self.work.path(), &state.buckets),
        };
        product.writer(self.work.path(), &state.written).is_ok() && buckets()
    }

    /// The next quarter of the buffer; nothing after the last document.
    fn read(&self, source: &mut dyn Source) -> Result<Portion<String>> {
        let quarter = self.options.buffer_bytes / 4;
        let most = if self.ranks.is_alone() { quarter } else { quarter.min(PORTION) };
        let (mut documents, mut bytes) = (Vec::new(), 0);
        while bytes < most {
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

/// A state, and what is kept of parts.
type Begun<P> = (State<<P as Product>::Written>, BTreeMap<usize, Kept>);

/// The files that are made.
struct Corpus<'a, P: Product> {
    product: &'a P,
    writer: P::Writer,
    state: &'a mut State<P::Written>,
    work: &'a Work,
}

impl<P: Product> Sink<P::Made> for Corpus<'_, P> {
    fn write(&mut self, portion: &Portion<P::Made>) -> Result<()> {
        for document in &portion.documents {
            self.product.write(&mut self.writer, document, &mut self.state.summary)?;
        }
        self.state.stand_at(portion.position);
        Ok(())
    }

    fn end(&mut self, position: Position) -> Result<()> {
        self.state.stand_at(position);
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.state.written = P::sync(&mut self.writer)?;
        self.work.save(self.state)
    }
}
