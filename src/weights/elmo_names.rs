//! From the variables of Baidu's ELMo (PaddlePaddle/ERNIE, ELMo/lm_model.py and LAC_demo/bilm.py) to Kiln's names.
//!
//! The script names the tables and the input weights; an LSTM's other variables are Paddle's `lstmp_K.w_0`, `.w_1` and `.b_0`, K
//! counting the layers of the forward direction and then those of the backward one.

use std::collections::{BTreeMap, HashMap};

use super::Described;

/// A new name, and a new shape of the same numbers where the variable has another.
pub(super) type Renamed = (String, Option<Vec<usize>>);

const TABLES: [(&str, &str); 5] = [
    ("embedding_para", "embedding.weight"),
    ("softmax_weight", "softmax.weight"),
    ("softmax_bias", "softmax.bias"),
    ("ELMo_w", "mix.layer_weights"),
    ("ELMo_gamma", "mix.scale"),
];

/// Whether a variable of this name is a part of an ELMo.
pub(super) fn is_known(name: &str) -> bool {
    TABLES.iter().any(|(theirs, _)| *theirs == name) || gate(name).is_some() || counted(name).is_some()
}

/// The new names of the variables, if they are those of an ELMo.
///
/// # Errors
/// Says what is missing or does not fit.
pub(super) fn names(variables: &[Described<'_>]) -> Option<Result<HashMap<String, Renamed>, String>> {
    let shapes: HashMap<&str, &[usize]> = variables.iter().copied().collect();
    if !(shapes.contains_key("embedding_para") && shapes.contains_key("fw_layer1_gate_w")) {
        return None;
    }
    let mut renamed = HashMap::new();
    for (theirs, ours) in TABLES.iter().filter(|(theirs, _)| shapes.contains_key(theirs)) {
        renamed.insert(theirs.to_string(), (ours.to_string(), None));
    }
    Some(layers(&shapes).map(|layers| {
        renamed.extend(layers);
        renamed
    }))
}

/// The LSTMs' variables.
fn layers(shapes: &HashMap<&str, &[usize]>) -> Result<HashMap<String, Renamed>, String> {
    let count = (1..).take_while(|number| shapes.contains_key(format!("fw_layer{number}_gate_w").as_str())).count();
    let mut cells: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (name, number) in shapes.keys().filter_map(|name| Some((*name, counted(name)?))) {
        cells.entry(number).or_default().push(name);
    }
    if cells.len() != 2 * count {
        return Err(format!(
            "has {count} forward layers (fw_layerN_gate_w), so that there should be {} of lstmp_K, and there are {}",
            2 * count,
            cells.len()
        ));
    }
    let mut renamed = HashMap::new();
    for (place, (number, parts)) in cells.into_iter().enumerate() {
        let (direction, layer) = (["fw", "bw"][place / count], place % count + 1);
        let ours = format!("{}.{}", ["forward", "backward"][place / count], layer - 1);
        let gate = format!("{direction}_layer{layer}_gate_w");
        let Some(&&[_, gates]) = shapes.get(gate.as_str()) else {
            return Err(format!("has no matrix {gate}, the weights of a layer's input"));
        };
        for part in &parts {
            let shape = shapes.get(part).copied().unwrap_or_default();
            let (leaf, new_shape) = match shape {
                [1, width] if *width == gates => ("bias", Some(vec![gates])),
                [width] if *width == gates => ("bias", None),
                [_, width] if *width == gates => ("recurrent", None),
                [cell, _] if cell.checked_mul(4) == Some(gates) => ("projection", None),
                _ => {
                    return Err(format!(
                        "{part} has the shape {shape:?}, which is no part of a layer of {gates} gates"
                    ));
                }
            };
            renamed.insert(part.to_string(), (format!("{ours}.{leaf}"), new_shape));
        }
        if parts.len() != 3 {
            return Err(format!("lstmp_{number} should have w_0, w_1 and b_0, and has {}", parts.join(", ")));
        }
        renamed.insert(gate, (format!("{ours}.input"), None));
    }
    Ok(renamed)
}

/// The layer's number, from 1, of a weight of an input.
fn gate(name: &str) -> Option<usize> {
    let inner = name.strip_prefix("fw_layer").or_else(|| name.strip_prefix("bw_layer"))?;
    inner.strip_suffix("_gate_w")?.parse().ok()
}

/// K of `lstmp_K.w_0`, `lstmp_K.w_1` and `lstmp_K.b_0`.
fn counted(name: &str) -> Option<usize> {
    let (number, part) = name.strip_prefix("lstmp_")?.split_once('.')?;
    if !["w_0", "w_1", "b_0"].contains(&part) {
        return None;
    }
    number.parse().ok()
}
