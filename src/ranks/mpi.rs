//! MPI, the engine that clusters have: mpirun, Slurm's srun, Kubernetes' MPIJob start the ranks and tell them of each other.
//!
//! A thread of its own owns MPI and is asked by channel: OpenMPI makes no progress in the background, and a rank that waits for another
//! must be able to stop waiting. MPI itself notices neither a rank that was stopped nor a network that was cut: so an exchange that takes
//! too long is given up, and the ranks that do not answer a question are named. Errors of MPI end all ranks
//! (`MPI_ERRORS_ARE_FATAL`), which is what a training wants.

mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use mpi::Threading;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

use self::worker::Worker;
use super::transport::{Pending, Place, Silent, Transport};

/// What the thread is asked for.
pub enum Job {
    AllToAll {
        parts: Vec<Vec<f32>>,
        expected: Vec<usize>,
        answer: Answer<Vec<Vec<f32>>>,
    },
    AllGather {
        own: Vec<f32>,
        expected: Vec<usize>,
        answer: Answer<Vec<Vec<f32>>>,
    },
    Messages {
        own: Vec<u8>,
        answer: Answer<Vec<Vec<u8>>>,
    },
    /// Answered with the ranks that are missing.
    GiveUp {
        answer: Answer<()>,
    },
    Finish {
        done: Sender<()>,
    },
}

pub type Answer<T> = Sender<Result<T, Silent>>;

/// This process among the ranks of a launcher.
pub struct Mpi {
    place: Place,
    jobs: Sender<Job>,
    patience: Duration,
    shared: Shared,
    /// Whether all ranks have left MPI.
    has_left: bool,
}

/// What the thread and those that ask it know of each other.
#[derive(Clone, Default)]
pub struct Shared {
    /// Bytes that have gone to other ranks.
    sent: Arc<AtomicU64>,
    /// Exchanges that were begun, here and elsewhere.
    begun: Arc<AtomicU64>,
    /// Whether this rank waits for an exchange.
    waiting: Arc<AtomicBool>,
    /// Whether an exchange was given up: MPI cannot be left any more.
    given_up: Arc<AtomicBool>,
}

impl Mpi {
    /// Starts MPI; `None` where it cannot be started, or was before.
    pub fn start(patience: Duration) -> Option<Self> {
        let (jobs, queue) = channel();
        let (ready, place) = channel();
        let shared = Shared::default();
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            // "Funneled" lets the thread that has started MPI call it.
            let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
            let world = universe.world();
            let machine = world.split_shared(0);
            let place = Place {
                rank: world.rank() as usize,
                size: world.size() as usize,
                local_rank: machine.rank() as usize,
                local_size: machine.size() as usize,
            };
            let hosts = hosts(&world);
            let _ = ready.send(place);
            let ranks = Worker { world, hosts, patience, queue, shared: of_thread };
            match ranks.serve() {
                // Dropped, `universe` waits until all ranks have come so far.
                Some(done) => {
                    drop((ranks, machine, universe));
                    let _ = done.send(());
                }
                // The process ends, and the launcher ends the others: nobody is waited for.
                None => std::mem::forget((ranks, machine, universe)),
            }
        });
        Some(Self { place: place.recv().ok()?, jobs, patience, shared, has_left: false })
    }

    /// Where the thread has ended the answer's other end is gone, which the one who waits is told.
    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Pending<T> {
        let (answer, pending) = Pending::new(self.shared.waiting.clone());
        match self.shared.given_up.load(Ordering::Relaxed) {
            // It has been told before.
            true => drop(answer.send(Err(Silent { who: String::new(), tells: false }))),
            false => drop(self.jobs.send(job(answer))),
        }
        pending
    }
}

impl Transport for Mpi {
    fn place(&self) -> Place {
        self.place
    }

    fn all_to_all(&mut self, parts: Vec<Vec<f32>>, expected: Vec<usize>) -> Pending<Vec<Vec<f32>>> {
        self.ask(|answer| Job::AllToAll { parts, expected, answer })
    }

    fn all_gather(&mut self, own: Vec<f32>, expected: Vec<usize>) -> Pending<Vec<Vec<f32>>> {
        self.ask(|answer| Job::AllGather { own, expected, answer })
    }

    fn messages(&mut self, own: Vec<u8>) -> Pending<Vec<Vec<u8>>> {
        self.ask(|answer| Job::Messages { own, answer })
    }

    fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    fn begin_elsewhere(&mut self) -> Duration {
        self.shared.begun.fetch_add(1, Ordering::Relaxed);
        self.patience
    }

    fn give_up(&mut self) -> Silent {
        /// The thread asks the others for a second; where it waits for an exchange of its own, that one names them.
        const LONGEST: Duration = Duration::from_secs(3);
        let (answer, named) = channel();
        let _ = self.jobs.send(Job::GiveUp { answer });
        match named.recv_timeout(LONGEST) {
            Ok(Err(silent)) => silent,
            _ => {
                self.shared.given_up.store(true, Ordering::Relaxed);
                let waited = self.patience.as_secs();
                Silent { who: format!("an exchange between the ranks has not ended in {waited} s"), tells: true }
            }
        }
    }

    /// Waits for the others for some seconds: where they are not about to end the launcher ends them.
    fn finish(&mut self) -> bool {
        const LONGEST: Duration = Duration::from_secs(3);
        if self.has_left {
            return true;
        }
        if self.shared.given_up.load(Ordering::Relaxed) {
            return false;
        }
        let (done, ended) = channel();
        let _ = self.jobs.send(Job::Finish { done });
        self.has_left = ended.recv_timeout(LONGEST).is_ok();
        self.has_left
    }
}

/// The length of a host's name in messages.
const NAME: usize = 64;

/// The host of each rank.
fn hosts(world: &SimpleCommunicator) -> Vec<String> {
    let name = mpi::environment::processor_name().unwrap_or_default();
    let mut own = [0u8; NAME];
    own.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    let mut all = vec![0u8; NAME * world.size() as usize];
    world.all_gather_into(&own[..], &mut all[..]);
    let read = |name: &[u8]| String::from_utf8_lossy(name).trim_end_matches('\0').to_string();
    all.chunks(NAME).map(read).collect()
}
