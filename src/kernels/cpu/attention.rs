//! Attention of queries to keys as one operation, without a tensor of `[batch, heads, query, key]`: heads are read and written where they
//! lie in `[tokens, heads * size]`, and the backward pass makes the probabilities again (FlashAttention, arXiv 2205.14135).
//! The tokens are those of all rows, with the padding behind them or without.

mod head;
mod workspace;

use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use self::head::{Head, Row, Sizes, Sum};
use self::workspace::with_workspace;
use super::buffers::filled;
use super::matrix::Target;
use super::operation::{Operation, operate};
use super::{tensor, values};
use crate::kernels::Mask;

/// The bias of a key that is hidden; see [`crate::nn::AttentionBias`].
const HIDDEN: f32 = -1e4;

/// See [`crate::kernels::attention`].
pub fn attention(inputs: [&Tensor<2>; 3], heads: usize, bias: &Tensor<4>, mask: Option<Mask>) -> Option<Tensor<2>> {
    let ([tokens, hidden], [batch, _, _, seq]) = (inputs[0].dims(), bias.dims());
    let bias = constant(bias)?.to_contiguous();
    let keys = all_visible(&bias, [batch, seq]);
    let mut first = 0;
    let of_row = |keys: usize| {
        // Without padding, queries are as many as keys.
        let row = Row { first, tokens: if tokens == batch * seq { seq } else { keys }, keys };
        first += row.tokens;
        row
    };
    let rows = keys.into_iter().map(of_row).collect();
    assert_eq!(tokens, first, "these are neither the rows with their padding nor without");
    let sizes = Sizes { heads, seq, size: hidden / heads };
    operate(Attention { sizes, rows, bias, mask }, inputs.map(|input| input.clone().into_dispatch()))
}

/// See [`crate::kernels::visible_lengths`].
pub fn visible_lengths(bias: &Tensor<4>) -> Option<Vec<usize>> {
    let [batch, _, _, seq] = bias.dims();
    Some(all_visible(&constant(bias)?.to_contiguous(), [batch, seq]))
}

fn all_visible(bias: &FlexTensor, [batch, seq]: [usize; 2]) -> Vec<usize> {
    let rows = values(bias).chunks((values(bias).len() / batch.max(1)).max(1));
    rows.map(|bias| visible(bias, seq)).collect()
}

/// A float32 tensor of the CPU backend as one that gets no gradient.
fn constant<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    let traced = || Some(x.clone().try_into_primitive::<Autodiff<Flex>>().ok()?.into_primitive());
    let plain = x.clone().try_into_primitive::<Flex>().ok().or_else(traced)?;
    (x.dtype() == DType::F32).then_some(plain)
}

/// Whether a tensor is one that [`attention`] takes.
pub fn is_here<const D: usize>(x: &Tensor<D>) -> bool {
    constant(x).is_some()
}

/// How many keys of a row, with its bias `[query or 1, key]`, have to be computed: those behind are hidden from all queries, and have no
/// part in any softmax. Where a query sees no key at all, its softmax is that of all of them.
fn visible(bias: &[f32], seq: usize) -> usize {
    let last = |bias: &[f32]| bias.iter().rposition(|bias| *bias > HIDDEN).map_or(seq, |last| last + 1);
    let mut most = 0;
    for query in bias.chunks(seq.max(1)).rev() {
        if most == seq {
            break;
        }
        most = most.max(last(query));
    }
    most
}

#[derive(Debug, Clone)]
struct Attention {
    sizes: Sizes,
    rows: Vec<Row>,
    /// `[batch, 1, query or 1, key]`
    bias: FlexTensor,
    mask: Option<Mask>,
}

/// What the forward pass leaves.
#[derive(Debug)]
struct Pass {
    /// Queries, keys and values.
    inputs: [FlexTensor; 3],
    output: FlexTensor,
    /// Of each head of each row, its queries'.
    sums: Vec<Vec<Sum>>,
}

impl Attention {
    fn head<'a>(&'a self, number: usize, inputs: &'a [FlexTensor; 3]) -> Head<'a> {
        let Self { sizes, mask, .. } = *self;
        let (row, bias) = (number / sizes.heads, values(&self.bias));
        let length = bias.len() / self.rows.len();
        let bias = &bias[row * length..][..length];
        Head { sizes, number, row: self.rows[row], bias, mask, inputs: inputs.each_ref().map(values) }
    }

    fn dims(&self) -> [usize; 2] {
        let tokens = self.rows.last().map_or(0, |row| row.first + row.tokens);
        [tokens, self.sizes.heads * self.sizes.size]
    }
}

impl Operation for Attention {
    type Kept = Pass;

    fn forward(&self, inputs: Vec<FlexTensor>, _: bool) -> (FlexTensor, Pass) {
        let inputs: [FlexTensor; 3] = inputs.try_into().expect("three inputs");
        let [tokens, hidden] = self.dims();
        let mut sums = Vec::new();
        let fill = |output: &mut [_]| {
            let output = Target::new(output);
            let of_head = |number: usize| {
                let head = self.head(number, &inputs);
                let mut sums = vec![Sum::default(); head.row.tokens];
                // SAFETY: heads have no element in common.
                with_workspace(|space| unsafe { head.forward(&output, &mut sums, space) });
                sums
            };
            sums = (0..self.rows.len() * self.sizes.heads).into_par_iter().map(of_head).collect();
        };
        // SAFETY: all heads together are the output.
        let output = tensor(unsafe { filled(tokens * hidden, fill) }, [tokens, hidden]);
        (output.clone(), Pass { inputs, output, sums })
    }

    fn backward(&self, pass: &Pass, gradient: &FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let Pass { inputs, output, sums } = pass;
        let [tokens, hidden] = self.dims();
        let known = [output, gradient].map(values);
        let mut found: [Vec<f32>; 3] = std::array::from_fn(|_| Vec::with_capacity(tokens * hidden));
        let targets = found.each_mut().map(|found| Target::new(&mut found.spare_capacity_mut()[..tokens * hidden]));
        sums.par_iter().enumerate().for_each(|(number, sums)| {
            // SAFETY: heads have no element in common.
            with_workspace(|space| unsafe { self.head(number, inputs).backward(known, sums, &targets, space) });
        });
        // SAFETY: all heads together are the gradients.
        found.iter_mut().for_each(|found| unsafe { found.set_len(tokens * hidden) });
        found.map(|found| Some(tensor(found, [tokens, hidden]))).into()
    }
}
