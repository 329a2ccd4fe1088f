//! Sums of gradients over all blocks of a step, each element at its owners; and values from their owners to all.

use std::collections::VecDeque;
use std::ops::Range;

use super::pieces::{Part, Pieces, count};
use super::transport::{Pending, Place, Silent, Transport};
use super::tree::{blocks_of, join, subtrees};

/// The gradients of a subtree of blocks: all parameters' elements, in the order of the model.
pub type Gradients = Vec<Vec<f32>>;

/// Buckets whose exchange is under way at once.
const IN_FLIGHT: usize = 4;

/// The sums over all `total` blocks of what this rank owns, a bucket after the other, from the subtrees that it has folded.
///
/// # Errors
/// A rank does not answer.
pub fn reduce(
    transport: &mut dyn Transport,
    pieces: &Pieces,
    folded: &[(Range<usize>, Gradients)],
    total: usize,
) -> Result<Vec<Vec<f32>>, Silent> {
    let Place { rank, size, .. } = transport.place();
    let nodes: Vec<_> = (0..size).map(|rank| subtrees(&blocks_of(rank, size, total), total)).collect();
    let begin = |transport: &mut dyn Transport, bucket: usize| {
        // For each owner its piece of every subtree, one after the other.
        let parts = (0..size).map(|owner| {
            let piece = pieces.piece(bucket, owner);
            let mut part = Vec::with_capacity(folded.len() * count(piece));
            folded.iter().for_each(|(_, gradients)| cut(gradients, piece, &mut part));
            part
        });
        let own = count(pieces.piece(bucket, rank));
        transport.all_to_all(parts.collect(), nodes.iter().map(|nodes| nodes.len() * own).collect())
    };
    let sum = |bucket: usize, received: Vec<Vec<f32>>| {
        let own = count(pieces.piece(bucket, rank));
        let mut summands = Vec::new();
        for (nodes, values) in nodes.iter().zip(&received) {
            let values = |at: usize| values[at * own..(at + 1) * own].to_vec();
            summands.extend(nodes.iter().enumerate().map(|(at, node)| (node.clone(), values(at))));
        }
        join(summands, total, add).expect("the ranks' runs cover all blocks once")
    };
    let sums = in_flight(transport, pieces.buckets(), begin, sum)?;
    // Where a shard has several owners, each has added up a piece of it.
    let owners = pieces.owners(rank);
    if owners.len() == 1 {
        return Ok(sums);
    }
    let mut sums = sums.into_iter();
    let begin = |transport: &mut dyn Transport, bucket: usize| {
        let own = sums.next().unwrap_or_default();
        let expected = |rank: usize| count(pieces.piece(bucket, rank));
        to_some(transport, own, &owners, expected)
    };
    in_flight(transport, pieces.buckets(), begin, |_, parts| parts.concat())
}

/// Puts the values that their owners have, bucket by bucket, into all parameters.
///
/// # Errors
/// A rank does not answer.
pub fn gather(
    transport: &mut dyn Transport,
    pieces: &Pieces,
    own: Vec<Vec<f32>>,
    into: &mut Gradients,
) -> Result<(), Silent> {
    let Place { rank, size, .. } = transport.place();
    let group = pieces.group(rank);
    let mut own = own.into_iter();
    let begin = |transport: &mut dyn Transport, bucket: usize| {
        let own = own.next().unwrap_or_default();
        let expected = |rank: usize| count(pieces.shard(bucket, rank));
        match group.len() == size {
            true => transport.all_gather(own, group.iter().map(|rank| expected(*rank)).collect()),
            false => to_some(transport, own, &group, expected),
        }
    };
    let place = |bucket: usize, received: Vec<Vec<f32>>| {
        for (owner, values) in received.iter().enumerate().filter(|(_, values)| !values.is_empty()) {
            let mut rest = values.as_slice();
            for Part { parameter, elements } in pieces.shard(bucket, owner) {
                let (part, more) = rest.split_at(elements.len());
                into[*parameter][elements.clone()].copy_from_slice(part);
                rest = more;
            }
        }
    };
    in_flight(transport, pieces.buckets(), begin, place).map(drop)
}

/// All values of a parameter, on the first rank, from what each rank has of it.
///
/// # Errors
/// A rank does not answer.
pub fn collect(
    transport: &mut dyn Transport,
    pieces: &Pieces,
    parameter: usize,
    own: Vec<f32>,
) -> Result<Vec<f32>, Silent> {
    let Place { rank, size, .. } = transport.place();
    // Other groups have the same.
    let senders = pieces.group(0);
    let parts = |owner: usize| {
        let all = (0..pieces.buckets()).flat_map(move |bucket| pieces.shard(bucket, owner));
        all.filter(move |part| part.parameter == parameter)
    };
    let expected = |owner: usize| match rank == 0 && senders.contains(&owner) {
        true => parts(owner).map(|part| part.elements.len()).sum(),
        false => 0,
    };
    let expected: Vec<usize> = (0..size).map(expected).collect();
    let mut sent = vec![Vec::new(); size];
    if senders.contains(&rank) {
        sent[0] = own;
    }
    let mut whole = vec![0.0; expected.iter().sum()];
    for (owner, values) in transport.all_to_all(sent, expected).wait()?.into_iter().enumerate() {
        let mut rest = values.as_slice();
        for part in parts(owner).take_while(|_| !values.is_empty()) {
            let (values, more) = rest.split_at(part.elements.len());
            whole[part.elements.clone()].copy_from_slice(values);
            rest = more;
        }
    }
    Ok(whole)
}

/// Sends the same to each of some ranks, which send theirs: `expected` numbers each.
fn to_some(
    transport: &mut dyn Transport,
    own: Vec<f32>,
    some: &[usize],
    expected: impl Fn(usize) -> usize,
) -> Pending<Vec<Vec<f32>>> {
    let ranks = 0..transport.place().size;
    let parts = ranks.clone().map(|rank| if some.contains(&rank) { own.clone() } else { Vec::new() }).collect();
    let expected = ranks.map(|rank| if some.contains(&rank) { expected(rank) } else { 0 }).collect();
    transport.all_to_all(parts, expected)
}

/// Begins an exchange for each bucket and ends it, so that some are under way at once.
fn in_flight<T>(
    transport: &mut dyn Transport,
    buckets: usize,
    mut begin: impl FnMut(&mut dyn Transport, usize) -> Pending<Vec<Vec<f32>>>,
    mut end: impl FnMut(usize, Vec<Vec<f32>>) -> T,
) -> Result<Vec<T>, Silent> {
    let mut under_way = VecDeque::new();
    let mut ended = Vec::with_capacity(buckets);
    for bucket in 0..buckets + IN_FLIGHT {
        if bucket < buckets {
            under_way.push_back((bucket, begin(transport, bucket)));
        }
        if under_way.len() == IN_FLIGHT || bucket >= buckets {
            let Some((bucket, pending)) = under_way.pop_front() else { break };
            ended.push(end(bucket, pending.wait()?));
        }
    }
    Ok(ended)
}

fn add(mut left: Vec<f32>, right: Vec<f32>) -> Vec<f32> {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
    left
}

fn cut(gradients: &Gradients, piece: &[Part], into: &mut Vec<f32>) {
    piece
        .iter()
        .for_each(|Part { parameter, elements }| into.extend_from_slice(&gradients[*parameter][elements.clone()]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Threads;
    use crate::ranks::tree::Fold;

    const SIZES: [usize; 3] = [40_000, 7, 20_000];

    /// A block's gradients: numbers whose sums round.
    fn block(number: usize) -> Gradients {
        let value = |parameter: usize, element: usize| {
            ((number * 31 + parameter * 17 + element) as f32 * 0.618).sin() * 10f32.powi((element % 7) as i32 - 3)
        };
        let of = |(parameter, size): (usize, &usize)| (0..*size).map(|element| value(parameter, element)).collect();
        SIZES.iter().enumerate().map(of).collect()
    }

    fn add_all(left: Gradients, right: Gradients) -> Gradients {
        let sum = |(left, right): (Vec<f32>, Vec<f32>)| left.into_iter().zip(right).map(|(a, b)| a + b).collect();
        left.into_iter().zip(right).map(sum).collect()
    }

    /// The sums as every rank has them in the end, and the bytes that went to other ranks.
    fn summed(size: usize, degree: usize, total: usize) -> (Gradients, u64) {
        let ranks = Threads::group(size).into_iter().map(|mut transport| {
            std::thread::spawn(move || {
                let pieces = Pieces::new(&SIZES, size, degree);
                let run = blocks_of(transport.place().rank, size, total);
                let mut fold = Fold::new(&run, total);
                run.for_each(|number| fold.push(number, block(number), add_all));
                let folded = fold.finish();
                let mut sums: Gradients = SIZES.iter().map(|size| vec![f32::NAN; *size]).collect();
                let own = reduce(&mut transport, &pieces, &folded, total).unwrap();
                gather(&mut transport, &pieces, own, &mut sums).unwrap();
                (sums, transport.sent())
            })
        });
        let ended: Vec<_> = ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect();
        assert!(ended.iter().all(|(sums, _)| *sums == ended[0].0), "all ranks have the same");
        (ended[0].0.clone(), ended.iter().map(|(_, sent)| sent).sum())
    }

    #[test]
    fn gradients_add_up_to_the_same_bits_on_any_number_of_ranks() {
        for total in [1, 4, 6, 11] {
            let (one, sent) = summed(1, 1, total);
            assert_eq!(sent, 0);
            // More ranks than blocks there are at the end of an epoch.
            for size in 2..=5 {
                for degree in (1..=size).filter(|degree| size % degree == 0) {
                    assert_eq!(summed(size, degree, total).0, one, "{size} ranks, sharded by {degree}, {total} blocks");
                }
            }
        }
    }

    /// Reduced and gathered, each element goes to all other ranks once and comes from them once: 8 n (N - 1) / N bytes a rank, where a
    /// rank's blocks are one subtree, however it is sharded.
    #[test]
    fn no_more_bytes_are_sent_than_plain_data_parallelism_sends() {
        let elements: usize = SIZES.iter().sum();
        for (size, degree) in [(2, 1), (2, 2), (4, 1), (4, 2), (4, 4)] {
            let (_, sent) = summed(size, degree, 4);
            assert_eq!(sent, 8 * (elements * (size - 1)) as u64, "{size} ranks, sharded by {degree}");
        }
    }
}
