//! Which tokens of a row see each other: for rows of several texts, and for pairs that are read apart.

use burn::tensor::{Bool, Int, Tensor};

/// Who sees whom in the rows of a batch. All tensors are `[batch, seq]`.
///
/// Of a pair, `[CLS] x [SEP]` is the source and `[SEP] y [SEP]` the target: special tokens are of the text they stand at, and are
/// seen like its words. (The type ids of ERNIE-M's tokenizer count the first `[SEP]` to the second text, and are not this.)
#[derive(Debug, Clone)]
pub struct Visibility {
    /// Which text or pair of its row a token is of, counted from 0 or 1; tokens of different ones never see each other. Of padding it
    /// says nothing.
    pub pack: Tensor<2, Int>,
    /// 1 for the source, or a text that stands alone; 2 for the target; 0 for padding, which sees itself alone and is not seen.
    pub side: Tensor<2, Int>,
    /// 1 for each token that is to be predicted, whatever stands in its place, `[MASK]` or not; else 0.
    pub hidden: Tensor<2, Int>,
    pub sight: Sight,
}

/// How far a token sees within its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// All of it, hidden tokens too: masked language modelling, and of pairs translation language modelling (arXiv 1901.07291).
    All,
    /// Cross-attention masked language modelling (arXiv 2012.15674, section 3.1). A hidden token sees itself and what is not hidden
    /// of the other side. A token that is not hidden sees what is not hidden of its own side: were it to see the other side, a
    /// hidden token of that side would learn its context through it in the next layer.
    Across,
}

/// The number of queries, and of keys, that match nobody's.
const NO_QUERY: i64 = -2;
const NO_KEY: i64 = -1;

impl Visibility {
    /// What is added to the attention scores of every layer, `[batch, 1, query, key]`: 0, or the -1e4 of
    /// [`AttentionBias`](crate::nn::AttentionBias).
    pub fn bias(&self) -> Tensor<4> {
        self.seen().bool_not().float().mul_scalar(-1e4).unsqueeze_dim(1)
    }

    /// Whether a query sees a key, `[batch, query, key]`.
    fn seen(&self) -> Tensor<3, Bool> {
        let [batch, seq] = self.side.dims();
        let shape = [batch, seq, seq];
        // A token sees the keys whose number it looks for.
        let (queries, keys) = match self.sight {
            Sight::All => (self.pack.clone(), self.pack.clone()), // [batch, seq]
            Sight::Across => {
                let hidden = self.hidden.clone().not_equal_elem(0); // [batch, seq]
                let other = self.side.clone().neg().add_scalar(3); // [batch, seq]
                let number = |side: Tensor<2, Int>| self.pack.clone().mul_scalar(3) + side; // [batch, seq]
                let queries = number(self.side.clone().mask_where(hidden.clone(), other));
                (queries, number(self.side.clone()).mask_fill(hidden, NO_KEY))
            }
        };
        let padding = self.side.clone().equal_elem(0); // [batch, seq]
        let queries = queries.mask_fill(padding.clone(), NO_QUERY).unsqueeze_dim::<3>(2).expand(shape);
        let keys = keys.mask_fill(padding, NO_KEY).unsqueeze_dim::<3>(1).expand(shape);
        let places = Tensor::<1, Int>::arange(0..seq as i64, &self.side.device()); // [seq]
        let query = places.clone().unsqueeze_dim::<2>(1).expand([seq, seq]);
        let itself = query.equal(places.unsqueeze_dim::<2>(0).expand([seq, seq])); // [query, key]
        queries.equal(keys).bool_or(itself.unsqueeze_dim::<3>(0).expand(shape))
    }

    /// The same without autodiff.
    pub(super) fn inner(self) -> Self {
        let Self { pack, side, hidden, sight } = self;
        Self { pack: pack.inner(), side: side.inner(), hidden: hidden.inner(), sight }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const BATCH: usize = 6;
    const SEQ: usize = 23;

    /// The rules as they are written down, one query and key at a time.
    fn sees(sight: Sight, query: [i64; 3], key: [i64; 3]) -> bool {
        let ([pack, side, hidden], [key_pack, key_side, key_hidden]) = (query, key);
        if side == 0 || key_side == 0 || pack != key_pack {
            return false;
        }
        match (sight, hidden == 1) {
            (Sight::All, _) => true,
            (Sight::Across, false) => key_side == side && key_hidden == 0,
            (Sight::Across, true) => key_side != side && key_hidden == 0,
        }
    }

    /// Rows of any mixture, far more than samples are made of.
    #[test]
    fn the_bias_is_the_rules_for_every_query_and_key() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let tokens: Vec<[i64; 3]> = (0..BATCH * SEQ)
            .map(|_| [rng.random_range(0..4), rng.random_range(0..3), rng.random_range(0..2)])
            .collect();
        let device = Device::flex();
        let of = |which: usize| {
            let values: Vec<i64> = tokens.iter().map(|token| token[which]).collect();
            Tensor::<2, Int>::from_data(TensorData::new(values, [BATCH, SEQ]), &device)
        };
        for sight in [Sight::All, Sight::Across] {
            let visibility = Visibility { pack: of(0), side: of(1), hidden: of(2), sight };
            let bias = visibility.bias();
            assert_eq!(bias.dims(), [BATCH, 1, SEQ, SEQ]);
            let bias: Vec<f32> = bias.into_data().iter::<f32>().collect();
            let rows = bias.chunks(SEQ * SEQ).zip(tokens.chunks(SEQ));
            let mut seen = 0;
            for (bias, row) in rows {
                for (place, bias) in bias.iter().enumerate() {
                    let (query, key) = (place / SEQ, place % SEQ);
                    let wanted = query == key || sees(sight, row[query], row[key]);
                    assert_eq!(*bias, if wanted { 0.0 } else { -1e4 }, "{sight:?} {:?} {:?}", row[query], row[key]);
                    seen += usize::from(wanted && query != key);
                }
            }
            assert!(seen > SEQ, "next to nothing is seen");
        }
    }
}
