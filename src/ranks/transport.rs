//! What carries bytes between ranks.

use std::sync::mpsc::{Receiver, Sender, channel};

/// Another rank has ended, or has not answered for as long as this one waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silent {
    /// The rank that did not answer.
    pub rank: usize,
}

/// A group of ranks, each of which calls the same functions in the same order.
pub trait Transport: Send {
    fn rank(&self) -> usize;
    fn size(&self) -> usize;

    /// Gives each rank the part at its place, and returns what every rank had for this one, in the order of ranks: `expected` numbers each.
    ///
    /// # Errors
    /// A rank does not answer.
    fn all_to_all(&mut self, parts: Vec<Vec<f32>>, expected: &[usize]) -> Result<Vec<Vec<f32>>, Silent>;

    /// Gives every rank what each has, in the order of ranks: `expected` numbers each.
    ///
    /// # Errors
    /// A rank does not answer.
    fn all_gather(&mut self, own: Vec<f32>, expected: &[usize]) -> Result<Vec<Vec<f32>>, Silent> {
        let parts = vec![own; self.size()];
        self.all_to_all(parts, expected)
    }
}

/// Threads of one process, for tests of everything that stands on a transport.
pub struct Threads {
    rank: usize,
    /// To each rank.
    senders: Vec<Sender<Vec<f32>>>,
    /// From each rank.
    receivers: Vec<Receiver<Vec<f32>>>,
    /// Bytes that went to other ranks.
    pub sent: usize,
}

impl Threads {
    /// As many as there are to be ranks.
    pub fn group(size: usize) -> Vec<Self> {
        let mut senders: Vec<Vec<Sender<_>>> = vec![Vec::new(); size];
        let mut receivers: Vec<Vec<Receiver<_>>> = (0..size).map(|_| Vec::new()).collect();
        for from in senders.iter_mut() {
            for to in receivers.iter_mut() {
                let (sender, receiver) = channel();
                from.push(sender);
                to.push(receiver);
            }
        }
        let ranks = senders.into_iter().zip(receivers).enumerate();
        ranks.map(|(rank, (senders, receivers))| Self { rank, senders, receivers, sent: 0 }).collect()
    }
}

impl Transport for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.senders.len()
    }

    fn all_to_all(&mut self, parts: Vec<Vec<f32>>, expected: &[usize]) -> Result<Vec<Vec<f32>>, Silent> {
        for (to, part) in parts.into_iter().enumerate() {
            self.sent += if to == self.rank { 0 } else { size_of_val(part.as_slice()) };
            // A rank that has ended takes nothing any more.
            let _ = self.senders[to].send(part);
        }
        let from = |(rank, receiver): (usize, &Receiver<Vec<f32>>)| receiver.recv().map_err(|_| Silent { rank });
        let parts = self.receivers.iter().enumerate().map(from).collect::<Result<Vec<_>, _>>()?;
        assert!(parts.iter().map(Vec::len).eq(expected.iter().copied()), "{expected:?}");
        Ok(parts)
    }
}
