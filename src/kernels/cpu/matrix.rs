//! Matrix products on parts of buffers, without copies: the crate `gemm`, behind bounds checks.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

/// How a matrix lies in a buffer, its columns side by side.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    /// Where the first element is.
    pub offset: usize,
    pub rows: usize,
    pub columns: usize,
    /// From one row to the next.
    pub stride: usize,
}

impl Matrix {
    /// A buffer that is nothing but a matrix.
    pub fn whole(rows: usize, columns: usize) -> Self {
        Self { offset: 0, rows, columns, stride: columns }
    }

    /// One step of a `[batch, steps, columns]` buffer: a row from each of its rows.
    pub fn step(batch: usize, steps: usize, columns: usize, step: usize) -> Self {
        Self { offset: step * columns, rows: batch, columns, stride: steps * columns }
    }

    fn check(&self, length: usize) {
        let end = match (self.rows, self.columns) {
            (0, _) | (_, 0) => 0,
            (rows, columns) => self.offset + (rows - 1) * self.stride + columns,
        };
        assert!(end <= length && self.columns <= self.stride.max(1), "{self:?} is no part of {length} numbers");
    }
}

/// A factor: a buffer, what of it, and whether rows and columns change places.
#[derive(Clone, Copy)]
pub struct Factor<'a> {
    values: &'a [f32],
    matrix: Matrix,
    transposed: bool,
}

impl<'a> Factor<'a> {
    pub fn new(values: &'a [f32], matrix: Matrix) -> Self {
        matrix.check(values.len());
        Self { values, matrix, transposed: false }
    }

    pub fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Some of its rows.
    pub fn rows(self, rows: Range<usize>) -> Self {
        self.part(rows, self.transposed)
    }

    /// Some of its columns.
    pub fn columns(self, columns: Range<usize>) -> Self {
        self.part(columns, !self.transposed)
    }

    /// Some rows, or some columns, as they lie in the buffer.
    fn part(self, Range { start, end }: Range<usize>, of_columns: bool) -> Self {
        let Matrix { offset, rows, columns, stride } = self.matrix;
        assert!(start <= end && end <= if of_columns { columns } else { rows }, "{start}..{end} of {:?}", self.matrix);
        let matrix = match of_columns {
            true => Matrix { offset: offset + start, rows, columns: end - start, stride },
            false => Matrix { offset: offset + start * stride, rows: end - start, columns, stride },
        };
        Self { matrix, ..self }
    }

    /// A row as it lies in the buffer: where rows and columns change places, a column.
    ///
    /// # Panics
    /// If there is none of the number.
    pub fn line(&self, number: usize) -> &'a [f32] {
        let Matrix { offset, rows, columns, stride } = self.matrix;
        assert!(number < rows, "line {number} of {:?}", self.matrix);
        &self.values[offset + number * stride..][..columns]
    }

    /// How many of these there are.
    pub fn lines(&self) -> usize {
        self.matrix.rows
    }

    pub fn is_transposed(&self) -> bool {
        self.transposed
    }

    /// Rows and columns.
    pub fn dims(&self) -> (usize, usize) {
        let Matrix { rows, columns, .. } = self.matrix;
        if self.transposed { (columns, rows) } else { (rows, columns) }
    }

    /// From one column to the next, and from one row to the next.
    fn strides(&self) -> (isize, isize) {
        let stride = self.matrix.stride as isize;
        if self.transposed { (stride, 1) } else { (1, stride) }
    }
}

/// A right factor in panels of columns, for products with few rows that are done again and again: the columns of a large matrix lie
/// too far apart for a cache to hold them from one row to the next.
pub struct Packed {
    /// Panel after panel, each `[inner, PANEL]`, the last of as many columns as are left.
    values: Vec<f32>,
    inner: usize,
    columns: usize,
}

/// Columns of a panel: whole vectors of every instruction set, and few enough that a panel stays in a cache of 512 KB.
const PANEL: usize = 96;

impl Packed {
    /// A whole matrix, or the same with rows and columns in each other's places.
    pub fn whole(values: &[f32], rows: usize, columns: usize, turned: bool) -> Self {
        let factor = Factor::new(values, Matrix::whole(rows, columns));
        Self::new(if turned { factor.transposed() } else { factor })
    }

    pub fn new(factor: Factor) -> Self {
        const TILE: usize = 16;
        let (inner, columns) = factor.dims();
        let Matrix { offset, stride, .. } = factor.matrix;
        let mut values = vec![0.0; inner * columns];
        values.par_chunks_mut((PANEL * inner).max(1)).enumerate().for_each(|(panel, out)| {
            let (first, width) = (panel * PANEL, out.len() / inner);
            if !factor.transposed {
                for (row, out) in out.chunks_mut(width).enumerate() {
                    out.copy_from_slice(&factor.values[offset + row * stride + first..][..width]);
                }
                return;
            }
            for (tile, out) in out.chunks_mut(TILE * width).enumerate() {
                let rows = out.len() / width;
                for column in 0..width {
                    let from = &factor.values[offset + (first + column) * stride + tile * TILE..][..rows];
                    from.iter().enumerate().for_each(|(row, value)| out[row * width + column] = *value);
                }
            }
        });
        Self { values, inner, columns }
    }

    /// A panel, and the number of its first column.
    fn panel(&self, number: usize) -> (Factor<'_>, usize) {
        let first = number * PANEL;
        let width = PANEL.min(self.columns - first);
        let values = &self.values[first * self.inner..][..width * self.inner];
        (Factor::new(values, Matrix::whole(self.inner, width)), first)
    }
}

/// [`multiply`] with a right factor that is packed.
///
/// # Panics
/// If the three do not fit.
pub fn multiply_packed(target: &mut [f32], matrix: Matrix, add: bool, left: Factor, right: &Packed, threads: Threads) {
    matrix.check(target.len());
    assert_fit(&matrix, left.dims(), (right.inner, right.columns));
    let target = Target::written(target);
    let product = |number: usize| {
        let (panel, first) = right.panel(number);
        let matrix = Matrix { offset: matrix.offset + first, columns: panel.matrix.columns, ..matrix };
        // SAFETY: the target is written, and borrowed alone; no two panels have a column in common.
        unsafe { target.multiply(matrix, add, left, panel) };
    };
    let panels = right.columns.div_ceil(PANEL);
    match is_shared_out(threads, &matrix, right.inner) {
        true => (0..panels).into_par_iter().for_each(product),
        false => (0..panels).for_each(product),
    }
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Whoever asks for it, which others may do at the same time.
    One,
    /// As many as there are, if it is large.
    Many,
}

/// `target = left * right`, or with `add`, `target += left * right`.
///
/// # Panics
/// If the three do not fit.
pub fn multiply(target: &mut [f32], matrix: Matrix, add: bool, left: Factor, right: Factor, threads: Threads) {
    let threads = match is_shared_out(threads, &matrix, left.dims().1) {
        true => gemm::Parallelism::Rayon(0),
        false => gemm::Parallelism::None,
    };
    // SAFETY: the target is written, and borrowed alone.
    unsafe { Target::written(target).product(matrix, add, left, right, threads) };
}

fn is_shared_out(threads: Threads, matrix: &Matrix, inner: usize) -> bool {
    threads == Threads::Many && 2 * matrix.rows * matrix.columns * inner >= 1_000_000
}

fn assert_fit(matrix: &Matrix, (rows, inner): (usize, usize), (inner_too, columns): (usize, usize)) {
    assert!(
        (rows, columns, inner) == (matrix.rows, matrix.columns, inner_too),
        "{rows} x {inner} times {inner_too} x {columns} is not {matrix:?}"
    );
}

/// A buffer that several threads write to, each its own part. Nothing need stand in it before.
pub struct Target<'a> {
    start: *mut f32,
    length: usize,
    buffer: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: whoever writes sees to it that no element has two writers.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    pub fn new(buffer: &'a mut [MaybeUninit<f32>]) -> Self {
        Self { start: buffer.as_mut_ptr().cast(), length: buffer.len(), buffer: PhantomData }
    }

    fn written(buffer: &'a mut [f32]) -> Self {
        Self { start: buffer.as_mut_ptr(), length: buffer.len(), buffer: PhantomData }
    }

    /// [`multiply`], by the thread that calls it.
    ///
    /// # Safety
    /// Nobody else reads or writes the elements of `matrix` meanwhile, and with `add`, all of them have been written.
    ///
    /// # Panics
    /// If the three do not fit.
    pub unsafe fn multiply(&self, matrix: Matrix, add: bool, left: Factor, right: Factor) {
        // SAFETY: as above.
        unsafe { self.product(matrix, add, left, right, gemm::Parallelism::None) };
    }

    /// Writes numbers side by side.
    ///
    /// # Safety
    /// Nobody else reads or writes these elements meanwhile.
    ///
    /// # Panics
    /// If they are beyond the buffer.
    pub unsafe fn write(&self, offset: usize, values: &[f32]) {
        assert!(offset + values.len() <= self.length, "{} numbers at {offset} of {}", values.len(), self.length);
        // SAFETY: they lie within the buffer, which `values`, borrowed, is no part of.
        unsafe { self.start.add(offset).copy_from_nonoverlapping(values.as_ptr(), values.len()) };
    }

    /// # Safety
    /// As [`Self::multiply`].
    unsafe fn product(&self, matrix: Matrix, add: bool, left: Factor, right: Factor, threads: gemm::Parallelism) {
        matrix.check(self.length);
        assert_fit(&matrix, left.dims(), right.dims());
        let ((left_column, left_row), (right_column, right_row)) = (left.strides(), right.strides());
        // SAFETY: all three lie within their buffers, which `check` has seen to; for the rest see above.
        unsafe {
            gemm::gemm(
                matrix.rows,
                matrix.columns,
                left.dims().1,
                self.start.wrapping_add(matrix.offset),
                1,
                matrix.stride as isize,
                add,
                left.values.as_ptr().wrapping_add(left.matrix.offset),
                left_column,
                left_row,
                right.values.as_ptr().wrapping_add(right.matrix.offset),
                right_column,
                right_row,
                1.0,
                1.0,
                false,
                false,
                false,
                threads,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against sums written out, for every way round, with rows that do not touch.
    #[test]
    fn products_of_parts_are_right() {
        let (left, right): (Vec<f32>, Vec<f32>) = (0..40).map(|x| (x as f32 * 0.5 - 3.0, 7.0 - x as f32)).unzip();
        let a = Matrix { offset: 1, rows: 3, columns: 4, stride: 6 };
        let b = Matrix { offset: 2, rows: 4, columns: 2, stride: 5 };
        let at = |values: &[f32], m: Matrix, row: usize, column: usize| values[m.offset + row * m.stride + column];
        let c = Matrix { offset: 3, rows: 3, columns: 2, stride: 4 };
        for add in [false, true] {
            let mut target = vec![1.0; 20];
            multiply(&mut target, c, add, Factor::new(&left, a), Factor::new(&right, b), Threads::One);
            for row in 0..3 {
                for column in 0..2 {
                    let sum: f32 = (0..4).map(|k| at(&left, a, row, k) * at(&right, b, k, column)).sum();
                    assert_eq!(at(&target, c, row, column), sum + if add { 1.0 } else { 0.0 });
                }
            }
            assert_eq!(target.iter().filter(|x| **x == 1.0).count(), 14, "nothing else was touched");
        }
        let mut square = vec![0.0; 16];
        let of = Factor::new(&left, a);
        multiply(&mut square, Matrix::whole(4, 4), false, of.transposed(), of, Threads::One);
        let sum: f32 = (0..3).map(|k| at(&left, a, k, 1) * at(&left, a, k, 2)).sum();
        assert_eq!(square[4 + 2], sum);
    }

    /// Every way round, on one thread and on several, with panels and tiles that are not full.
    #[test]
    fn products_with_packed_factors_are_the_same() {
        let (left, right): (Vec<f32>, Vec<f32>) =
            (0..300 * 280).map(|x| ((x * 7 % 31) as f32 - 15.0, (x * 5 % 23) as f32 - 11.0)).unzip();
        for (rows, inner, columns) in [(5, 35, 250), (30, 100, 260), (3, 7, 5)] {
            let a = Factor::new(&left, Matrix { offset: 3, rows, columns: inner, stride: inner + 2 });
            let straight = Matrix { offset: 5, rows: inner, columns, stride: columns + 3 };
            let turned = Matrix { offset: 5, rows: columns, columns: inner, stride: inner + 3 };
            for b in [Factor::new(&right, straight), Factor::new(&right, turned).transposed()] {
                let c = Matrix { offset: 2, rows, columns, stride: columns + 4 };
                for (add, threads) in [(false, Threads::One), (true, Threads::Many)] {
                    let [mut one, mut other] = [(); 2].map(|()| vec![1.0; rows * (columns + 4)]);
                    multiply(&mut one, c, add, a, b, Threads::One);
                    multiply_packed(&mut other, c, add, a, &Packed::new(b), threads);
                    // Whole numbers below 2^24: sums are exact in any order.
                    assert_eq!(one, other, "{rows} x {inner} x {columns}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "is no part of 16 numbers")]
    fn a_matrix_beyond_its_buffer_is_refused() {
        Factor::new(&[0.0; 16], Matrix { offset: 0, rows: 4, columns: 4, stride: 5 });
    }
}
