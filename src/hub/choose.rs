//! Which files of a repository a model folder needs: what Kiln opens, and no second copy of the weights.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::weights::KNOWN;

/// What is wanted of a repository of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Configuration, tokenizer and weights.
    Model,
    /// Configuration and tokenizer.
    Tokenizer,
}

/// The weights of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Weights {
    /// These files.
    Files(Vec<String>),
    /// Those that this index names.
    Listed(String),
}

/// Configurations and tokenizers, by their whole names.
const SMALL: [&str; 10] = [
    "config.json",
    "model_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "vocab.txt",
    "vocabulary_min5k.txt",
    "q2b.dic",
    "ernie_config.json",
];
/// Those that come in any number, by the ends of their names: SentencePiece's models and AllenAI's options.
const ENDINGS: [&str; 2] = [".model", "options.json"];

/// Where there is none of [`KNOWN`], the only file that ends so.
const ANY: [&str; 4] = [".safetensors", ".bin", ".pdparams", ".hdf5"];
/// What ends so and holds no weights.
const NO_WEIGHTS: [&str; 4] = ["training_args.bin", "optimizer.bin", "scheduler.bin", "scaler.bin"];

/// The configuration and the tokenizer among the files of a repository. Folders in it are of other tools.
pub(super) fn small(files: &[String]) -> Vec<String> {
    let is_wanted = |name: &str| {
        !name.contains('/') && (SMALL.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending)))
    };
    files.iter().filter(|name| is_wanted(name)).cloned().collect()
}

/// The weights among the files of a repository.
///
/// # Errors
/// There are none, or several of which none has a name that goes before: what is to be said of it.
pub(super) fn weights(files: &[String]) -> Result<Weights, String> {
    let has = |name: &&str| files.iter().any(|file| file == name);
    if let Some(known) = KNOWN.into_iter().find(has) {
        let name = known.to_string();
        return Ok(if known.ends_with(".index.json") { Weights::Listed(name) } else { Weights::Files(vec![name]) });
    }
    let ends = |name: &str| ANY.iter().any(|ending| name.ends_with(ending)) && !NO_WEIGHTS.contains(&name);
    let found: Vec<&String> = files.iter().filter(|name| !name.contains('/') && ends(name)).collect();
    match found[..] {
        [only] => Ok(Weights::Files(vec![only.clone()])),
        [] => {
            let some: Vec<&str> = files.iter().take(12).map(String::as_str).collect();
            let more = if files.len() > some.len() { ", ..." } else { "" };
            Err(format!("holds no weights that Kiln reads; its files are {}{more}", some.join(", ")))
        }
        _ => {
            let names: Vec<&str> = found.into_iter().map(String::as_str).collect();
            Err(format!("holds several files that may be the weights: {}", names.join(", ")))
        }
    }
}

/// The files that an index of weights names, which are in the repository beside it.
///
/// # Errors
/// It is none, or names others: what is to be said of it.
pub(super) fn shards(index: &[u8], files: &[String]) -> Result<Vec<String>, String> {
    let read: Value = serde_json::from_slice(index).map_err(|cause| format!("is not an index of weights: {cause}"))?;
    let map = read.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty());
    let map = map.ok_or("is not an index of weights: it has no weight_map")?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    match names.iter().find(|name| !files.iter().any(|file| file == *name)) {
        Some(name) => Err(format!("names the file `{}`, which the repository has not", name.escape_default())),
        None => Ok(names.into_iter().map(str::to_string).collect()),
    }
}

/// Whether a snapshot that others may have begun surely has all that is wanted, so that the hub need not be asked for its list:
/// what is preferred to all else of weights, and the files that a tokenizer is made of rather than what was made of them.
pub(super) fn is_surely_whole(files: &[String], wanted: Wanted) -> bool {
    let has = |name: &str| files.iter().any(|file| file == name);
    let has_tokenizer = has("vocab.txt") || files.iter().any(|file| file.ends_with(".model") && !file.contains('/'));
    has("config.json") && has_tokenizer && (wanted == Wanted::Tokenizer || has(KNOWN[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn one_kind_of_weights_is_taken_and_what_belongs_to_it() {
        let files = names(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "onnx/config.json",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "sentencepiece.model",
            "tf_model.h5",
            "tokenizer.json",
            "training_args.bin",
        ]);
        assert_eq!(small(&files), ["config.json", "sentencepiece.model", "tokenizer.json"]);
        assert_eq!(weights(&files), Ok(Weights::Files(names(&["model.safetensors"]))));
        assert_eq!(weights(&files[7..]), Ok(Weights::Files(names(&["pytorch_model.bin"]))));
        assert_eq!(weights(&names(&["a.pdparams", "training_args.bin"])), Ok(Weights::Files(names(&["a.pdparams"]))));
        assert!(
            weights(&files[8..]).unwrap_err().contains("no weights that Kiln reads; its files are sentencepiece.model")
        );
        assert!(weights(&names(&["a.bin", "b.bin"])).unwrap_err().contains("a.bin, b.bin"));
    }

    #[test]
    fn an_index_names_files_of_the_repository_alone() {
        let files = names(&["model.safetensors.index.json", "a.safetensors", "b.safetensors"]);
        assert_eq!(weights(&files), Ok(Weights::Listed("model.safetensors.index.json".into())));
        let index = |map: &str| shards(format!("{{\"weight_map\": {map}}}").as_bytes(), &files);
        let both = names(&["a.safetensors", "b.safetensors"]);
        assert_eq!(index(r#"{"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}"#), Ok(both));
        assert!(index(r#"{"x": "../../etc/passwd"}"#).unwrap_err().contains("which the repository has not"));
        assert!(index("{}").is_err() && shards(b"x", &files).is_err());
    }

    #[test]
    fn elmo_has_options_and_weights() {
        let files = names(&["elmo_options.json", "elmo_weights.hdf5", "vocab.txt"]);
        assert_eq!(small(&files), ["elmo_options.json", "vocab.txt"]);
        assert_eq!(weights(&files), Ok(Weights::Files(names(&["elmo_weights.hdf5"]))));
    }
}
