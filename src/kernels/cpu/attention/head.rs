//! One head of one row of the batch. Its scores are never in memory as a whole: they are made for some queries at a time, in a workspace
//! that stays in a cache, in rows of whole vectors.

use super::super::functions::{exp, max, sum};
use super::super::matrix::{Factor, Matrix, Target, Threads, multiply};
use super::super::vectorized;
use super::workspace::{LANES, parts};
use crate::kernels::mask::Mask;

/// Scores in the workspace at a time: 256 KB, twice in the backward pass.
const SCORES: usize = 1 << 16;

/// A row of the batch.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its first token among those of all rows.
    pub first: usize,
    /// Its tokens, each of which is a query.
    pub tokens: usize,
    /// How many of its keys are computed. Those behind are hidden from all queries.
    pub keys: usize,
}

/// The sizes of `[tokens, heads * size]`.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub heads: usize,
    /// Of a row with its padding.
    pub seq: usize,
    /// The width of a head.
    pub size: usize,
}

/// What a query's probabilities are made from again: its largest score, and the inverse of the sum of the exponentials under it. (As one
/// number, the logarithm of both, that of a query that sees nothing, whose scores are about -1e4, would lose its last digits.)
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    top: f32,
    inverse: f32,
}

/// A head of a row, of queries, keys and values `[tokens, heads * size]`.
pub struct Head<'a> {
    pub sizes: Sizes,
    /// Counted through the batch: row * heads + head.
    pub number: usize,
    pub row: Row,
    /// The row's bias, `[query or 1, key]`.
    pub bias: &'a [f32],
    pub mask: Option<Mask>,
    pub inputs: [&'a [f32]; 3],
}

impl Head<'_> {
    /// Writes the head's part of the output `[tokens, heads * size]`, and the sums of its queries.
    ///
    /// # Safety
    /// Nobody else reads or writes that part meanwhile.
    pub unsafe fn forward(&self, output: &Target, sums: &mut [Sum], space: &mut Vec<f32>) {
        let (size, block, width) = (self.sizes.size, self.block(), self.width());
        let [query, key, value] = self.inputs;
        let [keys, bias, scores, found] =
            parts(space, [size * width, self.biases() * width, block * width, block * size]);
        self.turn(key, keys);
        for (first, sums) in (0..).step_by(block).zip(sums.chunks_mut(block)) {
            let rows = sums.len();
            let (scores, found) = (&mut scores[..rows * width], &mut found[..rows * size]);
            let queries = Factor::new(query, self.rows(first, rows));
            let keys = Factor::new(keys, Matrix::whole(size, width));
            multiply(scores, Matrix::whole(rows, width), false, queries, keys, Threads::One);
            powers(scores, self.softmax(first, rows, bias), sums);

            let powers = Factor::new(scores, self.scores(rows));
            let values = Factor::new(value, self.rows(0, self.row.keys));
            multiply(found, Matrix::whole(rows, size), false, powers, values, Threads::One);
            divide(found, size, self.mask.map_or(1.0, |mask| mask.scale), sums);
            for (row, found) in found.chunks_exact(size).enumerate() {
                // SAFETY: it is of this head.
                unsafe { output.write(self.rows(first + row, 1).offset, found) };
            }
        }
    }

    /// Writes the head's part of the gradients of queries, keys and values, from the output and its gradient.
    ///
    /// # Safety
    /// Nobody else reads or writes these parts meanwhile.
    pub unsafe fn backward(
        &self,
        [output, gradient]: [&[f32]; 2],
        sums: &[Sum],
        [of_query, of_key, of_value]: &[Target; 3],
        space: &mut Vec<f32>,
    ) {
        let (size, block, width) = (self.sizes.size, self.block(), self.width());
        let [query, key, value] = self.inputs;
        let lengths = [size * width, size * width, self.biases() * width, block * width, block * width, block];
        let [keys, values, bias, probs, shares, products] = parts(space, lengths);
        self.turn(key, keys);
        self.turn(value, values);
        let all = self.rows(0, self.row.keys);
        for (first, sums) in (0..).step_by(block).zip(sums.chunks(block)) {
            let (rows, whole) = (sums.len(), Matrix::whole(sums.len(), width));
            let (probs, shares) = (&mut probs[..rows * width], &mut shares[..rows * width]);
            let here = self.rows(first, rows);
            let [queries, gradients] = [query, gradient].map(|values| Factor::new(values, here));
            let [keys, values] = [&*keys, &*values].map(|turned| Factor::new(turned, Matrix::whole(size, width)));
            multiply(probs, whole, false, queries, keys, Threads::One);
            multiply(shares, whole, false, gradients, values, Threads::One);
            let products = &mut products[..rows];
            sums_of_products(&output[here.offset..], &gradient[here.offset..], here.stride, size, products);
            turn_back(probs, shares, self.softmax(first, rows, bias), sums, products);

            let [probs, shares] = [&*probs, &*shares].map(|scores| Factor::new(scores, self.scores(rows)));
            // SAFETY: these are of this head, and what is added to was written with the first queries.
            unsafe {
                of_query.multiply(here, false, shares, Factor::new(key, all));
                of_key.multiply(all, first > 0, shares.transposed(), queries);
                of_value.multiply(all, first > 0, probs.transposed(), gradients);
            }
        }
        let zeros = vec![0.0; size];
        for hidden in self.row.keys..self.row.tokens {
            let offset = self.rows(hidden, 1).offset;
            // SAFETY: as above.
            unsafe {
                of_key.write(offset, &zeros);
                of_value.write(offset, &zeros);
            }
        }
    }

    /// Keys in the workspace: whole vectors.
    fn width(&self) -> usize {
        self.row.keys.next_multiple_of(LANES)
    }

    /// Queries at a time: all, or a multiple of the six that the crate `gemm` takes together.
    fn block(&self) -> usize {
        let most = (SCORES / self.width().max(1) / 6 * 6).max(6);
        self.row.tokens.min(most)
    }

    /// Rows of the bias that are in the workspace.
    fn biases(&self) -> usize {
        if self.is_per_query() { self.block() } else { 1 }
    }

    fn is_per_query(&self) -> bool {
        self.bias.len() > self.sizes.seq
    }

    /// The head's numbers for some of the row's tokens.
    fn rows(&self, first: usize, rows: usize) -> Matrix {
        let Sizes { heads, size, .. } = self.sizes;
        let (first, head) = (self.row.first + first, self.number % heads);
        Matrix { offset: first * heads * size + head * size, rows, columns: size, stride: heads * size }
    }

    /// Scores of some queries in the workspace.
    fn scores(&self, rows: usize) -> Matrix {
        Matrix { offset: 0, rows, columns: self.row.keys, stride: self.width() }
    }

    /// The head's `[key, size]` as `[size, key]`, with zeros up to whole vectors.
    fn turn(&self, from: &[f32], turned: &mut [f32]) {
        let Matrix { offset, stride, .. } = self.rows(0, self.row.keys);
        turn(&from[offset..], stride, [self.row.keys, self.sizes.size, self.width()], turned);
    }

    /// What makes probabilities of the scores of some queries. `padded` takes their biases, or the one of all; what fills up a vector is
    /// hidden.
    fn softmax<'b>(&self, first: usize, rows: usize, padded: &'b mut [f32]) -> Softmax<'b> {
        let (Sizes { seq, size, .. }, width) = (self.sizes, self.width());
        let queries = if self.is_per_query() { first..first + rows } else { 0..1 };
        let padded = &mut padded[..queries.len() * width];
        for (query, padded) in queries.zip(padded.chunks_exact_mut(width)) {
            let (bias, rest) = padded.split_at_mut(self.row.keys);
            bias.copy_from_slice(&self.bias[query * seq..][..self.row.keys]);
            rest.fill(f32::NEG_INFINITY);
        }
        let first = (self.number * seq + first) * seq;
        Softmax { scale: 1.0 / (size as f32).sqrt(), bias: padded, width, mask: self.mask, first, seq }
    }
}

/// What makes probabilities of the scores of some queries.
#[derive(Clone, Copy)]
struct Softmax<'a> {
    /// What scores are multiplied by.
    scale: f32,
    /// `[query or 1, width]`
    bias: &'a [f32],
    width: usize,
    mask: Option<Mask>,
    /// The number of the first score among all of `[batch, heads, query, key]`.
    first: usize,
    seq: usize,
}

impl<'a> Softmax<'a> {
    #[inline(always)]
    fn bias(&self, query: usize) -> &'a [f32] {
        let row = if self.bias.len() == self.width { 0 } else { query };
        &self.bias[row * self.width..][..self.width]
    }
}

/// A tile of numbers, row after row.
type Tile = [[f32; LANES]; LANES];

/// Has the right upper and left lower quarters of each square of `2 * S` rows change places. After 8, 4, 2 and 1, rows are columns.
#[inline(always)]
fn exchange<const S: usize>(tile: &mut Tile) {
    for upper in (0..LANES).filter(|row| row & S == 0) {
        let [above, below] = [tile[upper], tile[upper + S]];
        for at in 0..LANES {
            let is_left = at & S == 0;
            tile[upper][at] = if is_left { above[at] } else { below[at ^ S] };
            tile[upper + S][at] = if is_left { above[at ^ S] } else { below[at] };
        }
    }
}

vectorized! {
    /// Rows that lie `stride` apart as columns, with zeros behind them.
    fn turn<'a>(from: &'a [f32], stride: usize, sizes: [usize; 3], turned: &'a mut [f32]) {
        let [rows, columns, width] = sizes;
        for first in (0..width).step_by(LANES) {
            for column in (0..columns).step_by(LANES) {
                let mut tile: Tile = [[0.0; LANES]; LANES];
                for (row, tile) in (first..rows).zip(&mut tile) {
                    let from = &from[row * stride + column..];
                    match from.first_chunk() {
                        // Numbers of the next head, if there are any, are not written.
                        Some(from) => *tile = *from,
                        None => tile[..from.len()].copy_from_slice(from),
                    }
                }
                exchange::<8>(&mut tile);
                exchange::<4>(&mut tile);
                exchange::<2>(&mut tile);
                exchange::<1>(&mut tile);
                for (column, tile) in (column..columns).zip(&tile) {
                    turned[column * width + first..][..LANES].copy_from_slice(tile);
                }
            }
        }
    }

    /// Of each query's scores, with its bias: the exponentials under the largest, 0 where one is dropped.
    fn powers<'a>(scores: &'a mut [f32], softmax: Softmax<'a>, sums: &'a mut [Sum]) {
        for (query, (row, found)) in scores.chunks_exact_mut(softmax.width).zip(sums).enumerate() {
            for (score, bias) in row.iter_mut().zip(softmax.bias(query)) {
                *score = *score * softmax.scale + bias;
            }
            let top = max(row);
            for score in row.iter_mut() {
                *score = exp(*score - top);
            }
            *found = Sum { top, inverse: 1.0 / sum(row, |power| power) };
            if let Some(mask) = softmax.mask {
                let first = softmax.first + query * softmax.seq;
                for (at, power) in row.iter_mut().enumerate() {
                    *power = if mask.is_dropped(first + at) { 0.0 } else { *power };
                }
            }
        }
    }

    /// Of each query, the values found, over its sum of exponentials.
    fn divide<'a>(found: &'a mut [f32], size: usize, scale: f32, sums: &'a [Sum]) {
        for (found, sum) in found.chunks_exact_mut(size).zip(sums) {
            let factor = sum.inverse * scale;
            for found in found {
                *found *= factor;
            }
        }
    }

    /// Of each query, output times gradient: what the gradients of its probabilities are on the mean, weighed by these.
    fn sums_of_products<'a>(output: &'a [f32], gradient: &'a [f32], stride: usize, size: usize, found: &'a mut [f32]) {
        for (query, found) in found.iter_mut().enumerate() {
            let [output, gradient] = [output, gradient].map(|values| &values[query * stride..][..size]);
            let (outputs, rest) = output.as_chunks::<LANES>();
            let mut lanes = [0.0; LANES];
            for (output, gradient) in outputs.iter().zip(gradient.as_chunks::<LANES>().0) {
                for lane in 0..LANES {
                    lanes[lane] += output[lane] * gradient[lane];
                }
            }
            let rest = rest.iter().zip(&gradient[size - rest.len()..]).map(|(output, gradient)| output * gradient);
            *found = lanes.iter().sum::<f32>() + rest.sum::<f32>();
        }
    }

    /// Scores become the weights of the values, and the gradients of these weights become those of the scores.
    fn turn_back<'a>(
        scores: &'a mut [f32], gradients: &'a mut [f32], softmax: Softmax<'a>, sums: &'a [Sum], products: &'a [f32],
    ) {
        let width = softmax.width;
        let rows = scores.chunks_exact_mut(width).zip(gradients.chunks_exact_mut(width)).zip(sums.iter().zip(products));
        for (query, ((scores, gradients), (sum, product))) in rows.enumerate() {
            turn_row_back(scores, gradients, softmax.bias(query), softmax, query, [sum.top, sum.inverse, *product]);
        }
    }
}

/// [`turn_back`] of one query. (A compiler takes the slices that a function is given not to overlap.)
#[inline(always)]
fn turn_row_back(
    scores: &mut [f32],
    gradients: &mut [f32],
    bias: &[f32],
    Softmax { scale, mask, first, seq, .. }: Softmax,
    query: usize,
    [top, inverse, product]: [f32; 3],
) {
    let all = scores.iter_mut().zip(gradients).zip(bias);
    let Some(mask) = mask else {
        for ((score, gradient), bias) in all {
            let prob = exp(*score * scale + bias - top) * inverse;
            *gradient = prob * (*gradient - product) * scale;
            *score = prob;
        }
        return;
    };
    let first = first + query * seq;
    for (at, ((score, gradient), bias)) in all.enumerate() {
        let prob = exp(*score * scale + bias - top) * inverse;
        let kept = if mask.is_dropped(first + at) { 0.0 } else { mask.scale };
        *gradient = prob * (*gradient * kept - product) * scale;
        *score = prob * kept;
    }
}
