//! Rows of a table. Their gradient is written row by row of the table, in threads: each is zero or the sum of its tokens, in the tokens' order.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Int, Tensor};

use super::buffers::{Place, RowPlaces, Size, write, zeros};
use super::operation::{Operation, operate};
use super::rows::shape_of;
use super::{PORTION, tensor, values, vectorized};

/// See [`crate::kernels::look_up`].
pub fn look_up(table: &Tensor<2>, ids: &Tensor<2, Int>, padding: Option<usize>) -> Option<Tensor<3>> {
    let [rows, _] = table.dims();
    operate(LookUp { ids: ids.clone(), rows, padding }, [table.clone().into_dispatch()])
}

#[derive(Debug, Clone)]
struct LookUp {
    /// `[batch, seq]`
    ids: Tensor<2, Int>,
    /// Of the table.
    rows: usize,
    padding: Option<usize>,
}

/// A row of the table, and a token that it was looked up for.
type Use = (usize, usize);

impl Operation for LookUp {
    /// Of all rows but the padding's, in the order of rows and then of tokens.
    type Kept = Vec<Use>;

    fn forward(&self, inputs: Vec<FlexTensor>, keep: bool) -> (FlexTensor, Vec<Use>) {
        let ((_, width), [batch, seq]) = (shape_of(&inputs[0]), self.ids.dims());
        let table = values(&inputs[0]);
        let ids: Vec<usize> = self.ids.to_data().iter::<i64>().map(|id| id as usize).collect();
        let tokens = (PORTION / width.max(1)).max(1);
        let size = Size { length: ids.len() * width, portion: tokens * width };
        let [found] = write([size], |number, [found]| {
            let mut rows = RowPlaces::new(found);
            for id in ids[number * tokens..].iter().take(tokens) {
                rows.fill(width, [&table[id * width..]], |_, [x]: [f32; 1]| x);
            }
            [rows.finish()]
        });
        let mut uses = Vec::new();
        if keep {
            let all = ids.into_iter().enumerate().map(|(token, id)| (id, token));
            uses.extend(all.filter(|(id, _)| Some(*id) != self.padding));
            uses.sort_unstable();
        }
        (tensor(found, [batch, seq, width]), uses)
    }

    fn backward(&self, uses: &Vec<Use>, gradient: &FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let ((_, width), gradient) = (shape_of(gradient), values(gradient));
        let rows = (PORTION / width.max(1)).max(1);
        let size = Size { length: self.rows * width, portion: rows * width };
        let [table] = write([size], |number, [places]| {
            let first = number * rows;
            let [start, end] = [first, first + rows].map(|row| uses.partition_point(|(id, _)| *id < row));
            [sum(&uses[start..end], gradient, width, first, places)]
        });
        vec![Some(tensor(table, [self.rows, width]))]
    }
}

vectorized! {
    /// Rows of the table's gradient from the `first` on.
    fn sum<'a, 'b>(
        uses: &'a [Use], gradient: &'a [f32], width: usize, first: usize, places: &'b mut [Place],
    ) -> &'b mut [f32] {
        let table = zeros(places);
        for (row, token) in uses {
            let row = &mut table[(row - first) * width..][..width];
            for (sum, value) in row.iter_mut().zip(&gradient[token * width..]) {
                *sum += value;
            }
        }
        table
    }
}
