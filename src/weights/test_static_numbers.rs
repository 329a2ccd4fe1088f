//! The numbered names of ERNIE's variables, for the whole of ernie-1.0.

use std::collections::HashMap;

use proptest::prelude::*;

use super::Described;
use super::static_numbers::dynamic_names;

/// Variables and their dynamic names, as PaddleNLP makes them for ernie-1.0: 12 layers, hidden 768; each kind's
/// numbers begin with `first`.
fn ernie_1_0(first: usize) -> Vec<(String, Vec<usize>, String)> {
    let mut all = Vec::new();
    for (at, (table, rows)) in [("word", 18_000), ("position", 513), ("token_type", 2)].into_iter().enumerate() {
        let name = format!("embedding_{}.w_0", at + first);
        all.push((name, vec![rows, 768], format!("ernie.embeddings.{table}_embeddings.weight")));
    }
    let mut pair = |layer: String, weight: &[usize], dynamic: String| {
        all.push((format!("{layer}.w_0"), weight.to_vec(), format!("{dynamic}.weight")));
        all.push((format!("{layer}.b_0"), weight[weight.len() - 1..].to_vec(), format!("{dynamic}.bias")));
    };
    let norm = |at: usize| format!("layer_norm_{}", at + first);
    let linear = |at: usize| format!("linear_{}", at + first);
    pair(norm(0), &[768], "ernie.embeddings.layer_norm".into());
    for layer in 0..12 {
        let part = |name: &str| format!("ernie.encoder.layers.{layer}.{name}");
        for (at, name) in ["q", "k", "v", "out"].into_iter().enumerate() {
            pair(linear(6 * layer + at), &[768, 768], part(&format!("self_attn.{name}_proj")));
        }
        pair(linear(6 * layer + 4), &[768, 3072], part("linear1"));
        pair(linear(6 * layer + 5), &[3072, 768], part("linear2"));
        pair(norm(2 * layer + 1), &[768], part("norm1"));
        pair(norm(2 * layer + 2), &[768], part("norm2"));
    }
    pair(linear(72), &[768, 768], "ernie.pooler.dense".into());
    pair(linear(73), &[768, 768], "cls.predictions.transform".into());
    pair(norm(25), &[768], "cls.predictions.layer_norm".into());
    pair(linear(74), &[768, 2], "cls.seq_relationship".into());
    all.push(("ernie_lm_prediction_head_0.b_0".into(), vec![18_000], "cls.predictions.decoder_bias".into()));
    all
}

fn named(all: &[(String, Vec<usize>, String)]) -> Result<HashMap<String, String>, String> {
    let described: Vec<Described<'_>> = all.iter().map(|(name, shape, _)| (name.as_str(), &shape[..])).collect();
    dynamic_names(&described)
}

#[test]
fn twelve_layers_wherever_their_numbers_begin() {
    for first in [0, 1, 16] {
        let all = ernie_1_0(first);
        let found = named(&all).unwrap();
        for (name, _, dynamic) in &all {
            assert_eq!(found.get(name), Some(dynamic), "{name}");
        }
        assert_eq!(found.len(), 3 + 2 * (1 + 12 * 8 + 1 + 3) + 1);
    }
}

#[test]
fn without_heads_or_with_those_of_2_8() {
    let head = |name: &str| name.starts_with("cls.");
    let mut all = ernie_1_0(0);
    all.retain(|(.., dynamic)| !head(dynamic));
    assert_eq!(named(&all).unwrap().len(), all.len());
    // What a task puts after the pooler is no tensor of the model's.
    all.push(("linear_73.w_0".into(), vec![768, 3], String::new()));
    assert_eq!(named(&all).unwrap().len(), all.len() - 1);

    let mut all = ernie_1_0(0);
    all.retain(|(name, ..)| name != "ernie_lm_prediction_head_0.b_0" && !name.starts_with("linear_74."));
    all.push(("linear_74.b_0".into(), vec![18_000], "cls.predictions.decoder_bias".into()));
    all.push(("linear_75.w_0".into(), vec![768, 2], "cls.seq_relationship.weight".into()));
    all.push(("linear_75.b_0".into(), vec![2], "cls.seq_relationship.bias".into()));
    let found = named(&all).unwrap();
    assert!(all.iter().all(|(name, _, dynamic)| found.get(name) == Some(dynamic)));
    // The tied weight of the decoder: nothing else is called otherwise for it.
    all.push(("linear_74.w_0".into(), vec![18_000, 768], String::new()));
    assert_eq!(named(&all).unwrap(), found);
}

#[test]
fn task_types_are_the_fourth_table() {
    let mut all = ernie_1_0(0);
    all.push(("embedding_3.w_0".into(), vec![3, 768], "ernie.embeddings.task_type_embeddings.weight".into()));
    assert_eq!(named(&all).unwrap()["embedding_3.w_0"], "ernie.embeddings.task_type_embeddings.weight");
}

#[test]
fn what_cannot_be_an_ernie_is_said() {
    let changed = |name: &str, shape: &[usize]| {
        let mut all = ernie_1_0(0);
        all.iter_mut().filter(|one| one.0 == name).for_each(|one| one.1 = shape.to_vec());
        named(&all).unwrap_err()
    };
    assert_eq!(
        changed("linear_9.w_0", &[768, 64]),
        "`linear_9.w_0` has the shape [768, 64], and in an ERNIE of 12 layers [768, 768]"
    );
    assert!(changed("embedding_0.w_0", &[18_000, 256]).starts_with("`embedding_0.w_0` has the shape [18000, 256]"));
    assert!(changed("layer_norm_7.b_0", &[]).starts_with("`layer_norm_7.b_0` has the shape []"));
    // ERNIE-M has no token types.
    let mut all = ernie_1_0(0);
    all.retain(|(name, ..)| name != "embedding_2.w_0");
    assert_eq!(named(&all).unwrap_err(), "2 embeddings, 75 linear layers and 26 layer norms are not those of an ERNIE");
    // A layer that belongs to something else has the first number.
    let mut all = ernie_1_0(1);
    all.push(("linear_0.w_0".into(), vec![768, 768], String::new()));
    assert!(named(&all).is_err());
    // The last layer's norms are missing from a bare model: its query's projection is no pooler.
    let mut all = ernie_1_0(0);
    all.retain(|(name, _, dynamic)| {
        !dynamic.starts_with("cls.") && !name.starts_with("layer_norm_23.") && !name.starts_with("layer_norm_24.")
    });
    assert_eq!(named(&all).unwrap_err(), "3 embeddings, 73 linear layers and 23 layer norms are not those of an ERNIE");
}

#[test]
fn a_model_without_one_kind_of_layer_is_left_alone() {
    for kind in ["embedding_", "linear_", "layer_norm_"] {
        let mut all = ernie_1_0(0);
        all.retain(|(name, ..)| !name.starts_with(kind));
        assert_eq!(named(&all).unwrap(), HashMap::new());
    }
}

proptest! {
    /// Layers that are missing, out of number or of another shape: there is an answer, and no name is given twice.
    #[test]
    fn no_name_is_given_twice(
        missing in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        changed in prop::collection::vec((any::<prop::sample::Index>(), 0..80u32), 0..3),
        reshaped in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut all = ernie_1_0(0);
        for at in missing {
            all.swap_remove(at.index(all.len()));
        }
        for (at, number) in changed {
            let at = at.index(all.len());
            all[at].0 = format!("linear_{}.w_0", if number == 79 { u32::MAX } else { number });
        }
        if let Some(at) = reshaped {
            let at = at.index(all.len());
            all[at].1.pop();
        }
        all.sort();
        all.dedup_by(|a, b| a.0 == b.0);
        if let Ok(found) = named(&all) {
            let mut names: Vec<_> = found.values().collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), found.len());
        }
    }
}
