//! A step's work shared by several ranks, such that the bits do not depend on how many there are.
//!
//! A step has blocks: each is `training.batch_size` consecutive rows, the unit of computing and of rounding. A rank computes a run of
//! consecutive blocks. What the blocks give is added up along a [`tree`] that the number of blocks alone decides, and the elements of
//! all parameters are cut into [`pieces`](pieces::Pieces) whose owners add them up; f32 addition commutes, so that only the shape of the
//! tree matters, and not who adds.

mod launcher;
#[cfg(feature = "mpi")]
mod mpi;
pub mod pieces;
pub mod reduce;
mod together;
mod transport;
pub mod tree;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

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

    /// The same result on all ranks: where one has an error, all end, and the first that has one tells of it.
    ///
    /// # Errors
    /// Any rank's; a rank does not answer.
    pub fn agree<T>(&self, own: Result<T>) -> Result<T> {
        if self.is_alone() {
            return own;
        }
        let codes = self.gather(own.as_ref().err().map(Error::exit_code))?;
        match codes.iter().position(Option::is_some) {
            Some(rank) if rank != self.place.rank => Err(Error::Elsewhere(codes[rank].unwrap_or(1))),
            _ => own,
        }
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

    /// Leaves the others at the end of the work, or where all have agreed that it cannot go on.
    pub fn finish(&self) {
        if let Some(mut transport) = self.transport() {
            transport.finish();
        }
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
        assert_eq!(ended, [(String::new(), 2), ("no 1".into(), 2), (String::new(), 2)]);
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
