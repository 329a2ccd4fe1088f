//! ELMo's folders, and what its features depend on: nothing but the sentence, unless it is asked for.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use kiln::error::Result;
use kiln::model_folder::elmo::{ElmoModel, SoftmaxUse, load, open, write};
use kiln::model_folder::elmo_features::{Features, StateUse};
use kiln::models::elmo::{CharacterConfig, Direction, Elmo, ElmoConfig, ElmoInput, TokenSource, Tokens};
use kiln::tokenize::elmo::{WordVocabulary, character_ids};
use kiln::weights::{Layout, NamedTensor, TensorNames, Weights, each_parameter};
use tempfile::TempDir;

use crate::parity::elmo::{directory, variable, variables};
use crate::{device, fixture};

const SENTENCES: [&str; 5] = ["军官 享受", "", "He didn't get", "公费 医疗 待遇 的 ， 。 b", "的"];

fn sentences() -> Vec<Vec<&'static str>> {
    SENTENCES.iter().map(|sentence| sentence.split_whitespace().collect()).collect()
}

/// A folder with AllenAI's two files.
fn characters(weights: &str) -> TempDir {
    let place = TempDir::new().unwrap();
    let copy = |from: &str, to: &str| {
        std::fs::copy(fixture("parity/elmo_characters").join(from), place.path().join(to)).unwrap();
    };
    copy("options.json", "elmo_tiny_options.json");
    copy(weights, "elmo_tiny_weights.hdf5");
    place
}

/// A folder of Baidu's with a vocabulary of its 29 words.
fn words() -> TempDir {
    let place = directory(&fixture("parity/elmo_words"));
    std::fs::write(place.path().join("vocab.txt"), vocabulary()).unwrap();
    place
}

pub fn vocabulary() -> String {
    let known = ["<S>", "</S>", "<UNK>", "，", "的", "。", "军官", "享受", "公费", "医疗", "待遇", "He", "get", "b"];
    let others = (known.len()..29).map(|number| format!("word{number}"));
    known.iter().map(|word| word.to_string()).chain(others).map(|word| word + "\n").collect()
}

fn opened(folder: &Path) -> ElmoModel {
    open(folder, SoftmaxUse::LeaveOut, &device()).unwrap()
}

fn largest(a: &Features, b: &Features) -> f32 {
    assert_eq!((a.words, a.layers.len()), (b.words, b.layers.len()));
    let pairs = a.layers.iter().chain([&a.elmo]).zip(b.layers.iter().chain([&b.elmo]));
    pairs.flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Features of a sentence are the same alone, among others and in any order, for both kinds of models; and they are there for
/// every word.
#[test]
fn features_depend_on_the_sentence_alone() {
    for folder in [words(), characters("weights.hdf5")] {
        let model = opened(folder.path());
        let together = model.features(&sentences(), StateUse::Reset).unwrap();
        let width = 2 * model.elmo.config().projection_dim;
        for (sentence, features) in sentences().into_iter().zip(&together) {
            assert_eq!(features.words, sentence.len());
            assert!(
                features.layers.len() == 3 && features.layers.iter().all(|layer| layer.len() == sentence.len() * width)
            );
            let alone = model.features(&[sentence], StateUse::Reset).unwrap();
            assert!(largest(&alone[0], features) < 1e-6);
        }
        let mut turned: Vec<_> = sentences();
        turned.reverse();
        let turned = model.features(&turned, StateUse::Reset).unwrap();
        assert!(turned.iter().rev().zip(&together).all(|(a, b)| largest(a, b) < 1e-6));
        // Otherwise the comparisons say nothing.
        assert!(together[3].elmo.iter().any(|value| value.abs() > 0.01));
    }
}

/// A carried state reaches the next sentence, past an empty one, and no sentence before it.
#[test]
fn a_carried_state_reaches_the_next_sentence() {
    for folder in [words(), characters("weights.hdf5")] {
        let model = opened(folder.path());
        let reset = model.features(&sentences(), StateUse::Reset).unwrap();
        let carried = model.features(&sentences(), StateUse::Carry).unwrap();
        assert!(largest(&reset[0], &carried[0]) < 1e-6);
        assert!(largest(&reset[2], &carried[2]) > 1e-3);
        assert_eq!(reset[2].layers[0].len(), carried[2].layers[0].len());
        let again = model.features(&sentences()[2..3], StateUse::Carry).unwrap();
        assert!(largest(&reset[2], &again[0]) < 1e-6, "a new call begins anew");
    }
}

/// What stands in the padding of a batch changes nothing, and its outputs are 0.
#[test]
fn padding_is_not_seen() {
    let (place, device) = (words(), device());
    let elmo = opened(place.path()).elmo;
    let layers = |junk: i64| {
        let ids = vec![4, 7, 9, junk, junk, 3, 5, 6, 8, 10, junk, junk, junk, junk, junk];
        let input = ElmoInput::words(ids, 5, vec![3, 5, 0], &device);
        elmo.layers(&input, elmo.start(3, &device))
    };
    let numbers = |tensor: &Tensor<3>| tensor.to_data().iter::<f32>().collect::<Vec<_>>();
    let ((a, state), (b, _)) = (layers(0), layers(11));
    for (a, b) in a.iter().zip(&b) {
        let (a, b) = (numbers(a), numbers(b));
        assert_eq!(a, b);
        let width = a.len() / 15;
        assert!(a[3 * width..5 * width].iter().chain(&a[10 * width..]).all(|value| *value == 0.0));
        assert!(a[2 * width..3 * width].iter().any(|value| *value != 0.0));
    }
    let ended: Vec<f32> = state.forward[0].cell.clone().narrow(0, 2, 1).into_data().iter::<f32>().collect();
    assert!(ended.iter().all(|value| *value == 0.0), "a row without words keeps its state");
}

#[test]
fn compressed_chunks_hold_the_same_weights() {
    let features = |weights| opened(characters(weights).path()).features(&sentences(), StateUse::Reset).unwrap();
    assert_eq!(features("weights.hdf5"), features("compressed.hdf5"));
}

/// Kiln's own folders: what is written is read back, softmax and mixture and words included.
#[test]
fn own_folders_are_read_back() {
    let device = device();
    let parameters = |elmo: &Elmo| {
        let mut found = BTreeMap::new();
        each_parameter(elmo, &TensorNames::OWN, |name, _, values| drop(found.insert(name, values())));
        found
    };
    for folder in [words(), characters("weights.hdf5")] {
        let softmax = if folder.path().join("vocab.txt").exists() { SoftmaxUse::Require } else { SoftmaxUse::LeaveOut };
        let model = open(folder.path(), softmax, &device).unwrap();
        let target = folder.path().join("own");
        std::fs::create_dir(&target).unwrap();
        write(&target, &model.elmo, model.vocabulary.as_ref(), Default::default()).unwrap();
        let again = open(&target, softmax, &device).unwrap();
        assert_eq!(again.elmo.config(), model.elmo.config());
        assert!(again.report.initialised.is_empty() && again.report.unexpected.is_empty(), "{}", again.report);
        assert_eq!(parameters(&again.elmo), parameters(&model.elmo));
        assert_eq!(
            again.vocabulary.as_ref().map(WordVocabulary::to_text),
            model.vocabulary.as_ref().map(WordVocabulary::to_text)
        );
        let features = |model: &ElmoModel| model.features(&sentences(), StateUse::Reset).unwrap();
        assert_eq!(features(&again), features(&model));
    }
}

fn refusal<T>(result: Result<T>) -> String {
    let error = result.err().expect("refused");
    error.problems().iter().map(|problem| format!("{problem:?}")).collect::<Vec<_>>().join("\n")
}

/// Baidu's published checkpoint has no softmax: features need none, the training of the language model does, and says so.
#[test]
fn a_missing_softmax_matters_to_training_only() {
    let (place, device) = (words(), device());
    std::fs::remove_file(place.path().join("softmax_weight")).unwrap();
    assert!(!opened(place.path()).elmo.has_softmax());
    let why = refusal(open(place.path(), SoftmaxUse::Require, &device));
    assert!(why.contains("holds no softmax") && why.contains("baike_elmo_checkpoint"), "{why}");

    let new = open(place.path(), SoftmaxUse::New(3), &device).unwrap();
    assert!(new.elmo.has_softmax() && new.report.initialised.contains(&"softmax.weight".to_string()));
    let mut found = BTreeMap::new();
    each_parameter(&new.elmo, &TensorNames::OWN, |name, _, values| drop(found.insert(name, values())));
    // Xavier's limits for [29, 6] and [29].
    for (name, limit) in [("softmax.weight", (6.0f32 / 35.0).sqrt()), ("softmax.bias", (6.0f32 / 58.0).sqrt())] {
        let most = found[name].iter().fold(0f32, |most, value| most.max(value.abs()));
        assert!(most <= limit && most > 0.9 * limit, "{name}: {most} of {limit}");
    }
}

/// Whatever Paddle counted before, and whichever of `w_0` and `w_1` is the projection: shapes tell.
#[test]
fn the_variables_of_layers_are_told_by_their_order_and_shapes() {
    let reference = fixture("parity/elmo_words");
    let expected = opened(words().path()).features(&sentences(), StateUse::Reset).unwrap();
    let place = TempDir::new().unwrap();
    std::fs::write(place.path().join("vocabulary_min5k.txt"), vocabulary()).unwrap();
    for (name, shape, values) in variables(&reference) {
        let name = match name.strip_prefix("lstmp_").and_then(|rest| rest.split_once('.')) {
            Some((number, "w_0")) => format!("lstmp_{}.w_1", number.parse::<usize>().unwrap() + 9),
            Some((number, "w_1")) => format!("lstmp_{}.w_0", number.parse::<usize>().unwrap() + 9),
            Some((number, rest)) => format!("lstmp_{}.{rest}", number.parse::<usize>().unwrap() + 9),
            None => name,
        };
        std::fs::write(place.path().join(name), variable(&shape, &values)).unwrap();
    }
    // What a training leaves beside them.
    std::fs::write(place.path().join("embedding_para_moment_0"), variable(&[2], &[1.0, 1.0])).unwrap();
    assert_eq!(opened(place.path()).features(&sentences(), StateUse::Reset).unwrap(), expected);
}

#[test]
fn directories_that_lack_a_part_are_named() {
    let device = device();
    let message = |damage: &dyn Fn(&Path)| {
        let place = words();
        damage(place.path());
        refusal(open(place.path(), SoftmaxUse::LeaveOut, &device))
    };
    let remove = |name: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(name)).unwrap();
    let why = message(&remove("lstmp_2.w_1"));
    assert!(why.contains("lstmp_2 should have w_0, w_1 and b_0"), "{why}");
    for part in ["w_0", "w_1", "b_0"] {
        std::fs::metadata(words().path().join(format!("lstmp_3.{part}"))).unwrap();
    }
    let why = message(&|folder| {
        ["w_0", "w_1", "b_0"]
            .iter()
            .for_each(|part| std::fs::remove_file(folder.join(format!("lstmp_3.{part}"))).unwrap())
    });
    assert!(why.contains("there are 3"), "{why}");
    let why = message(&remove("bw_layer1_gate_w"));
    assert!(why.contains("has no matrix bw_layer1_gate_w"), "{why}");
    let why = message(&|folder| std::fs::write(folder.join("lstmp_1.w_0"), variable(&[2, 2], &[0.0; 4])).unwrap());
    assert!(why.contains("lstmp_1.w_0 has the shape [2, 2]"), "{why}");
    let why = message(&|folder| std::fs::write(folder.join("fw_layer1_gate_w"), b"").unwrap());
    assert!(why.contains("fw_layer1_gate_w") && why.contains("is empty"), "{why}");
    let why = message(&|folder| std::fs::write(folder.join("vocab.txt"), "<S>\n</S>\n<UNK>\n").unwrap());
    assert!(why.contains("has 3 words, the model's embedding 29"), "{why}");
}

/// However an HDF5 file is damaged, it is an error that names it, or the damage is in numbers; never a panic.
#[test]
fn damaged_hdf5_files_are_refused() {
    let place = characters("weights.hdf5");
    let file = place.path().join("elmo_tiny_weights.hdf5");
    let whole = std::fs::read(&file).unwrap();
    let try_with = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        open(place.path(), SoftmaxUse::LeaveOut, &device())
    };
    for (bytes, words) in [
        (&whole[..0], "is empty"),
        (&whole[..5], "is not an HDF5 file"),
        (&whole[..20], "is damaged"),
        (&whole[..whole.len() / 2], "elmo_tiny_weights.hdf5"),
        (&b"version https://git-lfs.github.com/spec/v1\n"[..], "is not an HDF5 file"),
    ] {
        let why = refusal(try_with(bytes));
        assert!(why.contains(words) && why.contains("elmo_tiny_weights.hdf5"), "{why}");
    }
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut refused, mut read) = (0, 0);
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random(3) {
            // The first half has the most of the structure.
            let at = random(whole.len() / 2);
            bytes[at] = [0, 0xff, random(256) as u8][random(3)];
        }
        match try_with(&bytes) {
            Ok(_) => read += 1,
            Err(error) => {
                assert!(error.to_string().contains("elmo_tiny_weights.hdf5"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 20 && read > 20, "{refused} refused, {read} read");
}

#[test]
fn options_that_do_not_fit_are_named() {
    let place = characters("weights.hdf5");
    let file = place.path().join("elmo_tiny_options.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    let message = |from: &str, to: &str| {
        std::fs::write(&file, whole.replace(from, to)).unwrap();
        refusal(open(place.path(), SoftmaxUse::LeaveOut, &device()))
    };
    assert!(whole.contains("\"dim\": 8"));
    let why = message("\"dim\": 8", "\"dim\": 9");
    assert!(why.contains("LSTMCell/W_0` has the shape [12, 32], not [12, 36]"), "{why}");
    let why = message("\"n_layers\": 2", "\"n_layers\": 3");
    assert!(why.contains("has no dataset `RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/W_0`"), "{why}");
    let why = message("\"n_layers\": 2", "\"n_layers\": 4000000000");
    assert!(why.contains("num_hidden_layers is 4000000000") && why.contains("options.json"), "{why}");
    let why = message("\"relu\"", "\"swish\"");
    assert!(why.contains("unknown variant `swish`"), "{why}");
    let why = message("[3, 6]", "[51, 6]");
    assert!(why.contains("a filter's width is 51"), "{why}");
    // The options of a training, which do not count the padding.
    std::fs::write(&file, whole.replace("262", "261")).unwrap();
    assert_eq!(opened(place.path()).elmo.config().characters().unwrap().n_characters, 262);
}

/// What is no ELMo says what an ELMo is; and a model of words without words says what is missing.
#[test]
fn folders_without_an_elmo_or_its_words() {
    let place = TempDir::new().unwrap();
    let why = refusal(open(place.path(), SoftmaxUse::LeaveOut, &device()));
    assert!(why.contains("holds no ELMo") && why.contains("options.json"), "{why}");
    let place = directory(&fixture("parity/elmo_words"));
    let why = refusal(opened(place.path()).features(&sentences(), StateUse::Reset));
    assert!(why.contains("holds no vocabulary"), "{why}");
}

/// Training's dropout where Baidu has it. In a network whose every part hands a unit on as it is, a unit is 0 where one of the
/// dropouts on its way took it: two at each layer's input, one at the sum, one at the cell that is carried.
#[test]
fn dropout_is_in_baidus_places() {
    const UNITS: usize = 2000;
    let device = device().autodiff();
    let config = ElmoConfig {
        vocab_size: 3,
        projection_dim: UNITS,
        hidden_size: UNITS,
        cell_clip: None,
        proj_clip: None,
        ..ElmoConfig::default()
    };
    let mut tensors = BTreeMap::new();
    let mut keep = |name: &str, shape: Vec<usize>, values: Vec<f32>| {
        tensors.insert(name.to_string(), NamedTensor { shape, values });
    };
    keep("embedding.weight", vec![3, UNITS], vec![1.0; 3 * UNITS]);
    let diagonal = |columns: usize| {
        let mut values = vec![0.0; UNITS * columns];
        (0..UNITS).for_each(|unit| values[unit * columns + unit] = 1.0);
        values
    };
    for layer in ["forward.0", "forward.1", "backward.0", "backward.1"] {
        keep(&format!("{layer}.input"), vec![UNITS, 4 * UNITS], diagonal(4 * UNITS)); // the candidate alone
        keep(&format!("{layer}.recurrent"), vec![UNITS, 4 * UNITS], vec![0.0; UNITS * 4 * UNITS]);
        keep(&format!("{layer}.bias"), vec![4 * UNITS], vec![0.0; 4 * UNITS]);
        keep(&format!("{layer}.projection"), vec![UNITS, UNITS], diagonal(UNITS));
    }
    let weights = Weights::in_memory(Path::new("made"), Layout::Paddle, &tensors).unwrap();
    let (elmo, _) = load(&config, &weights, SoftmaxUse::LeaveOut, &device).unwrap();
    kiln::nn::seed_dropout(&device, 7);
    let word = Tokens::Words(Tensor::<2, Int>::from_data(TensorData::new(vec![1i64], [1, 1]), &device));
    let output = elmo.language_model(Direction::Forward, &word, elmo.start(1, &device).forward);
    let kept = |values: Vec<f32>| values.iter().filter(|value| **value != 0.0).count() as f64 / UNITS as f64;
    let of3 = |tensor: &Tensor<3>| kept(tensor.to_data().iter::<f32>().collect());
    let of2 = |tensor: &Tensor<2>| kept(tensor.to_data().iter::<f32>().collect());
    for (what, found, dropouts) in [
        ("the first layer's output", of3(&output.raw[0]), 2),
        ("the output that is carried", of2(&output.state[0].hidden), 2),
        ("the cell that is carried", of2(&output.state[0].cell), 3),
        ("the second layer's input", of3(&output.residual[0]), 3),
        ("the second layer's output", of3(&output.raw[1]), 5),
        ("the second cell that is carried", of2(&output.state[1].cell), 6),
        // The sum has what was dropped once at the second layer's input: four in all, and its own.
        ("what the softmax reads", of3(&output.residual[1]), 5),
    ] {
        let expected = 0.9f64.powi(dropouts);
        // Three standard deviations of the share of 2000 units are at most 0.034.
        assert!((found - expected).abs() < 0.034, "{what}: {found} of {expected}");
    }

    // Features have no dropout.
    let input = ElmoInput::words(vec![1], 1, vec![1], &device);
    let (layers, _) = elmo.layers(&input, elmo.start(1, &device));
    assert!(layers.iter().all(|layer| of3(layer) == 2.0), "both directions whole");
}

/// A new model: no value but those of biases is 0, the same seed gives the same, and another another.
#[test]
fn a_new_model_is_made_of_its_seed() {
    let config = ElmoConfig {
        embedding: TokenSource::Character(CharacterConfig { filters: vec![(1, 4), (3, 5)], ..Default::default() }),
        vocab_size: 11,
        projection_dim: 6,
        hidden_size: 8,
        ..ElmoConfig::default()
    };
    let made = |seed: u64| {
        let elmo = Elmo::new(&config, true, &device()).initialised(seed, |_| true);
        let mut found = BTreeMap::new();
        each_parameter(&elmo, &TensorNames::OWN, |name, _, values| drop(found.insert(name, values())));
        found
    };
    let (a, b, c) = (made(1), made(1), made(2));
    assert_eq!(a, b);
    for (name, values) in &a {
        let constant = (name.ends_with("bias") && name != "softmax.bias") || name.starts_with("mix.");
        assert_eq!(values.windows(2).all(|pair| pair[0] == pair[1]), constant, "{name}");
        assert_eq!(*values == c[name], constant, "{name}");
    }
    assert_eq!(character_ids("a", 50).len(), config.characters().unwrap().max_characters_per_token);
}

/// On the published vocabulary and a real text of Baidu's.
#[test]
fn the_real_vocabulary_knows_the_words_of_its_corpus() {
    let Some(data) = crate::real_data() else { return };
    let folder = data.join("data/elmo/data");
    let words = WordVocabulary::open(&folder.join("vocabulary_min5k.txt")).unwrap();
    assert_eq!((words.len(), words.begin, words.end, words.id("<UNK>"), words.id("，")), (52_445, 0, 1, 2, 3));
    let text = std::fs::read_to_string(folder.join("train/sentence_file.txt")).unwrap();
    let ids: Vec<u32> = text.split_whitespace().map(|word| words.id(word)).collect();
    let unknown = ids.iter().filter(|id| **id == words.id("<UNK>")).count();
    // As `word in set(open(...).read().split("\n"))` counts them in Python.
    assert_eq!((ids.len(), unknown), (35_469, 1275));
}
