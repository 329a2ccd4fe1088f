//! What goes into an encoder.

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::{Int, Tensor};

use super::Visibility;

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
    /// The same numbers on the host, for models that go by the lengths of texts. They are read from the device if this is left out, which
    /// waits for all that a GPU has to do.
    pub on_host: Option<Arc<HostInput>>,
}

/// The numbers of an [`EncoderInput`], row after row.
#[derive(Debug)]
pub struct HostInput {
    pub input_ids: Vec<i64>,
    pub token_type_ids: Option<Vec<i64>>,
    pub attention_mask: Vec<i64>,
}

impl EncoderInput {
    /// Ids alone; everything else is left out.
    pub fn new(input_ids: Tensor<2, Int>) -> Self {
        Self {
            input_ids,
            token_type_ids: None,
            task_type_ids: None,
            attention_mask: None,
            position_ids: None,
            language_ids: None,
            visibility: None,
            on_host: None,
        }
    }

    /// The ids, row after row.
    pub fn ids(&self) -> Cow<'_, [i64]> {
        self.on_host.as_ref().map_or_else(|| read(&self.input_ids), |host| Cow::from(&host.input_ids))
    }

    /// How many tokens each row has: those its mask shows, which stand at its beginning; all of them without a mask.
    pub fn lengths(&self) -> Vec<usize> {
        let [batch, seq] = self.input_ids.dims();
        let mask = match (&self.on_host, &self.attention_mask) {
            (Some(host), _) => Cow::from(&host.attention_mask),
            (None, Some(mask)) => read(mask),
            (None, None) => return vec![seq; batch],
        };
        mask.chunks(seq.max(1)).map(|row| row.iter().filter(|seen| **seen != 0).count()).collect()
    }

    /// How many tokens the first text of each row has, as its type ids tell; all of them without type ids.
    pub fn first_lengths(&self) -> Vec<usize> {
        let lengths = self.lengths();
        let types = match &self.on_host {
            Some(host) => host.token_type_ids.as_deref().map(Cow::from),
            None => self.token_type_ids.as_ref().map(read),
        };
        let Some(types) = types else { return lengths };
        let [_, seq] = self.input_ids.dims();
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
            on_host: self.on_host,
        }
    }
}

fn read(tensor: &Tensor<2, Int>) -> Cow<'static, [i64]> {
    tensor.to_data().iter::<i64>().collect()
}
