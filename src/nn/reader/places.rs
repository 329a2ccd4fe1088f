//! Rows that belong together as one row of all their words, and back.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::nn::sequences::beyond;

/// Where the words of rows stand in the rows of their groups, one behind the other, and the other way round.
pub struct Places {
    /// Words that a row has room for.
    words: usize,
    /// Words of each group.
    lengths: Vec<usize>,
    longest: usize,
    /// For each place of a group's row, `groups * longest` of them, the word that stands there; the first where there is none.
    to: Vec<i64>,
    /// For each word of the rows, `rows * words` of them, where it stands; the first place where there is no word.
    back: Vec<i64>,
}

impl Places {
    /// Of rows of `words` words, of which the first `lengths` count, in groups of so many consecutive rows.
    ///
    /// # Panics
    /// If the groups have more or fewer rows together than there are lengths.
    pub fn new(groups: &[usize], lengths: &[usize], words: usize) -> Self {
        assert_eq!(groups.iter().sum::<usize>(), lengths.len(), "every row is in a group");
        let mut rows = lengths.iter().copied().enumerate();
        let groups: Vec<Vec<(usize, usize)>> = groups.iter().map(|&size| rows.by_ref().take(size).collect()).collect();
        let of_groups: Vec<usize> = groups.iter().map(|rows| rows.iter().map(|(_, length)| length).sum()).collect();
        let longest = of_groups.iter().copied().max().unwrap_or(0).max(1);
        let mut to = vec![0; groups.len() * longest];
        let mut back = vec![0; lengths.len() * words];
        for (group, rows) in groups.iter().enumerate() {
            let all = rows.iter().flat_map(|&(row, length)| (0..length).map(move |word| row * words + word));
            for (word, place) in all.zip(group * longest..) {
                to[place] = word as i64;
                back[word] = place as i64;
            }
        }
        Self { words, lengths: of_groups, longest, to, back }
    }

    pub fn words(&self) -> usize {
        self.words
    }

    /// `[rows, words, width] -> [groups, longest, width]`
    pub fn together(&self, x: Tensor<3>) -> Tensor<3> {
        let ([rows, words, width], device) = (x.dims(), x.device());
        let x = x.reshape([rows * words, width]).select(0, indices(&self.to, &device)); // [groups * longest, width]
        x.reshape([self.lengths.len(), self.longest, width])
    }

    /// Where groups have ended, `[groups, longest]`.
    pub fn beyond(&self, device: &Device) -> Tensor<2, Bool> {
        beyond(&self.lengths, self.longest, device)
    }

    /// `[groups, longest] -> [rows, words]`, with anything where there is no word.
    pub fn apart(&self, x: Tensor<2>) -> Tensor<2> {
        let device = x.device();
        let x = x.flatten::<1>(0, 1).select(0, indices(&self.back, &device)); // [rows * words]
        x.reshape([self.back.len() / self.words, self.words])
    }
}

fn indices(numbers: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::from(numbers), device)
}
