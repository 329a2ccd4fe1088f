//! Taggers of words: LAC's network, with the features of an ELMo and without.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln::data::align::NO_TAG;
use kiln::data::{InputRow, pad};
use kiln::model_folder::elmo::{self, SoftmaxUse};
use kiln::model_folder::elmo_features::StateUse;
use kiln::models::elmo::ElmoConfig;
use kiln::models::words::WordsConfig;
use kiln::models::{EncoderInput, ModelConfig};
use kiln::nn::gather_words;
use kiln::recipe::{self, OptimizerName, TaggerOptions};
use kiln::tasks::token_classification::{Labels, Options, TokenClassification};
use kiln::tasks::{Batch, LossTerm, TaskBatch, TaskModel, Trainable};
use kiln::tokenize::Padding;
use kiln::tokenize::elmo::WordVocabulary;
use kiln::train::{Norm, Optimizer};
use kiln::weights::{self, Initialisation, Missing, NamedTensor, Saved, Spread, TensorNames, Weights, fill};

use crate::device;
use crate::parameters::{gradients, parameters};

const TAGS: usize = 4;

type Tagger = TaskModel<TokenClassification>;

/// Nine words, cells of 5, projections of 3: features of 6.
fn small_elmo() -> ElmoConfig {
    ElmoConfig { vocab_size: 9, projection_dim: 3, hidden_size: 5, ..ElmoConfig::default() }
}

fn config(elmo: Option<ElmoConfig>) -> ModelConfig {
    let dropout = WordsConfig { vocab_size: 9, word_emb_dim: 8, elmo_dropout: 0.0, ..WordsConfig::default() };
    ModelConfig::from(WordsConfig { elmo, ..dropout })
}

fn tagger(config: &ModelConfig, device: &Device) -> Tagger {
    let tagger = TaggerOptions { crf: true, bigru_num: 2, grnn_hidden_dim: 7 };
    let options = Options { tagger, ..Options::default() };
    let initialisation = Initialisation { seed: 5, spread: Spread::Uniform(0.5) };
    let empty = Tagger::new(config, &options, TAGS, device);
    let (model, _) = fill(empty, None, &TensorNames::OWN, initialisation, Missing::HeadsAreNew).unwrap();
    model.frozen()
}

fn input(rows: &[&[u32]], width: usize, device: &Device) -> EncoderInput {
    let rows: Vec<InputRow> = rows.iter().map(|ids| InputRow { ids, first: ids.len() }).collect();
    pad(&rows, Padding { id: 8, apart: false, types: true, max_length: 512 }, width, device)
}

fn integers(rows: &[&[i64]], width: usize, device: &Device) -> Tensor<2, Int> {
    let padded = rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat(0)).take(width));
    Tensor::from_data(TensorData::new(padded.collect::<Vec<_>>(), [rows.len(), width]), device)
}

fn batch(rows: &[&[u32]], tags: &[&[i64]], width: usize, device: &Device) -> TaskBatch<TokenClassification> {
    let positions: Vec<i64> = (0..width as i64).collect();
    let positions: Vec<&[i64]> = rows.iter().map(|row| &positions[..row.len()]).collect();
    let labels = Labels::Rows {
        positions: integers(&positions, width, device),
        classes: integers(tags, width, device),
        lengths: rows.iter().map(|row| row.len()).collect(),
    };
    Batch {
        input: input(rows, width, device),
        labels,
        rows: (0..rows.len()).collect(),
        block: 0,
        tokens: 0,
        padded_tokens: 0,
        terms: vec![LossTerm::mean("loss", rows.len())],
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

const ROWS: [&[u32]; 3] = [&[1, 2, 3, 4, 5], &[6, 7], &[8]];
const GOLD: [&[i64]; 3] = [&[0, 1, 2, 3, 0], &[1, 2], &[3]];

/// Nothing of a row depends on what stands behind its end, or on how long the other rows of its batch are.
#[test]
fn padding_changes_nothing() {
    let device = device();
    for elmo in [None, Some(small_elmo())] {
        let model = tagger(&config(elmo), &device);
        let together = model.logits(&input(&ROWS, 6, &device)); // [3, 6, 4]
        let mut apart = 0.0;
        for (number, (row, gold)) in ROWS.into_iter().zip(GOLD).enumerate() {
            let alone = model.logits(&input(&[row], 0, &device)); // [1, length, 4]
            let of_batch = together.clone().narrow(0, number, 1).narrow(1, 0, row.len()); // [1, length, 4]
            let worst = values((alone - of_batch).abs().max())[0];
            assert!(worst < 1e-6, "row {number} is off by {worst}");
            apart += values(model.losses(&batch(&[row], &[gold], row.len(), &device)).0.remove(0))[0];
        }
        let sum = values(model.losses(&batch(&ROWS, &GOLD, 6, &device)).0.remove(0))[0];
        assert!((sum - apart).abs() < 1e-4, "{sum} for {apart}");
    }
}

/// What stands beside a word's vector is the ELMo's own mixture for the text it is in; the second text of a row is read by itself.
#[test]
fn features_are_those_of_the_elmo_for_each_text() {
    let device = device();
    let model = tagger(&config(Some(small_elmo())), &device);
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<String> =
        ["<S>", "</S>", "<UNK>", "a", "b", "c", "d", "e", "f"].iter().map(ToString::to_string).collect();
    let vocabulary = WordVocabulary::from_bytes(words.join("\n").as_bytes(), folder.path()).unwrap();
    // The same values, by the same names, as an ELMo alone.
    let path = folder.path().join("model.safetensors");
    weights::save_module(&path, &model, &TensorNames::OWN, Saved::All).unwrap();
    let saved = Weights::open(&path).unwrap();
    let own = saved.names().filter_map(|name| name.strip_prefix("backbone.elmo."));
    let own: BTreeMap<String, NamedTensor> = own
        .map(|name| {
            let long = format!("backbone.elmo.{name}");
            let values = saved.read_f32(&long).unwrap();
            (name.to_string(), NamedTensor { shape: saved.get(&long).unwrap().shape.clone(), values })
        })
        .collect();
    let elmo_path = folder.path().join("elmo.safetensors");
    weights::save(&elmo_path, &own).unwrap();
    let held = Weights::open(&elmo_path).unwrap();
    let (elmo, report) = elmo::load(&small_elmo(), &held, SoftmaxUse::LeaveOut, &device).unwrap();
    assert!(report.initialised.is_empty() && report.unexpected.is_empty(), "{report}");
    let alone = folder.path().join("alone");
    std::fs::create_dir(&alone).unwrap();
    elmo::write(&alone, &elmo, Some(&vocabulary), Default::default()).unwrap();
    let elmo = elmo::open(&alone, SoftmaxUse::LeaveOut, &device).unwrap();

    let texts = [[3, 4, 5, 6].as_slice(), &[7], &[8, 3], &[4, 5, 6, 7, 8]];
    let sentences: Vec<Vec<&str>> =
        texts.iter().map(|text| text.iter().map(|id| words[*id as usize].as_str()).collect()).collect();
    let expected = elmo.features(&sentences, StateUse::Reset).unwrap();
    let pairs = [[texts[0], texts[1]].concat(), [texts[2], texts[3]].concat()];
    let rows = [InputRow { ids: &pairs[0], first: 4 }, InputRow { ids: &pairs[1], first: 2 }];
    let input = pad(&rows, Padding { id: 0, apart: false, types: true, max_length: 512 }, 0, &device);
    let embedded = model.forward(&input).0.last_hidden_state(); // [2, 7, 6 + 8]
    assert_eq!(embedded.dims(), [2, 7, 14]);
    let of_text = |row: usize, start: usize, text: usize| {
        let part = embedded.clone().narrow(0, row, 1).narrow(1, start, texts[text].len()).narrow(2, 0, 6);
        let worst = values(part).iter().zip(&expected[text].elmo).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "text {text} is off by {worst}");
    };
    of_text(0, 0, 0);
    of_text(0, 4, 1);
    of_text(1, 0, 2);
    of_text(1, 2, 3);
}

/// One step of gradient descent moves each parameter by its own rate and its own decay, as LAC's demo has them, and of the ELMo
/// nothing but the mixture.
#[test]
fn every_parameter_learns_and_decays_as_in_the_demo() {
    let device = device().autodiff();
    let model = tagger(&config(Some(small_elmo())), &device);
    let options = recipe::Optimizer {
        name: OptimizerName::Sgd,
        l2: 0.1,
        emb_learning_rate: 5.0,
        crf_learning_rate: 0.2,
        ..Default::default()
    };
    let mut optimizer = Optimizer::new(&options, &TensorNames::OWN).with_mixture_l2(0.3);
    let found = model.learn(batch(&ROWS, &GOLD, 6, &device), &(), None).gradients;
    let (before, gradients) = (parameters(&model), gradients(&model, &found));
    let after = parameters(&optimizer.step(model, found, 0.5, Norm::default()));
    let mut learnt = Vec::new();
    for (path, old) in &before {
        let new = &after[path];
        let Some(gradient) = gradients.get(path) else {
            assert_eq!(old, new, "{path}");
            continue;
        };
        learnt.push(path.as_str());
        let (rate, decay) = match path.as_str() {
            "backbone.word_embeddings.weight" => (5.0, 0.0),
            "head.crf.transitions" => (0.2, 0.0),
            "backbone.elmo.mix.layer_weights" => (1.0, 0.3),
            _ if path.ends_with("bias") || path.ends_with("scale") => (1.0, 0.0),
            _ => (1.0, 0.1),
        };
        for ((old, new), gradient) in old.iter().zip(new).zip(gradient) {
            let expected = old - 0.5 * rate * (gradient + decay * old);
            assert!((new - expected).abs() < 1e-6, "{path}: {new} for {expected}");
        }
    }
    let of_elmo: Vec<&&str> = learnt.iter().filter(|path| path.contains(".elmo.")).collect();
    assert_eq!(of_elmo, [&"backbone.elmo.mix.layer_weights", &"backbone.elmo.mix.scale"]);
    // The words, the mixture's two, four directions of GRUs with four parameters each, the emissions' two, the transitions.
    assert_eq!(learnt.len(), 1 + 2 + 16 + 2 + 1, "{learnt:?}");
}

/// A word without tokens has no tag, and the words after it keep theirs.
#[test]
fn the_best_row_of_tags_passes_over_words_that_are_not_seen() {
    let device = device();
    let model = tagger(&config(None), &device);
    let all = model.logits(&input(&[&[1, 2, 3]], 0, &device));
    let whole = model.word_tags(&all, &[&[Some(0), Some(1), Some(2)]]).remove(0);
    let gaps = model.word_tags(&all, &[&[None, Some(0), Some(1), None, Some(2)]]).remove(0);
    assert_eq!(gaps, [NO_TAG, whole[0], whole[1], NO_TAG, whole[2]]);
    assert_eq!(model.word_tags(&all, &[&[None]]), [[NO_TAG]]);
    assert_eq!(model.word_tags(&all, &[&[]]), [[0; 0]]);
}

#[test]
fn words_are_gathered_by_their_first_pieces() {
    let device = device();
    let pieces: Vec<f32> = (0..16).map(|x| x as f32).collect();
    let pieces = Tensor::<3>::from_data(TensorData::new(pieces, [2, 4, 2]), &device);
    let starts = integers(&[&[0, 3], &[2, 1]], 2, &device);
    assert_eq!(values(gather_words(pieces, starts)), [0.0, 1.0, 6.0, 7.0, 12.0, 13.0, 10.0, 11.0]);
}
