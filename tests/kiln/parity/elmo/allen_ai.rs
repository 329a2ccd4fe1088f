//! AllenAI's model, against AllenNLP 2.10.1.

use kiln::models::elmo::ElmoState;
use kiln::tokenize::elmo::{character_ids, sentence_boundaries};

use super::*;

/// AllenAI's model in a folder, with its mixture.
fn allen_ai(folder: &Path, device: &Device) -> Elmo {
    let place = TempDir::new().unwrap();
    for name in ["options.json", "weights.hdf5"] {
        std::fs::copy(folder.join(name), place.path().join(name)).unwrap();
    }
    let model = open(place.path(), SoftmaxUse::LeaveOut, device).unwrap();
    assert!(model.report.unexpected.is_empty(), "{}", model.report);
    let manifest = manifest(folder);
    let weights = manifest["scalar_mix_parameters"].as_array().unwrap();
    let weights = weights.iter().map(|weight| weight.as_f64().unwrap() as f32).collect();
    let scale = vec![manifest["gamma"].as_f64().unwrap() as f32];
    set(model.elmo, &[("mix.layer_weights".to_string(), weights), ("mix.scale".to_string(), scale)].into())
}

fn character_input(io: &Weights, name: &str, device: &Device) -> ElmoInput {
    let [_, words, count] = io.get(name).unwrap().shape[..] else { panic!("{name}") };
    let ids = io.read_i64(name).unwrap();
    let word = |word: &[i64]| usize::from(word.iter().any(|id| *id != 0));
    let lengths: Vec<usize> = ids.chunks(words * count).map(|row| row.chunks(count).map(word).sum()).collect();
    ElmoInput::characters(&ids, words, &lengths, sentence_boundaries(count), device)
}

#[test]
fn characters_are_numbered_as_allennlp_does() {
    for folder in references("elmo_characters").into_iter().chain(golden("elmo_allennlp")) {
        let (io, manifest) = (io(&folder), manifest(&folder));
        for (batch, sentences) in manifest["sentences"].as_array().unwrap().iter().enumerate() {
            let name = format!("b{batch}.char_ids");
            let [_, words, count] = io.get(&name).unwrap().shape[..] else { panic!("{name}") };
            let mut ours = Vec::new();
            for (row, sentence) in sentences.as_array().unwrap().iter().enumerate() {
                let words_of = sentence.as_array().unwrap().iter();
                ours.extend(words_of.flat_map(|word| character_ids(word.as_str().unwrap(), count)));
                ours.resize((row + 1) * words * count, 0);
            }
            assert_eq!(ours, io.read_i64(&name).unwrap(), "{name}");
        }
    }
}

#[test]
fn features_are_allennlps_with_the_state_carried_over_batches() {
    for folder in references("elmo_characters").into_iter().chain(golden("elmo_allennlp")) {
        let (device, io) = (device(), io(&folder));
        let elmo = allen_ai(&folder, &device);
        let mut state: Option<ElmoState> = None;
        let batches = manifest(&folder)["sentences"].as_array().unwrap().len();
        for batch in 0..batches {
            let input = character_input(&io, &format!("b{batch}.char_ids"), &device);
            let start = state.take().unwrap_or_else(|| elmo.start(input.rows(), &device));
            let (framed, _) = elmo.layers_with_boundaries(&input, start.clone());
            for (number, layer) in framed.iter().enumerate() {
                assert_near(layer, &io, &format!("b{batch}.act{number}"), OUTPUTS);
            }
            let (layers, end) = elmo.layers(&input, start);
            assert_near(&elmo.mix(&layers), &io, &format!("b{batch}.elmo"), OUTPUTS);
            state = Some(end);
        }
    }
}

#[test]
fn gradients_are_allennlps() {
    for folder in references("elmo_characters").into_iter().chain(golden("elmo_allennlp")) {
        let (device, io) = (device().autodiff(), io(&folder));
        let elmo = allen_ai(&folder, &device);
        let input = character_input(&io, "b0.char_ids", &device);
        let (layers, _) = elmo.layers(&input, elmo.start(input.rows(), &device));
        let mixed = elmo.mix(&layers);
        let shape = mixed.shape();
        let weights: Vec<f32> = io.read_f64("b0.loss_weights").unwrap().into_iter().map(|x| x as f32).collect();
        let loss = (mixed * Tensor::<3>::from_data(TensorData::new(weights, shape), &device)).sum();
        let expected = io.read_f64("b0.loss").unwrap()[0];
        assert!((values(&loss)[0] - expected).abs() < OUTPUTS * expected.abs(), "{loss} {expected}");
        let found = GradientsParams::from_grads(loss.backward(), &elmo);
        let mut ours = gradients(&elmo, &found);
        // The mixture's own were not kept by the reference.
        assert!(ours.remove("mix.layer_weights").is_some() && ours.remove("mix.scale").is_some());
        assert_eq!(
            ours.len(),
            io.names().filter(|name| name.contains("b0.grad.")).count() + 4,
            "carry and transform are one there"
        );
        assert_gradients(&ours, |name| allennlp_gradient(&io, name));
    }
}

/// A gradient of AllenNLP's as ours: linear weights are [out, in] there, gates come as input, forget, candidate, output, and the
/// highway's carry gate is that of the other way.
fn allennlp_gradient(io: &Weights, name: &str) -> Vec<f64> {
    let read = |theirs: String| {
        let theirs = format!("b0.grad._elmo_lstm.{theirs}");
        let shape = io.get(&theirs).unwrap_or_else(|| panic!("{theirs}")).shape.clone();
        let values = io.read_f64(&theirs).unwrap();
        (values, shape)
    };
    let columns = |(values, shape): (Vec<f64>, Vec<usize>)| match shape[..] {
        [rows, columns] => transposed(&values, rows, columns),
        _ => values,
    };
    let words: Vec<&str> = name.split('.').collect();
    match words[..] {
        ["embedding", "characters", _] => read("_token_embedder._char_embedding_weights".into()).0,
        ["embedding", "convolutions", number, leaf] => read(format!("_token_embedder.char_conv_{number}.{leaf}")).0,
        ["embedding", "projection", leaf] => columns(read(format!("_token_embedder._projection.{leaf}"))),
        ["embedding", "highways", number, part, leaf] => {
            let (both, mut shape) = read(format!("_token_embedder._highways._layers.{number}.{leaf}"));
            let (transform, carry) = both.split_at(both.len() / 2);
            shape[0] /= 2;
            match part {
                "transform" => columns((transform.to_vec(), shape)),
                _ => columns((carry.iter().map(|x| -x).collect(), shape)),
            }
        }
        [direction, layer, part] => {
            let theirs = match part {
                "input" => "input_linearity.weight",
                "recurrent" => "state_linearity.weight",
                "bias" => "state_linearity.bias",
                _ => "state_projection.weight",
            };
            let (values, shape) = read(format!("_elmo_lstm.{direction}_layer_{layer}.{theirs}"));
            if part == "projection" {
                return columns((values, shape));
            }
            let gates: Vec<&[f64]> = values.chunks(values.len() / 4).collect();
            columns(([gates[2], gates[0], gates[1], gates[3]].concat(), shape))
        }
        _ => panic!("{name}"),
    }
}

fn transposed(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect()
}
