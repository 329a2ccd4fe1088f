//! From rows of different lengths to one batch.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use crate::device;
use crate::models::{EncoderInput, HostInput};
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
///
/// How long they get on which device, [`width_on`] says.
pub fn pad(rows: &[InputRow], padding: Padding, width: usize, device: &Device) -> EncoderInput {
    let widen = |longest: usize| width_on(device, longest.max(width).max(1), padding.max_length);
    let padded = Padded::new(rows, padding, widen);
    let shape = [rows.len(), padded.width];
    let tensor = |values: &[i64]| Tensor::from_data(TensorData::new(values.to_vec(), shape), device); // [batch, seq]
    let token_type_ids = padding.types.then_some(padded.type_ids);
    let input = EncoderInput {
        token_type_ids: token_type_ids.as_deref().map(tensor),
        attention_mask: Some(tensor(&padded.mask)),
        ..EncoderInput::new(tensor(&padded.ids))
    };
    let on_host = HostInput { input_ids: padded.ids, token_type_ids, attention_mask: padded.mask };
    EncoderInput { on_host: Some(Arc::new(on_host)), ..input }
}

/// The width of rows of which the longest has so many tokens. A GPU's kernels are compiled and chosen by shape: there it is one of a few.
pub fn width_on(device: &Device, longest: usize, max_length: usize) -> usize {
    if device::is_gpu(device) { width_on_gpu(longest, max_length) } else { longest }
}

/// The next of 16, 32, 48, 64, then every 32 up to 256, then every 64; but no more than `max_length`, where the model's positions may end.
fn width_on_gpu(longest: usize, max_length: usize) -> usize {
    let step = match longest {
        0..=64 => 16,
        65..=256 => 32,
        _ => 64,
    };
    longest.next_multiple_of(step).min(max_length).max(longest)
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
    /// `widen` makes of the width that the rows need the one that they get.
    fn new(rows: &[InputRow], padding: Padding, widen: impl Fn(usize) -> usize) -> Self {
        match padding.apart {
            false => Self::at_ends(rows, padding.id, widen),
            true => Self::apart(rows, padding.id, padding.max_length, widen),
        }
    }

    fn at_ends(rows: &[InputRow], pad: u32, widen: impl Fn(usize) -> usize) -> Self {
        let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let mut padded = Self { width: widen(longest), ..Self::default() };
        for (number, row) in rows.iter().enumerate() {
            padded.push(&row.ids[..row.first], 0);
            padded.push(&row.ids[row.first..], 1);
            padded.fill(pad, number + 1);
        }
        padded
    }

    fn apart(rows: &[InputRow], pad: u32, max_length: usize, widen: impl Fn(usize) -> usize) -> Self {
        let first_width = rows.iter().map(|row| row.first).max().unwrap_or(0);
        let second_width = rows.iter().map(|row| row.ids.len() - row.first).max().unwrap_or(0);
        let kept = (first_width + second_width).min(max_length);
        let mut padded = Self { width: widen(kept), ..Self::default() };
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

    fn at_ends(id: u32) -> Padding {
        Padding { id, apart: false, types: true, max_length: 512 }
    }

    fn apart(max_length: usize) -> Padding {
        Padding { id: 0, apart: true, types: true, max_length }
    }

    #[test]
    fn rows_are_padded_at_their_ends() {
        let padded = Padded::new(&rows()[..], at_ends(0), |width| width);
        assert_eq!(padded.width, 7);
        assert_eq!(padded.ids[14..], [2, 3, 2, 3, 0, 0, 0]);
        assert_eq!(padded.type_ids[14..], [0, 0, 1, 1, 0, 0, 0]);
        assert_eq!(padded.mask[14..], [1, 1, 1, 1, 0, 0, 0]);
        let wider = Padded::new(&rows()[..1], at_ends(5), |width| width.max(9));
        assert_eq!(wider.ids, [2, 10, 11, 3, 2, 12, 3, 5, 5]);
        let nothing = InputRow { ids: &[], first: 0 };
        let empty = Padded::new(&[nothing, rows()[2], nothing], at_ends(5), |width| width.max(1));
        assert_eq!((empty.ids.as_slice(), empty.mask.len()), (&[5, 5, 5, 5, 2, 3, 2, 3, 5, 5, 5, 5][..], 12));
    }

    /// PaddleNLP's RemBERT example: each text with its own padding, put together, cut to columns.
    #[test]
    fn texts_are_padded_apart_and_cut_by_column() {
        let padded = Padded::new(&rows(), apart(512), |width| width);
        assert_eq!(padded.width, 8);
        #[rustfmt::skip]
        assert_eq!(padded.ids, [
            2, 10, 11, 3,  2, 12, 3, 0,
            2, 13, 3, 0,  2, 14, 15, 3,
            2, 3, 0, 0,  2, 3, 0, 0,
        ]);
        assert_eq!(padded.type_ids, [0, 0, 0, 0, 1, 1, 1, 1].repeat(3));
        assert_eq!(padded.mask[8..], [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0]);

        let cut = Padded::new(&rows(), apart(5), |width| width);
        assert_eq!(cut.ids, [2, 10, 11, 3, 2, 2, 13, 3, 0, 2, 2, 3, 0, 0, 2]);
        let shorter = Padded::new(&rows(), apart(2), |width| width);
        assert_eq!(shorter.ids, [2, 10, 2, 13, 2, 3]);
        assert_eq!(Padded::new(&[], apart(9), |width| width), Padded::default());
    }

    /// Few widths, so that few shapes are compiled for; never past the end of a table of positions.
    #[test]
    fn a_gpu_gets_few_widths() {
        let widths: std::collections::BTreeSet<usize> = (1..=512).map(|longest| width_on_gpu(longest, 512)).collect();
        assert_eq!(widths.len(), 14, "{widths:?}");
        assert!((1..=512).all(|longest| width_on_gpu(longest, 512) >= longest));
        assert_eq!([width_on_gpu(41, 128), width_on_gpu(41, 44), width_on_gpu(50, 44)], [48, 44, 50]);
    }
}
