//! MPI, the engine that clusters have: mpirun, Slurm's srun, Kubernetes' MPIJob start the ranks and tell them of each other.
//!
//! A thread of its own owns MPI and is asked by channel: OpenMPI makes no progress in the background, and a rank that waits for another
//! must be able to stop waiting. Errors of MPI itself end all ranks (`MPI_ERRORS_ARE_FATAL`), which is what a training wants.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mpi::Threading;
use mpi::datatype::{Partition, PartitionMut};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

use super::transport::{Silent, Transport};

/// What the thread is asked for.
enum Job {
    AllToAll { parts: Vec<Vec<f32>>, expected: Vec<usize>, answer: Sender<Vec<Vec<f32>>> },
    AllGather { own: Vec<f32>, expected: Vec<usize>, answer: Sender<Vec<Vec<f32>>> },
}

/// This process among the ranks of a launcher.
pub struct Mpi {
    rank: usize,
    size: usize,
    /// How long another rank is waited for.
    patience: Duration,
    /// `None` once it has ended.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Mpi {
    /// Starts MPI; `None` where it is started already, or cannot be. Without a launcher there is one rank.
    pub fn start(patience: Duration) -> Option<Self> {
        let (jobs, queue) = channel();
        let (ready, place) = channel();
        let thread = std::thread::spawn(move || {
            // "Funneled" lets the thread that has started MPI call it.
            let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
            let world = universe.world();
            let _ = ready.send((world.rank() as usize, world.size() as usize));
            serve(&world, &queue);
            // Dropped here, `universe` waits until all ranks have come so far.
        });
        let (rank, size) = place.recv().ok()?;
        Some(Self { rank, size, patience, jobs: Some(jobs), thread: Some(thread) })
    }

    fn ask(&self, job: impl FnOnce(Sender<Vec<Vec<f32>>>) -> Job) -> Result<Vec<Vec<f32>>, Silent> {
        let (sender, answer) = channel();
        let silent = Silent { rank: self.rank };
        self.jobs.as_ref().and_then(|jobs| jobs.send(job(sender)).ok()).ok_or(silent)?;
        answer.recv_timeout(self.patience).map_err(|_| silent)
    }

    /// Leaves the ranks, which waits for all of them. Where something has gone wrong it is not called: the process exits, and the launcher
    /// ends the others.
    pub fn finish(mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Carries jobs out until nobody has any more.
fn serve(world: &SimpleCommunicator, queue: &Receiver<Job>) {
    for job in queue {
        // Nobody waits for the answer any more where the process is about to end.
        match job {
            Job::AllToAll { parts, expected, answer } => drop(answer.send(all_to_all(world, &parts, &expected))),
            Job::AllGather { own, expected, answer } => drop(answer.send(all_gather(world, &own, &expected))),
        }
    }
}

/// Counts and places of parts that lie one after the other. A bucket has a few million numbers.
fn laid_out(counts: impl Iterator<Item = usize>) -> (Vec<i32>, Vec<i32>) {
    let counts: Vec<i32> = counts.map(|count| count as i32).collect();
    let starts = counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect();
    (counts, starts)
}

fn cut(values: &[f32], expected: &[usize]) -> Vec<Vec<f32>> {
    let mut rest = values;
    let mut next = |count: &usize| {
        let (part, more) = rest.split_at(*count);
        rest = more;
        part.to_vec()
    };
    expected.iter().map(&mut next).collect()
}

fn all_to_all(world: &SimpleCommunicator, parts: &[Vec<f32>], expected: &[usize]) -> Vec<Vec<f32>> {
    let sent = parts.concat();
    let mut received = vec![0f32; expected.iter().sum()];
    let (counts, starts) = laid_out(parts.iter().map(Vec::len));
    let from = Partition::new(&sent[..], counts, starts);
    let (counts, starts) = laid_out(expected.iter().copied());
    world.all_to_all_varcount_into(&from, &mut PartitionMut::new(&mut received[..], counts, starts));
    cut(&received, expected)
}

fn all_gather(world: &SimpleCommunicator, own: &[f32], expected: &[usize]) -> Vec<Vec<f32>> {
    let mut received = vec![0f32; expected.iter().sum()];
    let (counts, starts) = laid_out(expected.iter().copied());
    world.all_gather_varcount_into(own, &mut PartitionMut::new(&mut received[..], counts, starts));
    cut(&received, expected)
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_to_all(&mut self, parts: Vec<Vec<f32>>, expected: &[usize]) -> Result<Vec<Vec<f32>>, Silent> {
        self.ask(|answer| Job::AllToAll { parts, expected: expected.to_vec(), answer })
    }

    fn all_gather(&mut self, own: Vec<f32>, expected: &[usize]) -> Result<Vec<Vec<f32>>, Silent> {
        self.ask(|answer| Job::AllGather { own, expected: expected.to_vec(), answer })
    }
}
