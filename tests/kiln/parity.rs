//! ERNIE-M against what transformers and PaddleNLP compute: states, logits, losses, gradients, parameters after updates.
//!
//! Each check runs on the small committed fixtures, and on the larger reference folders where `KILN_TEST_DATA` has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::TrainStep;
use kiln::models::{EncoderInput, ModelConfig};
use kiln::recipe::{Architecture, LayerwiseDecayMode, Schedule, ScheduleName, TaskName};
use kiln::tasks::{Batch, Labels, Logits, TaskModel};
use kiln::train::{Optimizer, clip_coefficient, global_norm};
use kiln::weights::{Initialisation, Layout, Missing, ModulePath, Weights, fill, tensors_of};
use serde_json::{Map, Value};

use crate::{fixture, real_data};

/// Sums of f32 products in another order than the reference's.
const STATES: f64 = 2e-5;
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
    let behind_the_last_layer = ["qa_outputs.bias", "layers.1.norm2.bias"]; // all references have two layers
    name.ends_with("k_proj.bias")
        || task == TaskName::QuestionAnswering && behind_the_last_layer.iter().any(|end| name.ends_with(end))
}

/// The folders that a reference of this name is in.
fn references(name: &str) -> Vec<PathBuf> {
    let mut folders: Vec<_> = [fixture("parity").join(name)].into_iter().filter(|f| f.exists()).collect();
    folders.extend(real_data().map(|data| data.join("golden").join(name)));
    folders
}

fn config(folder: &Path) -> (ModelConfig, usize) {
    let mut words: Map<String, Value> =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let classes = words.get("id2label").and_then(Value::as_object).map_or(2, Map::len);
    // The references ran without dropout, and Burn drops out wherever it differentiates.
    for word in ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"] {
        words.insert(word.into(), 0.0.into());
    }
    (ModelConfig::from_words(Architecture::ErnieM, &words).unwrap(), classes)
}

fn model(folder: &Path, task: TaskName, device: &Device) -> TaskModel {
    let (config, classes) = config(folder);
    open(&Weights::open(folder).unwrap(), &config, classes, task, device)
}

fn open(weights: &Weights, config: &ModelConfig, classes: usize, task: TaskName, device: &Device) -> TaskModel {
    let names = config.architecture().names();
    let init = Initialisation { seed: 0, range: 0.02 };
    let (model, report) =
        fill(TaskModel::new(config, task, classes, device), Some(weights), names, init, Missing::Refuse).unwrap();
    assert_eq!(report.loaded.len(), weights.names().count(), "{report}");
    model
}

/// An integer array of an io file, `[rows, columns]` or `[rows, 1]`.
fn integers(io: &Weights, name: &str, device: &Device) -> Tensor<2, Int> {
    let entry = io.get(name).unwrap_or_else(|| panic!("{name}"));
    let shape = [entry.shape[0], entry.shape.get(1).copied().unwrap_or(1)];
    Tensor::from_data(TensorData::new(io.read_i64(name).unwrap(), shape), device)
}

fn labels(io: &Weights, prefix: &str, task: TaskName, device: &Device) -> Labels {
    let column = |name: &str| integers(io, &format!("{prefix}{name}"), device).squeeze_dim::<1>(1);
    match task {
        TaskName::SequenceClassification => Labels::Classes(column("labels")),
        TaskName::TokenClassification => Labels::Tokens(integers(io, &format!("{prefix}labels"), device)),
        TaskName::QuestionAnswering => Labels::Spans(column("start_positions"), column("end_positions")),
    }
}

fn batch(io: &Weights, prefix: &str, task: TaskName, device: &Device) -> Batch {
    let labels = labels(io, prefix, task, device);
    let counted = |x: &Tensor<1, Int>| x.to_data().iter::<i64>().filter(|label| *label >= 0).count();
    let weight = match &labels {
        Labels::Classes(x) => counted(x),
        Labels::Tokens(x) => counted(&x.clone().flatten::<1>(0, 1)),
        Labels::Spans(start, _) => counted(start),
        Labels::None => 0,
    };
    let input = EncoderInput {
        input_ids: integers(io, &format!("{prefix}input_ids"), device),
        attention_mask: Some(integers(io, &format!("{prefix}attention_mask"), device)),
        position_ids: None,
    };
    Batch { input, labels, rows: Vec::new(), weight, scale: 1.0 / weight as f64, tokens: 0 }
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
        Logits::Token(x) => assert_near(x, io, &format!("{prefix}logits"), STATES),
        Logits::Span(start, end) => {
            assert_near(start, io, &format!("{prefix}start_logits"), STATES);
            assert_near(end, io, &format!("{prefix}end_logits"), STATES);
        }
    }
}

const HEADS: [(&str, TaskName); 3] = [
    ("hf_erniem_seqcls", TaskName::SequenceClassification),
    ("hf_erniem_tokcls", TaskName::TokenClassification),
    ("hf_erniem_qa", TaskName::QuestionAnswering),
];

#[test]
fn hidden_states_and_logits_are_transformers() {
    for (name, task) in HEADS {
        for folder in references(name) {
            let device = Device::flex();
            let io = Weights::open(&folder.join("io.safetensors")).unwrap();
            let model = model(&folder.join("ckpt_safetensors"), task, &device);
            let (output, logits) = model.forward(&batch(&io, "in.", task, &device).input);
            for (i, state) in output.hidden_states.iter().enumerate() {
                assert_near(state, &io, &format!("out.hidden.{i}"), STATES);
            }
            if task == TaskName::SequenceClassification {
                assert_near(&output.last_hidden_state(), &io, "out.last_hidden", STATES);
                assert_near(&output.pooled.unwrap(), &io, "out.pooled", STATES);
            }
            assert_logits(&logits.unwrap(), &io, "out.");
        }
    }
}

/// Without a mask transformers hides id 1, the padding, and PaddleNLP id 0, which is `[CLS]`.
#[test]
fn the_mask_trap_is_understood_both_ways() {
    let task = TaskName::SequenceClassification;
    let device = Device::flex();
    let both = references("hf_erniem_seqcls").into_iter().zip(references("pd_erniem_seqcls"));
    for (folder, paddle) in both {
        let io = Weights::open(&folder.join("io.safetensors")).unwrap();
        let mut input = batch(&io, "in.", task, &device).input;
        input.attention_mask = None;

        let checkpoint = folder.join("ckpt_safetensors");
        let (output, logits) = model(&checkpoint, task, &device).forward(&input);
        assert_near(&output.last_hidden_state(), &io, "out.nomask.last_hidden", STATES);
        assert_logits(&logits.unwrap(), &io, "out.nomask.");

        let io = Weights::open(&paddle.join("io.safetensors")).unwrap();
        let (ModelConfig::ErnieM(mut config), classes) = config(&checkpoint);
        config.paddle_default_mask = true;
        let weights = Weights::open(&paddle.join("ckpt")).unwrap();
        let (output, logits) = open(&weights, &ModelConfig::ErnieM(config), classes, task, &device).forward(&input);
        assert_near(&output.last_hidden_state(), &io, "out.nomask.last_hidden", STATES);
        assert_logits(&logits.unwrap(), &io, "out.nomask.");
    }
}

/// The three checkpoint formats of the same weights are the same model, and PaddleNLP's outputs are ours.
#[test]
fn every_checkpoint_format_is_read() {
    let task = TaskName::SequenceClassification;
    let device = Device::flex();
    for (folder, paddle) in references("hf_erniem_seqcls").into_iter().zip(references("pd_erniem_seqcls")) {
        let names = Architecture::ErnieM.names();
        let expected = tensors_of(&model(&folder.join("ckpt_safetensors"), task, &device), names);
        assert_eq!(tensors_of(&model(&folder.join("ckpt_bin"), task, &device), names), expected);
        let from_paddle = model(&paddle.join("ckpt"), task, &device);
        assert_eq!(tensors_of(&from_paddle, names), expected);

        let inputs = Weights::open(&folder.join("io.safetensors")).unwrap();
        let io = Weights::open(&paddle.join("io.safetensors")).unwrap();
        let (output, logits) = from_paddle.forward(&batch(&inputs, "in.", task, &device).input);
        assert_near(&output.last_hidden_state(), &io, "out.last_hidden", STATES);
        assert_near(&output.pooled.unwrap(), &io, "out.pooled", STATES);
        assert_logits(&logits.unwrap(), &io, "out.");
    }
}

struct Gradients<'a> {
    path: ModulePath,
    gradients: &'a GradientsParams,
    /// By Hugging Face's name, in PyTorch's layout.
    found: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for Gradients<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.checkpoint_names(Architecture::ErnieM.names()).swap_remove(0);
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let gradient = if self.path.is_linear_weight() { gradient.swap_dims(0, 1) } else { gradient };
            self.found.insert(name, values(&gradient));
        }
    }
}

#[test]
fn losses_and_gradients_are_transformers() {
    let device = Device::flex().autodiff();
    for (name, task) in HEADS {
        for folder in references(name) {
            let io = Weights::open(&folder.join("io.safetensors")).unwrap();
            let model = model(&folder.join("ckpt_safetensors"), task, &device);
            let output = TrainStep::step(&model, vec![batch(&io, "in.", task, &device)]);
            let loss = values(&output.item.loss_sum)[0] / output.item.weight as f64;
            let manifest: Value =
                serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
            assert!((loss - manifest["loss_f64"].as_f64().unwrap()).abs() < 1e-5, "{name}: loss {loss}");

            let exact = folder.join("grads_f64.safetensors");
            let exact = if exact.exists() { exact } else { folder.join("grads.safetensors") };
            let theirs = Weights::open(&exact).unwrap();
            let mut ours = Gradients { path: ModulePath::default(), gradients: &output.grads, found: BTreeMap::new() };
            model.visit(&mut ours);
            for parameter in theirs.names() {
                let expected = theirs.read_f64(parameter).unwrap();
                let largest = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
                let worst = largest_difference(&ours.found[parameter], &expected);
                let allowed = if is_noise(parameter, task) { 1e-6 } else { GRADIENTS * largest };
                assert!(worst <= allowed, "{name} {parameter}: off by {worst:e} of {largest:e}");
            }
        }
    }
}

/// Three updates at learning rates 0, 5e-4 and 1e-3, clipped to a norm of 1, as all references were made.
fn three_updates(folder: &Path, inputs: &Path, task: TaskName, decay: f64, mode: LayerwiseDecayMode) -> TaskModel {
    let device = Device::flex().autodiff();
    let io = Weights::open(&inputs.join("io.safetensors")).unwrap();
    let (config, _) = config(folder);
    let recipe = kiln::recipe::Optimizer {
        weight_decay: 0.01,
        layerwise_decay: decay,
        layerwise_decay_mode: mode,
        max_grad_norm: 1.0,
        ..Default::default()
    };
    let mut optimizer = Optimizer::new(&recipe, config.num_hidden_layers(), Architecture::ErnieM.names());
    let mut model = model(folder, task, &device);
    for (step, rate) in [0.0, 5e-4, 1e-3].into_iter().enumerate() {
        let output = TrainStep::step(&model, vec![batch(&io, &format!("step{step}.in."), task, &device)]);
        let norm = global_norm(&model, &output.grads);
        model = optimizer.step(model, output.grads, rate, clip_coefficient(norm, recipe.max_grad_norm));
    }
    model
}

fn assert_parameters(model: &TaskModel, task: TaskName, file: &Path, layout: Layout) {
    let theirs = Weights::open(file).unwrap();
    for (name, ours) in tensors_of(model, Architecture::ErnieM.names()) {
        let linear = ours.shape.len() == 2 && !name.contains("embeddings");
        let (their_name, transposed) = match layout {
            Layout::Torch => (name.clone(), false),
            Layout::Paddle => (name.replace("self_attn.self_attn", "self_attn"), linear),
        };
        let mut expected = theirs.read_f64(&their_name).unwrap();
        if transposed {
            let [rows, columns] = [ours.shape[0], ours.shape[1]];
            expected = (0..rows * columns).map(|i| expected[i % columns * rows + i / columns]).collect();
        }
        let ours: Vec<f64> = ours.values.iter().map(|&x| f64::from(x)).collect();
        let worst = largest_difference(&ours, &expected);
        let allowed = if is_noise(&name, task) { NOISE } else { PARAMETERS };
        assert!(worst <= allowed, "{}: {name}: off by {worst:e}", file.display());
    }
}

#[test]
fn parameters_after_three_updates_are_transformers() {
    for (name, task) in HEADS {
        for folder in references(name) {
            let model = three_updates(&folder.join("ckpt_safetensors"), &folder, task, 1.0, LayerwiseDecayMode::Ratio);
            assert_parameters(&model, task, &folder.join("params_after3.safetensors"), Layout::Torch);
        }
    }
}

#[test]
fn layer_wise_decay_is_paddlenlps_both_ways() {
    let task = TaskName::SequenceClassification;
    for (folder, paddle) in references("hf_erniem_seqcls").into_iter().zip(references("pd_erniem_seqcls")) {
        for (file, decay, mode) in [
            ("params_after3_adamw", 1.0, LayerwiseDecayMode::Ratio),
            ("params_after3_lrratio", 0.8, LayerwiseDecayMode::Ratio),
            ("params_after3_adamwdl", 0.8, LayerwiseDecayMode::AdamWdl),
        ] {
            let model = three_updates(&paddle.join("ckpt"), &folder, task, decay, mode);
            assert_parameters(&model, task, &paddle.join(format!("{file}.safetensors")), Layout::Paddle);
        }
    }
}

/// The 125 learning rates of each of PaddleNLP's schedules, beyond their ends.
#[test]
fn schedules_are_paddlenlps() {
    let text = std::fs::read_to_string(fixture("parity/schedules.json")).unwrap();
    let theirs: Value = serde_json::from_str(&text).unwrap();
    let linear = Schedule { name: ScheduleName::Linear, warmup_steps: Some(12), ..Schedule::default() };
    let annealing = |name| Schedule {
        name,
        warmup_steps: Some(10),
        min_learning_rate: 1e-5,
        decay_steps: Some(99),
        ..Schedule::default()
    };
    for (name, recipe, peak) in [
        ("LinearDecayWithWarmup", linear, 5e-5),
        ("LinearAnnealingWithWarmupDecay", annealing(ScheduleName::LinearMin), 1e-4),
        ("CosineAnnealingWithWarmupDecay", annealing(ScheduleName::Cosine), 1e-4),
    ] {
        let schedule = kiln::train::Schedule::new(&recipe, peak, 120);
        for (step, expected) in theirs[name]["lr"].as_array().unwrap().iter().enumerate() {
            let (ours, theirs) = (schedule.at(step as u64), expected.as_f64().unwrap());
            assert!((ours - theirs).abs() < 1e-9, "{name} at {step}: {ours:e}, not {theirs:e}");
        }
    }
}
