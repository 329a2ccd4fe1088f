//! What goes into an encoder, and how rows of different lengths become one batch.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Visibility;
use crate::tokenize::Encoding;

/// What goes into an encoder. All tensors are `[batch, seq]`.
#[derive(Debug, Clone)]
pub struct EncoderInput {
    pub input_ids: Tensor<2, Int>,
    /// Which text a token is of. All zeros if left out; families without such embeddings do not look at it.
    pub token_type_ids: Option<Tensor<2, Int>>,
    /// Which task the text is for, in ERNIE 2.0 and later. All zeros if left out.
    pub task_type_ids: Option<Tensor<2, Int>>,
    /// 1 where a token is to be seen, 0 where it is not. Without it, the family's own rule hides the padding.
    pub attention_mask: Option<Tensor<2, Int>>,
    /// Counted from 0 in each row if left out.
    pub position_ids: Option<Tensor<2, Int>>,
    /// Which language a token is of, for an ERNIE-M that was given language embeddings; none are added if left out.
    pub language_ids: Option<Tensor<2, Int>>,
    /// Who sees whom, where it is not the same for all tokens of a row. It stands in for `attention_mask`.
    pub visibility: Option<Visibility>,
}

impl EncoderInput {
    /// Rows made equally long, at least `width` tokens, and masked accordingly.
    pub fn from_rows(rows: &[InputRow], padding: Padding, width: usize, device: &Device) -> Self {
        let padded = Padded::new(rows, padding, width);
        let shape = [rows.len(), padded.width];
        let tensor = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, shape), device); // [batch, seq]
        Self {
            input_ids: tensor(padded.ids),
            token_type_ids: Some(tensor(padded.type_ids)),
            task_type_ids: None,
            attention_mask: Some(tensor(padded.mask)),
            position_ids: None,
            language_ids: None,
            visibility: None,
        }
    }

    /// How many tokens each row has: those its mask shows, which stand at its beginning; all of them without a mask.
    pub fn lengths(&self) -> Vec<usize> {
        let [batch, seq] = self.input_ids.dims();
        let Some(mask) = &self.attention_mask else { return vec![seq; batch] };
        let mask: Vec<i64> = mask.to_data().iter::<i64>().collect();
        mask.chunks(seq.max(1)).map(|row| row.iter().filter(|seen| **seen != 0).count()).collect()
    }

    /// How many tokens the first text of each row has, as its type ids tell; all of them without type ids.
    pub fn first_lengths(&self) -> Vec<usize> {
        let lengths = self.lengths();
        let Some(types) = &self.token_type_ids else { return lengths };
        let [_, seq] = types.dims();
        let types: Vec<i64> = types.to_data().iter::<i64>().collect();
        let rows = types.chunks(seq.max(1)).zip(lengths);
        rows.map(|(types, length)| types[..length].partition_point(|type_id| *type_id == 0)).collect()
    }

    /// The positions, `[batch, seq]`: those given, or 0, 1, 2 ... in each row, whatever is padding.
    pub fn positions(&self) -> Tensor<2, Int> {
        self.position_ids.clone().unwrap_or_else(|| {
            let [batch, seq] = self.input_ids.dims();
            Tensor::arange(0..seq as i64, &self.input_ids.device()).unsqueeze::<2>().expand([batch, seq])
        })
    }

    /// The same without autodiff.
    pub fn inner(self) -> Self {
        let inner = |ids: Option<Tensor<2, Int>>| ids.map(Tensor::inner);
        Self {
            input_ids: self.input_ids.inner(),
            token_type_ids: inner(self.token_type_ids),
            task_type_ids: inner(self.task_type_ids),
            attention_mask: inner(self.attention_mask),
            position_ids: inner(self.position_ids),
            language_ids: inner(self.language_ids),
            visibility: self.visibility.map(Visibility::inner),
        }
    }
}

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

/// How rows of a batch are made equally long.
#[derive(Debug, Clone, Copy)]
pub struct Padding {
    /// The id to fill up with.
    pub id: u32,
    /// If given, the two texts of a row are padded apart, as PaddleNLP's RemBERT example does: the first texts to the longest of them,
    /// the second texts to theirs (`[CLS] A [SEP] [PAD].. [CLS] B [SEP] [PAD]..`), and every row is cut to its first so many
    /// tokens. Padding has the type id of its text, and every token that is the padding's is masked, also in the middle;
    /// positions count on over it. Else rows are padded at their ends, with type id 0.
    pub apart: Option<usize>,
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
        for row in rows {
            padded.push(&row.ids[..row.first], 0);
            padded.push(&row.ids[row.first..], 1);
            padded.fill(pad);
        }
        padded
    }

    fn apart(rows: &[InputRow], pad: u32, max_length: usize, width: usize) -> Self {
        let first_width = rows.iter().map(|row| row.first).max().unwrap_or(0);
        let second_width = rows.iter().map(|row| row.ids.len() - row.first).max().unwrap_or(0);
        let kept = (first_width + second_width).min(max_length);
        let mut padded = Self { width: kept.max(width), ..Self::default() };
        for row in rows {
            let (first, second) = row.ids.split_at(row.first);
            let filled = |ids: &[u32], width: usize| [ids, &vec![pad; width - ids.len()]].concat();
            let (first, second) = (filled(first, first_width), filled(second, second_width));
            padded.push(&first[..first_width.min(kept)], 0);
            padded.push(&second[..kept.saturating_sub(first_width)], 1);
            padded.fill(pad);
        }
        padded.mask = padded.ids.iter().map(|id| i64::from(*id != i64::from(pad))).collect();
        padded
    }

    fn push(&mut self, ids: &[u32], type_id: i64) {
        self.ids.extend(ids.iter().map(|&id| i64::from(id)));
        self.type_ids.resize(self.ids.len(), type_id);
        self.mask.resize(self.ids.len(), 1);
    }

    /// Ends a row.
    fn fill(&mut self, pad: u32) {
        let end = self.ids.len().next_multiple_of(self.width.max(1));
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
        let padded = Padded::new(&rows()[..], Padding { id: 0, apart: None }, 0);
        assert_eq!(padded.width, 7);
        assert_eq!(padded.ids[14..], [2, 3, 2, 3, 0, 0, 0]);
        assert_eq!(padded.type_ids[14..], [0, 0, 1, 1, 0, 0, 0]);
        assert_eq!(padded.mask[14..], [1, 1, 1, 1, 0, 0, 0]);
        let wider = Padded::new(&rows()[..1], Padding { id: 5, apart: None }, 9);
        assert_eq!(wider.ids, [2, 10, 11, 3, 2, 12, 3, 5, 5]);
    }

    /// PaddleNLP's RemBERT example: each text with its own padding, put together, cut to columns.
    #[test]
    fn texts_are_padded_apart_and_cut_by_column() {
        let padded = Padded::new(&rows(), Padding { id: 0, apart: Some(512) }, 0);
        assert_eq!(padded.width, 8);
        #[rustfmt::skip]
        assert_eq!(padded.ids, [
            2, 10, 11, 3,  2, 12, 3, 0,
            2, 13, 3, 0,  2, 14, 15, 3,
            2, 3, 0, 0,  2, 3, 0, 0,
        ]);
        assert_eq!(padded.type_ids, [0, 0, 0, 0, 1, 1, 1, 1].repeat(3));
        assert_eq!(padded.mask[8..], [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0]);

        let cut = Padded::new(&rows(), Padding { id: 0, apart: Some(5) }, 0);
        assert_eq!(cut.ids, [2, 10, 11, 3, 2, 2, 13, 3, 0, 2, 2, 3, 0, 0, 2]);
        let shorter = Padded::new(&rows(), Padding { id: 0, apart: Some(2) }, 0);
        assert_eq!(shorter.ids, [2, 10, 2, 13, 2, 3]);
        assert_eq!(Padded::new(&[], Padding { id: 0, apart: Some(9) }, 0), Padded::default());
    }
}
