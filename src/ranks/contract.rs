//! What every transport gives, tested on each.

use std::ops::RangeInclusive;
use std::thread;

use super::transport::{Place, Threads, Transport};

/// Makes a rank's transport, on the thread of that rank.
pub type Rank = Box<dyn FnOnce() -> Box<dyn Transport> + Send>;

/// Sees that groups of these sizes keep the contract.
pub fn holds(sizes: RangeInclusive<usize>, group: impl Fn(usize) -> Vec<Rank>) {
    for size in sizes {
        let ranks = group(size).into_iter().enumerate().map(|(rank, make)| {
            thread::spawn(move || {
                let mut transport = make();
                let Place { rank: place, size: all, .. } = transport.place();
                assert_eq!((place, all), (rank, size));
                parts_go_to_their_ranks(transport.as_mut());
                all_get_what_each_has(transport.as_mut());
                messages_of_any_length_come(transport.as_mut());
                several_are_under_way(transport.as_mut());
                bits_stay_as_they_are(transport.as_mut());
                transport.finish();
            })
        });
        ranks.collect::<Vec<_>>().into_iter().for_each(|rank| rank.join().unwrap());
    }
}

/// What a rank has for another in a round: of all lengths, with empty parts among them.
fn part(from: usize, to: usize, round: usize) -> Vec<f32> {
    let length = [0, 1, 3, 5000][(from + 3 * to + round) % 4];
    (0..length).map(|at| (round * 1_000_000 + from * 100_000 + to * 10_000 + at) as f32).collect()
}

fn begin(transport: &mut dyn Transport, round: usize) -> super::Pending<Vec<Vec<f32>>> {
    let Place { rank, size, .. } = transport.place();
    let parts = (0..size).map(|to| part(rank, to, round)).collect();
    transport.all_to_all(parts, (0..size).map(|from| part(from, rank, round).len()).collect())
}

fn came(transport: &dyn Transport, round: usize) -> Vec<Vec<f32>> {
    let Place { rank, size, .. } = transport.place();
    (0..size).map(|from| part(from, rank, round)).collect()
}

fn parts_go_to_their_ranks(transport: &mut dyn Transport) {
    for round in 0..8 {
        let sent = transport.sent();
        assert_eq!(begin(transport, round).wait().unwrap(), came(transport, round), "round {round}");
        let Place { rank, size, .. } = transport.place();
        let others = (0..size).filter(|to| *to != rank);
        let bytes = others.map(|to| 4 * part(rank, to, round).len() as u64).sum::<u64>();
        assert_eq!(transport.sent() - sent, bytes, "round {round}");
    }
    let size = transport.place().size;
    let nothing = vec![Vec::new(); size];
    assert_eq!(transport.all_to_all(nothing.clone(), vec![0; size]).wait().unwrap(), nothing);
}

fn all_get_what_each_has(transport: &mut dyn Transport) {
    let Place { rank, size, .. } = transport.place();
    for round in 0..4 {
        let all: Vec<Vec<f32>> = (0..size).map(|rank| part(rank, 0, round)).collect();
        let expected = all.iter().map(Vec::len).collect();
        let found = transport.all_gather(all[rank].clone(), expected).wait().unwrap();
        assert_eq!(found, all, "round {round}");
    }
}

fn messages_of_any_length_come(transport: &mut dyn Transport) {
    let Place { rank, size, .. } = transport.place();
    for longest in [0, 1, 3000] {
        let message = |rank: usize| vec![rank as u8 + 1; longest * rank];
        let all: Vec<Vec<u8>> = (0..size).map(message).collect();
        assert_eq!(transport.messages(message(rank)).wait().unwrap(), all, "up to {longest} bytes a rank");
    }
}

/// Begun in one order by all, and waited for in another.
fn several_are_under_way(transport: &mut dyn Transport) {
    let rank = transport.place().rank;
    let begun: Vec<_> = (0..4).map(|round| begin(transport, round)).collect();
    let messages = transport.messages(vec![rank as u8]);
    let last = begin(transport, 9);
    assert_eq!(last.wait().unwrap(), came(transport, 9));
    for (round, pending) in begun.into_iter().enumerate().rev() {
        assert_eq!(pending.wait().unwrap(), came(transport, round), "round {round}");
    }
    let messages = messages.wait().unwrap();
    assert!(messages.iter().enumerate().all(|(rank, message)| *message == [rank as u8]), "{messages:?}");
}

fn bits_stay_as_they_are(transport: &mut dyn Transport) {
    let size = transport.place().size;
    let bits = [0x8000_0000, 0x0000_0001, 0x7f80_0000, 0x7fc1_2345, 0x3eaa_aaab];
    let own = bits.map(f32::from_bits).to_vec();
    let found = transport.all_gather(own, vec![bits.len(); size]).wait().unwrap();
    for values in found {
        assert_eq!(values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
    }
}

#[test]
fn threads_keep_the_contract() {
    holds(1..=4, |size| {
        let rank = |transport: Threads| Box::new(|| Box::new(transport) as Box<dyn Transport>) as Rank;
        Threads::group(size).into_iter().map(rank).collect()
    });
}
