//! Sums of gradients over all blocks of a step, each element at its owner; and values from their owners to all.

use std::ops::Range;

use super::blocks_of;
use super::pieces::{Part, Pieces, count};
use super::transport::{Silent, Transport};
use super::tree::{join, subtrees};

/// The gradients of a subtree of blocks: all parameters' elements, in the order of the model.
pub type Gradients = Vec<Vec<f32>>;

/// The sum over all `total` blocks of what this rank owns of a bucket, from the subtrees that it has folded.
///
/// # Errors
/// A rank does not answer.
pub fn exchange(
    transport: &mut dyn Transport,
    pieces: &Pieces,
    bucket: usize,
    folded: &[(Range<usize>, Gradients)],
    total: usize,
) -> Result<Vec<f32>, Silent> {
    let size = transport.size();
    // For each owner its piece of every subtree, one after the other.
    let parts = (0..size).map(|owner| {
        let piece = pieces.piece(bucket, owner);
        folded.iter().flat_map(|(_, gradients)| cut(gradients, piece)).collect()
    });
    let own = count(pieces.piece(bucket, transport.rank()));
    let nodes: Vec<_> = (0..size).map(|rank| subtrees(&blocks_of(rank, size, total), total)).collect();
    let expected: Vec<usize> = nodes.iter().map(|nodes| nodes.len() * own).collect();
    let received = transport.all_to_all(parts.collect(), &expected)?;
    let mut summands = Vec::new();
    for (nodes, values) in nodes.iter().zip(received) {
        let values = nodes.iter().enumerate().map(|(at, _)| values[at * own..(at + 1) * own].to_vec());
        summands.extend(nodes.iter().cloned().zip(values.collect::<Vec<_>>()));
    }
    let add = |mut left: Vec<f32>, right: Vec<f32>| {
        left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
        left
    };
    Ok(join(summands, total, add).expect("the ranks' runs cover all blocks once"))
}

/// Puts the values that each rank has for its piece of a bucket into all parameters.
///
/// # Errors
/// A rank does not answer.
pub fn gather(
    transport: &mut dyn Transport,
    pieces: &Pieces,
    bucket: usize,
    own: Vec<f32>,
    into: &mut Gradients,
) -> Result<(), Silent> {
    let expected: Vec<usize> = (0..transport.size()).map(|owner| count(pieces.piece(bucket, owner))).collect();
    for (owner, values) in transport.all_gather(own, &expected)?.into_iter().enumerate() {
        let mut rest = values.as_slice();
        for Part { parameter, elements } in pieces.piece(bucket, owner) {
            let (part, more) = rest.split_at(elements.len());
            into[*parameter][elements.clone()].copy_from_slice(part);
            rest = more;
        }
    }
    Ok(())
}

fn cut<'a>(gradients: &'a Gradients, piece: &'a [Part]) -> impl Iterator<Item = f32> + 'a {
    piece.iter().flat_map(|Part { parameter, elements }| gradients[*parameter][elements.clone()].iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::transport::Threads;
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

    fn add(left: Gradients, right: Gradients) -> Gradients {
        let sum = |(left, right): (Vec<f32>, Vec<f32>)| left.into_iter().zip(right).map(|(a, b)| a + b).collect();
        left.into_iter().zip(right).map(sum).collect()
    }

    /// The sums as every rank has them in the end, and the bytes that went to other ranks.
    fn summed(size: usize, total: usize) -> (Gradients, usize) {
        let ranks = Threads::group(size).into_iter().map(|mut transport| {
            std::thread::spawn(move || {
                let pieces = Pieces::new(&SIZES, size);
                let run = blocks_of(transport.rank(), size, total);
                let mut fold = Fold::new(&run, total);
                run.for_each(|number| fold.push(number, block(number), add));
                let folded = fold.finish();
                let mut sums: Gradients = SIZES.iter().map(|size| vec![f32::NAN; *size]).collect();
                for bucket in 0..pieces.buckets() {
                    let own = exchange(&mut transport, &pieces, bucket, &folded, total).unwrap();
                    gather(&mut transport, &pieces, bucket, own, &mut sums).unwrap();
                }
                (sums, transport.sent)
            })
        });
        let ended: Vec<_> = ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect();
        assert!(ended.iter().all(|(sums, _)| *sums == ended[0].0), "all ranks have the same");
        (ended[0].0.clone(), ended.iter().map(|(_, sent)| sent).sum())
    }

    #[test]
    fn gradients_add_up_to_the_same_bits_on_any_number_of_ranks() {
        for total in [1, 4, 6, 11] {
            let (one, sent) = summed(1, total);
            assert_eq!(sent, 0);
            for size in 2..=total.min(5) {
                assert_eq!(summed(size, total).0, one, "{size} ranks, {total} blocks");
            }
        }
    }

    /// Reduced and gathered, each element goes to all other ranks once and comes from them once: 8 n (N - 1) / N bytes a rank, where a
    /// rank's blocks are one subtree.
    #[test]
    fn no_more_bytes_are_sent_than_plain_data_parallelism_sends() {
        let elements: usize = SIZES.iter().sum();
        for size in [2, 4] {
            assert_eq!(summed(size, 4).1, 8 * elements * (size - 1), "{size} ranks");
        }
    }
}
