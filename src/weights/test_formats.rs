//! Every format gives the same tensors. The fixtures come from `tests/fixtures/weights/make.py`.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

/// Reads the tensors that every fixture holds and compares them with the numbers in make.py.
fn check(path: &Path, layout: Layout) -> Weights {
    let weights = Weights::open(path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(weights.layout(), layout, "{}", path.display());
    let floats: [(&str, &[usize], &[f32]); 4] = [
        ("embed.weight", &[3, 2], &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]),
        ("half", &[2], &[1.5, -2.0]),
        ("double", &[1], &[1.0 / 3.0]),
        ("single", &[], &[7.0]),
    ];
    for (name, shape, values) in floats {
        assert_eq!(weights.get(name).unwrap().shape, shape, "{} {name}", path.display());
        assert_eq!(weights.read_f32(name).unwrap(), values, "{} {name}", path.display());
    }
    assert_eq!(weights.read_f64("double").unwrap(), [1.0 / 3.0]);
    let (shape, linear) = match layout {
        Layout::Torch => ([2, 3], [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]),
        Layout::Paddle => ([3, 2], [-2.5, 0.5, -1.5, 1.5, -0.5, 2.5]),
    };
    assert_eq!(weights.get("linear.weight").unwrap().shape, shape);
    assert_eq!(weights.read_f32("linear.weight").unwrap(), linear, "{}", path.display());
    assert_eq!(weights.get("ids").unwrap().shape, [1, 4]);
    assert_eq!(weights.read_i64("ids").unwrap(), [0, 1, 2, 3]);
    assert_eq!(weights.read_i64("flag").unwrap(), [1, 0]);
    weights
}

fn check_bfloat16(weights: &Weights) {
    assert_eq!(weights.get("brain").unwrap().dtype, Dtype::BF16);
    assert_eq!(weights.read_f32("brain").unwrap(), [3.0, -0.25]);
}

#[test]
fn safetensors_files_of_both_layouts() {
    check_bfloat16(&check(&fixture("model.safetensors"), Layout::Torch));
    check(&fixture("paddlenlp.safetensors"), Layout::Paddle);
}

#[test]
fn a_checkpoint_in_several_files() {
    check_bfloat16(&check(&fixture("sharded"), Layout::Torch));
    check(&fixture("sharded/model.safetensors.index.json"), Layout::Torch);
}

#[test]
fn both_formats_of_torch_with_shared_and_strided_storages() {
    for name in ["pytorch_model.bin", "legacy.bin"] {
        let weights = check(&fixture(name), Layout::Torch);
        check_bfloat16(&weights);
        assert_eq!(weights.read_f32("tied").unwrap(), weights.read_f32("embed.weight").unwrap());
        assert!(weights.names().eq([
            "embed.weight",
            "linear.weight",
            "half",
            "brain",
            "double",
            "ids",
            "flag",
            "single",
            "tied"
        ]));
    }
}

#[test]
fn every_way_paddle_writes_a_state() {
    for variant in ["plain", "pairs", "split", "order"] {
        for protocol in [2, 4] {
            let weights = check(&fixture(&format!("{variant}{protocol}.pdparams")), Layout::Paddle);
            check_bfloat16(&weights);
            assert_eq!(weights.names().count(), 8, "no bookkeeping and no part of an array is a tensor");
        }
    }
    check(&fixture("plain5.pdparams"), Layout::Paddle);
}

#[test]
fn a_file_is_known_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    for (name, layout) in [("model.safetensors", Layout::Torch), ("plain4.pdparams", Layout::Paddle)] {
        let other = folder.path().join("weights.bin");
        std::fs::copy(fixture(name), &other).unwrap();
        check(&other, layout);
        check(folder.path(), layout);
    }
}

/// The message and the help for a path that cannot be opened.
fn refused(path: &Path) -> String {
    let error = Weights::open(path).unwrap_err();
    let problem = &error.problems()[0];
    let help = miette::Diagnostic::help(problem).map_or(String::new(), |help| format!(" | {help}"));
    format!("{problem}{help}").replace(&format!("{}/", path.parent().unwrap().display()), "")
}

fn refused_bytes(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    refused(&folder.path().join(name))
}

#[test]
fn messages_say_what_is_wrong_with_a_file() {
    let whole = std::fs::read(fixture("model.safetensors")).unwrap();
    let cut = |length: usize| refused_bytes("model.safetensors", &whole[..length]);
    let again = " | fetch or copy the file again";
    assert_eq!(cut(5), format!("model.safetensors: is cut short: the file has 5 bytes{again}"));
    assert_eq!(
        cut(600),
        format!("model.safetensors: is cut short: the header names 102 bytes of tensors, the file has 64 bytes{again}")
    );
    assert_eq!(
        cut(100),
        format!("model.safetensors: is cut short: its header should have 528 bytes, the file has 100 bytes{again}")
    );
    assert_eq!(refused_bytes("w.bin", b""), "w.bin: is empty");
    assert_eq!(
        refused_bytes("w.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"),
        "w.bin: is a Git LFS pointer, not the weights | run `git lfs pull` where it came from"
    );
    assert_eq!(
        refused_bytes("w.bin", b"<!doctype html>"),
        "w.bin: is not a checkpoint that Kiln knows | it reads safetensors files, PyTorch's .bin (torch.save), Paddle's \
         .pdparams (paddle.save) and its variables (paddle.static.save_vars)"
    );
    assert_eq!(refused_bytes("w.pdparams", b"\x80\x04}."), "w.pdparams: holds no tensors");
    assert!(refused(&fixture("compressed.bin")).starts_with("compressed.bin: is compressed"));
    let pickle = std::fs::read(fixture("plain4.pdparams")).unwrap();
    // The 24 bytes of the first array: SHORT_BINBYTES 24.
    let array = pickle.windows(2).position(|window| window == b"C\x18").unwrap() + 2;
    assert_eq!(
        refused_bytes("w.pdparams", &pickle[..array + 8]),
        format!("w.pdparams: is cut short: it has {} bytes, its pickle goes on to byte {}", array + 8, array + 24)
    );
}

#[test]
fn messages_say_what_is_wrong_with_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ernie");
    assert!(refused(&path).starts_with("ernie: cannot be read: "));
    std::fs::create_dir(&path).unwrap();
    assert_eq!(
        refused(&path),
        "ernie: holds no weights | looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin, \
         pytorch_model.bin.index.json, model_state.pdparams, for a single *.safetensors, *.bin, *.pdparams, and for Paddle's \
         variables, a file each, here and in static_vars and params"
    );
    for name in ["b.bin", "a.pdparams"] {
        std::fs::write(path.join(name), "").unwrap();
    }
    assert!(refused(&path).starts_with("ernie: holds several files that may be the weights: a.pdparams, b.bin"));
    let index = path.join("model.safetensors.index.json");
    for (text, what) in [
        ("{\"weight_map\": 1}", "model.safetensors.index.json:1:16: is not an index of weights"),
        ("{\"weight_map\": {\"a\": \"../b.bin\"}}", "names the file `../b.bin`, which is not a plain file name"),
        ("{\"weight_map\": {\"a\": \"c.bin\"}}", "names the file `c.bin`, which is not there"),
    ] {
        std::fs::write(&index, text).unwrap();
        assert!(refused(&path).contains(what), "{}", refused(&path));
    }
    std::fs::copy(fixture("model.safetensors"), path.join("c.bin")).unwrap();
    assert_eq!(refused(&path), "ernie/c.bin: has no tensor `a`, which the index says is in it");
}

#[test]
fn a_tensor_is_read_as_what_it_is() {
    let weights = Weights::open(&fixture("model.safetensors")).unwrap();
    let message = |error: Error| error.to_string();
    assert!(
        message(weights.read_f32("ids").unwrap_err())
            .ends_with("the tensor `ids` holds I64, not floating point numbers")
    );
    assert!(message(weights.read_i64("half").unwrap_err()).ends_with("the tensor `half` holds F16, not whole numbers"));
    assert!(message(weights.read_f32("nothing").unwrap_err()).ends_with("has no tensor `nothing`"));
}

/// A folder of real data. Without it the test says that it is skipped, in the words that `.ci/run` counts and to the stream itself, for
/// what `eprintln` writes is shown of failed tests alone.
fn real(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("KILN_TEST_DATA").map(|root| Path::new(&root).join(path));
    if folder.is_none() {
        let thread = std::thread::current();
        let line = format!("skipped without KILN_TEST_DATA: {}\n", thread.name().unwrap_or("a test"));
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    folder
}

fn bits(weights: &Weights, name: &str) -> Vec<u32> {
    weights.read_f32(name).unwrap_or_else(|error| panic!("{error}")).iter().map(|value| value.to_bits()).collect()
}

#[test]
fn torch_files_of_the_reference_models_equal_their_safetensors() {
    for model in ["hf_ernie_pretrain", "hf_erniem_seqcls", "hf_rembert_seqcls"] {
        let Some(folder) = real("golden") else { return };
        let safe = Weights::open(&folder.join(model).join("ckpt_safetensors")).unwrap();
        let torch = Weights::open(&folder.join(model).join("ckpt_bin")).unwrap();
        for name in safe.names() {
            assert_eq!(torch.get(name).unwrap().shape, safe.get(name).unwrap().shape, "{model} {name}");
            assert_eq!(bits(&torch, name), bits(&safe, name), "{model} {name}");
        }
        eprintln!("{model}: {} tensors, {} in the .bin", safe.names().count(), torch.names().count());
    }
}

/// Paddle's parameter names in Hugging Face's words: parts that differ, per family.
const ERNIE_M: [(&str, &str); 3] = [
    ("self_attn.q_proj", "self_attn.self_attn.q_proj"),
    ("self_attn.k_proj", "self_attn.self_attn.k_proj"),
    ("self_attn.v_proj", "self_attn.self_attn.v_proj"),
];
const REMBERT: [(&str, &str); 2] = [("layer_norm", "LayerNorm"), ("^dense", "classifier")];
const ERNIE: [(&str, &str); 15] = [
    ("encoder.layers", "encoder.layer"),
    ("self_attn.q_proj", "attention.self.query"),
    ("self_attn.k_proj", "attention.self.key"),
    ("self_attn.v_proj", "attention.self.value"),
    ("self_attn.out_proj", "attention.output.dense"),
    ("linear1", "intermediate.dense"),
    ("linear2", "output.dense"),
    ("norm1", "attention.output.LayerNorm"),
    ("norm2", "output.LayerNorm"),
    ("predictions.transform", "predictions.transform.dense"),
    ("predictions.layer_norm", "predictions.transform.LayerNorm"),
    ("layer_norm", "LayerNorm"),
    ("cls.predictions.decoder_bias", "cls.predictions.bias"),
    ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    // The tied copy of the word embeddings, [vocabulary, hidden] as they are.
    ("cls.predictions.decoder.weight", "ernie.embeddings.word_embeddings.weight"),
];

/// The numbers of a matrix read column after column.
fn transposed(values: &[u32], rows: usize, columns: usize) -> Vec<u32> {
    (0..columns * rows).map(|at| values[at % rows * columns + at / rows]).collect()
}

#[test]
fn paddle_files_of_the_reference_models_equal_their_safetensors() {
    let Some(folder) = real("golden") else { return };
    let models: [(&str, &[(&str, &str)]); 4] = [
        ("erniem_seqcls", &ERNIE_M),
        ("rembert_seqcls", &REMBERT),
        ("ernie_seqcls", &ERNIE),
        ("ernie_pretrain", &ERNIE),
    ];
    for (model, words) in models {
        let safe = Weights::open(&folder.join(format!("hf_{model}/ckpt_safetensors"))).unwrap();
        let paddle = Weights::open(&folder.join(format!("pd_{model}/ckpt"))).unwrap();
        assert_eq!(paddle.layout(), Layout::Paddle);
        for name in paddle.names() {
            // PaddleNLP's RemBERT saves its position ids.
            if paddle.get(name).unwrap().dtype == Dtype::I64 {
                assert_eq!(paddle.read_i64(name).unwrap()[..3], [0, 1, 2], "{name}");
                continue;
            }
            let marked = words.iter().fold(format!("^{name}"), |name, (from, to)| name.replace(from, to));
            let theirs = marked.trim_start_matches('^');
            let mut expected = bits(&safe, theirs);
            let mut shape = safe.get(theirs).unwrap().shape.clone();
            let linear = !theirs.contains("embeddings.");
            if let (&[rows, columns], true) = (&shape[..], linear) {
                expected = transposed(&expected, rows, columns);
                shape.reverse();
            }
            assert_eq!(paddle.get(name).unwrap().shape, shape, "{model} {name}");
            assert_eq!(bits(&paddle, name), expected, "{model} {name}");
        }
        eprintln!("{model}: {} tensors in Paddle, {} in Hugging Face", paddle.names().count(), safe.names().count());
        assert!(paddle.names().count() >= safe.names().count());
    }
}

#[test]
fn a_whole_model_in_float16_is_read() {
    let Some(folder) = real("data/weights/e5-small-as-ernie-m") else { return };
    let weights = Weights::open(&folder).unwrap();
    assert_eq!(weights.names().count(), 196);
    let name = "embeddings.word_embeddings.weight";
    let entry = weights.get(name).unwrap();
    assert_eq!((&entry.shape[..], entry.dtype), (&[26004, 384][..], Dtype::F16));
    // Printed by safetensors 0.8.0 and torch 2.4.1.
    let values = weights.read_f32(name).unwrap();
    assert_eq!(values[..4], [-0.0, -0.0, -0.0, -0.13256836]);
    assert_eq!(values[values.len() - 1], -0.013496399);
    let sum: f64 = weights.read_f64(name).unwrap().iter().sum();
    assert!((sum - 240.1385955810547).abs() < 1e-3, "{sum}");
    eprintln!("{name}: {:?} ... {}, sum {sum}", &values[..4], values[values.len() - 1]);
}
