//! The data loader: a source maps a step's number to what the step is made of, and a worker thread collates steps ahead of the
//! training loop. As a step is a function of its number, the thread changes no bits.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;

use crate::error::{Error, Result};
use crate::ranks::Place;

/// The steps of a run or of an evaluation.
pub trait StepSource: Send + Sync + 'static {
    /// What a step is made of.
    type Step;

    /// How many steps there are.
    fn steps(&self) -> u64;

    /// The steps from number `first` on; they need not end.
    fn starting_at(&self, first: u64) -> Box<dyn Iterator<Item = Result<Self::Step>> + '_>;
}

/// Makes a step into batches on a device.
type Collate<S, T> = Arc<dyn Fn(S, &Device) -> Result<T> + Send + Sync>;

/// Steps that are loaded while the step before them is computed. An item is one step.
pub struct Loader<S: StepSource, T> {
    source: Arc<S>,
    collate: Collate<S::Step, T>,
    device: Device,
    /// Those that it yields, counted from the beginning of the source: the first, and each `stride`-th after it.
    steps: Range<u64>,
    stride: u64,
}

impl<S: StepSource, T> Clone for Loader<S, T> {
    fn clone(&self) -> Self {
        let Self { source, collate, device, steps, stride } = self;
        let (source, collate) = (source.clone(), collate.clone());
        Self { source, collate, device: device.clone(), steps: steps.clone(), stride: *stride }
    }
}

impl<S: StepSource, T> Loader<S, T> {
    /// A loader of all steps of a source.
    pub fn new(
        source: Arc<S>,
        device: Device,
        collate: impl Fn(S::Step, &Device) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let steps = 0..source.steps();
        Self { source, collate: Arc::new(collate), device, steps, stride: 1 }
    }

    /// The same with the steps of one rank alone: step i is of rank i modulo their number. The others are not collated.
    pub fn of_rank(&self, place: Place) -> Self {
        let stride = self.stride * place.size as u64;
        Self { steps: self.at(place.rank)..self.steps.end, stride, ..self.clone() }
    }

    /// Where the step `number` of this loader's is in the source.
    fn at(&self, number: usize) -> u64 {
        (self.steps.start + number as u64 * self.stride).min(self.steps.end)
    }

    fn count(&self) -> usize {
        (self.steps.end - self.steps.start).div_ceil(self.stride) as usize
    }
}

impl<S: StepSource, T: Send + 'static> DataLoader<T> for Loader<S, T> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<T> + 'a> {
        Box::new(Prefetched::new(self.clone()))
    }

    fn num_items(&self) -> usize {
        self.count()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<T>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    /// Seeks: `start` and `end` count steps from the first of this loader's.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<T>> {
        Arc::new(Self { steps: self.at(start)..self.at(end), ..self.clone() })
    }
}

/// Steps that wait for the training loop: one is computed, one is ready, one is being made.
const AHEAD: usize = 1;

struct Prefetched<T> {
    /// Steps that have come, of how many.
    done: usize,
    total: usize,
    /// `None` when everything has come.
    receiver: Option<Receiver<Result<T>>>,
    worker: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetched<T> {
    fn new<S: StepSource>(loader: Loader<S, T>) -> Self {
        let total = loader.count();
        let (sender, receiver) = sync_channel(AHEAD);
        let worker = std::thread::spawn(move || {
            let steps = loader.source.starting_at(loader.steps.start).step_by(loader.stride as usize);
            for step in steps.take(total) {
                let step = step.and_then(|step| (loader.collate)(step, &loader.device));
                // Nobody takes it any more: the loop has ended.
                if sender.send(step).is_err() {
                    return;
                }
            }
        });
        Self { done: 0, total, receiver: Some(receiver), worker: Some(worker) }
    }

    /// Waits for the worker, and passes on a panic of its own.
    fn join(&mut self) {
        self.receiver = None;
        if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl<T: Send + 'static> Iterator for Prefetched<T> {
    type Item = std::result::Result<T, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(step) = self.receiver.as_ref().and_then(|receiver| receiver.recv().ok()) else {
            self.join();
            return None;
        };
        self.done += 1;
        Some(step.map_err(|error: Error| DatasetError::new(std::io::Error::other(error.to_string()))))
    }
}

impl<T> Drop for Prefetched<T> {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(worker) = self.worker.take() {
            // It ends at its next step; a panic of its own has no one to go to any more.
            let _ = worker.join();
        }
    }
}

impl<T: Send + 'static> DataLoaderIterator<T> for Prefetched<T> {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.total, Some("steps".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Squares of the steps' numbers; step 7 cannot be read.
    struct Squares;

    impl StepSource for Squares {
        type Step = u64;

        fn steps(&self) -> u64 {
            10
        }

        fn starting_at(&self, first: u64) -> Box<dyn Iterator<Item = Result<u64>> + '_> {
            Box::new((first..).map(|step| if step == 7 { Err(Error::input("gone")) } else { Ok(step * step) }))
        }
    }

    fn loader() -> Loader<Squares, u64> {
        Loader::new(Arc::new(Squares), Device::flex(), |square, _| Ok(square + 1))
    }

    #[test]
    fn a_slice_seeks_and_ends() {
        let loader = loader();
        let found: Vec<u64> = loader.slice(2, 6).slice(1, 99).iter().map(|step| step.unwrap()).collect();
        assert_eq!(found, [10, 17, 26]);
        assert_eq!((loader.num_items(), loader.slice(8, 99).num_items()), (10, 2));
    }

    /// The ranks' steps together are all, each once; a slice counts a rank's own.
    #[test]
    fn ranks_take_turns() {
        let loader = loader();
        let of_rank = |rank, size| loader.of_rank(Place { rank, size, ..Place::ALONE });
        let numbers = |loader: &dyn DataLoader<u64>| -> Vec<Option<u64>> {
            loader.iter().map(|step| Some((step.ok()? - 1).isqrt())).collect()
        };
        assert_eq!(numbers(&of_rank(0, 3)), [Some(0), Some(3), Some(6), Some(9)]);
        // Step 7 cannot be read.
        assert_eq!(numbers(&of_rank(1, 3)), [Some(1), Some(4), None]);
        assert_eq!(numbers(&of_rank(2, 3)), [Some(2), Some(5), Some(8)]);
        assert_eq!(numbers(&*of_rank(0, 3).slice(1, 3)), [Some(3), Some(6)]);
        assert_eq!((of_rank(1, 3).num_items(), of_rank(9, 12).num_items(), of_rank(11, 12).num_items()), (3, 1, 0));
        assert_eq!(numbers(&of_rank(11, 12)), []);
    }

    /// What cannot be read is said where it is due, and not before; the steps after it still come.
    #[test]
    fn an_error_comes_in_its_turn() {
        let loader = loader();
        let found: Vec<Option<u64>> = loader.iter().map(std::result::Result::ok).collect();
        assert_eq!(found.len(), 10);
        assert_eq!((found[6], found[7], found[8]), (Some(37), None, Some(65)));
    }

    /// A loop that stops early must not leave a thread behind that reads on.
    #[test]
    fn a_dropped_iterator_ends_its_worker() {
        let loader = loader();
        drop(loader.iter());
        let Loader { source, .. } = loader;
        assert_eq!(Arc::strong_count(&source), 1);
    }

    #[test]
    #[should_panic(expected = "a fault")]
    fn a_panic_of_the_worker_is_passed_on() {
        let loader = Loader::<_, u64>::new(Arc::new(Squares), Device::flex(), |_, _| panic!("a fault"));
        let _ = loader.iter().next();
    }
}
