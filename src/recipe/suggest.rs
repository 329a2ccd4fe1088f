//! What the user probably meant.

use serde_json::{Map, Value};

use crate::suggest::nearest;

/// Flags of the original scripts (ERNIE-M's run_classifier.py, both versions, and the transformers Trainer) whose recipe
/// key has another name.
const FLAGS: &[(&str, &str)] = &[
    ("adam_beta1", "optimizer.betas"),
    ("adam_beta2", "optimizer.betas"),
    ("adam_epsilon", "optimizer.epsilon"),
    ("bf16", "device.precision"),
    ("eval_batch_size", "evaluation.batch_size"),
    ("eval_steps", "evaluation.every_steps"),
    ("fp16", "device.precision"),
    ("layer_decay", "optimizer.layerwise_decay"),
    ("lr", "optimizer.learning_rate"),
    ("lr_scheduler_type", "schedule.name"),
    ("max_len", "data.max_seq_length"),
    ("max_seq_len", "data.max_seq_length"),
    ("metric_for_best_model", "evaluation.select_on"),
    ("min_lr", "schedule.min_learning_rate"),
    ("model_name_or_path", "model.weights"),
    ("model_type", "model.architecture"),
    ("num_train_epochs", "training.epochs"),
    ("optim", "optimizer.name"),
    ("output_dir", "output.dir"),
    ("per_device_eval_batch_size", "evaluation.batch_size"),
    ("per_device_train_batch_size", "training.batch_size"),
    ("save_steps", "checkpoint.every_steps"),
    ("save_total_limit", "checkpoint.keep_last"),
    ("task_type", "data.protocol"),
    ("use_amp", "device.precision"),
    ("warmup_proportion", "schedule.warmup_ratio"),
];

/// Every key of every section as a dotted path, sections themselves included.
pub fn all_keys(schema: &Value) -> Vec<String> {
    fn walk(before: &str, properties: &Map<String, Value>, keys: &mut Vec<String>) {
        for (name, schema) in properties {
            let path = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
            if let Some(inner) = schema["properties"].as_object() {
                walk(&path, inner, keys);
            }
            keys.push(path);
        }
    }
    let mut keys = Vec::new();
    schema["properties"].as_object().into_iter().for_each(|properties| walk("", properties, &mut keys));
    keys
}

/// A dotted path's section (empty at the top) and key.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// The paths that an unknown `key` of `section` could be meant to be; the likeliest first, all of one kind.
pub fn meant<'a>(section: &str, key: &str, keys: &'a [String]) -> Vec<&'a str> {
    let named = |name: &str| keys.iter().map(String::as_str).filter(|path| split(path).1 == name).collect::<Vec<_>>();
    let elsewhere = named(key);
    if !elsewhere.is_empty() {
        return elsewhere;
    }
    let near = |only: Option<&str>| {
        let candidates =
            keys.iter().map(|path| split(path)).filter(|(place, _)| only.is_none_or(|only| only == *place));
        nearest(key, candidates.map(|(_, name)| name))
    };
    if let Some(name) = near(Some(section)) {
        return keys.iter().map(String::as_str).filter(|path| split(path) == (section, name)).collect();
    }
    if let Some((_, path)) = FLAGS.iter().find(|(flag, _)| *flag == key.trim_start_matches("--").replace('-', "_")) {
        return keys.iter().map(String::as_str).filter(|known| known == path).collect();
    }
    near(None).map(named).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::json_schema::recipe_schema;

    #[test]
    fn every_flag_leads_to_a_key_that_exists() {
        let keys = all_keys(&recipe_schema());
        for (flag, path) in FLAGS {
            assert!(keys.iter().any(|key| key == path), "{flag} -> {path}");
            assert!(!keys.iter().any(|key| split(key).1 == *flag), "{flag} is a key itself");
        }
    }
}
