//! A linear layer as one operation, whose products are written once, bias and all. (Burn's CPU backend fills a product's output with zeros,
//! copies it to where it is aligned, and adds the bias in a pass of its own.)

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffers::filled;
use super::matrix::{Factor, Matrix, Target};
use super::operation::{Operation, operate};
use super::{tensor, values, vectorized};
use crate::kernels::Products;

/// See [`crate::kernels::linear`]; where `turned`, the weight is `[output, input]`.
pub fn linear(
    x: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    turned: bool,
    products: Products,
) -> Option<Tensor<2>> {
    let [x, weight] = [x, weight].map(|matrix| matrix.clone().into_dispatch());
    let linear = Linear { turned, products };
    match bias {
        Some(bias) => operate(linear, [x, weight, bias.clone().into_dispatch()]),
        None => operate(linear, [x, weight]),
    }
}

#[derive(Debug, Clone)]
struct Linear {
    turned: bool,
    products: Products,
}

impl Linear {
    /// The weight, `[input, output]`.
    fn weight<'a>(&self, weight: &'a FlexTensor) -> Factor<'a> {
        let weight = factor(weight);
        if self.turned { weight.transposed() } else { weight }
    }
}

impl Operation for Linear {
    /// The input and the weight.
    type Kept = [FlexTensor; 2];

    fn forward(&self, inputs: Vec<FlexTensor>, _: bool) -> (FlexTensor, Self::Kept) {
        let mut inputs = inputs.into_iter();
        let kept = [(); 2].map(|()| inputs.next().expect("an input and a weight"));
        let bias = inputs.next();
        let output = product(self.products, factor(&kept[0]), self.weight(&kept[1]), bias.as_ref().map(values));
        (output, kept)
    }

    fn backward(&self, [x, weight]: &Self::Kept, gradient: &FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let (x, of_output) = (factor(x), factor(gradient));
        let product = |left, right| product(self.products, left, right, None);
        let of_x = || wanted[0].then(|| product(of_output, self.weight(weight).transposed()));
        let of_weight = || match self.turned {
            _ if !wanted[1] => None,
            true => Some(product(of_output.transposed(), x)),
            false => Some(product(x.transposed(), of_output)),
        };
        let mut found = vec![of_x(), of_weight()];
        if let Some(wanted) = wanted.get(2) {
            found.push(wanted.then(|| column_sums(gradient)));
        }
        found
    }
}

pub(super) fn factor(matrix: &FlexTensor) -> Factor<'_> {
    let dims = matrix.layout().shape();
    Factor::new(values(matrix), Matrix::whole(dims[0], dims[1]))
}

/// `left * right`, to each row of which the bias is added.
pub(super) fn product(products: Products, left: Factor, right: Factor, bias: Option<&[f32]>) -> FlexTensor {
    let shape = [left.dims().0, right.dims().1];
    tensor(product_values(products, left, right, bias), shape)
}

/// The numbers of [`product`].
pub(super) fn product_values(products: Products, left: Factor, right: Factor, bias: Option<&[f32]>) -> Vec<f32> {
    match products {
        #[cfg(target_arch = "x86_64")]
        Products::Bf16 => super::bf16::product(left, right, bias),
        _ => in_f32(left, right, bias),
    }
}

/// Threads share it out so that each copies as little as can be of the factors into an order in which they are read. That does not
/// change an element: the crate `gemm` adds up its terms in an order that follows from their number alone, unless a matrix is small,
/// which no part of one is.
fn in_f32(left: Factor, right: Factor, bias: Option<&[f32]>) -> Vec<f32> {
    let ((rows, inner), (_, columns)) = (left.dims(), right.dims());
    // The right factor is copied, and a left one that is turned: then the larger of both is shared out.
    let by_rows = left.is_transposed() && rows > columns;
    let parts = parts_of([rows, inner, columns], by_rows);
    let fill = |output: &mut [_]| {
        let output = Target::new(output);
        parts.into_par_iter().for_each(|[of_rows, of_columns]| {
            let offset = of_rows.start * columns + of_columns.start;
            let matrix = Matrix { offset, rows: of_rows.len(), columns: of_columns.len(), stride: columns };
            if let Some(bias) = bias {
                for row in of_rows.clone() {
                    // SAFETY: no two parts have an element in common.
                    unsafe { output.write(row * columns + of_columns.start, &bias[of_columns.clone()]) };
                }
            }
            let (left, right) = (left.rows(of_rows), right.columns(of_columns));
            // SAFETY: as above; what is added to is written.
            unsafe { output.multiply(matrix, bias.is_some(), left, right) };
        });
    };
    // SAFETY: the parts are the whole.
    unsafe { filled(rows * columns, fill) }
}

/// Rows and columns of a product's parts: one for each thread, if they are not too small. Rows are cut `by_rows`, else columns; both
/// where there are few of these.
fn parts_of([rows, inner, columns]: [usize; 3], by_rows: bool) -> Vec<[Range<usize>; 2]> {
    /// Products of fewer multiplications stay whole, and so does one with fewer rows or columns.
    const LARGE: usize = 1_000_000;
    const THIN: usize = 16;
    /// The least rows, or columns, of a part.
    const LEAST: usize = 128;
    let is_whole = rows * inner * columns < LARGE || rows.min(columns) < THIN;
    let threads = if is_whole { 1 } else { rayon::current_num_threads() };
    let cut = |length: usize, parts: usize| (length / LEAST).clamp(1, parts);
    let (of_rows, of_columns) = if by_rows {
        let of_rows = cut(rows, threads);
        (of_rows, cut(columns, threads.div_ceil(of_rows)))
    } else {
        let of_columns = cut(columns, threads);
        (cut(rows, threads.div_ceil(of_columns)), of_columns)
    };
    let (rows, columns) = (split(rows, of_rows), split(columns, of_columns));
    rows.into_iter().flat_map(|rows| columns.iter().map(move |columns| [rows.clone(), columns.clone()])).collect()
}

/// Ranges of a length, as equal as multiples of 64 can be: the columns that the crate `gemm` takes together.
fn split(length: usize, parts: usize) -> Vec<Range<usize>> {
    let blocks = length.div_ceil(64);
    (0..parts).map(|part| blocks * part / parts * 64..(blocks * (part + 1) / parts * 64).min(length)).collect()
}

/// The sums of a matrix's columns, `[rows, columns] -> [columns]`.
pub(super) fn column_sums(matrix: &FlexTensor) -> FlexTensor {
    /// Columns of a portion.
    const PORTION: usize = 256;
    let columns = matrix.layout().shape()[1];
    let mut sums = vec![0.0; columns];
    sums.par_chunks_mut(PORTION).enumerate().for_each(|(number, sums)| {
        add_rows(values(matrix), columns, number * PORTION, sums);
    });
    tensor(sums, [columns])
}

vectorized! {
    /// Adds up some columns in blocks of rows: a sum of thousands of rows, one by one, would lose digits.
    pub(super) fn add_rows<'a>(matrix: &'a [f32], stride: usize, first: usize, sums: &'a mut [f32]) {
        const BLOCK: usize = 64;
        let mut some = vec![0.0; sums.len()];
        for block in matrix.chunks(BLOCK * stride) {
            some.fill(0.0);
            for row in block.chunks_exact(stride) {
                for (sum, value) in some.iter_mut().zip(&row[first..]) {
                    *sum += value;
                }
            }
            for (sum, some) in sums.iter_mut().zip(&some) {
                *sum += some;
            }
        }
    }
}
