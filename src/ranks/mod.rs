//! A step's work shared by several ranks, such that the bits do not depend on how many there are.
//!
//! A step has blocks: each is `training.batch_size` consecutive rows, the unit of computing and of rounding. A rank computes a run of
//! consecutive blocks. What the blocks give is added up along a [`tree`] that the number of blocks alone decides, and the elements of
//! all parameters are cut into [`pieces`](pieces::Pieces) whose owners add them up; f32 addition commutes, so that only the shape of the
//! tree matters, and not who adds.

pub mod bits;
mod launcher;
#[cfg(feature = "mpi")]
mod mpi;
// Its double is tested in every build.
#[cfg(any(test, all(feature = "cuda", feature = "mpi")))]
mod nccl;
pub mod pieces;
pub mod reduce;
mod together;
mod transport;
pub mod tree;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use launcher::{is_launched, launched_rank, refuse};
pub use together::Seen;
pub use transport::{Pending, Place, Silent, Threads, Transport};

use crate::error::{Error, Problem, Result};

/// The ranks that work together, as one of them sees them.
#[derive(Clone)]
pub struct Ranks {
    place: Place,
    /// `None` where there is one.
    transport: Option<Arc<Mutex<Box<dyn Transport>>>>,
}

impl Ranks {
    /// One process.
    pub const fn alone() -> Self {
        Self { place: Place::ALONE, transport: None }
    }

    /// The ranks that a launcher has started this process among; [`Self::alone`] where none has. Another rank is waited for as long
    /// as `patience`.
    ///
    /// # Errors
    /// A launcher whose ranks this build cannot reach.
    pub fn start(patience: Duration) -> Result<Self> {
        let Some(launched) = launcher::launched() else { return Ok(Self::alone()) };
        #[cfg(feature = "mpi")]
        if let Some(mpi) = mpi::Mpi::start(patience) {
            let started = Self::over(Box::new(mpi));
            return if started.place.size > 1 { Ok(started) } else { Err(launched.error(launched.not_joined())) };
        }
        #[cfg(not(feature = "mpi"))]
        let _ = patience;
        Err(launched.error(launcher::no_mpi()))
    }

    /// Ranks that reach each other by `transport`.
    pub fn over(transport: Box<dyn Transport>) -> Self {
        let place = transport.place();
        Self { place, transport: (place.size > 1).then(|| Arc::new(Mutex::new(transport))) }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    pub fn rank(&self) -> usize {
        self.place.rank
    }

    pub fn size(&self) -> usize {
        self.place.size
    }

    /// Whether this is the rank that writes files and speaks to the user.
    pub fn is_first(&self) -> bool {
        self.place.rank == 0
    }

    pub fn is_alone(&self) -> bool {
        self.transport.is_none()
    }

    /// What carries exchanges; `None` where there are no other ranks.
    pub fn transport(&self) -> Option<MutexGuard<'_, Box<dyn Transport>>> {
        self.transport.as_ref().map(|transport| transport.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives each rank what all have, in their order. Floats that must not lose a bit go as their bits.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn gather<T: Serialize + DeserializeOwned>(&self, own: T) -> Result<Vec<T>> {
        let Some(mut transport) = self.transport() else { return Ok(vec![own]) };
        let bytes = serde_json::to_vec(&own).map_err(|cause| Error::run(Problem::new(cause.to_string())))?;
        let pending = transport.messages(bytes);
        drop(transport);
        let read = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes).map_err(|_| {
                let problem = Problem::new("the ranks do not say the same things to each other");
                Error::run(problem.help("do all run the same build?"))
            })
        };
        pending.wait()?.into_iter().map(read).collect()
    }

    /// As [`Self::gather`], of what may have gone wrong: where one rank has an error, all end, and the first that has one tells of it.
    ///
    /// # Errors
    /// Any rank's; a rank does not answer.
    pub fn try_gather<T: Serialize + DeserializeOwned>(&self, own: Result<T>) -> Result<Vec<T>> {
        if self.is_alone() {
            return Ok(vec![own?]);
        }
        let (own, error) = match own {
            Ok(own) => (Ok(own), None),
            Err(error) => (Err(error.exit_code()), Some(error)),
        };
        let found: Vec<Result<T, u8>> = match (self.gather(own), error) {
            (Ok(found), None) => found,
            (Ok(found), Some(error)) => {
                let is_first_error = found.iter().position(Result::is_err) == Some(self.place.rank);
                return Err(if is_first_error { self.named(error) } else { Error::Elsewhere(error.exit_code()) });
            }
            // Why nobody answers is this.
            (Err(_), Some(error)) => return Err(self.named(error)),
            (Err(silent), None) => return Err(silent),
        };
        match found.iter().find_map(|found| found.as_ref().err()) {
            Some(code) => Err(Error::Elsewhere(*code)),
            None => Ok(found.into_iter().flatten().collect()),
        }
    }

    /// An error of this rank, which it names where it is not the first.
    fn named(&self, error: Error) -> Error {
        if self.is_first() { error } else { error.on_rank(self.place.rank) }
    }

    /// The same result on all ranks, by the rules of [`Self::try_gather`].
    ///
    /// # Errors
    /// Any rank's; a rank does not answer.
    pub fn agree<T>(&self, own: Result<T>) -> Result<T> {
        match own {
            Ok(own) => self.try_gather(Ok(())).map(|_| own),
            Err(error) => Err(self.try_gather::<()>(Err(error)).err().unwrap_or(Error::Elsewhere(1))),
        }
    }

    /// What the first rank alone does.
    ///
    /// # Errors
    /// Its own, on all ranks.
    pub fn first<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        self.agree(self.is_first().then(work).transpose())
    }

    /// The ranks that have something else than the first; the same list on all of them.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn others_than_first<T: Serialize + DeserializeOwned + PartialEq>(&self, own: T) -> Result<Vec<usize>> {
        let all = self.gather(own)?;
        Ok((0..all.len()).filter(|rank| all[*rank] != all[0]).collect())
    }

    /// Sees that all ranks have the same.
    ///
    /// # Errors
    /// They have not; a rank does not answer.
    pub fn same(&self, what: &str, own: String) -> Result<()> {
        let others = self.others_than_first(own)?;
        let Some(other) = others.first() else { return Ok(()) };
        let problem = Problem::new(format!("rank {other} has another {what} than rank 0"));
        Err(self.error(problem.help("all ranks read the same recipe, data and weights, and run the same build")))
    }

    /// An error that all ranks have come to by themselves, and the first tells of.
    pub fn same_error(&self, error: Error) -> Error {
        if self.is_first() { error } else { Error::Elsewhere(error.exit_code()) }
    }

    /// An error that all ranks have, and the first tells of.
    pub fn error(&self, problem: Problem) -> Error {
        if self.is_first() { problem.into() } else { Error::Elsewhere(2) }
    }

    /// Does the same on all ranks, first on one rank of each machine, so that the others find what it has made there, such as caches.
    ///
    /// # Errors
    /// As [`Self::agree`].
    pub fn first_then_rest<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        if self.is_alone() {
            return work();
        }
        let is_first = self.place.local_rank == 0;
        let first = self.agree(is_first.then(&mut work).transpose())?;
        self.agree(first.map_or_else(work, Ok))
    }

    /// Bytes that have gone to other ranks.
    pub fn sent(&self) -> u64 {
        self.transport().map_or(0, |transport| transport.sent())
    }

    /// Leaves the others at the end of the work, or where all have agreed that it cannot go on, and says whether all have.
    pub fn finish(&self) -> bool {
        self.transport().is_none_or(|mut transport| transport.finish())
    }
}

impl From<Silent> for Error {
    fn from(silent: Silent) -> Self {
        if !silent.tells {
            return Self::Elsewhere(1);
        }
        let problem = Problem::new(silent.who);
        Self::run(problem.help("the same command, on any number of ranks, goes on from the last checkpoint"))
    }
}

#[cfg(test)]
mod contract;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn on_threads<T: Send + 'static>(
        size: usize,
        work: impl Fn(Ranks) -> T + Send + Clone + 'static,
    ) -> Vec<T> {
        let threads = Threads::group(size).into_iter().map(|transport| {
            let work = work.clone();
            std::thread::spawn(move || work(Ranks::over(Box::new(transport))))
        });
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    #[test]
    fn one_rank_tells_of_an_error_and_all_end_with_its_code() {
        let ended = on_threads(3, |ranks| {
            let own = if ranks.rank() == 0 { Ok(()) } else { Err(Error::input(format!("no {}", ranks.rank()))) };
            let error = ranks.agree(own).unwrap_err();
            (error.problems().iter().map(ToString::to_string).collect::<String>(), error.exit_code())
        });
        assert_eq!(ended, [(String::new(), 2), ("rank 1: no 1".into(), 2), (String::new(), 2)]);
    }

    #[test]
    fn the_first_of_a_machine_works_before_the_others() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let seen = done.clone();
        on_threads(3, move |ranks| {
            let work = || {
                seen.lock().unwrap().push(ranks.rank());
                Ok(())
            };
            ranks.first_then_rest(work).unwrap();
        });
        let done = done.lock().unwrap();
        assert_eq!((done.len(), done[0]), (3, 0));
    }
}
