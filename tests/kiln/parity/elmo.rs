//! ELMo against AllenNLP 2.10.1 (activations, mixture, gradients, the state carried over batches) and against Baidu's language model
//! (losses, gradients, the state, three updates; the features of its LAC_demo).

mod allen_ai;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use kiln::model_folder::elmo::{ElmoModel, SoftmaxUse, load, open};
use kiln::models::elmo::{Chunk, Direction, Elmo, ElmoInput, LayerOutputs, Tokens};
use kiln::train::{Optimizer, global_norm};
use kiln::weights::{TensorNames, Weights};
use serde_json::Value;
use tempfile::TempDir;

use crate::device;
use crate::parameters::{given, gradients, parameters};

use super::{GRADIENTS, assert_near, coarseness, integers, largest_difference, references, values};

/// Numbers of size 1 to 15 after up to 15 steps, in f32; the references are f64.
const OUTPUTS: f64 = 1e-5;

/// Parameters of size 1 at most after three updates of 0.2 times a gradient over the root of its squares' sum, 1 and more: the
/// gradients are off by some 1e-6 of their largest numbers, and that largest is 10 where the norm is clipped.
const UPDATED: f64 = 5e-6;

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap()
}

fn io(folder: &Path) -> Weights {
    Weights::open(&folder.join("io.safetensors")).unwrap()
}

fn set(elmo: Elmo, values: &BTreeMap<String, Vec<f32>>) -> Elmo {
    given(elmo, |path| values.get(path).cloned())
}

/// Each gradient against the reference's, relative to the largest number in the tensor.
fn assert_gradients(ours: &BTreeMap<String, Vec<f64>>, theirs: impl Fn(&str) -> Vec<f64>) {
    for (name, ours) in ours {
        let expected = theirs(name);
        let largest = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
        let worst = largest_difference(ours, &expected);
        assert!(
            largest > 0.0 && worst <= coarseness() * GRADIENTS * largest,
            "{name}: off by {worst:e} of {largest:e}"
        );
    }
}

/// The larger references, where they are.
fn golden(name: &str) -> Option<PathBuf> {
    crate::real_data().map(|data| data.join("golden").join(name))
}

// Baidu's

/// A variable as Paddle's fluid writes it to a file.
pub fn variable(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let mut description = vec![0x08, 5];
    for &length in shape {
        description.push(0x10);
        let mut rest = length;
        while rest >= 0x80 {
            description.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        description.push(rest as u8);
    }
    let mut bytes = [0u8; 16].to_vec(); // version, no levels of detail, version
    bytes.extend((description.len() as i32).to_le_bytes());
    bytes.extend(description);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// The variables of a reference, by the names that Baidu's script gives them.
pub fn variables(folder: &Path) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let params = Weights::open(&folder.join("params.safetensors")).unwrap();
    let named = |name: &str| {
        let (values, shape) = (params.read_f32(name).unwrap(), params.get(name).unwrap().shape.clone());
        let parts: Vec<&str> = name.splitn(3, '_').collect();
        let layer = ["fw_layer1", "fw_layer2", "bw_layer1", "bw_layer2"];
        let number = layer.iter().position(|layer| name.starts_with(layer));
        match (number, parts[..].last()) {
            (Some(number), Some(&"recur_w")) => (format!("lstmp_{number}.w_0"), shape, values),
            (Some(number), Some(&"proj_w")) => (format!("lstmp_{number}.w_1"), shape, values),
            (Some(number), Some(&"gate_b")) => (format!("lstmp_{number}.b_0"), vec![1, values.len()], values),
            _ => (name.to_string(), shape, values),
        }
    };
    params.names().map(named).collect()
}

/// A folder of a reference's variables, as Baidu's script saves them.
pub fn directory(folder: &Path) -> TempDir {
    let place = TempDir::new().unwrap();
    for (name, shape, values) in variables(folder) {
        std::fs::write(place.path().join(name), variable(&shape, &values)).unwrap();
    }
    place
}

/// Baidu's model of a reference, with its clips, without dropout.
fn baidu(folder: &Path, device: &Device) -> Elmo {
    let place = directory(folder);
    let ElmoModel { elmo, report, .. } = open(place.path(), SoftmaxUse::Require, device).unwrap();
    assert_eq!((report.loaded.len(), report.initialised.len()), (19, 2), "{report}");
    assert!(report.unexpected.is_empty(), "{report}");
    let sizes = &manifest(folder)["sizes"];
    let mut config = elmo.config().clone();
    let whole = |word: &str| sizes[word].as_u64().unwrap() as usize;
    assert_eq!((config.vocab_size, config.projection_dim), (whole("vocab"), whole("emb")));
    assert_eq!((config.hidden_size, config.num_hidden_layers), (whole("hidden"), 2));
    (config.cell_clip, config.proj_clip) = (sizes["cell_clip"].as_f64(), sizes["proj_clip"].as_f64());
    config.dropout = 0.0;
    load(&config, &Weights::open(place.path()).unwrap(), SoftmaxUse::Require, device).unwrap().0
}

fn words(io: &Weights, name: &str, device: &Device) -> Tokens {
    Tokens::Words(integers(io, name, device))
}

fn chunk(io: &Weights, batch: usize, device: &Device) -> Chunk {
    Chunk {
        forward: words(io, &format!("b{batch}.x"), device),
        forward_targets: integers(io, &format!("b{batch}.y"), device),
        backward: words(io, &format!("b{batch}.x_r"), device),
        backward_targets: integers(io, &format!("b{batch}.y_r"), device),
        negatives: None,
    }
}

/// Baidu's name of a parameter of ours, in the references.
fn baidus_name(ours: &str) -> String {
    let words: Vec<&str> = ours.split('.').collect();
    match words[..] {
        ["embedding", _] => "embedding_para".into(),
        ["softmax", leaf] => format!("softmax_{leaf}"),
        [direction, layer, part] => {
            let number = layer.parse::<usize>().unwrap() + 1;
            let side = if direction == "forward" { "fw" } else { "bw" };
            let part = match part {
                "input" => "gate_w",
                "recurrent" => "recur_w",
                "bias" => "gate_b",
                _ => "proj_w",
            };
            format!("{side}_layer{number}_{part}")
        }
        _ => panic!("{ours}"),
    }
}

fn word_references() -> impl Iterator<Item = PathBuf> {
    references("elmo_words").into_iter().chain(golden("elmo_paddle_ref"))
}

#[test]
fn logits_and_states_are_baidus() {
    for folder in word_references() {
        let (device, io) = (device(), io(&folder));
        let elmo = baidu(&folder, &device);
        let batch = io.get("b0.x").unwrap().shape[0];
        let start = elmo.start(batch, &device);
        for (side, direction, input, start) in
            [("fw", Direction::Forward, "b0.x", start.forward), ("bw", Direction::Backward, "b0.x_r", start.backward)]
        {
            let output = elmo.language_model(direction, &words(&io, input, &device), start);
            let [rows, steps, _] = output.residual[1].dims();
            let logits = elmo.logits(output.residual[1].clone().flatten(0, 1)); // [rows * steps, vocabulary]
            assert_near(&logits.reshape([rows as i64, steps as i64, -1]), &io, &format!("{side}.logits"), OUTPUTS);
            for (layer, state) in output.state.iter().enumerate() {
                assert_near(&state.hidden, &io, &format!("{side}.last_h{}", layer + 1), OUTPUTS);
                assert_near(&state.cell, &io, &format!("{side}.last_c{}", layer + 1), OUTPUTS);
            }
            // The larger reference has the layers too.
            if io.get("fw.rnn_out1").is_some() {
                for layer in 0..2 {
                    let name = |what: &str| format!("{side}.{what}{}", layer + 1);
                    assert_near(&output.raw[layer], &io, &name("rnn_out_ori"), OUTPUTS);
                    assert_near(&output.residual[layer], &io, &name("rnn_out"), OUTPUTS);
                }
            }
        }
    }
}

/// The loss and the gradients of the first chunk, and the losses of three chunks with the state carried and updates by `update`,
/// which gets the gradients of loss * num_steps.
fn three_chunks(folder: &Path, mut update: impl FnMut(Elmo, GradientsParams) -> Elmo) -> Elmo {
    let (device, io, manifest) = (device().autodiff(), io(folder), manifest(folder));
    let mut elmo = baidu(folder, &device);
    let [batch, steps] = io.get("b0.x").unwrap().shape[..] else { panic!("b0.x") };
    let mut state = elmo.start(batch, &device);
    for number in 0..3 {
        let (loss, end) = elmo.bilm_loss(&chunk(&io, number, &device), state);
        let expected = manifest["train_steps"][number]["loss"].as_f64().unwrap();
        assert!((values(&loss)[0] - expected).abs() < coarseness() * OUTPUTS, "chunk {number}: {loss} {expected}");
        let found = GradientsParams::from_grads(loss.mul_scalar(steps as f64).backward(), &elmo);
        if number == 0 {
            assert_gradients(&gradients(&elmo, &found), |name| {
                let expected = io.read_f64(&format!("grad.{}", baidus_name(name))).unwrap();
                expected.into_iter().map(|g| g * steps as f64).collect()
            });
        }
        elmo = update(elmo, found);
        state = end;
    }
    elmo
}

/// Adagrad as Baidu's script has it, written out here: learning rate 0.2, epsilon 0, accumulators from 1, global norm at most 10.
#[test]
fn three_updates_are_baidus() {
    for folder in word_references() {
        let mut accumulators: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let elmo = three_chunks(&folder, |elmo, found| {
            let (mut values, found) = (parameters(&elmo), gradients(&elmo, &found));
            let norm = found.values().flatten().map(|g| g * g).sum::<f64>().sqrt();
            for (name, gradient) in found {
                let sums = accumulators.entry(name.clone()).or_insert_with(|| vec![1.0; gradient.len()]);
                for ((value, sum), g) in values.get_mut(&name).unwrap().iter_mut().zip(sums).zip(gradient) {
                    let g = g * (10.0 / norm).min(1.0);
                    *sum += g * g;
                    *value -= 0.2 * g / sum.sqrt();
                }
            }
            let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
            set(elmo, &values.into_iter().map(|(name, values)| (name, narrow(values))).collect())
        });
        let io = io(&folder);
        for (name, ours) in parameters(&elmo).into_iter().filter(|(name, _)| !name.starts_with("mix.")) {
            let worst = largest_difference(&ours, &io.read_f64(&format!("after3.{}", baidus_name(&name))).unwrap());
            assert!(worst < coarseness() * UPDATED, "{name}: off by {worst:e}");
        }
    }
}

/// The same updates by Kiln's own optimizer, as `recipes/elmo/pretrain.toml` sets it.
#[test]
fn three_updates_of_the_optimizer_are_baidus() {
    let recipe = kiln::recipe::load(Path::new("elmo/pretrain"), &[]).unwrap().recipe.optimizer;
    for folder in word_references() {
        let mut optimizer = Optimizer::new(&recipe, &TensorNames::OWN);
        let elmo = three_chunks(&folder, |elmo, found| {
            let norm = global_norm(&elmo, &found);
            optimizer.step(elmo, found, recipe.learning_rate, norm)
        });
        let io = io(&folder);
        let mut moved = 0;
        for (name, ours) in parameters(&elmo).into_iter().filter(|(name, _)| !name.starts_with("mix.")) {
            let expected = io.read_f64(&format!("after3.{}", baidus_name(&name))).unwrap();
            let worst = largest_difference(&ours, &expected);
            assert!(worst < coarseness() * UPDATED, "{name}: off by {worst:e}");
            moved += 1;
        }
        assert_eq!(moved, 19);
    }
}

/// The features of LAC_demo, errors and all; and that the right ones are others, from the second layer on and backwards.
#[test]
fn lac_demo_is_reproduced_where_it_is_asked_for() {
    for folder in word_references() {
        let (device, io) = (device(), io(&folder));
        let place = directory(&folder);
        let right = baidu(&folder, &device);
        let mut config = right.config().clone();
        assert_eq!((config.layer_outputs, config.compat_lac_demo), (LayerOutputs::Raw, false));
        config.compat_lac_demo = true;
        let weights = Weights::open(place.path()).unwrap();
        let demo = load(&config, &weights, SoftmaxUse::LeaveOut, &device).unwrap().0;
        let mix = [("mix.layer_weights".to_string(), vec![0.3, -0.2, 0.5]), ("mix.scale".to_string(), vec![1.4])];
        let demo = set(demo, &mix.into());

        let ids = io.read_i64("b0.x").unwrap();
        let [rows, columns] = io.get("b0.x").unwrap().shape[..] else { panic!("b0.x") };
        let input = ElmoInput::words(ids, columns, vec![columns; rows], &device);
        let (layers, _) = demo.layers(&input, demo.start(rows, &device));
        assert_near(&demo.mix(&layers), &io, "lacdemo.elmo", OUTPUTS);

        let (right_layers, _) = right.layers(&input, right.start(rows, &device));
        let size = config.projection_dim;
        let side = |layer: &Tensor<3>, from: usize| layer.clone().narrow(2, from, size);
        let near = |a: Tensor<3>, b: Tensor<3>| largest_difference(&values(&a), &values(&b)) < coarseness() * 1e-6;
        assert!(near(side(&layers[1], 0), side(&right_layers[1], 0)));
        assert!(near(side(&layers[1], size).flip([1]), side(&right_layers[1], size)));
        assert!(!near(side(&layers[1], size), side(&right_layers[1], size)));
        assert!(!near(side(&layers[2], 0), side(&right_layers[2], 0)));
    }
}
