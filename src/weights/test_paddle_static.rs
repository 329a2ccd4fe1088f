//! Checkpoints of Paddle's static graphs. The fixtures come from `tests/fixtures/weights/static/make.py`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// Of the small ERNIE that the fixtures hold.
const PARAMETERS: usize = 46;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/static").join(name)
}

fn open(path: &Path) -> Weights {
    Weights::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// The message and the help for a path that cannot be opened.
fn refused(path: &Path) -> String {
    let error = Weights::open(path).unwrap_err();
    let problem = &error.problems()[0];
    let help = miette::Diagnostic::help(problem).map_or(String::new(), |help| format!(" | {help}"));
    format!("{problem}{help}").replace(&format!("{}/", path.parent().unwrap().display()), "")
}

/// A folder of the fixture's variables under other names: those for which there is none are left out.
fn renamed(new_name: impl Fn(&str) -> Option<String>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture("static_vars")).unwrap() {
        let file = file.unwrap();
        if let Some(name) = new_name(file.file_name().to_str().unwrap()) {
            std::fs::copy(file.path(), folder.path().join(name)).unwrap();
        }
    }
    folder
}

fn without_training(name: &str) -> Option<String> {
    (!paddle_static_names::is_training_state(name)).then(|| name.to_string())
}

/// Checks that a static checkpoint holds what PaddleNLP's own state of the same model does, under the same names, and
/// gives what else it holds. The state's names begin with `prefix` in the static checkpoint; it holds the decoder
/// twice, as it is tied.
fn compare(found: &Weights, state: &str, prefix: &str) -> Vec<String> {
    let state = open(&fixture(state));
    let tied = ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"];
    let expected: Vec<&str> = state.names().filter(|name| !tied.contains(name)).collect();
    assert!(expected.len() > 20);
    for name in &expected {
        let ours = format!("{prefix}{name}");
        let entry = found.get(&ours).unwrap_or_else(|| panic!("{ours} is missing"));
        assert_eq!((&entry.shape, entry.dtype), (&state.get(name).unwrap().shape, Dtype::F32), "{ours}");
        assert_eq!(found.read_f32(&ours).unwrap(), state.read_f32(name).unwrap(), "{ours}");
    }
    assert_eq!(found.layout(), Layout::Paddle);
    let expected: Vec<String> = expected.iter().map(|name| format!("{prefix}{name}")).collect();
    found.names().filter(|name| !expected.iter().any(|one| one == name)).map(str::to_string).collect()
}

#[test]
fn variables_of_paddlenlp_get_the_names_of_its_dynamic_model() {
    for path in ["static_vars", "pretraining.pdparams"] {
        let found = open(&fixture(path));
        // The decoder's weight, which is tied and nothing uses.
        assert_eq!(compare(&found, "pretraining_dynamic.pdparams", ""), ["linear_14.w_0"], "{path}");
    }
}

#[test]
fn a_bare_model_whose_numbers_do_not_start_at_0() {
    let found = open(&fixture("bare.pdparams"));
    assert_eq!(compare(&found, "bare_dynamic.pdparams", "ernie."), [""; 0]);
}

#[test]
fn a_head_of_paddlenlp_2_5_counts_one_layer_less() {
    let folder = renamed(|name| match name {
        "linear_14.w_0" => None,
        "linear_14.b_0" => Some("ernie_lm_prediction_head_0.b_0".to_string()),
        _ => Some(name.replace("linear_15.", "linear_14.")),
    });
    assert_eq!(compare(&open(folder.path()), "pretraining_dynamic.pdparams", ""), [""; 0]);
}

/// What Baidu's code of 2019 calls the variables of a model of two layers, by PaddleNLP's numbers.
fn of_baidu(name: &str) -> Option<String> {
    let (layer, leaf) = name.split_once('.')?;
    let scale = if leaf == "w_0" { "scale" } else { "bias" };
    let fc = |name: &str| Some(format!("{name}.{leaf}"));
    match layer {
        "embedding_0" => Some("word_embedding".into()),
        "embedding_1" => Some("pos_embedding".into()),
        "embedding_2" => Some("sent_embedding".into()),
        "layer_norm_0" => Some(format!("pre_encoder_layer_norm_{scale}")),
        "layer_norm_1" => Some(format!("encoder_layer_0_post_att_layer_norm_{scale}")),
        "layer_norm_2" => Some(format!("encoder_layer_0_post_ffn_layer_norm_{scale}")),
        "layer_norm_3" => Some(format!("encoder_layer_1_post_att_layer_norm_{scale}")),
        "layer_norm_4" => Some(format!("encoder_layer_1_post_ffn_layer_norm_{scale}")),
        "layer_norm_5" => Some(format!("mask_lm_trans_layer_norm_{scale}")),
        "linear_0" => fc("encoder_layer_0_multi_head_att_query_fc"),
        "linear_1" => fc("encoder_layer_0_multi_head_att_key_fc"),
        "linear_2" => fc("encoder_layer_0_multi_head_att_value_fc"),
        "linear_3" => fc("encoder_layer_0_multi_head_att_output_fc"),
        "linear_4" => fc("encoder_layer_0_ffn_fc_0"),
        "linear_5" => fc("encoder_layer_0_ffn_fc_1"),
        "linear_6" => fc("encoder_layer_1_multi_head_att_query_fc"),
        "linear_7" => fc("encoder_layer_1_multi_head_att_key_fc"),
        "linear_8" => fc("encoder_layer_1_multi_head_att_value_fc"),
        "linear_9" => fc("encoder_layer_1_multi_head_att_output_fc"),
        "linear_10" => fc("encoder_layer_1_ffn_fc_0"),
        "linear_11" => fc("encoder_layer_1_ffn_fc_1"),
        "linear_12" => fc("pooled_fc"),
        "linear_13" => fc("mask_lm_trans_fc"),
        "linear_14" if leaf == "b_0" => fc("mask_lm_out_fc"),
        "linear_15" => fc("next_sent_fc"),
        _ => None,
    }
}

#[test]
fn variables_of_baidu_get_the_same_names() {
    let folder = renamed(|name| if name.contains("_0_") { None } else { of_baidu(name) });
    // As in the archives of 2019: the state of the training, a file that is no variable, and a variable of no model.
    for name in ["@LR_DECAY_COUNTER@", "word_embedding_moment1_0", "pooled_fc.w_0_beta1_pow_acc_0", "tmp_0"] {
        std::fs::copy(fixture("types/int64"), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("vocab.txt"), "[PAD]\t0\n").unwrap();
    assert_eq!(compare(&open(folder.path()), "pretraining_dynamic.pdparams", ""), ["tmp_0"]);
}

#[test]
fn a_folder_is_found_in_the_folder_that_a_training_leaves() {
    let place = tempfile::tempdir().unwrap();
    for (name, inner) in [("model_500", "static_vars"), ("ERNIE_1.0", "params")] {
        let folder = place.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("vocab.txt"), "[PAD]\n").unwrap();
        assert!(refused(&folder).starts_with(&format!("{name}: holds no weights | looked for")));
        std::fs::rename(renamed(without_training).keep(), folder.join(inner)).unwrap();
        assert_eq!(compare(&open(&folder), "pretraining_dynamic.pdparams", ""), ["linear_14.w_0"]);
    }
    // A file of the known ones comes first.
    std::fs::copy(fixture("bare_dynamic.pdparams"), place.path().join("model_500/model_state.pdparams")).unwrap();
    assert!(open(&place.path().join("model_500")).get("embeddings.word_embeddings.weight").is_some());
}

#[test]
fn every_type_that_paddle_saves() {
    let found = open(&fixture("types"));
    assert_eq!(found.layout(), Layout::Paddle);
    let integers: [(&str, Dtype, &[i64]); 5] = [
        ("int8", Dtype::I8, &[-8, 8]),
        ("uint8", Dtype::U8, &[8, 200]),
        ("int16", Dtype::I16, &[-300, 300]),
        ("int32", Dtype::I32, &[-70_000, 70_000]),
        ("int64", Dtype::I64, &[-1 << 40, 1 << 40]),
    ];
    for (name, dtype, values) in integers {
        assert_eq!(found.get(name).unwrap().dtype, dtype);
        assert_eq!(found.read_i64(name).unwrap(), values);
    }
    let floats: [(&str, Dtype, &[usize], &[f32]); 5] = [
        ("float16", Dtype::F16, &[2, 1], &[1.5, -2.0]),
        ("bfloat16", Dtype::BF16, &[2], &[3.0, -0.25]),
        ("float32", Dtype::F32, &[2, 3], &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        ("single", Dtype::F32, &[], &[7.0]),
        ("lod", Dtype::F32, &[3, 1], &[1.0, 2.0, 3.0]),
    ];
    for (name, dtype, shape, values) in floats {
        assert_eq!((&found.get(name).unwrap().shape[..], found.get(name).unwrap().dtype), (shape, dtype), "{name}");
        assert_eq!(found.read_f32(name).unwrap(), values, "{name}");
    }
    assert_eq!(found.read_f64("float64").unwrap(), [1.0 / 3.0, -1e300]);
    assert_eq!(found.names().count(), integers.len() + floats.len() + 1);
}

#[test]
fn a_variable_alone_is_called_like_its_file() {
    let found = open(&fixture("static_vars/linear_4.w_0"));
    assert_eq!(found.names().collect::<Vec<_>>(), ["linear_4.w_0"]);
    assert_eq!(found.get("linear_4.w_0").unwrap().shape, [4, 6]);
}

#[test]
fn dynamic_names_stay_as_they_are() {
    // Names that would be taken for a static graph's if the last did not show that they are none.
    let mut names = ["embedding_0.w_0", "word_embedding", "linear_0.w_0_moment1_0", "ernie.pooler.dense.weight"];
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::copy(fixture("types/float32"), folder.path().join(name)).unwrap();
    }
    let kept = |folder: &TempDir| open(folder.path()).names().map(str::to_string).collect::<Vec<_>>();
    // The training's state is left out of a folder by its file's name.
    names.sort_unstable();
    let without_state: Vec<_> = names.into_iter().filter(|name| !name.contains("moment")).collect();
    assert_eq!(kept(&folder), without_state);
    std::fs::remove_file(folder.path().join("ernie.pooler.dense.weight")).unwrap();
    assert_eq!(kept(&folder), ["embedding_0.w_0", "ernie.embeddings.word_embeddings.weight"]);
    let dynamic = open(&fixture("pretraining_dynamic.pdparams"));
    assert!(dynamic.names().all(|name| name.starts_with("ernie.") || name.starts_with("cls.")));
}

#[test]
fn variables_of_another_model_keep_their_names() {
    // A word table of another width than the encoder's, as RemBERT has it.
    let folder = renamed(without_training);
    std::fs::copy(fixture("types/float32"), folder.path().join("embedding_0.w_0")).unwrap();
    let found = open(folder.path());
    assert!(found.get("embedding_0.w_0").is_some() && found.get("linear_12.b_0").is_some());
    assert!(found.names().all(|name| !paddle_static_names::is_dynamic(name)));
}

#[test]
fn a_layer_that_is_missing_is_missing_alone() {
    let folder = renamed(|name| without_training(name).filter(|name| name != "linear_7.w_0"));
    let found = open(folder.path());
    assert!(found.get("ernie.encoder.layers.1.self_attn.k_proj.weight").is_none());
    assert!(found.get("ernie.encoder.layers.1.self_attn.k_proj.bias").is_some());
    assert_eq!(found.names().filter(|name| paddle_static_names::is_dynamic(name)).count(), PARAMETERS - 1);
}

#[test]
fn messages_say_what_is_wrong() {
    let combined = refused(&fixture("combined"));
    assert!(
        combined.starts_with("combined: holds several variables of Paddle's, without their names | "),
        "{combined}"
    );
    assert!(combined.contains("save_persistables(executor, FOLDER, program)"), "{combined}");
    assert_eq!(
        refused(&fixture("bare.pdopt")),
        "bare.pdopt: holds the state of an optimizer, and no weights | the weights are in the .pdparams beside it"
    );
    let folder = renamed(without_training);
    let file = folder.path().join("linear_3.b_0");
    let whole = std::fs::read(&file).unwrap();
    let message = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let error = Weights::open(folder.path()).unwrap_err().to_string();
        let message = error.strip_prefix(&format!("{}: ", file.display())).map(str::to_string);
        message.unwrap_or_else(|| panic!("{error} does not name the file"))
    };
    assert_eq!(message(b""), "is empty");
    assert_eq!(message(&whole[..30]), "is cut short: it has 30 bytes, its variable goes on to byte 40");
    assert_eq!(message(b"version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer, not the weights");
    assert_eq!(message(b"<html>"), "is not a checkpoint that Kiln knows");
    assert_eq!(
        message(&[&whole[..], &[1]].concat()),
        "is damaged at byte 40: its numbers end here, and 1 bytes follow"
    );
}
