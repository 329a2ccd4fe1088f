//! The thread that owns MPI, and what it does while it waits.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use mpi::Tag;
use mpi::datatype::{Equivalence, Partition, PartitionMut};
use mpi::request::{Request, Scope, StaticScope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Source};

use super::super::transport::Silent;
use super::{Answer, Job, Shared};

/// A question whether a rank is there; its answer, the number of exchanges that it has begun.
const QUESTION: Tag = 1;
const ANSWER: Tag = 2;

/// How often a rank that answers, but is not ready, is waited for: so many times the patience.
const MOST_QUESTIONS: u32 = 6;

/// What a short message is carried in: its length and its bytes.
const FRAME: usize = 512;
const LENGTH: usize = size_of::<u64>();

/// The thread that owns MPI.
pub struct Worker {
    pub world: SimpleCommunicator,
    pub hosts: Vec<String>,
    pub patience: Duration,
    pub queue: Receiver<Job>,
    pub shared: Shared,
}

impl Worker {
    /// Carries jobs out until the last, or until nobody asks any more.
    pub fn serve(&self) -> Option<Sender<()>> {
        /// How long a question of another rank waits while this one computes.
        const IDLE: Duration = Duration::from_millis(20);
        loop {
            // Nobody waits for the answer any more where the process is about to end.
            match self.queue.recv_timeout(IDLE) {
                Err(RecvTimeoutError::Timeout) => self.answer_questions(),
                Err(RecvTimeoutError::Disconnected) => return None,
                Ok(Job::Finish { done }) => return Some(done),
                Ok(Job::GiveUp { answer }) => {
                    let silent = self.ask_all(self.patience, true);
                    silent.into_iter().for_each(|silent| self.give_up(&answer, silent));
                }
                Ok(Job::AllToAll { parts, expected, answer }) => {
                    let found = self.all_to_all(&parts, &expected, |silent| self.give_up(&answer, silent));
                    let _ = answer.send(Ok(found));
                }
                Ok(Job::AllGather { own, expected, answer }) => {
                    let found = self.all_gather(&own, &expected, |silent| self.give_up(&answer, silent));
                    let _ = answer.send(Ok(found));
                }
                Ok(Job::Messages { own, answer }) => {
                    let found = self.messages(&own, &|silent| self.give_up(&answer, silent));
                    let _ = answer.send(Ok(found));
                }
            }
        }
    }

    fn give_up<T>(&self, answer: &Answer<T>, silent: Silent) {
        self.shared.given_up.store(true, Ordering::Relaxed);
        let _ = answer.send(Err(silent));
    }

    fn all_to_all(&self, parts: &[Vec<f32>], expected: &[usize], give_up: impl FnOnce(Silent)) -> Vec<Vec<f32>> {
        let (rank, size) = (self.world.rank() as usize, parts.len());
        let (next, before) = ((rank + 1) % size, (rank + size - 1) % size);
        // Open MPI 4 loses count of the exchanges of a rank that has no part in one: so each sends a number more to the next.
        let more = |at: usize, to: usize| usize::from(at == to);
        let mut sent = Vec::with_capacity(parts.iter().map(Vec::len).sum::<usize>() + 1);
        for (to, part) in parts.iter().enumerate() {
            sent.extend_from_slice(part);
            sent.extend(std::iter::repeat_n(0.0, more(to, next)));
        }
        let (counts, starts) = laid_out(parts.iter().enumerate().map(|(to, part)| part.len() + more(to, next)));
        let from = Partition::new(&sent[..], counts, starts);
        let expected: Vec<usize> =
            expected.iter().enumerate().map(|(from, count)| count + more(from, before)).collect();
        let mut received = vec![0f32; expected.iter().sum()];
        let (counts, starts) = laid_out(expected.iter().copied());
        let mut into = PartitionMut::new(&mut received[..], counts, starts);
        self.count((sent.len() - parts[rank].len()) * size_of::<f32>());
        scope(|scope| self.wait(self.world.immediate_all_to_all_varcount_into(scope, &from, &mut into), give_up));
        drop(into);
        let mut received = cut(&received, &expected);
        received[before].pop();
        received
    }

    fn all_gather<T: Equivalence + Default + Clone>(
        &self,
        own: &[T],
        expected: &[usize],
        give_up: impl FnOnce(Silent),
    ) -> Vec<Vec<T>> {
        let mut received = vec![T::default(); expected.iter().sum()];
        let (counts, starts) = laid_out(expected.iter().copied());
        let mut into = PartitionMut::new(&mut received[..], counts, starts);
        self.count(size_of_val(own) * (self.hosts.len() - 1));
        scope(|scope| self.wait(self.world.immediate_all_gather_varcount_into(scope, own, &mut into), give_up));
        drop(into);
        cut(&received, expected)
    }

    /// In frames of one length; where there are longer messages, then these as they are.
    fn messages(&self, own: &[u8], give_up: &dyn Fn(Silent)) -> Vec<Vec<u8>> {
        let mut frame = (own.len() as u64).to_le_bytes().to_vec();
        let is_short = |length: usize| length <= FRAME - LENGTH;
        if is_short(own.len()) {
            frame.extend(own);
        }
        frame.resize(FRAME, 0);
        let frames = self.all_gather(&frame, &vec![FRAME; self.hosts.len()], give_up);
        let length = |frame: &Vec<u8>| {
            let bytes = frame[..LENGTH].try_into().expect("a frame begins with its length");
            u64::from_le_bytes(bytes) as usize
        };
        let lengths: Vec<usize> = frames.iter().map(length).collect();
        if lengths.iter().all(|length| is_short(*length)) {
            let message = |(frame, length): (&Vec<u8>, &usize)| frame[LENGTH..LENGTH + length].to_vec();
            return frames.iter().zip(&lengths).map(message).collect();
        }
        self.all_gather(own, &lengths, give_up)
    }

    fn count(&self, bytes: usize) {
        self.shared.begun.fetch_add(1, Ordering::Relaxed);
        self.shared.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits for an exchange, and answers questions meanwhile. Where it takes too long, `give_up` is told, and this never returns.
    fn wait<'a, D: ?Sized, S: Scope<'a>>(&self, mut request: Request<'a, D, S>, give_up: impl FnOnce(Silent)) {
        /// How long the thread only lets others go first, and does not sleep, where nobody computes meanwhile.
        const AWAKE: Duration = Duration::from_millis(200);
        const NAP: Duration = Duration::from_micros(100);
        /// More than lies between two looks: time in which this process was stopped is none in which it has waited.
        const LONGEST_GAP: Duration = Duration::from_millis(250);
        let (mut looked, mut waited) = (Instant::now(), Duration::ZERO);
        let mut asked = 0;
        let mut turn = 0u64;
        loop {
            turn += 1;
            request = match request.test() {
                Ok(_) => return,
                Err(request) => request,
            };
            let now = Instant::now();
            waited += (now - looked).min(LONGEST_GAP);
            looked = now;
            if waited > self.patience * (asked + 1) {
                asked += 1;
                if let Some(silent) = self.ask_all(self.patience * asked, asked == MOST_QUESTIONS) {
                    std::mem::forget(request);
                    give_up(silent.clone());
                    self.refuse_all(&silent);
                }
            }
            if turn.is_multiple_of(64) {
                self.answer_questions();
            }
            let is_awake = waited < AWAKE && self.shared.waiting.load(Ordering::Relaxed);
            if is_awake { std::thread::yield_now() } else { std::thread::sleep(NAP) }
        }
    }

    /// Answers whoever waits for a later exchange. This never returns: the buffers of the one that was given up are MPI's until the process
    /// ends.
    fn refuse_all(&self, silent: &Silent) -> ! {
        for job in &self.queue {
            match job {
                Job::AllToAll { answer, .. } | Job::AllGather { answer, .. } => drop(answer.send(Err(silent.clone()))),
                Job::Messages { answer, .. } => drop(answer.send(Err(silent.clone()))),
                Job::GiveUp { answer } => drop(answer.send(Err(silent.clone()))),
                Job::Finish { .. } => {}
            }
        }
        loop {
            std::thread::park();
        }
    }

    fn answer_questions(&self) {
        while let Some(question) = self.world.any_process().immediate_probe_with_tag(QUESTION) {
            let asks = self.world.process_at_rank(question.source_rank());
            let _ = asks.receive_with_tag::<u64>(QUESTION);
            say(&asks, self.shared.begun.load(Ordering::Relaxed), ANSWER);
        }
    }

    /// Asks all ranks whether they are there. One that answers may come late, but for the last time.
    fn ask_all(&self, waited: Duration, is_last: bool) -> Option<Silent> {
        const LONGEST: Duration = Duration::from_secs(1);
        let (own, size) = (self.world.rank() as usize, self.hosts.len());
        let own_begun = self.shared.begun.load(Ordering::Relaxed);
        let others = (0..size).filter(|rank| *rank != own);
        others.clone().for_each(|rank| say(&self.world.process_at_rank(rank as i32), own_begun, QUESTION));
        let mut begun: Vec<Option<u64>> = vec![None; size];
        begun[own] = Some(own_begun);
        let started = Instant::now();
        while started.elapsed() < LONGEST && begun.contains(&None) {
            self.answer_questions();
            while let Some(answer) = self.world.any_process().immediate_probe_with_tag(ANSWER) {
                let answers = self.world.process_at_rank(answer.source_rank());
                begun[answer.source_rank() as usize] = Some(answers.receive_with_tag::<u64>(ANSWER).0);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let named = |missing: &dyn Fn(&Option<u64>) -> bool| {
            let ranks = begun.iter().enumerate().filter(|(_, begun)| missing(begun));
            ranks.map(|(rank, _)| format!("rank {rank} on {}", self.hosts[rank])).collect::<Vec<_>>().join(", ")
        };
        let silent = named(&Option::is_none);
        let late = named(&|begun| begun.is_some_and(|begun| begun < own_begun));
        let waited = waited.as_secs();
        let who = match (silent.as_str(), late.as_str()) {
            ("", _) if !is_last => {
                tracing::warn!("waiting for {late} for {waited} s now: it computes, and answers");
                return None;
            }
            ("", "") => format!("an exchange between the ranks has not ended in {waited} s, though all of them answer"),
            ("", late) => format!("{late} has computed for {waited} s and is not ready"),
            (silent, _) => {
                format!("nothing has come from {silent} for {waited} s: it was stopped, or the network was cut")
            }
        };
        Some(Silent { who, tells: begun.iter().position(Option::is_some) == Some(own) })
    }
}

/// Tells a rank a number, and does not wait until it has gone: over a network that was cut it never goes. The few bytes stay MPI's.
fn say(to: &impl Destination, number: u64, tag: Tag) {
    let number: &'static u64 = Box::leak(Box::new(number));
    std::mem::forget(to.immediate_send_with_tag(StaticScope, number, tag));
}

/// Counts and places of parts that lie one after the other. A bucket has a few million numbers.
fn laid_out(counts: impl Iterator<Item = usize>) -> (Vec<i32>, Vec<i32>) {
    let counts: Vec<i32> = counts.map(|count| count as i32).collect();
    let starts = counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect();
    (counts, starts)
}

fn cut<T: Clone>(values: &[T], expected: &[usize]) -> Vec<Vec<T>> {
    let mut rest = values;
    let mut next = |count: &usize| {
        let (part, more) = rest.split_at(*count);
        rest = more;
        part.to_vec()
    };
    expected.iter().map(&mut next).collect()
}
