//! `kiln encode`: what texts and ids become, against Hugging Face's numbers, and ids that no model has.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};

use super::{Ended, Place, kiln, largest_difference, predict_texts, tensors, trained};
use crate::fixture;

const HIDDEN: usize = 64;

pub(super) fn encode(dir: &Path, how: &str, input: &Path, output: &Path) -> Ended {
    encode_with(dir, how, input, output, &[])
}

/// [`encode`] with more options.
pub(super) fn encode_with(dir: &Path, how: &str, input: &Path, output: &Path, more: &[&str]) -> Ended {
    let paths = [("", dir), (how, input), ("--output", output)].into_iter();
    let arguments =
        paths.flat_map(|(option, path)| [option.as_ref(), path.as_os_str()]).filter(|word| !word.is_empty());
    kiln(std::iter::once("encode".as_ref()).chain(arguments).chain(more.iter().map(|word| word.as_ref())))
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

/// What is pooled are the real tokens of the last layer, whatever rows they were padded with.
#[test]
fn embeddings_are_pooled_over_the_tokens_of_a_text() {
    let place = Place::new();
    let texts = place.write("texts.txt", "A dog runs in the park.\nMaria\n\nPaul buys 2 blue roses at the station.\n");
    let run = |more: &[&str]| {
        let output = place.path("out.safetensors");
        encode_with(trained(), "--input", &texts, &output, more).with(0, &[]);
        tensors(&output)
    };
    let all = run(&[]);
    let (states, mask) = (&all["last_hidden_state"].1, &all["attention_mask"].1);
    let seq = all["attention_mask"].0[1];
    let row = |row: usize| -> Vec<f32> {
        let tokens = states[row * seq * HIDDEN..(row + 1) * seq * HIDDEN].chunks(HIDDEN).zip(&mask[row * seq..]);
        let real: Vec<&[f32]> = tokens.filter(|(_, seen)| **seen == 1.0).map(|(token, _)| token).collect();
        (0..HIDDEN).map(|at| real.iter().map(|token| token[at]).sum::<f32>() / real.len() as f32).collect()
    };
    let mean: Vec<f32> = (0..4).flat_map(row).collect();
    let first: Vec<f32> = states.chunks(seq * HIDDEN).flat_map(|row| row[..HIDDEN].to_vec()).collect();
    for (pooling, expected) in [("mean", &mean), ("cls", &first), ("pooler", &all["pooled"].1)] {
        let found = run(&["--pooling", pooling]);
        assert!(found.len() == 1 && found["embeddings"].0 == [4, HIDDEN], "{pooling}: {:?}", found.keys());
        assert!(largest_difference(&found["embeddings"].1, expected) < 1e-5, "{pooling}");
    }
    let normalized = &run(&["--pooling", "mean", "--normalize"])["embeddings"].1;
    for (found, mean) in normalized.chunks(HIDDEN).zip(mean.chunks(HIDDEN)) {
        let length = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
        let expected: Vec<f32> = mean.iter().map(|value| value / length).collect();
        assert!(largest_difference(found, &expected) < 1e-5);
    }
    // A mask among ids counts as well.
    let (ids, mask): (&[i64], &[i64]) = (&[5, 6, 7, 8], &[1, 1, 1, 0]);
    write_ids(&place.path("ids"), &[("input_ids", &[1, 4], ids), ("attention_mask", &[1, 4], mask)]);
    let of_ids = |more: &[&str]| {
        encode_with(trained(), "--ids", &place.path("ids"), &place.path("of_ids"), more).with(0, &[]);
        tensors(&place.path("of_ids"))
    };
    let (states, pooled) = (of_ids(&[]), of_ids(&["--pooling", "mean"]));
    let states = &states["last_hidden_state"].1;
    let mean = |at: usize| (0..3).map(|token| states[token * HIDDEN + at]).sum::<f32>() / 3.0;
    assert!(largest_difference(&pooled["embeddings"].1, &(0..HIDDEN).map(mean).collect::<Vec<f32>>()) < 1e-5);
}

#[test]
fn layers_are_chosen_by_number() {
    let place = Place::new();
    let texts = place.write("texts.txt", "A dog runs in the park.\n");
    let output = place.path("out.safetensors");
    let run = |more: &[&str]| encode_with(trained(), "--input", &texts, &output, more);
    let cases: [(&[&str], &[&str]); 4] = [
        (&["--layers", "2,0"], &["attention_mask", "hidden.0", "hidden.2", "logits", "pooled"]),
        (&["--layers", "last"], &["attention_mask", "last_hidden_state", "logits", "pooled"]),
        (&["--layers", "1,last"], &["attention_mask", "hidden.1", "last_hidden_state", "logits", "pooled"]),
        (
            &["--pooling", "cls", "--layers", "last"],
            &["attention_mask", "embeddings", "last_hidden_state", "logits", "pooled"],
        ),
    ];
    for (more, names) in cases {
        run(more).with(0, &[]);
        assert_eq!(tensors(&output).keys().collect::<Vec<_>>(), names, "{more:?}");
    }
    std::fs::remove_file(&output).unwrap();
    run(&["--layers", "1,3"]).with_problems(2, 1, &["--layers 3: the model has the layers 0 to 2"]);
    run(&["--layers", "top"]).with(2, &["'top'", "--layers", "all, last, or numbers"]);
    run(&["--layers", "-1"]).with(2, &["'-1'", "numbers from 0"]);
    run(&["--normalize"]).with(2, &["--pooling"]);
    run(&["--pooling", "max"]).with(2, &["'max'", "mean, cls, pooler"]);
    run(&["--words", "jieba"]).with_problems(2, 1, &["is no ELMo", "--words"]);
    assert!(!output.exists());
    let copy = place.write("copy.txt", "a\n");
    encode(trained(), "--input", &copy, &copy).with_problems(2, 1, &["is both the input and the --output"]);
    assert_eq!(std::fs::read(&copy).unwrap(), b"a\n");
}

/// A long file goes through in parts and in batches of like length; each text comes out where it stood, as if it were alone.
#[test]
fn rows_of_a_long_file_keep_their_order() {
    let place = Place::new();
    let line = |row: usize| format!("{} sells {row} cups.", ["Maria", "Paul buys roses and", "A dog"][row % 3]);
    let lines: Vec<String> = (0..300).map(line).collect();
    let texts = place.write("texts.txt", lines.join("\n"));
    let output = place.path("out.safetensors");
    encode(trained(), "--input", &texts, &output).with(0, &[]);
    let all = tensors(&output);
    let seq = all["attention_mask"].0[1];
    assert_eq!(all["hidden.1"].0, [300, seq, HIDDEN]);
    for row in [0, 31, 32, 255, 256, 299] {
        let text = place.write("one.txt", &lines[row]);
        encode(trained(), "--input", &text, &place.path("one")).with(0, &[]);
        let one = tensors(&place.path("one"));
        let (states, padding) =
            all["hidden.1"].1[row * seq * HIDDEN..(row + 1) * seq * HIDDEN].split_at(one["hidden.1"].1.len());
        assert!(largest_difference(states, &one["hidden.1"].1) < 1e-5, "row {row}");
        assert!(padding.iter().all(|value| *value == 0.0), "row {row}");
        assert!(largest_difference(&all["logits"].1[row * 3..(row + 1) * 3], &one["logits"].1) < 1e-5, "row {row}");
    }
}

/// From a pipe into a pipe, byte for byte what comes from a file into a file.
#[test]
#[cfg(unix)]
fn pipes_are_as_good_as_files() {
    let place = Place::new();
    let texts = place.write("texts.txt", "A dog runs in the park.\nMaria\n");
    let output = place.path("out.safetensors");
    encode(trained(), "--input", &texts, &output).with(0, &[]);
    let run = trained().display().to_string();
    let arguments = ["encode", &run, "--input", "-", "--output", "/dev/stdout"];
    let piped = super::command(arguments).stdin(std::fs::File::open(&texts).unwrap()).output().unwrap();
    assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
    assert!(piped.stdout == std::fs::read(&output).unwrap());
    kiln(["encode", &run, "--input", "-", "--output", "/dev/null"]).with_problems(2, 1, &["<stdin>: is empty"]);
}

/// The memory of the process stays below the size of what it writes.
#[test]
#[cfg(target_os = "linux")]
fn features_are_not_held_in_memory() {
    let place = Place::new();
    let texts = place.write("texts.txt", format!("{}\n", "A dog runs in the park. ".repeat(20)).repeat(4_000));
    let output = place.path("out.safetensors");
    let run = trained().display().to_string();
    let paths = [texts, output.clone()].map(|path| path.display().to_string());
    let mut child = super::command(["encode", &run, "--input", &paths[0], "--output", &paths[1]]);
    let mut child = child.stderr(std::process::Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = peak.unwrap_or(most);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success());
    let written = std::fs::metadata(&output).unwrap().len();
    assert!(most > 0 && most * 1024 < written, "{most} KiB of memory for {written} bytes");
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
    let word = format!("{}:2:1: not UTF-8", bytes.display());
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
