//! From rows of different lengths to one batch.

use burn::tensor::{Device, Tensor, TensorData};

use crate::models::EncoderInput;
use crate::tokenize::{Encoding, Padding};

/// One row of ids, not padded.
#[derive(Debug, Clone, Copy)]
pub struct InputRow<'a> {
    pub ids: &'a [u32],
    /// How many tokens have the type id 0: those of the first text. The rest has 1.
    pub first: usize,
}

impl<'a> From<&'a Encoding> for InputRow<'a> {
    fn from(encoding: &'a Encoding) -> Self {
        Self { ids: &encoding.ids, first: encoding.first_length() }
    }
}

/// Rows made equally long, at least `width` tokens, and masked accordingly. Rows of words may be empty, but not the tensors.
pub fn pad(rows: &[InputRow], padding: Padding, width: usize, device: &Device) -> EncoderInput {
    let padded = Padded::new(rows, padding, width.max(1));
    let shape = [rows.len(), padded.width];
    let tensor = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, shape), device); // [batch, seq]
    EncoderInput {
        input_ids: tensor(padded.ids),
        token_type_ids: padding.types.then(|| tensor(padded.type_ids)),
        task_type_ids: None,
        attention_mask: Some(tensor(padded.mask)),
        position_ids: None,
        language_ids: None,
        visibility: None,
    }
}

/// Rows one after the other, all `width` tokens long.
#[derive(Debug, Default, PartialEq, Eq)]
struct Padded {
    width: usize,
    ids: Vec<i64>,
    type_ids: Vec<i64>,
    mask: Vec<i64>,
}

impl Padded {
    fn new(rows: &[InputRow], padding: Padding, width: usize) -> Self {
        match padding.apart {
            None => Self::at_ends(rows, padding.id, width),
            Some(max_length) => Self::apart(rows, padding.id, max_length, width),
        }
    }

    fn at_ends(rows: &[InputRow], pad: u32, width: usize) -> Self {
        let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let mut padded = Self { width: longest.max(width), ..Self::default() };
        for (number, row) in rows.iter().enumerate() {
            padded.push(&row.ids[..row.first], 0);
            padded.push(&row.ids[row.first..], 1);
            padded.fill(pad, number + 1);
        }
        padded
    }

    fn apart(rows: &[InputRow], pad: u32, max_length: usize, width: usize) -> Self {
        let first_width = rows.iter().map(|row| row.first).max().unwrap_or(0);
        let second_width = rows.iter().map(|row| row.ids.len() - row.first).max().unwrap_or(0);
        let kept = (first_width + second_width).min(max_length);
        let mut padded = Self { width: kept.max(width), ..Self::default() };
        for (number, row) in rows.iter().enumerate() {
            let (first, second) = row.ids.split_at(row.first);
            let filled = |ids: &[u32], width: usize| [ids, &vec![pad; width - ids.len()]].concat();
            let (first, second) = (filled(first, first_width), filled(second, second_width));
            padded.push(&first[..first_width.min(kept)], 0);
            padded.push(&second[..kept.saturating_sub(first_width)], 1);
            padded.fill(pad, number + 1);
        }
        padded.mask = padded.ids.iter().map(|id| i64::from(*id != i64::from(pad))).collect();
        padded
    }

    fn push(&mut self, ids: &[u32], type_id: i64) {
        self.ids.extend(ids.iter().map(|&id| i64::from(id)));
        self.type_ids.resize(self.ids.len(), type_id);
        self.mask.resize(self.ids.len(), 1);
    }

    /// Ends a row, so that there are so many.
    fn fill(&mut self, pad: u32, rows: usize) {
        let end = rows * self.width;
        self.ids.resize(end, i64::from(pad));
        self.type_ids.resize(end, 0);
        self.mask.resize(end, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [InputRow<'static>; 3] {
        [
            InputRow { ids: &[2, 10, 11, 3, 2, 12, 3], first: 4 },
            InputRow { ids: &[2, 13, 3, 2, 14, 15, 3], first: 3 },
            InputRow { ids: &[2, 3, 2, 3], first: 2 },
        ]
    }

    #[test]
    fn rows_are_padded_at_their_ends() {
        let padded = Padded::new(&rows()[..], Padding { id: 0, apart: None, types: true }, 0);
        assert_eq!(padded.width, 7);
        assert_eq!(padded.ids[14..], [2, 3, 2, 3, 0, 0, 0]);
        assert_eq!(padded.type_ids[14..], [0, 0, 1, 1, 0, 0, 0]);
        assert_eq!(padded.mask[14..], [1, 1, 1, 1, 0, 0, 0]);
        let wider = Padded::new(&rows()[..1], Padding { id: 5, apart: None, types: true }, 9);
        assert_eq!(wider.ids, [2, 10, 11, 3, 2, 12, 3, 5, 5]);
        let nothing = InputRow { ids: &[], first: 0 };
        let empty = Padded::new(&[nothing, rows()[2], nothing], Padding { id: 5, apart: None, types: true }, 1);
        assert_eq!((empty.ids.as_slice(), empty.mask.len()), (&[5, 5, 5, 5, 2, 3, 2, 3, 5, 5, 5, 5][..], 12));
    }

    /// PaddleNLP's RemBERT example: each text with its own padding, put together, cut to columns.
    #[test]
    fn texts_are_padded_apart_and_cut_by_column() {
        let padded = Padded::new(&rows(), Padding { id: 0, apart: Some(512), types: true }, 0);
        assert_eq!(padded.width, 8);
        #[rustfmt::skip]
        assert_eq!(padded.ids, [
            2, 10, 11, 3,  2, 12, 3, 0,
            2, 13, 3, 0,  2, 14, 15, 3,
            2, 3, 0, 0,  2, 3, 0, 0,
        ]);
        assert_eq!(padded.type_ids, [0, 0, 0, 0, 1, 1, 1, 1].repeat(3));
        assert_eq!(padded.mask[8..], [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0]);

        let cut = Padded::new(&rows(), Padding { id: 0, apart: Some(5), types: true }, 0);
        assert_eq!(cut.ids, [2, 10, 11, 3, 2, 2, 13, 3, 0, 2, 2, 3, 0, 0, 2]);
        let shorter = Padded::new(&rows(), Padding { id: 0, apart: Some(2), types: true }, 0);
        assert_eq!(shorter.ids, [2, 10, 2, 13, 2, 3]);
        assert_eq!(Padded::new(&[], Padding { id: 0, apart: Some(9), types: true }, 0), Padded::default());
    }
}
