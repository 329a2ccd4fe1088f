//! The models against what transformers and PaddleNLP compute: states, logits, losses, gradients, parameters after updates.
//!
//! Each check runs on the small committed references, and on the larger ones where `KILN_TEST_DATA` has them.

/// The tests that every encoder has: each of its heads, a reference's name and kind, against transformers.
macro_rules! tests_of_heads {
    ($heads:expr) => {
        #[test]
        fn hidden_states_and_logits_are_transformers() {
            $heads.into_iter().for_each(|(name, kind)| check_outputs(name, kind));
        }

        #[test]
        fn losses_and_gradients_are_transformers() {
            $heads.into_iter().for_each(|(name, kind)| check_gradients(name, kind));
        }

        #[test]
        fn parameters_after_three_updates_are_transformers() {
            $heads.into_iter().for_each(|(name, kind)| check_updates(name, kind));
        }
    };
}

mod bert;
pub mod elmo;
mod ernie;
mod ernie_m;
mod optimizers;
mod reader;
mod rembert;
mod schedules;
mod tagging;
mod xlm_roberta;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln::models::{EncoderInput, Family, ModelConfig};
use kiln::recipe::TaskName;
use kiln::tasks::masked_lm::{self, LM_LOSS, MaskedLm, SOP_LOSS};
use kiln::tasks::question_answering::{self, QuestionAnswering};
use kiln::tasks::sequence_classification::SequenceClassification;
use kiln::tasks::token_classification::{self, TokenClassification};
use kiln::tasks::{Batch, Learned, Loss, LossTerm, TaskBatch, TaskHead, TaskModel, Trainable, number};
use kiln::train::{Optimizer, global_norm};
use kiln::weights::{Initialisation, Layout, Missing, ModulePath, NamedTensor, Spread, Weights, each_parameter, fill};
use serde_json::{Map, Value};

use crate::parameters::{self, Values};
use crate::{backend, device, fixture, real_data};

/// Sums of f32 products in another order than the reference's.
const STATES: f64 = 2e-5;
/// What outputs may be off by on a GPU, in tolerances: its exponentials and error functions are approximations, a few units in the last
/// place worse than the CPU's. Gradients and parameters have room enough.
const ON_A_GPU: f64 = 2.5;
/// The same where the reference is itself float32, which Paddle's are: a layer norm magnifies the rounding of both in rows that hardly vary.
const ON_A_GPU_BESIDE_F32: f64 = 6.0;
/// The same, after a mean.
const LOSSES: f64 = 1e-5;
/// Of the largest gradient in the tensor: gradients pass through twice as many sums.
const GRADIENTS: f64 = 1e-4;
/// After three updates of at most 1e-3.
const PARAMETERS: f64 = 2e-6;
/// What everything may be off by, in tolerances, where f32 products are TF32: factors have 10 bits of mantissa instead of 23. PyTorch on
/// factors rounded so is off by up to 120 of what a GPU's outputs may be, 64 (losses), 97 (gradients), 95 (those that are noise) and 31
/// (parameters) on these references.
const AS_TF32: f64 = 200.0;
/// Parameters whose true gradient is zero (see [`is_noise`]): Adam makes rounding noise as large as any step, so that they may be
/// off by the learning rates, 0 + 5e-4 + 1e-3, once in each direction.
const NOISE: f64 = 2.0 * 1.5e-3;

/// How many times its tolerance a number may be off by. Burn computes f32 products as TF32 on NVIDIA's tensor cores; `KILN_TEST_TF32=0`
/// says that they are not used.
pub fn coarseness() -> f64 {
    let exact = backend() != "cuda" || std::env::var("KILN_TEST_TF32").is_ok_and(|word| word == "0");
    if exact { 1.0 } else { AS_TF32 }
}

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
    family: &'static Family,
    task: TaskName,
}

/// The configuration with another value for a word.
fn with(config: &ModelConfig, word: &str, value: impl Into<Value>) -> ModelConfig {
    let mut words = config.to_words();
    words.insert(word.into(), value.into());
    ModelConfig::from_words(config.family(), &words).unwrap()
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

    fn model<H: TaskHead>(self, folder: &Path, device: &Device) -> TaskModel<H> {
        let (config, classes) = self.config(folder);
        self.open(&Weights::open(folder).unwrap(), &config, classes, device)
    }

    fn open<H: TaskHead>(
        self,
        weights: &Weights,
        config: &ModelConfig,
        classes: usize,
        device: &Device,
    ) -> TaskModel<H> {
        let init = Initialisation { seed: 0, spread: Spread::Normal(0.02) };
        let options = H::read_options(Some(self.task), &Map::new(), true).unwrap();
        let empty = TaskModel::<H>::new(config, &options, classes, device);
        let (model, report) = fill(empty, Some(weights), &self.family.tensors, init, Missing::Refuse).unwrap();
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
    fn parameters<H: TaskHead>(self, model: &TaskModel<H>) -> BTreeMap<String, NamedTensor> {
        let mut found = BTreeMap::new();
        each_parameter(model, &self.family.tensors, |name, shape, values| {
            found.insert(name, NamedTensor { shape, values: values() });
        });
        found
    }

    fn batch<H: Labelled>(self, io: &Weights, prefix: &str, device: &Device) -> TaskBatch<H> {
        let types = |name: &str| {
            let name = format!("{prefix}{name}_type_ids");
            io.get(&name).map(|_| integers(io, &name, device))
        };
        let input = EncoderInput {
            token_type_ids: types("token"),
            task_type_ids: types("task"),
            attention_mask: Some(integers(io, &format!("{prefix}attention_mask"), device)),
            ..EncoderInput::new(integers(io, &format!("{prefix}input_ids"), device))
        };
        let (labels, terms) = H::labels(&|name| integers(io, &format!("{prefix}{name}"), device), self.task);
        Batch { input, labels, rows: Vec::new(), block: 0, tokens: 0, padded_tokens: 0, terms }
    }
}

/// A head that there are references of.
trait Labelled: TaskHead {
    /// The labels of a batch from its columns by their names, and how many of them count for each loss.
    fn labels(column: &dyn Fn(&str) -> Tensor<2, Int>, task: TaskName) -> (Self::Labels, Vec<LossTerm>);
}

fn counted<const D: usize>(name: &'static str, labels: &Tensor<D, Int>) -> LossTerm {
    LossTerm::mean(name, labels.to_data().iter::<i64>().filter(|label| *label >= 0).count())
}

impl Labelled for SequenceClassification {
    fn labels(column: &dyn Fn(&str) -> Tensor<2, Int>, _: TaskName) -> (Self::Labels, Vec<LossTerm>) {
        let classes = column("labels").squeeze_dim::<1>(1);
        let terms = vec![counted("loss", &classes)];
        (classes, terms)
    }
}

impl Labelled for TokenClassification {
    fn labels(column: &dyn Fn(&str) -> Tensor<2, Int>, _: TaskName) -> (Self::Labels, Vec<LossTerm>) {
        let tokens = column("labels");
        let terms = vec![counted("loss", &tokens)];
        (token_classification::Labels::Tokens(tokens), terms)
    }
}

impl Labelled for QuestionAnswering {
    fn labels(column: &dyn Fn(&str) -> Tensor<2, Int>, _: TaskName) -> (Self::Labels, Vec<LossTerm>) {
        let [first, last] = ["start_positions", "end_positions"].map(|name| column(name).squeeze_dim::<1>(1));
        let terms = vec![counted("loss", &first)];
        (question_answering::Labels { first, last, candidates: None }, terms)
    }
}

impl Labelled for MaskedLm {
    fn labels(column: &dyn Fn(&str) -> Tensor<2, Int>, task: TaskName) -> (Self::Labels, Vec<LossTerm>) {
        let labels = column("labels");
        let (device, values) = (labels.device(), labels.into_data());
        let masked = (0..).zip(values.iter::<i64>()).filter(|(_, label)| *label >= 0);
        let (positions, tokens): (Vec<i64>, Vec<i64>) = masked.unzip();
        let [positions, tokens] =
            [positions, tokens].map(|values| Tensor::<1, Int>::from_data(TensorData::from(values.as_slice()), &device));
        let sop = (task == TaskName::PreTraining).then(|| column("next_sentence_label").squeeze_dim::<1>(1));
        let mut terms = vec![counted(LM_LOSS, &tokens)];
        terms.extend(sop.iter().map(|sop| counted(SOP_LOSS, sop)));
        (masked_lm::Labels { positions, tokens, sop, pseudo_tokens: None }, terms)
    }
}

/// Calls a function that is generic over the head with the head of a kind.
macro_rules! with_head {
    ($kind:ident, $check:ident($($argument:expr),*)) => {
        match $kind.task {
            TaskName::SequenceClassification => $check::<SequenceClassification>($($argument),*),
            TaskName::TokenClassification => $check::<TokenClassification>($($argument),*),
            TaskName::QuestionAnswering => $check::<QuestionAnswering>($($argument),*),
            TaskName::MaskedLm | TaskName::PreTraining => $check::<MaskedLm>($($argument),*),
            _ => unreachable!("no reference has such a head"),
        }
    };
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
    assert_values_near(&values(ours), io, name, tolerance);
}

fn assert_values_near(ours: &[f64], io: &Weights, name: &str, tolerance: f64) {
    let exact = format!("{name}.f64");
    let is_exact = io.get(&exact).is_some();
    let theirs = io.read_f64(if is_exact { &exact } else { name }).unwrap();
    let on_device = match backend().as_str() {
        "flex" => 1.0,
        _ if is_exact => ON_A_GPU,
        _ => ON_A_GPU_BESIDE_F32,
    };
    let tolerance = coarseness() * on_device * tolerance;
    let worst = largest_difference(ours, &theirs);
    assert!(worst <= tolerance, "{name}: off by {worst:e}, allowed are {tolerance:e}");
}

fn largest_difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Compares all logits by the names that `kiln encode` gives them, which are transformers'; where there is one tensor it is `logits`.
fn assert_logits<H: TaskHead>(input: &EncoderInput, logits: H::Logits, io: &Weights, prefix: &str) {
    assert_logits_within::<H>(STATES, input, logits, io, prefix);
}

fn assert_logits_within<H: TaskHead>(
    tolerance: f64,
    input: &EncoderInput,
    logits: H::Logits,
    io: &Weights,
    prefix: &str,
) {
    let named = H::named_logits(input, logits);
    assert!(!named.is_empty());
    let only = (named.len() == 1).then_some("logits");
    for (name, logits) in named {
        let logits: Vec<f64> = logits.iter::<f64>().collect();
        assert_values_near(&logits, io, &format!("{prefix}{}", only.unwrap_or(name)), tolerance);
    }
}

/// Everything that comes out of a model of transformers, for the first batch.
fn check_outputs(name: &str, kind: Kind) {
    with_head!(kind, outputs(name, kind));
}

fn outputs<H: Labelled>(name: &str, kind: Kind) {
    for folder in references(name) {
        let device = device();
        let io = Weights::open(&folder.join("io.safetensors")).unwrap();
        let model = kind.model::<H>(&folder.join("ckpt_safetensors"), &device);
        let input = kind.batch::<H>(&io, "in.", &device).input;
        let (output, logits) = model.forward(&input);
        for (i, state) in output.hidden_states.iter().enumerate() {
            assert_near(state, &io, &format!("out.hidden.{i}"), STATES);
        }
        if kind.task == TaskName::SequenceClassification {
            assert_near(&output.last_hidden_state(), &io, "out.last_hidden", STATES);
            // XLM-R's classifier has no pooler.
            assert_eq!(output.pooled.is_some(), io.get("out.pooled").is_some());
            output.pooled.iter().for_each(|pooled| assert_near(pooled, &io, "out.pooled", STATES));
        }
        assert_logits::<H>(&input, logits, &io, "out.");
        assert_logits::<H>(&input, model.logits(&input), &io, "out.");
    }
}

/// The sum of the losses' means.
fn mean_loss(losses: &[Loss]) -> f64 {
    losses.iter().map(|loss| number(&loss.sum) / loss.labels as f64).sum()
}

/// The loss of the first batch and the gradient of every parameter, of transformers; the same with layers that are computed again
/// in the backward pass.
fn check_gradients(name: &str, kind: Kind) {
    with_head!(kind, losses_and_gradients(name, kind));
}

fn losses_and_gradients<H: Labelled>(name: &str, kind: Kind) {
    let device = device().autodiff();
    for (folder, recompute) in references(name).into_iter().flat_map(|folder| [(folder.clone(), false), (folder, true)])
    {
        let io = Weights::open(&folder.join("io.safetensors")).unwrap();
        let model = kind.model::<H>(&folder.join("ckpt_safetensors"), &device).with_recompute(recompute);
        let Learned { losses, gradients: found, .. } = model.learn(kind.batch::<H>(&io, "in.", &device), &(), None);
        let loss = mean_loss(&losses);
        let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        let off = (loss - manifest["loss_f64"].as_f64().unwrap()).abs();
        assert!(off < coarseness() * LOSSES, "{name}: loss {loss}, off by {off:e}");

        let exact = folder.join("grads_f64.safetensors");
        let exact = if exact.exists() { exact } else { folder.join("grads.safetensors") };
        let theirs = Weights::open(&exact).unwrap();
        let ours = gradients(&model, kind.family, &found);
        for parameter in theirs.names() {
            let expected = theirs.read_f64(parameter).unwrap();
            let largest = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
            let worst = largest_difference(&ours[parameter], &expected);
            let allowed = if is_noise(parameter, kind.task) { 1e-6 } else { GRADIENTS * largest };
            let allowed = coarseness() * allowed;
            assert!(worst <= allowed, "{name} {parameter}: off by {worst:e} of {largest:e}, recompute {recompute}");
        }
    }
}

/// By Hugging Face's name, in PyTorch's layout.
fn gradients(model: &impl Module, family: &'static Family, gradients: &GradientsParams) -> BTreeMap<String, Vec<f64>> {
    let name = |path: &ModulePath| path.checkpoint_names(&family.tensors).swap_remove(0);
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
fn three_updates<H: Labelled>(
    folder: &Path,
    inputs: &Path,
    kind: Kind,
    recipe: &kiln::recipe::Optimizer,
) -> TaskModel<H> {
    let device = device().autodiff();
    let io = Weights::open(&inputs.join("io.safetensors")).unwrap();
    let mut optimizer = Optimizer::new(recipe, &kind.family.tensors);
    let mut model = kind.model::<H>(folder, &device);
    for (step, rate) in [0.0, 5e-4, 1e-3].into_iter().enumerate() {
        let batch = kind.batch::<H>(&io, &format!("step{step}.in."), &device);
        let gradients = model.learn(batch, &(), None).gradients;
        let norm = global_norm(&model, &gradients);
        model = optimizer.step(model, gradients, rate, norm);
    }
    model
}

/// Parameters against a file of transformers', or of PaddleNLP's, whose name for each is `their_name`'s.
fn assert_parameters<H: TaskHead>(
    model: &TaskModel<H>,
    kind: Kind,
    file: &Path,
    layout: Layout,
    their_name: impl Fn(&str) -> String,
) {
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
        let allowed = if is_noise(&name, kind.task) { NOISE } else { coarseness() * PARAMETERS };
        assert!(worst <= allowed, "{}: {name}: off by {worst:e}", file.display());
    }
}

/// Parameters after three updates, of transformers.
fn check_updates(name: &str, kind: Kind) {
    with_head!(kind, updates(name, kind));
}

fn updates<H: Labelled>(name: &str, kind: Kind) {
    for folder in references(name) {
        let model = three_updates::<H>(&folder.join("ckpt_safetensors"), &folder, kind, &reference_optimizer());
        let file = folder.join("params_after3.safetensors");
        assert_parameters(&model, kind, &file, Layout::Torch, str::to_string);
    }
}
