//! `kiln convert`: every reference checkpoint to every layout and back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln::weights::Weights;
use serde_json::Value;

use super::encode::{encode, write_ids};
use super::{Ended, Place, json, kiln, largest_difference, tensors, trained};
use crate::{fixture, real_data};

/// Sums of f32 products in another order.
const LOGITS: f32 = 2e-5;

fn convert(source: &Path, target: &Path, to: &str, more: &[&str]) -> Ended {
    let paths = ["convert".as_ref(), source.as_os_str(), target.as_os_str(), "--to".as_ref(), to.as_ref()];
    kiln(paths.into_iter().chain(more.iter().map(|word| word.as_ref())))
}

/// The load report of a conversion that works.
#[track_caller]
fn converted(source: &Path, target: &Path, to: &str) -> Value {
    serde_json::from_str(&convert(source, target, to, &["--json"]).with(0, &[]).stdout).unwrap()
}

/// Folders with a checkpoint and its `config.json`, by the names of the references: transformers' and PaddleNLP's.
fn references() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for root in [Some(fixture("parity")), real_data().map(|data| data.join("golden"))].into_iter().flatten() {
        for entry in std::fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            let folders = ["ckpt_safetensors", "ckpt"].map(|folder| path.join(folder));
            found.extend(folders.into_iter().filter(|f| f.join("config.json").exists()).map(|f| (name.clone(), f)));
        }
    }
    found.sort();
    assert!(found.len() >= 20, "{found:?}");
    found
}

/// All tensors of numbers with a fraction, by name.
fn all(folder: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let weights = Weights::open(folder).unwrap();
    let read = |name: &str| (weights.get(name).unwrap().shape.clone(), weights.read_f32(name).unwrap());
    let names = weights.names().filter(|name| !name.ends_with("position_ids"));
    names.map(|name| (name.to_string(), read(name))).collect()
}

fn is_of(name: &str, family: &str) -> bool {
    name.contains(&format!("_{family}_"))
}

/// transformers' files hold what transformers itself would write: not one bit and not one name differs, also after a detour through
/// PaddleNLP's layout, which holds matrices the other way round. Only XLM-R's bias is there twice, for transformers 4.
#[test]
fn every_reference_goes_to_every_layout_of_its_family_and_back() {
    let place = Place::new();
    for (number, (name, source)) in references().into_iter().enumerate() {
        let folder = |to: &str| place.path(&format!("{number}-{name}-{to}"));
        let report = converted(&source, &folder("hf"), "hf");
        assert_eq!(report["missing"], Value::Array(vec![]), "{name}");
        let first = all(&folder("hf"));
        if name.starts_with("hf_") {
            let mut expected = all(&source);
            if let Some(bias) = expected.get("lm_head.bias").cloned() {
                expected.insert("lm_head.decoder.bias".into(), bias);
            }
            assert_eq!(expected.keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>(), "{name}");
            assert!(expected == first, "{name}");
            let class = |folder: &Path| json(&folder.join("config.json"))["architectures"].clone();
            assert_eq!(class(&folder("hf")), class(&source), "{name}");
        }
        converted(&folder("hf"), &folder("kiln"), "kiln");
        assert!(all(&folder("kiln")) == first, "{name}");
        if !is_of(&name, "xlmr") {
            converted(&folder("kiln"), &folder("paddle"), "paddle");
            assert!(folder("paddle").join("model_state.pdparams").exists());
            converted(&folder("paddle"), &folder("back"), "hf");
            assert!(all(&folder("back")) == first, "{name}");
        }
    }
}

/// ERNIE-M is XLM-R in other words, ERNIE is BERT.
#[test]
fn a_copy_of_another_family_computes_the_same() {
    let place = Place::new();
    let mut compared = 0;
    for (number, (name, source)) in references().into_iter().enumerate() {
        let to = match () {
            () if is_of(&name, "erniem") => "xlm-roberta",
            () if is_of(&name, "ernie") => "bert",
            () => continue,
        };
        let Some(ids) = ids(&place, number, &source) else { continue };
        let copy = place.path(&format!("{number}-{name}"));
        converted(&source, &copy, to);
        let [own, other] = [(&source, "own"), (&copy, "other")].map(|(folder, which)| {
            let output = place.path(&format!("{number}-{which}.safetensors"));
            encode(folder, "--ids", &ids, &output).with(0, &[]);
            tensors(&output)
        });
        let names: Vec<&String> =
            own.keys().filter(|name| name.contains("logits") || *name == "last_hidden_state").collect();
        assert!(names.len() > 1, "{name} {names:?}");
        for output in names {
            let [own, other] = [&own, &other].map(|outputs| seen(&outputs[output], &ids));
            let difference = largest_difference(&own, &other);
            assert!(difference < LOGITS, "{name} {output}: {difference:e}");
        }
        compared += 1;
    }
    assert!(compared >= 8, "{compared}");
}

/// The numbers of an output, those of padding left out: its positions are others in XLM-R.
fn seen((shape, values): &(Vec<usize>, Vec<f32>), ids: &Path) -> Vec<f32> {
    let ids = Weights::open(ids).unwrap();
    let mask = ids.read_i64("attention_mask").unwrap();
    match shape[..2] == ids.get("attention_mask").unwrap().shape {
        true => {
            let tokens = values.chunks(values.len() / mask.len()).zip(&mask);
            tokens.filter(|(_, mask)| **mask == 1).flat_map(|(values, _)| values.to_vec()).collect()
        }
        false => values.clone(),
    }
}

/// The inputs of a reference as a file of `kiln encode`, its attention mask included. Task types are those of all rows: 0.
fn ids(place: &Place, number: usize, source: &Path) -> Option<PathBuf> {
    let file = source.parent()?.join("io.safetensors");
    let io = Weights::open(&file).ok()?;
    let names = ["input_ids", "attention_mask", "token_type_ids"];
    let known: Vec<(&str, Vec<usize>, Vec<i64>)> = names
        .into_iter()
        .filter_map(|name| {
            let full = format!("in.{name}");
            Some((name, io.get(&full)?.shape.clone(), io.read_i64(&full).unwrap()))
        })
        .collect();
    // PaddleNLP's references have outputs alone.
    known.first()?;
    let path = place.path(&format!("{number}-ids.safetensors"));
    let matrices: Vec<(&str, &[usize], &[i64])> = known.iter().map(|(n, s, v)| (*n, &s[..], &v[..])).collect();
    write_ids(&path, &matrices);
    Some(path)
}

/// A trained model leaves whole: its tokenizer where that can be said, its labels, its predictions.
#[test]
fn a_trained_model_becomes_an_xlm_roberta_that_labels_as_it_did() {
    let place = Place::new();
    let copy = place.path("copy");
    let ended = convert(trained(), &copy, "xlm-roberta", &[]).with(0, &[]);
    for words in ["XLMRobertaForSequenceClassification", "loaded      40", "made", "token_type_embeddings"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let config = json(&copy.join("config.json"));
    assert_eq!(config["model_type"], "xlm-roberta");
    assert_eq!(config["id2label"], json(&trained().join("best/config.json"))["id2label"]);
    // Its tokenizer splits pieces after the fact, which tokenizer.json cannot say.
    assert!(ended.stdout.contains("no tokenizer is written"), "{}", ended.stdout);
    assert!(!copy.join("vocab.txt").exists());
}

/// In 16 bits and in pieces it is still the model.
#[test]
fn weights_are_written_in_shards_and_in_16_bits() {
    let place = Place::new();
    let (whole, cut) = (place.path("whole"), place.path("cut"));
    converted(trained(), &whole, "kiln");
    convert(trained(), &cut, "kiln", &["--dtype", "bf16", "--max-shard-size", "20KB"]).with(0, &[]);
    assert!(cut.join("model.safetensors.index.json").exists() && !cut.join("model.safetensors").exists());
    assert_eq!(json(&cut.join("config.json"))["torch_dtype"], "bfloat16");
    let (whole, cut) = (all(&whole), all(&cut));
    assert_eq!(whole.keys().collect::<Vec<_>>(), cut.keys().collect::<Vec<_>>());
    for (name, (shape, values)) in &whole {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= a.abs() / 256.0;
        assert!(*shape == cut[name].0 && values.iter().zip(&cut[name].1).all(near), "{name}");
    }
}

#[test]
fn elmo_goes_to_allennlp_and_to_baidu_and_back() {
    let place = Place::new();
    let characters = fixture("parity").join("elmo_characters");
    let source = place.path("source");
    std::fs::create_dir(&source).unwrap();
    for file in ["options.json", "weights.hdf5"] {
        std::fs::copy(characters.join(file), source.join(file)).unwrap();
    }
    let folder = |name: &str| place.path(name);
    converted(&source, &folder("kiln"), "kiln");
    let card = std::fs::read_to_string(folder("kiln").join("README.md")).unwrap();
    assert!(card.contains("library_name: kiln") && !card.contains("transformers"), "{card}");
    let report = converted(&folder("kiln"), &folder("allennlp"), "allennlp");
    assert_eq!(report["unexpected"].as_array().unwrap().len(), 2, "the mixture is not in AllenNLP's files: {report}");
    assert_eq!(json(&folder("allennlp").join("options.json"))["lstm"], json(&source.join("options.json"))["lstm"]);
    converted(&folder("allennlp"), &folder("again"), "kiln");
    assert!(all(&folder("kiln")) == all(&folder("again")));
    convert(&source, &folder("x"), "paddle", &[]).with(2, &["is an ELMo of characters", "--to allennlp"]);
    convert(&source, &folder("x"), "hf", &[]).with(2, &["no library of Hugging Face's has"]);
    assert!(!folder("x").exists());
}

#[test]
fn what_cannot_be_converted_is_said_and_nothing_is_left() {
    let place = Place::new();
    let target = place.path("target");
    let bert = fixture("parity").join("hf_bert_seqcls/ckpt_safetensors");
    let refused = |source: &Path, to: &str, more: &[&str], words: &[&str]| {
        convert(source, &target, to, more).with_problems(2, 1, words);
        assert_eq!(
            std::fs::read_dir(target.parent().unwrap())
                .unwrap()
                .filter(|f| { f.as_ref().unwrap().file_name().to_str().unwrap().contains("target") })
                .count(),
            0
        );
    };
    refused(&place.path("nothing"), "hf", &[], &["nothing: is not there"]);
    refused(&bert, "xlm-roberta", &[], &["is of the family bert, which no xlm-roberta computes"]);
    refused(&bert, "allennlp", &[], &["AllenNLP's layout is ELMo's"]);
    refused(&bert, "hf", &["--max-shard-size", "5"], &["--max-shard-size cannot be `5`", "\"5GB\""]);
    refused(&bert, "paddle", &["--dtype", "bf16"], &["written in f32"]);
    let empty = place.path("empty");
    std::fs::create_dir(&empty).unwrap();
    refused(&empty, "hf", &[], &["holds no weights"]);
    // A configuration of other sizes, and a checkpoint that lacks a layer.
    let wrong = place.path("wrong");
    std::fs::create_dir(&wrong).unwrap();
    std::fs::copy(bert.join("model.safetensors"), wrong.join("model.safetensors")).unwrap();
    let mut config = json(&bert.join("config.json"));
    config["vocab_size"] = 7.into();
    std::fs::write(wrong.join("config.json"), config.to_string()).unwrap();
    refused(&wrong, "hf", &[], &["word_embeddings.weight has the shape", "different models"]);
    let mut config = json(&bert.join("config.json"));
    config["num_hidden_layers"] = 3.into();
    std::fs::write(wrong.join("config.json"), config.to_string()).unwrap();
    refused(&wrong, "hf", &[], &["holds no tensor bert.encoder.layer.2.", "and 15 more"]);
    // Nothing is overwritten.
    std::fs::create_dir(&target).unwrap();
    convert(&bert, &target, "hf", &[]).with_problems(2, 1, &["is there already"]);
}

/// What static pre-training leaves, with nothing that says its sizes, is a model of PaddleNLP's dynamic classes and of transformers.
#[test]
fn static_variables_become_dynamic_parameters() {
    let place = Place::new();
    let folder = fixture("weights/static");
    let report = converted(&folder.join("static_vars"), &place.path("paddle"), "paddle");
    let notes = report["notes"].to_string();
    assert!(notes.contains("the sizes and the class are those of the tensors"), "{notes}");
    converted(&place.path("paddle"), &place.path("hf"), "hf");
    let dynamic = Weights::open(&folder.join("pretraining_dynamic.pdparams")).unwrap();
    let written = all(&place.path("paddle"));
    assert_eq!(report["class"], "ErnieForPretraining");
    assert_eq!(json(&place.path("hf/config.json"))["architectures"][0], "ErnieForPreTraining");
    assert_eq!(written.len(), dynamic.names().count());
    for (name, (shape, values)) in written {
        let known = dynamic.names().find(|known| *known == name || known.ends_with(&format!(".{name}")));
        let known = known.unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (&dynamic.get(known).unwrap().shape, &dynamic.read_f32(known).unwrap()),
            (&shape, &values),
            "{name}"
        );
    }
}

/// PaddleNLP's and Baidu's archives of before 2022 have no config.json.
#[test]
fn a_folder_without_a_configuration_gets_one_from_its_tensors() {
    let place = Place::new();
    let (source, target) = (place.path("source"), place.path("target"));
    std::fs::create_dir(&source).unwrap();
    let paddle = fixture("parity").join("pd_ernie_seqcls/ckpt");
    std::fs::copy(paddle.join("model_state.pdparams"), source.join("model_state.pdparams")).unwrap();
    let own = json(&paddle.join("config.json"));
    let old = serde_json::json!({
        "init_args": [{ "init_class": "ErnieModel", "num_attention_heads": own["num_attention_heads"] }],
        "init_class": "ErnieForSequenceClassification",
        "num_classes": 3,
    });
    std::fs::write(source.join("model_config.json"), old.to_string()).unwrap();
    converted(&source, &target, "hf");
    let config = json(&target.join("config.json"));
    assert_eq!(config["architectures"][0], "ErnieForSequenceClassification");
    for word in ["vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads"] {
        assert_eq!(config[word], own[word], "{word}");
    }
    assert_eq!(config["id2label"]["2"], "LABEL_2");
}
