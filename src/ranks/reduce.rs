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

/// The sums over all blocks of a step of what this rank owns, bucket after bucket. A bucket may be on its way while the gradients of the
/// next are computed.
pub struct Reduction {
    rank: usize,
    total: usize,
    /// The subtrees of blocks of each rank.
    nodes: Vec<Vec<Range<usize>>>,
    begun: usize,
    under_way: InFlight,
    sums: Vec<Vec<f32>>,
}

impl Reduction {
    /// Of `total` blocks, for the rank at `place`.
    pub fn new(place: Place, total: usize) -> Self {
        let Place { rank, size, .. } = place;
        let nodes = (0..size).map(|rank| subtrees(&blocks_of(rank, size, total), total)).collect();
        Self { rank, total, nodes, begun: 0, under_way: InFlight::default(), sums: Vec::new() }
    }

    /// The bucket that is to be begun next.
    pub fn next(&self) -> usize {
        self.begun
    }

    /// Begins [`Self::next`], from the subtrees that this rank has folded, and ends an earlier one where many are under way.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn begin(
        &mut self,
        transport: &mut dyn Transport,
        pieces: &Pieces,
        folded: &[(Range<usize>, Gradients)],
    ) -> Result<(), Silent> {
        let bucket = self.begun;
        self.begun += 1;
        // For each owner its piece of every subtree, one after the other.
        let parts = (0..self.nodes.len()).map(|owner| {
            let piece = pieces.piece(bucket, owner);
            let mut part = Vec::with_capacity(folded.len() * count(piece));
            folded.iter().for_each(|(_, gradients)| cut(gradients, piece, &mut part));
            part
        });
        let own = count(pieces.piece(bucket, self.rank));
        let expected = self.nodes.iter().map(|nodes| nodes.len() * own).collect();
        let pending = transport.all_to_all(parts.collect(), expected);
        if let Some((bucket, received)) = self.under_way.begin(bucket, pending)? {
            self.add_up(pieces, bucket, &received);
        }
        Ok(())
    }

    fn add_up(&mut self, pieces: &Pieces, bucket: usize, received: &[Vec<f32>]) {
        let own = count(pieces.piece(bucket, self.rank));
        let mut summands = Vec::new();
        for (nodes, values) in self.nodes.iter().zip(received) {
            let values = |at: usize| values[at * own..(at + 1) * own].to_vec();
            summands.extend(nodes.iter().enumerate().map(|(at, node)| (node.clone(), values(at))));
        }
        self.sums.push(join(summands, self.total, add).expect("the ranks' runs cover all blocks once"));
    }

    /// The sums of all buckets, which have been begun.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn finish(mut self, transport: &mut dyn Transport, pieces: &Pieces) -> Result<Vec<Vec<f32>>, Silent> {
        while let Some((bucket, received)) = self.under_way.end()? {
            self.add_up(pieces, bucket, &received);
        }
        // Where a shard has several owners, each has added up a piece of it.
        let owners = pieces.owners(self.rank);
        if owners.len() == 1 {
            return Ok(self.sums);
        }
        let mut sums = self.sums.into_iter();
        let begin = |transport: &mut dyn Transport, bucket: usize| {
            let own = sums.next().unwrap_or_default();
            let expected = |rank: usize| count(pieces.piece(bucket, rank));
            to_some(transport, own, &owners, expected)
        };
        in_flight(transport, pieces.buckets(), begin, |_, parts| parts.concat())
    }
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
) -> Received {
    let ranks = 0..transport.place().size;
    let parts = ranks.clone().map(|rank| if some.contains(&rank) { own.clone() } else { Vec::new() }).collect();
    let expected = ranks.map(|rank| if some.contains(&rank) { expected(rank) } else { 0 }).collect();
    transport.all_to_all(parts, expected)
}

/// Begins an exchange for each bucket and ends it, so that some are under way at once.
fn in_flight<T>(
    transport: &mut dyn Transport,
    buckets: usize,
    mut begin: impl FnMut(&mut dyn Transport, usize) -> Received,
    mut end: impl FnMut(usize, Vec<Vec<f32>>) -> T,
) -> Result<Vec<T>, Silent> {
    let mut under_way = InFlight::default();
    let mut ended = Vec::with_capacity(buckets);
    for bucket in 0..buckets {
        let pending = begin(transport, bucket);
        ended.extend(under_way.begin(bucket, pending)?.map(|(bucket, parts)| end(bucket, parts)));
    }
    while let Some((bucket, parts)) = under_way.end()? {
        ended.push(end(bucket, parts));
    }
    Ok(ended)
}

/// What comes of a bucket, from each rank.
type Received = Pending<Vec<Vec<f32>>>;

/// A bucket, and what has come of it.
type Arrived = (usize, Vec<Vec<f32>>);

/// Exchanges of buckets that are under way, the first one first.
#[derive(Default)]
struct InFlight(VecDeque<(usize, Received)>);

impl InFlight {
    /// Takes one more. Where too many are under way it gives what has come of the first, for which it waits.
    fn begin(&mut self, bucket: usize, pending: Received) -> Result<Option<Arrived>, Silent> {
        self.0.push_back((bucket, pending));
        if self.0.len() < IN_FLIGHT { Ok(None) } else { self.end() }
    }

    /// Waits for the first, if there is one.
    fn end(&mut self) -> Result<Option<Arrived>, Silent> {
        let first = self.0.pop_front();
        first.map(|(bucket, pending)| Ok((bucket, pending.wait()?))).transpose()
    }
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
                let mut reduction = Reduction::new(transport.place(), total);
                while reduction.next() < pieces.buckets() {
                    reduction.begin(&mut transport, &pieces, &folded).unwrap();
                }
                let own = reduction.finish(&mut transport, &pieces).unwrap();
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
