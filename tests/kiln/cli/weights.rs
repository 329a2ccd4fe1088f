//! Weights that are not what the recipe takes them for.

use std::path::{Path, PathBuf};

use super::{Place, json, kiln, model_copy};
use crate::fixture;

/// Trains from `weights`, which must be refused with this many problems before a step is made.
#[track_caller]
fn refused(place: &Place, weights: &Path, words: &[&str]) {
    let ended = place.train(&[&format!("model.weights={}", weights.display())]).with_problems(2, 1, words);
    assert!(!place.path("run/checkpoints").exists(), "{}", ended.stderr);
    assert!(ended.stderr.lines().count() < 30, "one clear error, not a page of them:\n{}", ended.stderr);
}

#[test]
fn a_path_without_weights() {
    let place = Place::new();
    let nowhere = place.path("nowhere");
    refused(&place, &nowhere, &[&format!("{}: is not there", nowhere.display()), "help: model.weights is"]);
    let folder = model_copy(&place);
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    refused(&place, &folder, &[&format!("{}: holds no weights", folder.display()), "help: looked for"]);
}

/// Paddle's static checkpoints have no config.json; a recipe that says the sizes stands in for it.
#[test]
fn weights_without_a_configuration() {
    let place = Place::new();
    let folder = model_copy(&place);
    std::fs::remove_file(folder.join("config.json")).unwrap();
    let weights = format!("model.weights={}", folder.display());
    place.train(&[&weights]).with(0, &["has no config.json: the model's sizes are those of [model.config]"]);
}

#[test]
fn a_file_cut_short() {
    let place = Place::new();
    let folder = model_copy(&place);
    let file = folder.join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for length in [3, 500, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).unwrap();
        let place_of_it = format!("{}: is ", file.display());
        refused(&place, &folder, &[&place_of_it, "cut short", "help: fetch or copy the file again"]);
        kiln(["predict", &folder.display().to_string(), "--input", "-"]).with_problems(2, 1, &[&place_of_it]);
    }
    std::fs::write(&file, "").unwrap();
    refused(&place, &folder, &[&format!("{}: is empty", file.display())]);
    std::fs::write(&file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap();
    refused(&place, &folder, &["is a Git LFS pointer", "help: run `git lfs pull`"]);
}

/// A folder of the tiny model whose weights are this fixture's.
fn with_weights(place: &Place, name: &str) -> (PathBuf, PathBuf) {
    let folder = model_copy(place);
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    let source = fixture(name);
    let file = folder.join(source.file_name().unwrap());
    std::fs::copy(&source, &file).unwrap();
    (folder, file)
}

#[test]
fn weights_of_another_architecture() {
    let place = Place::new();
    let (folder, _) = with_weights(&place, "weights/model.safetensors");
    let words =
        [&folder.display().to_string(), "ernie_m.embeddings.word_embeddings.weight", "another architecture", "help:"];
    refused(&place, &folder, &words);
}

#[test]
fn weights_of_another_shape() {
    let place = Place::new();
    let (folder, _) = with_weights(&place, "parity/hf_erniem_seqcls/ckpt_safetensors/model.safetensors");
    let words = [
        &folder.display().to_string(),
        "ernie_m.embeddings.word_embeddings.weight has the shape [50, 10], the model needs [329, 64]",
        "help: the weights are of another size or architecture",
    ];
    refused(&place, &folder, &words);
}

/// Unpickling these with Python runs their code, which would make a file; here it is a clear refusal.
#[test]
fn pickles_that_would_run_code() {
    for attack in std::fs::read_dir(fixture("weights/attacks")).unwrap() {
        let name = attack.unwrap().file_name().into_string().unwrap();
        let place = Place::new();
        let (folder, file) = with_weights(&place, &format!("weights/attacks/{name}"));
        refused(&place, &folder, &[&file.display().to_string()]);
        let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("kiln-was-attacked");
        assert!(!trace.exists(), "{name} has run its code");
    }
}

/// A broken `config.json` comes with weights from anywhere: no value in it may make the program panic or compute nonsense.
#[test]
fn configurations_that_no_model_can_have() {
    let cases = [
        ("hidden_dropout_prob", "1.5"),
        ("hidden_dropout_prob", "-0.1"),
        ("attention_probs_dropout_prob", "1.0"),
        ("act_dropout", "2.0"),
        ("classifier_dropout", "7.0"),
        ("layer_norm_eps", "-1.0"),
        ("num_attention_heads", "0"),
        ("num_attention_heads", "7"),
        ("max_position_embeddings", "2"),
        ("vocab_size", "-1"),
        ("vocab_size", "1000000000000000"),
        ("hidden_size", "0"),
        ("hidden_act", "\"swish\""),
        ("id2label", "{}"),
        ("model_type", "\"bert\""),
        ("model_type", "3"),
    ];
    let place = Place::new();
    let folder = model_copy(&place);
    let config = folder.join("config.json");
    let good = json(&config);
    let input = place.write("in.tsv", "A dog\tA cat\n");
    let mut faults = Vec::new();
    for (key, value) in cases {
        let mut words = good.clone();
        words[key] = serde_json::from_str(value).unwrap();
        std::fs::write(&config, words.to_string()).unwrap();
        let (folder, input) = (folder.display().to_string(), input.display().to_string());
        let ended = kiln(["predict", &folder, "--input", &input]);
        let names_the_folder = ended.stderr.contains(&folder);
        if ended.code != Some(2) || ended.stderr.contains("panicked at") || !names_the_folder {
            faults.push(format!("{key} = {value}: code {:?}, {}{}", ended.code, ended.stdout, ended.stderr));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_configuration_that_is_no_json() {
    let place = Place::new();
    let folder = model_copy(&place);
    let config = folder.join("config.json");
    std::fs::write(&config, "{\n  \"model_type\": ernie\n}").unwrap();
    let word = format!("{}:2:17: is no JSON", config.display());
    kiln(["predict", &folder.display().to_string(), "--input", "-"]).with_problems(2, 1, &[&word]);
}
