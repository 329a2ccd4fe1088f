//! Two small models with a batch, for tests of how gradients come about.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::masked_lm::{LM_LOSS, Labels, SOP_LOSS};
use super::{Batch, LossTerm, MaskedLm, TaskBatch, TaskModel};
use crate::data::{InputRow, pad};
use crate::models::{ModelConfig, PretrainedConfig, ernie, ernie_m};
use crate::tokenize::Padding;
use crate::weights::{Missing, fill};

pub const VOCABULARY: usize = 31;

/// Each with whether there is a loss of sentence order.
pub fn configs(dropout: f64) -> [(ModelConfig, bool); 2] {
    let of = |family, defaults| {
        let config = PretrainedConfig {
            vocab_size: VOCABULARY,
            hidden_size: 8,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 16,
            hidden_dropout_prob: dropout,
            attention_probs_dropout_prob: dropout,
            max_position_embeddings: 20,
            initializer_range: 0.3,
            ..defaults
        };
        ModelConfig::encoder(family, config).unwrap()
    };
    [(of(&ernie_m::FAMILY, ernie_m::DEFAULTS), false), (of(&ernie::FAMILY, ernie::DEFAULTS), true)]
}

/// With new weights.
pub fn model(config: &ModelConfig, with_sop: bool, device: &Device) -> TaskModel<MaskedLm> {
    let empty = TaskModel::new(config, &with_sop, 0, device);
    let names = &config.family().tensors;
    fill(empty, None, names, config.initialisation(3), Missing::HeadsAreNew).unwrap().0
}

/// Two rows, the second of them with padding.
pub fn batch(with_sop: bool, device: &Device) -> TaskBatch<MaskedLm> {
    let ids: [&[u32]; 2] = [&[0, 5, 6, 7, 8, 9, 10, 2], &[0, 11, 12, 13, 2]];
    let rows = ids.map(|ids| InputRow { ids, first: 3 });
    let vector = |values: &[i64]| Tensor::<1, Int>::from_data(TensorData::from(values), device);
    let mut terms = vec![LossTerm::mean(LM_LOSS, 7)];
    terms.extend(with_sop.then(|| LossTerm::mean(SOP_LOSS, 2)));
    Batch {
        input: pad(&rows, Padding { id: 1, apart: false, types: true, max_length: 512 }, 0, device),
        labels: Labels {
            positions: vector(&[1, 2, 4, 6, 9, 10, 11]),
            tokens: vector(&[20, 21, 22, 23, 24, 25, 26]),
            sop: with_sop.then(|| vector(&[0, 1])),
            pseudo_tokens: None,
        },
        rows: vec![0, 1],
        block: 0,
        tokens: 13,
        padded_tokens: 16,
        terms,
    }
}
