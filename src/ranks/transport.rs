//! What carries numbers and messages between ranks.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::tree::blocks_of;

/// Where a rank stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub rank: usize,
    pub size: usize,
    /// Among the ranks of its machine, and how many there are.
    pub local_rank: usize,
    pub local_size: usize,
}

impl Place {
    /// One process, without others.
    pub const ALONE: Self = Self { rank: 0, size: 1, local_rank: 0, local_size: 1 };

    /// The consecutive ones of `total` blocks that this rank computes.
    pub fn blocks(self, total: usize) -> Range<usize> {
        blocks_of(self.rank, self.size, total)
    }
}

/// Why an exchange has not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// What is known of the ranks that are missing, for a message.
    pub who: String,
    /// Whether this rank is the one to tell of it.
    pub tells: bool,
}

/// What an exchange will give.
pub struct Pending<T> {
    answer: Receiver<Result<T, Silent>>,
    /// Whether this rank waits for an exchange, and does nothing else.
    waiting: Arc<AtomicBool>,
}

impl<T> Pending<T> {
    /// One end for whoever carries the exchange out, who may like to know whether he is waited for.
    pub fn new(waiting: Arc<AtomicBool>) -> (Sender<Result<T, Silent>>, Self) {
        let (sender, answer) = channel();
        (sender, Self { answer, waiting })
    }

    /// Waits for the other ranks.
    ///
    /// # Errors
    /// One of them does not come.
    pub fn wait(self) -> Result<T, Silent> {
        let ended = || Err(Silent { who: "the exchange between ranks has ended".into(), tells: true });
        self.waiting.store(true, Ordering::Relaxed);
        let answer = self.answer.recv();
        self.waiting.store(false, Ordering::Relaxed);
        answer.unwrap_or_else(|_| ended())
    }
}

/// A group of ranks, each of which calls the same functions in the same order.
pub trait Transport: Send {
    fn place(&self) -> Place;

    /// Gives each rank the numbers at its place, and promises what every rank has for this one, in the order of ranks: `expected`
    /// numbers each. Several may be under way.
    fn all_to_all(&mut self, parts: Vec<Vec<f32>>, expected: Vec<usize>) -> Pending<Vec<Vec<f32>>>;

    /// Promises the numbers of each rank, in the order of ranks: `expected` each.
    fn all_gather(&mut self, own: Vec<f32>, expected: Vec<usize>) -> Pending<Vec<Vec<f32>>> {
        let parts = vec![own; self.place().size];
        self.all_to_all(parts, expected)
    }

    /// Promises the message of each rank, in the order of ranks.
    fn messages(&mut self, own: Vec<u8>) -> Pending<Vec<Vec<u8>>>;

    /// Bytes that have gone to other ranks.
    fn sent(&self) -> u64;

    /// Counts an exchange that goes another way, so that [`Self::give_up`] can tell who has not come to it; how long it may take.
    fn begin_elsewhere(&mut self) -> Duration;

    /// Names the ranks that an exchange by another way has waited for in vain. Nothing is exchanged any more.
    fn give_up(&mut self) -> Silent;

    /// Leaves the group, and says whether all others have; it does not wait long for them.
    fn finish(&mut self) -> bool {
        true
    }
}

/// Threads of one process, for tests of everything that stands on a transport.
pub struct Threads {
    place: Place,
    numbers: Mesh<Vec<f32>>,
    messages: Mesh<Vec<u8>>,
    sent: u64,
    pub(super) patience: Duration,
}

/// A channel from one rank to each, and from each.
struct Mesh<T> {
    senders: Vec<Sender<T>>,
    receivers: Vec<Receiver<T>>,
}

impl<T> Mesh<T> {
    fn group(size: usize) -> Vec<Self> {
        let mut senders: Vec<Vec<Sender<T>>> = (0..size).map(|_| Vec::new()).collect();
        let mut receivers: Vec<Vec<Receiver<T>>> = (0..size).map(|_| Vec::new()).collect();
        for from in &mut senders {
            for to in &mut receivers {
                let (sender, receiver) = channel();
                from.push(sender);
                to.push(receiver);
            }
        }
        senders.into_iter().zip(receivers).map(|(senders, receivers)| Self { senders, receivers }).collect()
    }

    fn exchange(&self, parts: Vec<T>) -> Result<Vec<T>, Silent> {
        for (sender, part) in self.senders.iter().zip(parts) {
            // A rank that has ended takes nothing any more.
            let _ = sender.send(part);
        }
        let from = |(rank, receiver): (usize, &Receiver<T>)| {
            receiver.recv().map_err(|_| Silent { who: format!("rank {rank} has ended"), tells: true })
        };
        self.receivers.iter().enumerate().map(from).collect()
    }
}

impl Threads {
    /// As many as there are to be ranks.
    pub fn group(size: usize) -> Vec<Self> {
        let meshes = Mesh::group(size).into_iter().zip(Mesh::group(size)).enumerate();
        let place = |rank| Place { rank, size, local_rank: rank, local_size: size };
        let patience = Duration::from_secs(60);
        let thread = |(rank, (numbers, messages))| Self { place: place(rank), numbers, messages, sent: 0, patience };
        meshes.map(thread).collect()
    }

    fn count(&mut self, bytes: impl Iterator<Item = usize>) {
        let others = bytes.enumerate().filter(|(rank, _)| *rank != self.place.rank);
        self.sent += others.map(|(_, bytes)| bytes as u64).sum::<u64>();
    }
}

fn answered<T>(answer: Result<T, Silent>) -> Pending<T> {
    let (sender, pending) = Pending::new(Arc::default());
    let _ = sender.send(answer);
    pending
}

impl Transport for Threads {
    fn place(&self) -> Place {
        self.place
    }

    fn all_to_all(&mut self, parts: Vec<Vec<f32>>, expected: Vec<usize>) -> Pending<Vec<Vec<f32>>> {
        self.count(parts.iter().map(|part| size_of_val(part.as_slice())));
        let parts = self.numbers.exchange(parts);
        if let Ok(parts) = &parts {
            assert!(parts.iter().map(Vec::len).eq(expected.iter().copied()), "{expected:?}");
        }
        answered(parts)
    }

    fn messages(&mut self, own: Vec<u8>) -> Pending<Vec<Vec<u8>>> {
        let size = self.place.size;
        self.count(std::iter::repeat_n(own.len(), size));
        answered(self.messages.exchange(vec![own; size]))
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn begin_elsewhere(&mut self) -> Duration {
        self.patience
    }

    fn give_up(&mut self) -> Silent {
        Silent { who: "another rank does not come".into(), tells: true }
    }
}
