//! From the names of variables in Paddle's static graphs to the names in PaddleNLP's dynamic models, for ERNIE 1.0.
//!
//! Baidu's own code of 2019 names each variable (`encoder_layer_0_multi_head_att_query_fc.w_0`; model/ernie.py and
//! model/transformer_encoder.py in github.com/PaddlePaddle/ERNIE): this file. PaddleNLP leaves it to Paddle, which
//! counts the layers (`linear_12.w_0`): [`super::static_numbers`].

use std::collections::HashMap;

use super::static_numbers::{number, numbered};
use super::{Described, elmo_names, static_numbers};

/// Variables that belong to the training and not to the model: an optimizer's, called after the parameter (Adam, LAMB,
/// Adagrad, and the float32 copies of mixed precision), and the counters of schedule and loss scaling.
pub(super) fn is_training_state(name: &str) -> bool {
    const OF_A_PARAMETER: [&str; 6] =
        ["_moment", "_moment1", "_moment2", "_beta1_pow_acc", "_beta2_pow_acc", "_fp32_master"];
    const ALONE: [&str; 4] = ["learning_rate", "loss_scaling", "num_good_steps", "num_bad_steps"];
    let Some((base, _)) = numbered(name) else { return name == "@LR_DECAY_COUNTER@" };
    OF_A_PARAMETER.iter().any(|ending| base.ends_with(ending)) || ALONE.contains(&base)
}

/// Whether a static graph of ERNIE or ELMo has variables of this name.
pub(super) fn is_known(name: &str) -> bool {
    baidu(name).is_some() || static_numbers::is_known(name) || elmo_names::is_known(name)
}

/// Whether a name is one of a dynamic model, of any family and library.
pub(super) fn is_dynamic(name: &str) -> bool {
    name.ends_with(".weight") || name.ends_with(".bias") || name.starts_with("ernie.") || name.starts_with("cls.")
}

/// The dynamic names of the variables that have one.
///
/// # Errors
/// Says why variables that are called by number cannot be those of an ERNIE.
pub(super) fn dynamic_names(variables: &[Described<'_>]) -> Result<HashMap<String, String>, String> {
    let by_hand: HashMap<_, _> =
        variables.iter().filter_map(|(name, _)| Some((name.to_string(), baidu(name)?))).collect();
    if by_hand.is_empty() { static_numbers::dynamic_names(variables) } else { Ok(by_hand) }
}

/// The dynamic name for one of Baidu's of 2019.
fn baidu(name: &str) -> Option<String> {
    const WHOLE: [(&str, &str); 5] = [
        ("word_embedding", "ernie.embeddings.word_embeddings.weight"),
        ("pos_embedding", "ernie.embeddings.position_embeddings.weight"),
        ("sent_embedding", "ernie.embeddings.token_type_embeddings.weight"),
        ("task_embedding", "ernie.embeddings.task_type_embeddings.weight"),
        ("mask_lm_out_fc.b_0", "cls.predictions.decoder_bias"),
    ];
    const LAYERS: [(&str, &str); 5] = [
        ("pre_encoder_layer_norm", "ernie.embeddings.layer_norm"),
        ("pooled_fc", "ernie.pooler.dense"),
        ("mask_lm_trans_fc", "cls.predictions.transform"),
        ("mask_lm_trans_layer_norm", "cls.predictions.layer_norm"),
        ("next_sent_fc", "cls.seq_relationship"),
    ];
    const OF_THE_ENCODER: [(&str, &str); 8] = [
        ("multi_head_att_query_fc", "self_attn.q_proj"),
        ("multi_head_att_key_fc", "self_attn.k_proj"),
        ("multi_head_att_value_fc", "self_attn.v_proj"),
        ("multi_head_att_output_fc", "self_attn.out_proj"),
        ("post_att_layer_norm", "norm1"),
        ("ffn_fc_0", "linear1"),
        ("ffn_fc_1", "linear2"),
        ("post_ffn_layer_norm", "norm2"),
    ];
    const ENDINGS: [(&str, &str); 4] = [(".w_0", "weight"), (".b_0", "bias"), ("_scale", "weight"), ("_bias", "bias")];
    if let Some(whole) = look_up(&WHOLE, name) {
        return Some(whole.to_string());
    }
    let (layer, leaf) = ENDINGS.iter().find_map(|(ending, leaf)| Some((name.strip_suffix(ending)?, leaf)))?;
    if let Some(layer) = look_up(&LAYERS, layer) {
        return Some(format!("{layer}.{leaf}"));
    }
    let (digits, part) = layer.strip_prefix("encoder_layer_")?.split_once('_')?;
    Some(format!("ernie.encoder.layers.{}.{}.{leaf}", number(digits)?, look_up(&OF_THE_ENCODER, part)?))
}

fn look_up(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(theirs, _)| *theirs == name).map(|(_, dynamic)| *dynamic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_training_is_told_from_the_model() {
        for name in [
            "linear_0.w_0_moment1_0",
            "word_embedding_moment2_0",
            "encoder_layer_0_ffn_fc_0.b_0_beta1_pow_acc_0",
            "linear_0.w_0_beta2_pow_acc_0",
            "linear_0.w_0_fp32_master_0",
            "linear_0.w_0_fp32_master_0_moment1_0",
            "softmax_weight_moment_0",
            "learning_rate_1",
            "loss_scaling_0",
            "num_good_steps_12",
            "@LR_DECAY_COUNTER@",
        ] {
            assert!(is_training_state(name), "{name}");
        }
        for name in ["linear_0.w_0", "word_embedding", "moment1", "ernie.pooler.dense.weight", "", "_0", "a_moment1_00"]
        {
            assert!(!is_training_state(name), "{name}");
        }
    }

    #[test]
    fn names_that_are_nearly_baidus_are_not() {
        assert_eq!(baidu("encoder_layer_11_ffn_fc_0.w_0").unwrap(), "ernie.encoder.layers.11.linear1.weight");
        for name in [
            "encoder_layer_01_ffn_fc_0.w_0",
            "encoder_layer_+1_ffn_fc_0.w_0",
            "encoder_layer_99999999999999999999_ffn_fc_0.w_0",
            "encoder_layer__ffn_fc_0.w_0",
            "encoder_layer_0_ffn_fc_2.w_0",
            "encoder_layer_0_ffn_fc_0.w_1",
            "encoder_layer_0_ffn_fc_0",
            "word_embedding.w_0",
            "mask_lm_out_fc.w_0",
            "",
        ] {
            assert_eq!(baidu(name), None, "{name}");
        }
    }
}
