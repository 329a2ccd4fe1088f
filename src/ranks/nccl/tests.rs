use std::sync::{Arc, Mutex};
use std::thread;

use super::*;
use crate::ranks::Threads;
use crate::ranks::contract::{Rank, holds};

/// NCCL as threads know it.
struct Wires {
    to: Vec<Sender<Vec<f32>>>,
    from: Vec<Receiver<Vec<f32>>>,
    sent: Vec<f32>,
    received: Vec<f32>,
    /// What was queued since the group began.
    queued: Option<Queue>,
    awaited: Vec<(Range<usize>, usize)>,
    /// Exchanges until one fails.
    left: usize,
    said: Said,
}

/// Parts and where they go, places and where they are filled from.
#[derive(Default)]
struct Queue {
    sends: Vec<(Range<usize>, usize)>,
    receives: Vec<(Range<usize>, usize)>,
}

/// What has become of links.
type Said = Arc<Mutex<Vec<String>>>;

impl Wires {
    fn group(size: usize, said: &Said) -> Vec<Self> {
        let mut to: Vec<Vec<_>> = (0..size).map(|_| Vec::new()).collect();
        let mut from: Vec<Vec<_>> = (0..size).map(|_| Vec::new()).collect();
        for to in &mut to {
            for from in &mut from {
                let (sender, receiver) = channel();
                to.push(sender);
                from.push(receiver);
            }
        }
        let wires = |(to, from)| Self {
            to,
            from,
            sent: Vec::new(),
            received: Vec::new(),
            queued: None,
            awaited: Vec::new(),
            left: usize::MAX,
            said: said.clone(),
        };
        to.into_iter().zip(from).map(wires).collect()
    }
}

impl Link for Wires {
    fn upload(&mut self, values: &[f32], room: usize) -> Result<(), String> {
        self.sent = values.to_vec();
        self.received = vec![f32::NAN; room];
        self.left = self.left.checked_sub(1).ok_or("unhandled cuda error")?;
        Ok(())
    }

    fn group_start(&mut self) -> Result<(), String> {
        assert!(self.queued.is_none() && self.awaited.is_empty(), "one exchange after the other");
        self.queued = Some(Queue::default());
        Ok(())
    }

    fn send(&mut self, part: Range<usize>, to: usize) -> Result<(), String> {
        self.queued.as_mut().expect("sends are of a group").sends.push((part, to));
        Ok(())
    }

    fn receive(&mut self, place: Range<usize>, from: usize) -> Result<(), String> {
        self.queued.as_mut().expect("receives are of a group").receives.push((place, from));
        Ok(())
    }

    fn group_end(&mut self) -> Result<(), String> {
        let Queue { sends, receives } = self.queued.take().expect("a group has begun");
        for (part, to) in sends {
            let _ = self.to[to].send(self.sent[part].to_vec());
        }
        self.awaited = receives;
        Ok(())
    }

    fn is_done(&mut self) -> Result<bool, String> {
        while let Some((place, from)) = self.awaited.last() {
            let Ok(values) = self.from[*from].try_recv() else { return Ok(false) };
            // NCCL would wait, or write over what lies behind.
            assert_eq!(values.len(), place.len(), "what is sent is what is expected");
            self.received[place.clone()].copy_from_slice(&values);
            self.awaited.pop();
        }
        Ok(true)
    }

    fn download(&mut self, count: usize) -> Result<Vec<f32>, String> {
        Ok(self.received[..count].to_vec())
    }

    fn finalize(&mut self) -> Result<(), String> {
        self.said.lock().unwrap().push("left".into());
        Ok(())
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.said.lock().unwrap().push("dropped".into());
    }
}

/// Does something on each rank, with what links it; what each gives.
fn on_ranks<T: Send + 'static>(
    size: usize,
    patience: Duration,
    said: &Said,
    work: impl Fn(Ranks, Wires) -> T + Send + Clone + 'static,
) -> Vec<T> {
    let ranks = Threads::group(size).into_iter().zip(Wires::group(size, said)).map(|(mut transport, wires)| {
        let work = work.clone();
        transport.patience = patience;
        thread::spawn(move || work(Ranks::over(Box::new(transport)), wires))
    });
    ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect()
}

const PATIENT: Duration = Duration::from_secs(60);

fn ticket(card: i8, id: i8) -> Result<Ticket, String> {
    Ok(Ticket { card: vec![card; 16], id: vec![id; 128] })
}

#[test]
fn a_double_of_nccl_keeps_the_contract() {
    let said = Said::default();
    holds(2..=4, |size| {
        let ranks = Threads::group(size).into_iter().zip(Wires::group(size, &said));
        let rank = |(transport, wires): (Threads, Wires)| {
            let make = move || {
                let nccl = Nccl::join(&Ranks::over(Box::new(transport)), || Ok(wires)).unwrap().unwrap();
                Box::new(nccl) as Box<dyn Transport>
            };
            Box::new(make) as Rank
        };
        ranks.map(rank).collect()
    });
    let said = said.lock().unwrap();
    let count = |word: &str| said.iter().filter(|said| *said == word).count();
    assert_eq!((count("left"), count("dropped")), (9, 9), "all leave the others at the end");
}

#[test]
fn ranks_are_admitted_with_a_card_each() {
    assert_eq!(admitted(vec![ticket(1, 7), ticket(2, 8), ticket(3, 9)]), Ok(vec![7; 128]));
    let shared = admitted(vec![ticket(1, 7), ticket(2, 8), ticket(1, 9)]).unwrap_err();
    assert_eq!(shared, "ranks 0 and 2 share a card, which NCCL refuses");
    let missing = admitted(vec![ticket(1, 7), Err("no libnccl.so was found".into())]).unwrap_err();
    assert_eq!(missing, "rank 1: no libnccl.so was found");
}

#[test]
fn where_one_cannot_be_linked_none_is() {
    let said = Said::default();
    let why = on_ranks(3, Duration::from_secs(1), &said, |ranks, wires| {
        let is_second = ranks.rank() == 1;
        let link = move || if is_second { Err("unhandled system error".to_string()) } else { Ok(wires) };
        let joined = Nccl::join(&ranks, link).unwrap().err();
        // They still reach each other.
        assert_eq!(ranks.gather(ranks.rank()).unwrap(), [0, 1, 2]);
        joined
    });
    // What the others have waited for in vain is not the reason.
    assert_eq!(why, vec![Some("rank 1: unhandled system error".to_string()); 3]);
}

#[test]
fn ranks_that_nccl_does_not_bring_together_stay_with_mpi() {
    let why = on_ranks(2, Duration::from_secs(2), &Said::default(), |ranks, mut wires| {
        // A network that lets nothing through.
        wires.to.iter_mut().for_each(|to| *to = channel().0);
        Nccl::join(&ranks, || Ok(wires)).unwrap().err()
    });
    assert_eq!(why, vec![Some("NCCL has not linked the ranks in 1 s".to_string()); 2]);
}

#[test]
fn an_exchange_that_a_rank_does_not_come_to_ends_with_the_patience() {
    let said = Said::default();
    let waited = on_ranks(2, Duration::from_secs(4), &said, |ranks, wires| {
        let mut nccl = Nccl::join(&ranks, || Ok(wires)).unwrap().unwrap();
        let waits = ranks.rank() == 0;
        let silent = waits.then(|| nccl.all_to_all(vec![vec![1.0]; 2], vec![1; 2]).wait().unwrap_err());
        // Nothing goes that way any more.
        let after = waits.then(|| nccl.all_gather(vec![1.0], vec![1; 2]).wait().is_err());
        (silent.map(|silent| silent.who), after)
    });
    assert_eq!(waited, [(Some("another rank does not come".into()), Some(true)), (None, None)]);
    let said = said.lock().unwrap();
    // The one that waited breaks off; the other leaves in peace.
    assert_eq!(said.iter().filter(|word| *word == "left").count(), 1);
    assert_eq!(said.iter().filter(|word| *word == "dropped").count(), 2);
}

#[test]
fn an_error_of_nccl_ends_the_run() {
    let said = Said::default();
    let ended = on_ranks(2, PATIENT, &said, |ranks, mut wires| {
        // The trial, and one more.
        wires.left = 2;
        let mut nccl = Nccl::join(&ranks, || Ok(wires)).unwrap().unwrap();
        assert_eq!(nccl.all_gather(vec![2.0], vec![1; 2]).wait().unwrap(), [[2.0], [2.0]]);
        nccl.all_gather(vec![3.0], vec![1; 2]).wait().unwrap_err()
    });
    let who = "an exchange by NCCL has failed: unhandled cuda error".to_string();
    assert_eq!(ended, vec![Silent { who, tells: true }; 2]);
}

/// Where there are cards: a thread for each.
#[cfg(all(feature = "cuda", feature = "mpi"))]
#[test]
fn cards_keep_the_contract() {
    use std::panic::catch_unwind;

    // cudarc panics where there is no driver.
    let cards = catch_unwind(|| cudarc::driver::CudaContext::device_count().unwrap_or(0)).unwrap_or(0) as usize;
    if cards < 2 {
        eprintln!("skipped: NCCL needs two cards at least, and this machine has {cards}");
        return;
    }
    holds(2..=cards.min(4), |size| {
        let rank = |(card, transport): (usize, Threads)| {
            let make = move || {
                let linked = card::linked(&Ranks::over(Box::new(transport)), Some(card));
                let nccl = linked.unwrap().expect("there are several ranks").unwrap_or_else(|why| panic!("{why}"));
                Box::new(nccl) as Box<dyn Transport>
            };
            Box::new(make) as Rank
        };
        Threads::group(size).into_iter().enumerate().map(rank).collect()
    });
}
