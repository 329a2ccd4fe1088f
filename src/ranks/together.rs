//! Work that takes longer than ranks wait for each other: while it goes on they tell each other that they are there.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Ranks;
use crate::error::{Error, Problem, Result};

/// Where a rank is with its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stand {
    Working,
    Done,
    Interrupted,
    /// With this exit code.
    Failed(u8),
}

/// What ranks tell each other, again and again.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Beat {
    stand: Stand,
    /// Whether the rank was asked to stop.
    stop: bool,
    done: u64,
}

/// How far all ranks are, for whoever shows it.
pub struct Seen<'a> {
    /// How much this rank has done.
    pub own: &'a (dyn Fn() -> u64 + Sync),
    /// Is told how much all have done together.
    pub all: &'a (dyn Fn(u64) + Sync),
}

impl Ranks {
    /// Does on each rank its own work, which may take any time and must not speak to other ranks, and ends when all have ended.
    /// `stop` becomes true on all ranks where it does on one, or where one has an error.
    ///
    /// # Errors
    /// As [`Self::agree`]. Interrupted on any rank, all are.
    pub fn together<T>(&self, stop: &AtomicBool, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.together_seen(stop, Seen { own: &|| 0, all: &|_| {} }, work)
    }

    /// As [`Self::together`], and says how far all are.
    ///
    /// # Errors
    /// As [`Self::together`].
    pub fn together_seen<T>(&self, stop: &AtomicBool, seen: Seen, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_alone() {
            return work();
        }
        let stand = Mutex::new(Stand::Working);
        let (result, beats) = std::thread::scope(|scope| {
            let beats = scope.spawn(|| self.beat(stop, &seen, &stand));
            // The others are told of a panic too, for they would wait.
            let result = catch_unwind(AssertUnwindSafe(work));
            *stand.lock().unwrap_or_else(PoisonError::into_inner) = match &result {
                Ok(Ok(_)) => Stand::Done,
                Ok(Err(Error::Interrupted)) => Stand::Interrupted,
                Ok(Err(error)) => Stand::Failed(error.exit_code()),
                Err(_) => Stand::Failed(1),
            };
            (result, beats.join())
        });
        let (result, stands) = match (result, beats) {
            (Err(panic), _) | (_, Err(panic)) => resume_unwind(panic),
            (Ok(result), Ok(stands)) => (result, stands?),
        };
        self.ended(result, &stands)
    }

    /// Work of the first rank, for which the others wait.
    ///
    /// # Errors
    /// As [`Self::together`].
    pub fn first_alone<T>(&self, stop: &AtomicBool, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        self.together(stop, || self.is_first().then(work).transpose())
    }

    /// What the first rank has, on all ranks.
    ///
    /// # Errors
    /// A rank does not answer, or the first has nothing.
    pub fn of_first<T: Serialize + DeserializeOwned>(&self, own: Option<T>) -> Result<T> {
        let first = self.gather(own)?.into_iter().next().flatten();
        first.ok_or_else(|| Error::run(Problem::new("the first rank does not say what the others wait for")))
    }

    /// Tells the others how far this rank is, until all have ended; where each stands then.
    fn beat(&self, stop: &AtomicBool, seen: &Seen, stand: &Mutex<Stand>) -> Result<Vec<Stand>> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(100);
        let mut pause = Duration::from_millis(1);
        loop {
            let own = *stand.lock().unwrap_or_else(PoisonError::into_inner);
            let own = Beat { stand: own, stop: stop.load(Ordering::Relaxed), done: (seen.own)() };
            let all = self.gather(own).inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            (seen.all)(all.iter().map(|beat| beat.done).sum());
            let ends = |beat: &Beat| beat.stop || !matches!(beat.stand, Stand::Working | Stand::Done);
            if all.iter().any(ends) {
                stop.store(true, Ordering::Relaxed);
            }
            if all.iter().all(|beat| beat.stand != Stand::Working) {
                return Ok(all.iter().map(|beat| beat.stand).collect());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What this rank's work ends with: one rank tells of what has ended it, and only that.
    fn ended<T>(&self, own: Result<T>, stands: &[Stand]) -> Result<T> {
        let failed = stands.iter().enumerate().find_map(|(rank, stand)| match stand {
            Stand::Failed(code) => Some((rank, *code)),
            _ => None,
        });
        match failed {
            Some((rank, _)) if rank == self.rank() => own.map_err(|error| self.named(error)),
            Some((_, code)) => Err(Error::Elsewhere(code)),
            None if !stands.contains(&Stand::Interrupted) => own,
            None if self.is_first() => Err(Error::Interrupted),
            None => Err(Error::Elsewhere(Error::Interrupted.exit_code())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::super::tests::on_threads;
    use super::*;

    /// Works until it is to stop.
    fn endless(stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Error::Interrupted)
    }

    #[test]
    fn an_error_of_one_rank_ends_the_work_of_all() {
        let ended = on_threads(3, |ranks| {
            let stop = AtomicBool::new(false);
            let work = || if ranks.rank() == 1 { Err(Error::input("no text")) } else { endless(&stop) };
            let error = ranks.together(&stop, work).unwrap_err();
            (error.problems().iter().map(ToString::to_string).collect::<String>(), error.exit_code())
        });
        assert_eq!(ended, [(String::new(), 2), ("rank 1: no text".into(), 2), (String::new(), 2)]);
    }

    #[test]
    fn a_stop_on_one_rank_is_one_on_all() {
        let ended = on_threads(3, |ranks| {
            // Ranks that wait are asked, and ranks that work.
            let stop = AtomicBool::new(ranks.rank() == 2);
            let error = ranks.first_alone(&stop, || endless(&stop)).unwrap_err();
            (matches!(error, Error::Interrupted), error.exit_code())
        });
        assert_eq!(ended, [(true, 130), (false, 130), (false, 130)]);
    }

    #[test]
    fn a_panic_of_one_rank_leaves_nobody_waiting() {
        let ended = on_threads(2, |ranks| {
            let stop = AtomicBool::new(false);
            let work = || ranks.together(&stop, || if ranks.rank() == 1 { panic!("a fault") } else { endless(&stop) });
            catch_unwind(AssertUnwindSafe(work)).map(|ended| ended.unwrap_err().exit_code()).ok()
        });
        assert_eq!(ended, [Some(1), None]);
    }

    #[test]
    fn what_all_have_done_is_summed_up_and_what_the_first_has_is_told() {
        let ended = on_threads(3, |ranks| {
            let most = Arc::new(AtomicU64::new(0));
            let (stop, own) = (AtomicBool::new(false), ranks.rank() as u64 + 1);
            let seen = Seen { own: &|| own, all: &|all| _ = most.fetch_max(all, Ordering::Relaxed) };
            ranks.together_seen(&stop, seen, || Ok(())).unwrap();
            let told = ranks.of_first(ranks.is_first().then_some("plan".to_string())).unwrap();
            (most.load(Ordering::Relaxed), told)
        });
        assert_eq!(ended, vec![(6, "plan".to_string()); 3]);
    }
}
