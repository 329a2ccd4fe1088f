//! `kiln encode` for ELMo: folders of all three kinds, segmented and unsegmented text, ids, and what is refused.

use std::path::PathBuf;

use super::encode::{encode, encode_with, write_ids};
use super::{Place, kiln, largest_difference, tensors};
use crate::elmo::vocabulary;
use crate::fixture;
use crate::parity::elmo::directory;

/// A place with Baidu's variables in `words`, without a vocabulary, and AllenAI's files in `characters`.
fn place() -> (Place, PathBuf, PathBuf) {
    let place = Place::new();
    let (words, characters) = (place.path("words"), place.path("characters"));
    for folder in [&words, &characters] {
        std::fs::create_dir(folder).unwrap();
    }
    for file in std::fs::read_dir(directory(&fixture("parity/elmo_words")).path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), words.join(file.file_name())).unwrap();
    }
    for name in ["options.json", "weights.hdf5"] {
        std::fs::copy(fixture("parity/elmo_characters").join(name), characters.join(name)).unwrap();
    }
    (place, words, characters)
}

#[test]
fn sentences_become_layers_and_their_mixture() {
    let (place, words, characters) = place();
    std::fs::write(words.join("vocab.txt"), vocabulary()).unwrap();
    let texts = place.write("texts.txt", "军官 享受 公费 医疗\n\nHe get  b\r\n");
    for (folder, width) in [(words, 12), (characters, 12)] {
        let output = place.path("out.safetensors");
        encode(&folder, "--input", &texts, &output).with(0, &["tensors loaded"]);
        let found = tensors(&output);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["elmo", "layer.0", "layer.1", "layer.2", "mask"]);
        for name in &names[..4] {
            assert_eq!(found[*name].0, [3, 4, width], "{name}");
        }
        assert_eq!(found["mask"].1, [1., 1., 1., 1., 0., 0., 0., 0., 1., 1., 1., 0.]);
        let layer = &found["layer.2"].1;
        for (word, real) in found["mask"].1.iter().enumerate() {
            let numbers = &layer[word * width..(word + 1) * width];
            assert_eq!(numbers.iter().all(|value| *value == 0.0), *real == 0.0, "word {word}");
        }
        // The mixture of a model that never learnt one is the mean.
        let mean = |at: usize| (0..3).map(|layer| found[&format!("layer.{layer}")].1[at]).sum::<f32>() / 3.0;
        let mean: Vec<f32> = (0..found["elmo"].1.len()).map(mean).collect();
        assert!(largest_difference(&mean, &found["elmo"].1) < 1e-5);
    }
}

#[test]
fn chinese_that_is_not_segmented_is_cut_by_jieba() {
    let (place, words, _) = place();
    let vocabulary = place.write("words.txt", vocabulary());
    let output = |name: &str| place.path(&format!("{name}.safetensors"));
    let run = |text: &str, name: &str, more: &[&str]| {
        let texts = place.write(&format!("{name}.txt"), text);
        let mut arguments =
            vec!["encode".to_string(), words.display().to_string(), "--input".into(), texts.display().to_string()];
        arguments.extend(["--output".into(), output(name).display().to_string()]);
        arguments.extend(["--vocabulary".into(), vocabulary.display().to_string()]);
        arguments.extend(more.iter().map(|word| word.to_string()));
        kiln(arguments).with(0, &[]);
        tensors(&output(name))
    };
    let by_jieba = run("军官享受公费医疗待遇。\n", "plain", &["--words", "jieba"]);
    let by_spaces = run("军官 享受 公费医疗 待遇 。\n", "joined", &[]);
    let segmented = run("军官 享受 公费 医疗 待遇 。\n", "spaces", &[]);
    assert!(by_jieba == by_spaces || by_jieba == segmented, "{:?}", by_jieba["mask"]);
    // The state of the line before, where it is asked for.
    let two = "军官 享受\n公费 医疗\n";
    let (reset, carried) = (run(two, "reset", &[]), run(two, "carried", &["--carry-state"]));
    let half = reset["elmo"].1.len() / 2;
    assert!(largest_difference(&reset["elmo"].1[..half], &carried["elmo"].1[..half]) < 1e-6);
    assert!(largest_difference(&reset["elmo"].1[half..], &carried["elmo"].1[half..]) > 1e-3);
}

/// Its state goes on from one part of the file to the next, and its mixture is what is pooled.
#[test]
fn a_long_file_is_one_stream_and_its_mixture_is_pooled() {
    let (place, words, _) = place();
    std::fs::write(words.join("vocab.txt"), vocabulary()).unwrap();
    let texts = place.write("texts.txt", "军官 享受 公费\n的\n".repeat(20));
    let run = |name: &str, more: &[&str]| {
        encode_with(&words, "--input", &texts, &place.path(name), more).with(0, &[]);
        tensors(&place.path(name))
    };
    let (reset, carried) = (run("reset", &[]), run("carried", &["--carry-state"]));
    let (rows, words_of_row, width) = (40, 3, 12);
    let size = words_of_row * width;
    let apart = |row: usize| {
        let row = row * size..(row + 1) * size;
        largest_difference(&reset["elmo"].1[row.clone()], &carried["elmo"].1[row])
    };
    assert!(apart(0) < 1e-6 && (1..rows).all(|row| apart(row) > 1e-3));

    let pooled = run("pooled", &["--pooling", "mean", "--layers", "0,last"]);
    let names: Vec<&str> = pooled.keys().map(String::as_str).collect();
    assert_eq!(names, ["elmo", "embeddings", "layer.0", "layer.2", "mask"]);
    assert_eq!(pooled["embeddings"].0, [rows, width]);
    for (row, found) in pooled["embeddings"].1.chunks(width).enumerate() {
        let words = [3, 1][row % 2];
        let elmo = &reset["elmo"].1[row * size..][..words * width];
        let mean = |at: usize| elmo.iter().skip(at).step_by(width).sum::<f32>() / words as f32;
        assert!(largest_difference(found, &(0..width).map(mean).collect::<Vec<f32>>()) < 1e-6);
    }
    for (wrong, says) in [
        (["--pooling", "cls"], "neither a [CLS] nor a pooler"),
        (["--layers", "3"], "--layers 3: the model has the layers 0 to 2"),
    ] {
        encode_with(&words, "--input", &texts, &place.path("wrong"), &wrong).with_problems(2, 1, &[says, "help:"]);
    }
    assert!(!place.path("wrong").exists());

    // Texts without words have no features, and zeros for a mean.
    let empty = place.write("empty.txt", "\n\n");
    encode_with(&words, "--input", &empty, &place.path("none"), &["--pooling", "mean", "--layers", "all"]).with(0, &[]);
    let none = tensors(&place.path("none"));
    assert_eq!((&none["layer.1"].0[..], &none["mask"].0[..]), (&[2, 0, width][..], &[2, 0][..]));
    assert_eq!(none["embeddings"], (vec![2, width], vec![0.0; 2 * width]));
}

/// The features of ids are those of the words they stand for.
#[test]
fn ids_give_what_their_words_give() {
    let (place, words, characters) = place();
    std::fs::write(words.join("vocab.txt"), vocabulary()).unwrap();
    let output = |name: &str| place.path(&format!("{name}.safetensors"));
    let texts = place.write("texts.txt", "军官 享受 公费\n的\n");
    encode(&words, "--input", &texts, &output("words")).with(0, &[]);
    let ids: &[i64] = &[6, 7, 8, 4, 0, 0];
    write_ids(&place.path("ids"), &[("word_ids", &[2, 3], ids), ("attention_mask", &[2, 3], &[1, 1, 1, 1, 0, 0])]);
    encode(&words, "--ids", &place.path("ids"), &output("ids")).with(0, &[]);
    let (a, b) = (tensors(&output("words")), tensors(&output("ids")));
    assert!(a.len() == 5 && a.keys().eq(b.keys()));
    for (name, (shape, values)) in &a {
        assert_eq!(shape, &b[name].0);
        assert!(largest_difference(values, &b[name].1) < 1e-6, "{name}");
    }

    let texts = place.write("texts.txt", "ab c\nab\n");
    encode(&characters, "--input", &texts, &output("texts")).with(0, &[]);
    let (ab, c) = (kiln::tokenize::elmo::character_ids("ab", 50), kiln::tokenize::elmo::character_ids("c", 50));
    let ids = [ab.clone(), c, ab, vec![0; 50]].concat();
    write_ids(&place.path("characters.ids"), &[("char_ids", &[2, 2, 50], &ids)]);
    encode(&characters, "--ids", &place.path("characters.ids"), &output("characters")).with(0, &[]);
    let (a, b) = (tensors(&output("texts")), tensors(&output("characters")));
    for (name, (shape, values)) in &a {
        assert_eq!(shape, &b[name].0);
        assert!(largest_difference(values, &b[name].1) < 1e-6, "{name}");
    }
}

#[test]
fn what_no_elmo_can_read_is_refused() {
    let (place, words, characters) = place();
    let output = place.path("out.safetensors");
    let texts = place.write("texts.txt", "军官 享受\n");
    encode(&words, "--input", &texts, &output).with_problems(2, 1, &["holds no vocabulary", "vocab.txt"]);
    let refused = |folder: &PathBuf, matrices: &[(&str, &[usize], &[i64])], says: &[&str]| {
        write_ids(&place.path("ids"), matrices);
        encode(folder, "--ids", &place.path("ids"), &output).with_problems(2, 1, says);
    };
    refused(&words, &[("input_ids", &[1, 1], &[1])], &["holds no word_ids"]);
    refused(&words, &[("word_ids", &[1, 2], &[1, 29])], &["word_ids holds 29; the model knows 0 to 28"]);
    refused(&words, &[("word_ids", &[1, 2], &[1, -1])], &["word_ids holds -1"]);
    refused(&words, &[("word_ids", &[0, 2], &[])], &["word_ids is [0, 2]: there are no ids"]);
    let holes: &[(&str, &[usize], &[i64])] = &[("word_ids", &[1, 2], &[1, 2]), ("attention_mask", &[1, 2], &[0, 1])];
    refused(&words, holes, &["row 0 has a word behind padding"]);
    refused(&characters, &[("word_ids", &[1, 1], &[1])], &["holds no char_ids"]);
    refused(&characters, &[("char_ids", &[1, 1, 3], &[1, 2, 3])], &["char_ids is [1, 1, 3]", "[batch, seq, 50]"]);
    refused(&characters, &[("char_ids", &[1, 1, 50], &[262; 50])], &["holds 262; the model knows 0 to 261"]);
    assert!(!output.exists());
}

/// Other commands say that an ELMo is not theirs, and a recipe of another task what ELMo learns.
#[test]
fn an_elmo_is_no_encoder() {
    let (place, words, _) = place();
    std::fs::write(words.join("config.json"), "{\"model_type\": \"elmo\"}").unwrap();
    let texts = place.write("texts.txt", "军官 享受\n");
    kiln(["predict".as_ref(), words.as_os_str(), "--input".as_ref(), texts.as_os_str()])
        .with(2, &["config.json: is an ELMo", "kiln encode"]);
    kiln(["recipe", "check", "recipes/quickstart.toml", "model.architecture=\"elmo\""])
        .with(2, &["cannot be trained with the architecture \"elmo\"", "\"bidirectional-lm\" goes with \"elmo\""]);
}
