//! The models against what transformers and PaddleNLP compute: states, logits, losses, gradients, parameters after updates.
//!
//! Each check runs on the small committed references, and on the larger ones where `KILN_TEST_DATA` has them.

pub mod elmo;
mod ernie;
mod ernie_m;
mod optimizers;
mod reader;
mod rembert;
mod schedules;
mod tagging;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::TrainStep;
use kiln::models::{EncoderInput, ModelConfig};
use kiln::recipe::{Architecture, TaskName};
use kiln::tasks::{Batch, HeadShape, Input, Labels, Logits, TaskModel};
use kiln::train::{Optimizer, global_norm};
use kiln::weights::{Initialisation, Layout, Missing, ModulePath, NamedTensor, Spread, Weights, each_parameter, fill};
use serde_json::{Map, Value};

use crate::parameters::{self, Values};
use crate::{fixture, real_data};

/// Sums of f32 products in another order than the reference's.
const STATES: f64 = 2e-5;
/// The same, after a mean.
const LOSSES: f64 = 1e-5;
/// Of the largest gradient in the tensor: gradients pass through twice as many sums.
const GRADIENTS: f64 = 1e-4;
/// After three updates of at most 1e-3.
const PARAMETERS: f64 = 2e-6;
/// Parameters whose true gradient is zero (see [`is_noise`]): Adam makes rounding noise as large as any step, so that they may be
/// off by the learning rates, 0 + 5e-4 + 1e-3, once in each direction.
const NOISE: f64 = 2.0 * 1.5e-3;

/// Whether a parameter's true gradient is zero: it shifts everything that a softmax compares alike. A key's bias does that to
/// the scores of a query; in question answering, where the softmax runs over positions, so do the biases behind the last layer.
fn is_noise(name: &str, task: TaskName) -> bool {
    // All references have two layers.
    let behind_the_last_layer = ["qa_outputs.bias", "layers.1.norm2.bias", "layer.1.output.LayerNorm.bias"];
    name.ends_with("k_proj.bias")
        || name.ends_with("self.key.bias")
        || task == TaskName::QuestionAnswering && behind_the_last_layer.iter().any(|end| name.ends_with(end))
}

/// The folders that a reference of this name is in.
fn references(name: &str) -> Vec<PathBuf> {
    let mut folders = vec![fixture("parity").join(name)];
    folders.extend(real_data().map(|data| data.join("golden").join(name)));
    folders.retain(|folder| folder.exists());
    assert!(!folders.is_empty(), "{name}");
    folders
}

/// A model family with one of its heads.
#[derive(Clone, Copy)]
struct Kind {
    family: Architecture,
    task: TaskName,
}

impl Kind {
    fn config(self, folder: &Path) -> (ModelConfig, usize) {
        let mut words: Map<String, Value> =
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        let classes = words.get("id2label").and_then(Value::as_object).map_or(2, Map::len);
        // The references ran without dropout, and Burn drops out wherever it differentiates.
        for word in
            ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "classifier_dropout_prob"]
        {
            words.insert(word.into(), 0.0.into());
        }
        (ModelConfig::from_words(self.family, &words).unwrap(), classes)
    }

    fn model(self, folder: &Path, device: &Device) -> TaskModel {
        let (config, classes) = self.config(folder);
        self.open(&Weights::open(folder).unwrap(), &config, classes, device)
    }

    fn open(self, weights: &Weights, config: &ModelConfig, classes: usize, device: &Device) -> TaskModel {
        let init = Initialisation { seed: 0, spread: Spread::Normal(0.02) };
        let empty = TaskModel::new(config, HeadShape::plain(self.task, classes), device);
        let (model, report) = fill(empty, Some(weights), self.family.names(), init, Missing::Refuse).unwrap();
        // What is left out may only be the buffers that old checkpoints hold, and the second copies of tied tensors.
        let tied = |name: &&str| {
            name.ends_with("position_ids") || name.contains("predictions.decoder") && !name.ends_with("decoder_bias")
        };
        let left_out = weights.names().filter(|name| !report.loaded.contains(&name.to_string())).filter(tied).count();
        assert_eq!(report.loaded.len() + left_out, weights.names().count(), "{report}");
        assert!(report.unexpected.is_empty(), "{report}");
        model
    }

    /// The parameters by Hugging Face's names.
    fn parameters(self, model: &TaskModel) -> BTreeMap<String, NamedTensor> {
        let mut found = BTreeMap::new();
        each_parameter(model, self.family.names(), |name, shape, values| {
            found.insert(name, NamedTensor { shape, values: values() });
        });
        found
    }

    fn labels(self, io: &Weights, prefix: &str, device: &Device) -> Labels {
        let column = |name: &str| integers(io, &format!("{prefix}{name}"), device).squeeze_dim::<1>(1);
        let tokens = || integers(io, &format!("{prefix}labels"), device);
        match self.task {
            TaskName::SequenceClassification => Labels::Classes(column("labels")),
            TaskName::TokenClassification => Labels::Tokens(tokens()),
            TaskName::QuestionAnswering => {
                Labels::Spans { first: column("start_positions"), last: column("end_positions"), among: None }
            }
            TaskName::MaskedLm | TaskName::PreTraining => {
                let labels: Vec<i64> = tokens().into_data().iter::<i64>().collect();
                let (places, tokens): (Vec<i64>, Vec<i64>) = (0..).zip(labels).filter(|(_, label)| *label >= 0).unzip();
                let tensor = |values: Vec<i64>| Tensor::from_data(TensorData::from(values.as_slice()), device);
                let order = (self.task == TaskName::PreTraining).then(|| column("next_sentence_label"));
                Labels::Masked { places: tensor(places), tokens: tensor(tokens), order }
            }
            TaskName::TranslationMaskedLm
            | TaskName::CrossAttentionMaskedLm
            | TaskName::BackTranslationMaskedLm
            | TaskName::BidirectionalLm => unreachable!("no reference has such a head"),
        }
    }

    fn batch(self, io: &Weights, prefix: &str, device: &Device) -> Batch {
        let labels = self.labels(io, prefix, device);
        let counted = |x: &Tensor<1, Int>| x.to_data().iter::<i64>().filter(|label| *label >= 0).count();
        let weight = match &labels {
            Labels::Classes(x) => counted(x),
            Labels::Tokens(x) => counted(&x.clone().flatten::<1>(0, 1)),
            Labels::Masked { tokens, .. } => counted(tokens),
            Labels::Spans { first, .. } => counted(first),
            Labels::None | Labels::Next(_) | Labels::Rows { .. } => 0,
        };
        let order_weight = match &labels {
            Labels::Masked { order: Some(order), .. } => counted(order),
            _ => 0,
        };
        let types = format!("{prefix}token_type_ids");
        let input = EncoderInput {
            input_ids: integers(io, &format!("{prefix}input_ids"), device),
            token_type_ids: io.get(&types).map(|_| integers(io, &types, device)),
            task_type_ids: None,
            attention_mask: Some(integers(io, &format!("{prefix}attention_mask"), device)),
            position_ids: None,
            language_ids: None,
            visibility: None,
        };
        let (scale, order_scale) = (1.0 / weight as f64, 1.0 / order_weight.max(1) as f64);
        Batch {
            input: Input::Tokens(input),
            labels,
            generate: None,
            rows: Vec::new(),
            weight,
            scale,
            order_weight,
            order_scale,
            tokens: 0,
        }
    }
}

/// An integer array of an io file, `[rows, columns]` or `[rows, 1]`.
fn integers(io: &Weights, name: &str, device: &Device) -> Tensor<2, Int> {
    let entry = io.get(name).unwrap_or_else(|| panic!("{name}"));
    let shape = [entry.shape[0], entry.shape.get(1).copied().unwrap_or(1)];
    Tensor::from_data(TensorData::new(io.read_i64(name).unwrap(), shape), device)
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.to_data().iter::<f64>().collect()
}

/// Compares with the reference's float64 values where it has them.
fn assert_near<const D: usize>(ours: &Tensor<D>, io: &Weights, name: &str, tolerance: f64) {
    let exact = format!("{name}.f64");
    let theirs = io.read_f64(if io.get(&exact).is_some() { &exact } else { name }).unwrap();
    let worst = largest_difference(&values(ours), &theirs);
    assert!(worst <= tolerance, "{name}: off by {worst:e}, allowed are {tolerance:e}");
}

fn largest_difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn assert_logits(logits: &Logits, io: &Weights, prefix: &str) {
    match logits {
        Logits::Sequence(x) => assert_near(x, io, &format!("{prefix}logits"), STATES),
        Logits::Token(x) | Logits::Vocabulary(x, None) => assert_near(x, io, &format!("{prefix}logits"), STATES),
        Logits::Vocabulary(x, Some(order)) => {
            assert_near(x, io, &format!("{prefix}prediction_logits"), STATES);
            assert_near(order, io, &format!("{prefix}seq_relationship_logits"), STATES);
        }
        Logits::Span(start, end) => {
            assert_near(start, io, &format!("{prefix}start_logits"), STATES);
            assert_near(end, io, &format!("{prefix}end_logits"), STATES);
        }
        Logits::Hidden(..) | Logits::Next(_) => unreachable!("not of a whole encoder"),
    }
}

/// Everything that comes out of a model of transformers, for the first batch.
fn check_outputs(name: &str, kind: Kind) {
    for folder in references(name) {
        let device = Device::flex();
        let io = Weights::open(&folder.join("io.safetensors")).unwrap();
        let model = kind.model(&folder.join("ckpt_safetensors"), &device);
        let input = kind.batch(&io, "in.", &device).encoder_input().clone();
        let (output, logits) = model.forward(&input);
        for (i, state) in output.hidden_states.iter().enumerate() {
            assert_near(state, &io, &format!("out.hidden.{i}"), STATES);
        }
        if kind.task == TaskName::SequenceClassification {
            assert_near(&output.last_hidden_state(), &io, "out.last_hidden", STATES);
            assert_near(&output.pooled.unwrap(), &io, "out.pooled", STATES);
        }
        assert_logits(&logits.unwrap(), &io, "out.");
        assert_logits(&model.logits(&input).unwrap(), &io, "out.");
    }
}

/// The loss of the first batch and the gradient of every parameter, of transformers; the same with layers that are computed again
/// in the backward pass.
fn check_gradients(name: &str, kind: Kind) {
    let device = Device::flex().autodiff();
    for (folder, recompute) in references(name).into_iter().flat_map(|folder| [(folder.clone(), false), (folder, true)])
    {
        let io = Weights::open(&folder.join("io.safetensors")).unwrap();
        let model = kind.model(&folder.join("ckpt_safetensors"), &device).with_recompute(recompute);
        let output = TrainStep::step(&model, vec![kind.batch(&io, "in.", &device)]);
        let mut loss = values(&output.item.loss_sum)[0] / output.item.weight as f64;
        loss += output.item.order.iter().map(|(sum, rows)| values(sum)[0] / *rows as f64).sum::<f64>();
        let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        assert!((loss - manifest["loss_f64"].as_f64().unwrap()).abs() < LOSSES, "{name}: loss {loss}");

        let exact = folder.join("grads_f64.safetensors");
        let exact = if exact.exists() { exact } else { folder.join("grads.safetensors") };
        let theirs = Weights::open(&exact).unwrap();
        let ours = gradients(&model, kind.family, &output.grads);
        for parameter in theirs.names() {
            let expected = theirs.read_f64(parameter).unwrap();
            let largest = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
            let worst = largest_difference(&ours[parameter], &expected);
            let allowed = if is_noise(parameter, kind.task) { 1e-6 } else { GRADIENTS * largest };
            assert!(worst <= allowed, "{name} {parameter}: off by {worst:e} of {largest:e}, recompute {recompute}");
        }
    }
}

/// By Hugging Face's name, in PyTorch's layout.
fn gradients(model: &TaskModel, family: Architecture, gradients: &GradientsParams) -> BTreeMap<String, Vec<f64>> {
    let name = |path: &ModulePath| path.checkpoint_names(family.names()).swap_remove(0);
    let found = parameters::read(model, Some(gradients), name).into_iter().map(|found| {
        let Values { name, is_linear_weight, shape, values } = found;
        match (is_linear_weight, &shape[..]) {
            (true, [rows, columns]) => {
                (name, (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect())
            }
            _ => (name, values),
        }
    });
    found.collect()
}

/// An optimizer of the references: AdamW with a decay of 0.01, gradients clipped to a norm of 1.
fn reference_optimizer() -> kiln::recipe::Optimizer {
    kiln::recipe::Optimizer { weight_decay: 0.01, max_grad_norm: 1.0, ..Default::default() }
}

/// Three updates at learning rates 0, 5e-4 and 1e-3, as all references were made. `inputs` is the folder of the batches.
fn three_updates(folder: &Path, inputs: &Path, kind: Kind, recipe: &kiln::recipe::Optimizer) -> TaskModel {
    let device = Device::flex().autodiff();
    let io = Weights::open(&inputs.join("io.safetensors")).unwrap();
    let (config, _) = kind.config(folder);
    let layers = config.common().encoder.num_hidden_layers;
    let mut optimizer = Optimizer::new(recipe, kind.family, layers);
    let mut model = kind.model(folder, &device);
    for (step, rate) in [0.0, 5e-4, 1e-3].into_iter().enumerate() {
        let output = TrainStep::step(&model, vec![kind.batch(&io, &format!("step{step}.in."), &device)]);
        let norm = global_norm(&model, &output.grads);
        model = optimizer.step(model, output.grads, rate, norm);
    }
    model
}

/// Parameters against a file of transformers', or of PaddleNLP's, whose name for each is `their_name`'s.
fn assert_parameters(model: &TaskModel, kind: Kind, file: &Path, layout: Layout, their_name: impl Fn(&str) -> String) {
    let theirs = Weights::open(file).unwrap();
    for (name, ours) in kind.parameters(model) {
        let linear = ours.shape.len() == 2 && !name.contains("embeddings");
        let mut expected = theirs.read_f64(&their_name(&name)).unwrap();
        if layout == Layout::Paddle && linear {
            let [rows, columns] = [ours.shape[0], ours.shape[1]];
            expected = (0..rows * columns).map(|i| expected[i % columns * rows + i / columns]).collect();
        }
        let ours: Vec<f64> = ours.values.iter().map(|&x| f64::from(x)).collect();
        let worst = largest_difference(&ours, &expected);
        let allowed = if is_noise(&name, kind.task) { NOISE } else { PARAMETERS };
        assert!(worst <= allowed, "{}: {name}: off by {worst:e}", file.display());
    }
}

/// Parameters after three updates, of transformers.
fn check_updates(name: &str, kind: Kind) {
    for folder in references(name) {
        let model = three_updates(&folder.join("ckpt_safetensors"), &folder, kind, &reference_optimizer());
        let file = folder.join("params_after3.safetensors");
        assert_parameters(&model, kind, &file, Layout::Torch, str::to_string);
    }
}
