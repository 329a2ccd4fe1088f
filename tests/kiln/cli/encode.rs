//! `kiln encode`: what texts and ids become, against Hugging Face's numbers, and ids that no model has.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};

use super::{Ended, Place, kiln, largest_difference, predict_texts, tensors, trained};
use crate::fixture;

const HIDDEN: usize = 64;

pub(super) fn encode(dir: &Path, how: &str, input: &Path, output: &Path) -> Ended {
    kiln(["encode".as_ref(), dir.as_os_str(), how.as_ref(), input.as_os_str(), "--output".as_ref(), output.as_os_str()])
}

/// Writes matrices of whole numbers.
pub(super) fn write_ids(path: &Path, matrices: &[(&str, &[usize], &[i64])]) {
    let bytes: Vec<Vec<u8>> =
        matrices.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = matrices.iter().zip(&bytes);
    let views: HashMap<&str, TensorView> = views
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::I64, shape.to_vec(), bytes).unwrap()))
        .collect();
    serialize_to_file(views, None, path).unwrap();
}

#[test]
fn texts_become_states_of_the_layers_and_the_head() {
    let place = Place::new();
    let texts = place.write("texts.txt", "A dog runs in the park.\nMaria\n\nPaul buys 2 blue roses at the station.\n");
    let output = place.path("out.safetensors");
    encode(trained(), "--input", &texts, &output).with(0, &["40 tensors loaded"]);
    let found = tensors(&output);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names[1..], ["hidden.0", "hidden.1", "hidden.2", "last_hidden_state", "logits", "pooled"]);
    let seq = found["hidden.0"].0[1];
    assert!((6..=64).contains(&seq));
    for name in ["hidden.0", "hidden.1", "hidden.2", "last_hidden_state"] {
        assert_eq!(found[name].0, [4, seq, HIDDEN], "{name}");
    }
    assert_eq!((names[0], &found[names[0]].0[..]), ("attention_mask", &[4, seq][..]));
    let lengths = found["attention_mask"].1.chunks(seq).map(|row| row.iter().sum::<f32>() as usize);
    let lengths: Vec<usize> = lengths.collect();
    // The empty text is [CLS] and [SEP].
    assert_eq!((lengths[2], lengths.iter().max()), (2, Some(&seq)), "{lengths:?}");
    assert_eq!(found["pooled"].0, [4, HIDDEN]);
    assert_eq!(found["logits"].0, [4, 3]);
    assert_eq!(found["last_hidden_state"], found["hidden.2"]);
    assert!(found.values().all(|(_, values)| values.iter().all(|value| value.is_finite())));
}

/// The logits of `encode` are what `predict` makes its probabilities of.
#[test]
fn logits_of_texts_are_those_of_predictions() {
    let place = Place::new();
    let texts = place.write("texts.txt", "A dog runs in the park.\nMaria\nPaul buys 2 blue roses at the station.\n");
    let output = place.path("out.safetensors");
    encode(trained(), "--input", &texts, &output).with(0, &[]);
    let logits = &tensors(&output)["logits"].1;
    let shares: Vec<f32> = logits.chunks(3).flat_map(softmax).collect();
    assert!(largest_difference(&shares, &predict_texts(&texts)) < 1e-5);
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let powers: Vec<f32> = logits.iter().map(|logit| logit.exp()).collect();
    powers.iter().map(|power| power / powers.iter().sum::<f32>()).collect()
}

/// The ids of a text, given as ids, with or without padding, come out as the text does.
#[test]
fn ids_give_what_their_text_gives() {
    let place = Place::new();
    let vocabulary = std::fs::read_to_string(trained().join("best/vocab.txt")).unwrap();
    let id = |token: &str| vocabulary.lines().position(|line| line == token).unwrap() as i64;
    // A word that is one piece of its own.
    let (cls, sep, pad) = (id("[CLS]"), id("[SEP]"), id("[PAD]"));
    let word = vocabulary.lines().find(|line| line.starts_with('▁') && line.chars().count() > 3).unwrap();
    let texts = place.write("text.txt", format!("{}\n", word.trim_start_matches('▁')));
    let output = |name: &str| place.path(&format!("{name}.out.safetensors"));
    encode(trained(), "--input", &texts, &output("text")).with(0, &[]);
    let mut text = tensors(&output("text"));
    assert_eq!(text.remove("attention_mask").unwrap().1, [1.0; 3]);
    assert_eq!(text["hidden.0"].0[1], 3, "`{word}` is one token between two");

    let ids = [cls, id(word), sep];
    write_ids(&place.path("ids"), &[("input_ids", &[1, 3], &ids)]);
    encode(trained(), "--ids", &place.path("ids"), &output("ids")).with(0, &[]);
    let plain = tensors(&output("ids"));
    assert!(plain == text, "the same ids without padding are the same computation");

    let padded = [&ids[..], &[pad, pad]].concat();
    let whole: [(&str, &[usize], &[i64]); 3] = [
        ("input_ids", &[1, 5], &padded),
        ("attention_mask", &[1, 5], &[1, 1, 1, 0, 0]),
        ("position_ids", &[1, 5], &[0, 1, 2, 3, 4]),
    ];
    write_ids(&place.path("padded"), &whole);
    encode(trained(), "--ids", &place.path("padded"), &output("padded")).with(0, &[]);
    let padded = tensors(&output("padded"));
    assert!(largest_difference(&padded["logits"].1, &text["logits"].1) < 1e-5);
    assert!(largest_difference(&padded["hidden.2"].1[..3 * HIDDEN], &text["hidden.2"].1) < 1e-5);

    // Other positions, another result: the file's are used.
    write_ids(&place.path("moved"), &[whole[0], whole[1], ("position_ids", &[1, 5], &[5, 6, 7, 8, 9])]);
    encode(trained(), "--ids", &place.path("moved"), &output("moved")).with(0, &[]);
    assert!(
        largest_difference(&tensors(&output("moved"))["hidden.0"].1[..HIDDEN], &text["hidden.0"].1[..HIDDEN]) > 1e-3
    );
}

/// The whole way from files to files gives the numbers of Hugging Face's and PaddleNLP's classes.
#[test]
fn checkpoints_of_both_libraries_give_their_numbers() {
    let classified: &[&str] = &["logits", "pooled", "last_hidden"];
    let pre_trained: &[&str] = &["prediction_logits", "seq_relationship_logits", "pooled", "last_hidden"];
    let cases: [(&str, &str, &str, &[&str]); 9] = [
        ("hf_erniem_seqcls", "hf_erniem_seqcls/ckpt_safetensors", "40 tensors loaded", classified),
        ("hf_rembert_seqcls", "hf_rembert_seqcls/ckpt_safetensors", "43 tensors loaded", classified),
        ("hf_rembert_seqcls", "hf_rembert_seqcls/ckpt_bin", "43 tensors loaded", classified),
        ("hf_rembert_mlm", "hf_rembert_mlm/ckpt_safetensors", "45 tensors loaded", &["logits"]),
        ("hf_rembert_tokcls", "hf_rembert_tokcls/ckpt_safetensors", "41 tensors loaded", &["logits"]),
        ("hf_rembert_qa", "hf_rembert_qa/ckpt_safetensors", "41 tensors loaded", &["start_logits", "end_logits"]),
        ("hf_rembert_seqcls", "pd_rembert_seqcls/ckpt", "43 tensors loaded", classified),
        ("hf_ernie_pretrain", "hf_ernie_pretrain/ckpt_bin", "46 tensors loaded", pre_trained),
        ("hf_ernie_seqcls", "hf_ernie_seqcls/ckpt_safetensors", "41 tensors loaded", classified),
    ];
    let place = Place::new();
    let output = place.path("out.safetensors");
    for (reference, folder, loaded, outputs) in cases {
        let io = fixture("parity").join(reference).join("io.safetensors");
        encode(&fixture("parity").join(folder), "--ids", &io, &output).with(0, &[loaded]);
        let found = tensors(&output);
        let bytes = std::fs::read(&io).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for theirs in outputs.iter().chain(&["hidden.0", "hidden.1", "hidden.2"]) {
            let ours = match *theirs {
                "last_hidden" => "last_hidden_state",
                "logits" if reference.ends_with("mlm") => "prediction_logits",
                other => other,
            };
            let apart = largest_difference(&found[ours].1, &expected(&file, &format!("out.{theirs}")));
            assert!(apart < 2e-5, "{folder} {ours}: {apart}");
        }
    }
}

/// A reference's numbers, from its float64 run where it has one.
fn expected(file: &SafeTensors, name: &str) -> Vec<f32> {
    match file.tensor(&format!("{name}.f64")) {
        Ok(tensor) => tensor.data().as_chunks::<8>().0.iter().map(|eight| f64::from_le_bytes(*eight) as f32).collect(),
        Err(_) => {
            let tensor = file.tensor(name).unwrap();
            tensor.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
        }
    }
}

#[test]
fn ids_that_no_model_has() {
    let place = Place::new();
    let long = [1; 65];
    type Case<'a> = (&'a str, Vec<(&'a str, &'a [usize], &'a [i64])>, &'a str);
    let cases: Vec<Case> = vec![
        ("none", vec![("ids", &[1, 2], &[1, 2])], "holds no input_ids"),
        ("flat", vec![("input_ids", &[3], &[1, 2, 3])], "input_ids is [3]"),
        ("large", vec![("input_ids", &[1, 2], &[1, 329])], "input_ids holds 329; the model knows 0 to 328"),
        ("negative", vec![("input_ids", &[1, 2], &[1, -1])], "input_ids holds -1"),
        ("long", vec![("input_ids", &[1, 65], &long)], "has rows of 65 tokens, the model holds 64"),
        ("no columns", vec![("input_ids", &[1, 0], &[])], "input_ids"),
        ("no rows", vec![("input_ids", &[0, 2], &[])], "input_ids"),
        (
            "mask",
            vec![("input_ids", &[1, 2], &[1, 2]), ("attention_mask", &[1, 3], &[1, 1, 1])],
            "attention_mask is [1, 3], input_ids [1, 2]",
        ),
        (
            "mask of twos",
            vec![("input_ids", &[1, 2], &[1, 2]), ("attention_mask", &[1, 2], &[1, 2])],
            "attention_mask holds 2; the model knows 0 to 1",
        ),
        (
            "types",
            vec![("input_ids", &[1, 2], &[1, 2]), ("token_type_ids", &[1, 2], &[0, 2])],
            "token_type_ids holds 2; the model knows 0 to 1",
        ),
        (
            "position",
            vec![("input_ids", &[1, 2], &[1, 2]), ("position_ids", &[1, 2], &[0, 64])],
            "position_ids holds 64; the model knows 0 to 63",
        ),
    ];
    let mut faults = Vec::new();
    for (name, matrices, words) in cases {
        let input = place.path(&format!("{name}.safetensors"));
        write_ids(&input, &matrices);
        let ended = encode(trained(), "--ids", &input, &place.path("out"));
        let said = format!("{}: ", input.display());
        let fine = ended.code == Some(2) && ended.stderr.contains(&said) && ended.stderr.contains(words);
        if !fine || ended.stderr.contains("panicked at") {
            faults.push(format!("{name}: {:?} {}", ended.code, ended.stderr));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(!place.path("out").exists());
}

#[test]
fn texts_that_cannot_be_read_or_written() {
    let place = Place::new();
    let output = place.path("out.safetensors");
    let empty = place.write("empty.txt", "");
    encode(trained(), "--input", &empty, &output).with_problems(
        2,
        1,
        &[&empty.display().to_string(), "is empty", "help:"],
    );
    let bytes = place.write("bytes.txt", b"a\n\xff\n");
    let word = format!("{}:2: is not UTF-8", bytes.display());
    encode(trained(), "--input", &bytes, &output).with_problems(2, 1, &[&word, "help:"]);
    let nowhere = place.path("nowhere.txt");
    encode(trained(), "--input", &nowhere, &output).with_problems(2, 1, &[&nowhere.display().to_string()]);
    assert!(!output.exists());

    let texts = place.write("texts.txt", "a\n");
    let below = place.path("no/out.safetensors");
    let named = format!("{}: cannot be written", below.display());
    encode(trained(), "--input", &texts, &below).with_problems(1, 1, &[&named]);
    kiln(["encode".as_ref(), trained().as_os_str(), "--output".as_ref(), output.as_os_str()]).with(2, &["--input"]);
}
