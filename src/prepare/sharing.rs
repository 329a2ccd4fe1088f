//! The share of each of several ranks in the work: parts, made of files or buckets that the others leave alone.

use std::collections::BTreeMap;
use std::ops::Range;

use super::pairs::Form;
use super::parts::{self, Kept, Part};
use super::pipeline::Job;
use super::product::Product;
use super::progress::Progress;
use super::state::State;
use super::text_file::Place;
use crate::error::Result;
use crate::ranks::Seen;

impl Job<'_> {
    /// Makes, together with the other ranks, a part of each stretch of files or buckets of which none is whole, and learns how far all
    /// parts are.
    ///
    /// # Errors
    /// A file cannot be read or written, of any rank; [`Error::Interrupted`] after a stop. What was done by then is saved.
    pub(super) fn share<P: Product>(
        &self,
        product: &P,
        state: &State<P::Written>,
        kept: &mut BTreeMap<usize, Kept>,
    ) -> Result<()> {
        let sizes = self.sizes(state);
        let goes_on = |part: usize| {
            let form = || Form::find(&self.inputs[part].path, self.options);
            !self.options.shuffle && form().is_ok_and(|form| form == Form::Target)
        };
        let is_left = |stretch: &Range<usize>| {
            state.place.part < stretch.end && !kept.get(&stretch.start).is_some_and(|kept| kept.is_whole)
        };
        let size = |stretch: Range<usize>| (stretch.clone(), sizes[stretch].iter().sum());
        let left: Vec<(Range<usize>, u64)> =
            parts::stretches(&sizes, goes_on).into_iter().filter(is_left).map(size).collect();
        let total = left.iter().map(|(_, bytes)| bytes).sum();
        let own = parts::dealt(left, self.ranks.size()).swap_remove(self.ranks.rank());
        let of_all = if self.ranks.is_first() { Progress::start(P::WORK, total) } else { Progress::silent() };
        let progress = Progress::silent();
        let seen = Seen { own: &|| progress.bar.position(), all: &|all| of_all.reach(all) };
        let made = self.ranks.together_seen(self.stop, seen, || {
            let part = |stretch: Range<usize>| {
                let start = stretch.start;
                self.make_part(product, state, stretch, kept.get(&start), &progress).map(|kept| (start, kept))
            };
            own.into_iter().map(part).collect::<Result<Vec<_>>>()
        })?;
        kept.extend(self.ranks.gather(made)?.into_iter().flatten());
        Ok(())
    }

    /// Makes a part of a stretch, or goes on with what is kept of it.
    fn make_part<P: Product>(
        &self,
        product: &P,
        state: &State<P::Written>,
        stretch: Range<usize>,
        kept: Option<&Kept>,
        progress: &Progress,
    ) -> Result<Kept> {
        let first = Place { part: stretch.start, ..Place::default() };
        let begin = if state.place.is_behind(first) { state.place } else { first };
        // A part that ends in front of what is written is of no use any more.
        let kept = kept.filter(|kept| !begin.is_behind(kept.position.place)).copied();
        let mut part = Part::<P>::open(self.work.path(), stretch.start, kept, begin)?;
        let mut source = self.source(state, part.kept().position, stretch.end, progress);
        self.make(product, &mut *source, &mut part, progress)?;
        Ok(part.kept())
    }
}
