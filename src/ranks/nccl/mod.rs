//! NCCL, NVIDIA's way between cards: it carries the numbers that ranks exchange, and MPI the rest: messages, places, patience, and the
//! names of ranks that do not answer.
//!
//! **This has been type-checked, and tested against a double of NCCL; it has not run on cards.**
//!
//! An exchange goes by way of the host, as it does over MPI: numbers are uploaded once, sent and received on the card's own stream, and
//! downloaded once. Tensors that stay on the card are a later step; until then NCCL gains what lies between the cards, NVLink or
//! InfiniBand, and not the two copies. Every rank must have a card of its own. Where NCCL cannot start on some rank all stay with MPI, and
//! the log says why; what goes wrong later ends the run.

#[cfg(all(feature = "cuda", feature = "mpi"))]
mod card;

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Ranks;
use super::transport::{Pending, Place, Silent, Transport};
use crate::error::Result;

/// What the ranks ask NCCL for; a double stands in for it in tests. Errors are NCCL's or CUDA's own words.
trait Link {
    /// Puts numbers on the card, and makes room for those that come.
    fn upload(&mut self, values: &[f32], room: usize) -> Result<(), String>;

    /// What is queued from here on begins together: a send waits for its receive, so that one after the other would wait for ever.
    fn group_start(&mut self) -> Result<(), String>;

    /// Queues a part of what was uploaded for another rank.
    fn send(&mut self, part: Range<usize>, to: usize) -> Result<(), String>;

    /// Queues a place for what comes from another rank.
    fn receive(&mut self, place: Range<usize>, from: usize) -> Result<(), String>;

    /// Begins what was queued.
    fn group_end(&mut self) -> Result<(), String>;

    /// Whether all that was begun is done; never waits.
    fn is_done(&mut self) -> Result<bool, String>;

    /// The first numbers of those that came.
    fn download(&mut self, count: usize) -> Result<Vec<f32>, String>;

    /// Begins to leave the others, which do the same. A link that is dropped without breaks off what it does.
    fn finalize(&mut self) -> Result<(), String>;
}

/// What a rank brings to the start of NCCL.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ticket {
    /// The card's UUID.
    card: Vec<i8>,
    /// By which the ranks find each other: the first one's counts.
    id: Vec<i8>,
}

/// The id to join by, where every rank has a card of its own.
///
/// # Errors
/// Why they cannot be linked.
fn admitted(tickets: Vec<Result<Ticket, String>>) -> Result<Vec<i8>, String> {
    let named = |(rank, ticket): (usize, Result<Ticket, String>)| ticket.map_err(|why| format!("rank {rank}: {why}"));
    let tickets = tickets.into_iter().enumerate().map(named).collect::<Result<Vec<_>, String>>()?;
    for (rank, ticket) in tickets.iter().enumerate() {
        if let Some(other) = tickets[..rank].iter().position(|other| other.card == ticket.card) {
            return Err(format!("ranks {other} and {rank} share a card, which NCCL refuses"));
        }
    }
    Ok(tickets.into_iter().next().map(|ticket| ticket.id).unwrap_or_default())
}

/// What has kept an exchange from its end.
#[derive(Debug, Serialize, Deserialize)]
enum Fault {
    /// It takes too long.
    Late,
    /// What NCCL or CUDA says.
    Error(String),
}

impl From<String> for Fault {
    fn from(error: String) -> Self {
        Self::Error(error)
    }
}

/// Why the ranks are not linked: an error of one before what the others have waited for in vain.
fn not_linked(joined: Vec<Result<(), Fault>>, patience: Duration) -> Option<String> {
    let mut late = None;
    for (rank, joined) in joined.into_iter().enumerate() {
        match joined {
            Ok(()) => {}
            Err(Fault::Error(error)) => return Some(format!("rank {rank}: {error}")),
            Err(Fault::Late) => {
                late.get_or_insert_with(|| format!("NCCL has not linked the ranks in {} s", patience.as_secs()));
            }
        }
    }
    late
}

/// Numbers to go and to come.
struct Exchange {
    values: Vec<f32>,
    /// The part of `values` for each other rank; this one's is not looked at.
    parts: Vec<Range<usize>>,
    /// What this rank has for itself: it stays on the host.
    own: Vec<f32>,
    expected: Vec<usize>,
    patience: Duration,
}

type Job = (Exchange, Sender<Result<Vec<Vec<f32>>, Silent>>);

/// Numbers by NCCL, all else by the transport of `ranks`.
struct Nccl {
    ranks: Ranks,
    /// `None` at the end.
    jobs: Option<Sender<Job>>,
    ended: Receiver<()>,
    sent: u64,
}

/// How long ranks wait for each other as they leave.
const LEAVING: Duration = Duration::from_secs(2);

impl Nccl {
    /// Links this rank with the others, which all call this; the reason where one of them cannot be linked. `link` is called on the
    /// thread that owns it.
    ///
    /// # Errors
    /// A rank does not answer.
    fn join<L: Link>(
        ranks: &Ranks,
        link: impl FnOnce() -> Result<L, String> + Send + 'static,
    ) -> Result<Result<Self, String>> {
        /// How long the others wait where one rank has failed, who then waits for their word.
        const LONGEST: Duration = Duration::from_secs(60);
        const AND_A_BIT: Duration = Duration::from_secs(10);
        let patience = ranks.transport().map_or(LONGEST, |mut transport| transport.begin_elsewhere());
        let patience = LONGEST.min(patience / 2);
        let (jobs, queue) = channel::<Job>();
        let (end, ended) = channel::<()>();
        let (ready, joined) = channel();
        let of_thread = ranks.clone();
        std::thread::spawn(move || {
            // Dropped with the thread.
            let _end = end;
            match Linked::start(link, of_thread.place(), patience) {
                Ok(linked) => {
                    let _ = ready.send(Ok(()));
                    linked.serve(&queue, &of_thread);
                }
                Err(why) => drop(ready.send(Err(why))),
            }
        });
        // A call into NCCL that does not return is given up too.
        let joined = joined.recv_timeout(patience + AND_A_BIT).unwrap_or_else(|ended| match ended {
            RecvTimeoutError::Timeout => Err(Fault::Late),
            RecvTimeoutError::Disconnected => Err(Fault::Error("this libnccl cannot be used".into())),
        });
        Ok(match not_linked(ranks.gather(joined)?, patience) {
            Some(why) => Err(why),
            None => Ok(Self { ranks: ranks.clone(), jobs: Some(jobs), ended, sent: 0 }),
        })
    }

    fn ask(
        &mut self,
        values: Vec<f32>,
        parts: Vec<Range<usize>>,
        own: Vec<f32>,
        expected: Vec<usize>,
    ) -> Pending<Vec<Vec<f32>>> {
        let (answer, pending) = Pending::new(Arc::default());
        // Neither is missing before the end.
        if let (Some(mut others), Some(jobs)) = (self.ranks.transport(), &self.jobs) {
            let to_others = parts.iter().enumerate().filter(|(to, _)| *to != self.ranks.rank());
            self.sent += to_others.map(|(_, part)| (part.len() * size_of::<f32>()) as u64).sum::<u64>();
            let patience = others.begin_elsewhere();
            let _ = jobs.send((Exchange { values, parts, own, expected, patience }, answer));
        }
        pending
    }

    /// Ends the thread that owns the link.
    fn leave(&mut self) {
        if self.jobs.take().is_some() {
            // The thread waits for the others as long, and needs a moment of its own.
            let _ = self.ended.recv_timeout(LEAVING + Duration::from_secs(1));
        }
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Transport for Nccl {
    fn place(&self) -> Place {
        self.ranks.place()
    }

    fn all_to_all(&mut self, mut parts: Vec<Vec<f32>>, expected: Vec<usize>) -> Pending<Vec<Vec<f32>>> {
        let own = parts.get_mut(self.ranks.rank()).map(std::mem::take).unwrap_or_default();
        let ranges = laid_out(parts.iter().map(Vec::len));
        self.ask(parts.concat(), ranges, own, expected)
    }

    fn all_gather(&mut self, own: Vec<f32>, expected: Vec<usize>) -> Pending<Vec<Vec<f32>>> {
        let parts = vec![0..own.len(); self.ranks.size()];
        self.ask(own.clone(), parts, own, expected)
    }

    fn messages(&mut self, own: Vec<u8>) -> Pending<Vec<Vec<u8>>> {
        match self.ranks.transport() {
            Some(mut others) => others.messages(own),
            None => Pending::new(Arc::default()).1,
        }
    }

    fn sent(&self) -> u64 {
        self.sent + self.ranks.sent()
    }

    fn begin_elsewhere(&mut self) -> Duration {
        self.ranks.transport().map_or(Duration::MAX, |mut others| others.begin_elsewhere())
    }

    fn give_up(&mut self) -> Silent {
        given_up(&self.ranks)
    }

    fn finish(&mut self) -> bool {
        self.leave();
        self.ranks.finish()
    }
}

fn given_up(ranks: &Ranks) -> Silent {
    let nobody = || Silent { who: "there are no other ranks".into(), tells: true };
    ranks.transport().map_or_else(nobody, |mut others| others.give_up())
}

/// A rank's link, on the thread that owns it.
struct Linked<L> {
    link: L,
    rank: usize,
}

impl<L: Link> Linked<L> {
    /// Opens the link and exchanges a number with each rank: only the first exchange connects them.
    fn start(link: impl FnOnce() -> Result<L, String>, place: Place, patience: Duration) -> Result<Self, Fault> {
        let Place { rank, size, .. } = place;
        let mut linked = Self { link: link()?, rank };
        linked.wait(patience)?;
        let (values, own) = (vec![rank as f32], vec![rank as f32]);
        let trial = Exchange { values, parts: vec![0..1; size], own, expected: vec![1; size], patience };
        let found = linked.exchange(trial)?;
        match found.iter().flatten().enumerate().all(|(rank, value)| *value == rank as f32) {
            true => Ok(linked),
            false => Err(Fault::Error(format!("NCCL gives {found:?} for the numbers of {size} ranks"))),
        }
    }

    /// Carries exchanges out until nobody asks any more, or until one fails.
    fn serve(mut self, queue: &Receiver<Job>, ranks: &Ranks) {
        for (exchange, answer) in queue {
            let fault = match self.exchange(exchange) {
                Ok(found) => {
                    let _ = answer.send(Ok(found));
                    continue;
                }
                Err(fault) => fault,
            };
            let silent = match fault {
                Fault::Late => given_up(ranks),
                Fault::Error(error) => Silent { who: format!("an exchange by NCCL has failed: {error}"), tells: true },
            };
            let _ = answer.send(Err(silent));
            // Dropped, the link breaks the exchange off.
            return;
        }
        if self.link.finalize().is_ok() {
            let _ = self.wait(LEAVING);
        }
    }

    fn exchange(&mut self, exchange: Exchange) -> Result<Vec<Vec<f32>>, Fault> {
        let Exchange { values, parts, own, mut expected, patience } = exchange;
        expected[self.rank] = 0;
        let places = laid_out(expected.iter().copied());
        let room = places.last().map_or(0, |place| place.end);
        self.link.upload(&values, room)?;
        self.link.group_start()?;
        for (other, (part, place)) in parts.into_iter().zip(&places).enumerate() {
            if other == self.rank {
                continue;
            }
            if !part.is_empty() {
                self.link.send(part, other)?;
            }
            if !place.is_empty() {
                self.link.receive(place.clone(), other)?;
            }
        }
        self.link.group_end()?;
        self.wait(patience)?;
        let received = self.link.download(room)?;
        let mut received: Vec<Vec<f32>> = places.into_iter().map(|place| received[place].to_vec()).collect();
        received[self.rank] = own;
        Ok(received)
    }

    fn wait(&mut self, patience: Duration) -> Result<(), Fault> {
        /// How long the thread only lets others go first, and does not sleep.
        const AWAKE: Duration = Duration::from_millis(200);
        const NAP: Duration = Duration::from_micros(100);
        let started = Instant::now();
        while !self.link.is_done()? {
            match started.elapsed() {
                waited if waited > patience => return Err(Fault::Late),
                waited if waited < AWAKE => std::thread::yield_now(),
                _ => std::thread::sleep(NAP),
            }
        }
        Ok(())
    }
}

/// The places of parts that lie one after the other.
fn laid_out(counts: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut end = 0;
    let mut place = |count| {
        end += count;
        end - count..end
    };
    counts.map(&mut place).collect()
}

#[cfg(test)]
mod tests;
