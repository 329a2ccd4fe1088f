//! Matrix products on parts of buffers, without copies: the crate `gemm`, behind bounds checks.

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

    fn dims(&self) -> (usize, usize) {
        let Matrix { rows, columns, .. } = self.matrix;
        if self.transposed { (columns, rows) } else { (rows, columns) }
    }

    /// From one column to the next, and from one row to the next.
    fn strides(&self) -> (isize, isize) {
        let stride = self.matrix.stride as isize;
        if self.transposed { (stride, 1) } else { (1, stride) }
    }
}

/// A matrix `[rows, columns]` as `[columns, rows]`. For a product with few rows that is done again and again: the other factor's columns
/// would have to be gathered each time.
pub fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 16;
    assert_eq!(values.len(), rows * columns);
    let mut out = vec![0.0; rows * columns];
    out.par_chunks_mut((TILE * rows).max(1)).enumerate().for_each(|(band, out)| {
        for first in (0..rows).step_by(TILE) {
            for (column, out) in out.chunks_mut(rows).enumerate() {
                for row in first..rows.min(first + TILE) {
                    out[row] = values[row * columns + band * TILE + column];
                }
            }
        }
    });
    out
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
    matrix.check(target.len());
    let ((rows, inner), (inner_too, columns)) = (left.dims(), right.dims());
    assert!(
        (rows, columns, inner) == (matrix.rows, matrix.columns, inner_too),
        "{rows} x {inner} times {inner_too} x {columns} is not {matrix:?}"
    );
    let threads = match threads {
        Threads::Many if 2 * rows * inner * columns >= 1_000_000 => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    let ((left_column, left_row), (right_column, right_row)) = (left.strides(), right.strides());
    // SAFETY: all three matrices lie within their buffers, which `check` has seen to, and the target is borrowed alone.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            target.as_mut_ptr().add(matrix.offset),
            1,
            matrix.stride as isize,
            add,
            left.values.as_ptr().add(left.matrix.offset),
            left_column,
            left_row,
            right.values.as_ptr().add(right.matrix.offset),
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

    /// With sizes that fill no tile.
    #[test]
    fn every_number_finds_its_place() {
        let values: Vec<f32> = (0..35 * 18).map(|x| x as f32).collect();
        let turned = transposed(&values, 35, 18);
        for (row, column) in (0..35).flat_map(|row| (0..18).map(move |column| (row, column))) {
            assert_eq!(turned[column * 35 + row], values[row * 18 + column]);
        }
    }

    #[test]
    #[should_panic(expected = "is no part of 16 numbers")]
    fn a_matrix_beyond_its_buffer_is_refused() {
        Factor::new(&[0.0; 16], Matrix { offset: 0, rows: 4, columns: 4, stride: 5 });
    }
}
