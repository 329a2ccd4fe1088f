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
    pub document_ids: Tensor<2, Int>,
    /// 1 for the source, or a text that stands alone; 2 for the target; 0 for padding, which sees itself alone and is not seen.
    pub segment_ids: Tensor<2, Int>,
    /// 1 for each token that is to be predicted, whatever stands in its place, `[MASK]` or not; else 0.
    pub masked: Tensor<2, Int>,
    pub pattern: AttentionPattern,
}

/// How far a token sees within its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionPattern {
    /// All of it, hidden tokens too: masked language modelling, and of pairs translation language modelling (arXiv 1901.07291).
    Full,
    /// Cross-attention masked language modelling (arXiv 2012.15674, section 3.1). A hidden token sees itself and what is not hidden
    /// of the other side. A token that is not hidden sees what is not hidden of its own side: were it to see the other side, a
    /// hidden token of that side would learn its context through it in the next layer.
    CrossLingual,
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
        let [batch, seq] = self.segment_ids.dims();
        let shape = [batch, seq, seq];
        // A token sees the keys whose number it looks for.
        let (queries, keys) = match self.pattern {
            AttentionPattern::Full => (self.document_ids.clone(), self.document_ids.clone()), // [batch, seq]
            AttentionPattern::CrossLingual => {
                let hidden = self.masked.clone().not_equal_elem(0); // [batch, seq]
                let other = self.segment_ids.clone().neg().add_scalar(3); // [batch, seq]
                let number = |side: Tensor<2, Int>| self.document_ids.clone().mul_scalar(3) + side; // [batch, seq]
                let queries = number(self.segment_ids.clone().mask_where(hidden.clone(), other));
                (queries, number(self.segment_ids.clone()).mask_fill(hidden, NO_KEY))
            }
        };
        let padding = self.segment_ids.clone().equal_elem(0); // [batch, seq]
        let queries = queries.mask_fill(padding.clone(), NO_QUERY).unsqueeze_dim::<3>(2).expand(shape);
        let keys = keys.mask_fill(padding, NO_KEY).unsqueeze_dim::<3>(1).expand(shape);
        let places = Tensor::<1, Int>::arange(0..seq as i64, &self.segment_ids.device()); // [seq]
        let query = places.clone().unsqueeze_dim::<2>(1).expand([seq, seq]);
        let itself = query.equal(places.unsqueeze_dim::<2>(0).expand([seq, seq])); // [query, key]
        queries.equal(keys).bool_or(itself.unsqueeze_dim::<3>(0).expand(shape))
    }

    /// The same without autodiff.
    pub(super) fn inner(self) -> Self {
        let Self { document_ids, segment_ids, masked, pattern } = self;
        Self { document_ids: document_ids.inner(), segment_ids: segment_ids.inner(), masked: masked.inner(), pattern }
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
    fn sees(pattern: AttentionPattern, query: [i64; 3], key: [i64; 3]) -> bool {
        let ([pack, side, hidden], [key_pack, key_side, key_hidden]) = (query, key);
        if side == 0 || key_side == 0 || pack != key_pack {
            return false;
        }
        match (pattern, hidden == 1) {
            (AttentionPattern::Full, _) => true,
            (AttentionPattern::CrossLingual, false) => key_side == side && key_hidden == 0,
            (AttentionPattern::CrossLingual, true) => key_side != side && key_hidden == 0,
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
        for pattern in [AttentionPattern::Full, AttentionPattern::CrossLingual] {
            let visibility = Visibility { document_ids: of(0), segment_ids: of(1), masked: of(2), pattern };
            let bias = visibility.bias();
            assert_eq!(bias.dims(), [BATCH, 1, SEQ, SEQ]);
            let bias: Vec<f32> = bias.into_data().iter::<f32>().collect();
            let rows = bias.chunks(SEQ * SEQ).zip(tokens.chunks(SEQ));
            let mut seen = 0;
            for (bias, row) in rows {
                for (place, bias) in bias.iter().enumerate() {
                    let (query, key) = (place / SEQ, place % SEQ);
                    let wanted = query == key || sees(pattern, row[query], row[key]);
                    assert_eq!(*bias, if wanted { 0.0 } else { -1e4 }, "{pattern:?} {:?} {:?}", row[query], row[key]);
                    seen += usize::from(wanted && query != key);
                }
            }
            assert!(seen > SEQ, "next to nothing is seen");
        }
    }
}
